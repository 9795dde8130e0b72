//! Time loops whose products belong each to some units of a layer, with weights of all lengths.

use std::fmt::Write;

use super::{Executor, agree, module};
use crate::kernel::Machine;

/// A loop whose product gives each of `units` units a column in each of `groups` groups, and whose kernel gives each unit
/// the sum of its columns.
struct Loop {
    form: &'static str,
    rows: usize,
    units: usize,
    groups: usize,
    k: usize,
    precision: &'static str,
    /// `=` or `+=`.
    assign: &'static str,
    rounds: &'static str,
    reverse: bool,
    /// Whether each round has a weight of its own.
    weights: bool,
}

const ROUNDS: usize = 2;

impl Loop {
    fn text(&self) -> String {
        let Self { form, rows, units, groups, k, precision, assign, rounds, reverse, weights } = *self;
        let n = groups * units;
        // A is k x m as it lies in TN, B is n x k in NT.
        let a = if form == "tn" { rows } else { k };
        let b = if form == "nt" { k } else { n };
        let weight = if weights { format!(" + {}*t0", n * k) } else { String::new() };
        let reverse = if reverse { " reverse" } else { "" };
        let mut text = format!(
            r#"module units {{
  buffer %0: f[{ROUNDS}, {}] input "x" carried start 0.0
  buffer %1: f[{ROUNDS}, {}] input "w" carried start 0.0
  buffer %2: f[{rows}, {n}] input "z" carried start 0.0
  buffer %3: f[{ROUNDS}, {rows}, {units}] temp "y"
  loop t0 in {ROUNDS}{reverse} {{
    gemm {form} {rows}x{n}x{k}{precision}: %2 stride {n} {assign} %0 + {}*t0 stride {a} @ %1{weight} stride {b}{rounds}
    kernel "sum" axes {rows} {units} {{
      for a0 parallel {{
        for a1 parallel {{
          v0 = load %2 + {n}*a0 + 1*a1
"#,
            rows * k,
            n * k,
            rows * k,
        );
        for group in 1..groups {
            let (load, sum) = (2 * group - 1, 2 * group);
            let _ = writeln!(
                text,
                "          v{load} = load %2 + {} + {n}*a0 + 1*a1\n          v{sum} = add v{} v{load}",
                group * units,
                sum - 2
            );
        }
        let _ = write!(
            text,
            "          store %3 + {}*t0 + {units}*a0 + 1*a1 = v{}\n        }}\n      }}\n    }}\n  }}\n}}\n",
            rows * units,
            2 * groups - 2
        );
        text
    }

    /// With numbers that no rounding of operands changes, and whose sums are exact.
    fn check(&self, ways: &[&dyn Executor]) {
        let module = module(&self.text());
        let mut machine = Machine::new(&module);
        for (salt, name) in [(5, "x"), (11, "w"), (3, "z")] {
            let values = machine.get_mut(name).unwrap();
            (0..).zip(values).for_each(|(i, value): (usize, _)| {
                *value = ((i * 37 + i / 8 * 5 + salt) % 33) as f32 / 16.0 - 1.0;
            });
        }
        agree(ways, &module, &machine, &["y", "z"], 0.0);
    }
}

const PLAIN: Loop = Loop {
    form: "nn",
    rows: 3,
    units: 7,
    groups: 3,
    k: 20,
    precision: "",
    assign: "=",
    rounds: "",
    reverse: false,
    weights: false,
};

pub fn units_have_columns_of_every_form(ways: &[&dyn Executor]) {
    for form in ["nn", "nt", "tn"] {
        for precision in ["", " tf32", " bf16"] {
            Loop { form, precision, ..PLAIN }.check(ways);
            Loop { form, precision, assign: "+=", reverse: true, ..PLAIN }.check(ways);
            Loop { form, precision, weights: true, ..PLAIN }.check(ways);
        }
    }
}

pub fn units_leave_out_a_round(ways: &[&dyn Executor]) {
    for rounds in [" after first", " before last"] {
        for assign in ["=", "+="] {
            Loop { rounds, assign, ..PLAIN }.check(ways);
            Loop { rounds, assign, precision: " bf16", reverse: true, ..PLAIN }.check(ways);
        }
    }
}

pub fn units_are_of_any_number(ways: &[&dyn Executor]) {
    for (rows, units, groups, k) in
        [(1, 1, 1, 1), (20, 5, 4, 16), (9, 40, 1, 130), (70, 3, 2, 33), (2, 33, 5, 7)]
    {
        for precision in ["", " tf32", " bf16"] {
            Loop { rows, units, groups, k, precision, ..PLAIN }.check(ways);
        }
    }
}

/// Some of the weight may be kept from round to round, and not all.
pub fn weights_are_of_any_length(ways: &[&dyn Executor]) {
    for (k, precision) in [(1000, " tf32"), (3400, " tf32"), (3400, " bf16")] {
        Loop { units: 4, groups: 2, k, precision, ..PLAIN }.check(ways);
    }
}

/// A loop back in time, as of a layer's gradients: in each round a unit's elements in `groups` groups follow from what the round
/// before has left of it, and what is left of a unit from those of all. Numbers stay small and whole, so that sums are exact.
fn back([rows, units, groups]: [usize; 3], form: &str, precision: &str, rest: &str) -> String {
    let k = groups * units;
    let (a, stride) = (rows * k, if form == "nt" { k } else { units });
    let mut text = format!(
        r#"module back {{
  buffer %0: f[4, {rows}, {k}] input "x" carried start 0.0
  buffer %1: f[{k}, {units}] input "w" carried start 0.0
  buffer %2: f[{rows}, {units}] input "dh" carried start 0.0
  buffer %3: f[4, {rows}, {k}] temp "dz"
  buffer %4: f[4, {rows}, {units}] temp "dhs"
  loop t0 in 4 reverse {{
    kernel "dz" axes {rows} {units} {{
      for a0 parallel {{
        for a1 parallel {{
          v0 = load %2 + {units}*a0 + 1*a1
          store %4 + {}*t0 + {units}*a0 + 1*a1 = v0
          v1 = const 0.0
          v2 = gt v0 v1
"#,
        rows * units
    );
    for group in 0..groups {
        let (x, dz) = (3 + 2 * group, 4 + 2 * group);
        let _ = writeln!(
            text,
            "          v{x} = load %0 + {} + {a}*t0 + {k}*a0 + 1*a1\n          v{dz} = sub v{x} v2\n          \
             store %3 + {} + {a}*t0 + {k}*a0 + 1*a1 = v{dz}",
            group * units,
            group * units
        );
    }
    let _ = write!(
        text,
        "        }}\n      }}\n    }}\n    gemm {form} {rows}x{units}x{k}{precision}: %2 stride {units} {rest}\n  }}\n}}\n"
    );
    text.replace("A", &format!("%3 + {a}*t0 stride {k}")).replace("B", &format!("%1 stride {stride}"))
}

pub fn partial_sums_of_units_travel(ways: &[&dyn Executor]) {
    let sizes = [[3, 7, 2], [20, 8, 4], [1, 1, 3], [9, 36, 4], [70, 5, 3]];
    for (size, form) in sizes.into_iter().flat_map(|size| [(size, "nt"), (size, "nn")]) {
        for precision in ["", " tf32", " bf16"] {
            for rest in ["= A @ B", "= A @ B before last", "+= A @ B"] {
                let module = module(&back(size, form, precision, rest));
                let mut machine = Machine::new(&module);
                for (salt, name) in [(5, "x"), (11, "w"), (3, "dh")] {
                    let values = machine.get_mut(name).unwrap();
                    (0..).zip(values).for_each(|(i, value): (usize, _)| {
                        *value = ((i * 37 + i / 8 * 5 + salt) % 9) as f32 - 4.0;
                    });
                }
                agree(ways, &module, &machine, &["dz", "dhs", "dh"], 0.0);
            }
        }
    }
}
