//! Loop nests: row and column kernels, folds, ids, random numbers; steps and the prologue.

use super::{Executor, TOLERANCE, agree, fill, module, packing};
use crate::kernel::{Machine, run};

pub fn softmax_rows_of_any_width(ways: &[&dyn Executor]) {
    for (rows, columns) in [(1, 1), (3, 3), (5, 4), (2, 7), (4, 19), (7, 64), (3, 650)] {
        let text = format!(
            r#"module softmax {{
  buffer %0: f[{rows}, {columns}] input "x" carried start 0.0
  buffer %1: f[{rows}, {columns}] temp "y"
  kernel "softmax" axes {rows} {columns} {{
    for a0 parallel {{
      for a1 vector fold v1 = max v0 {{
        v0 = load %0 + {columns}*a0 + 1*a1
      }}
      for a1 vector fold v5 = sum v4 {{
        v2 = load %0 + {columns}*a0 + 1*a1
        v3 = sub v2 v1
        v4 = exp v3
        store %1 + {columns}*a0 + 1*a1 = v4
      }}
      for a1 vector {{
        v6 = load %1 + {columns}*a0 + 1*a1
        v7 = div v6 v5
        store %1 + {columns}*a0 + 1*a1 = v7
      }}
    }}
  }}
}}
"#
        );
        let module = module(&text);
        let mut machine = Machine::new(&module);
        fill(&mut machine, &["x"]);
        agree(ways, &module, &machine, &["y"], TOLERANCE);
    }
}

/// Folds of every kind of value in a loop with calls: loaded again where it is needed, computed before and after a
/// call, the call's own result, and what does not vary; rows too short for a function of their own and longer ones.
pub fn loops_with_calls_fold_what_they_load_and_compute(ways: &[&dyn Executor]) {
    for columns in [16, 40, 256, 600] {
        let text = format!(
            r#"module folds {{
  buffer %0: f[3, {columns}] input "x" carried start 0.0
  buffer %1: f[3, {columns}] input "z" carried start 0.0
  buffer %2: f[3, 5] temp "y"
  kernel "folds" axes 3 {columns} {{
    for a0 parallel {{
      v0 = load %0 + {columns}*a0
      for a1 vector fold v10 = sum v1, v11 = max v3, v12 = sum v4, v13 = sum v6, v14 = max v0 {{
        v1 = load %1 + {columns}*a0 + 1*a1
        v2 = load %0 + {columns}*a0 + 1*a1
        v3 = mul v2 v0
        v4 = tanh v3
        v5 = sigmoid v4
        v6 = mul v5 v2
      }}
      store %2 + 5*a0 = v10
      store %2 + 1 + 5*a0 = v11
      store %2 + 2 + 5*a0 = v12
      store %2 + 3 + 5*a0 = v13
      store %2 + 4 + 5*a0 = v14
    }}
  }}
}}
"#
        );
        let module = module(&text);
        let mut machine = Machine::new(&module);
        fill(&mut machine, &["x", "z"]);
        agree(ways, &module, &machine, &["y"], TOLERANCE);
    }
}

pub fn columns_are_summed_in_lanes(ways: &[&dyn Executor]) {
    for (rows, columns) in [(1, 1), (5, 3), (9, 16), (4, 50), (20, 101)] {
        let text = format!(
            r#"module columns {{
  buffer %0: f[{rows}, {columns}] input "x" carried start 0.0
  buffer %1: f[{columns}] temp "sum"
  buffer %2: f[{columns}] temp "most"
  kernel "columns" axes {rows} {columns} {{
    for a1 parallel vector {{
      for a0 fold v2 = sum v1, v3 = max v0 {{
        v0 = load %0 + {columns}*a0 + 1*a1
        v1 = mul v0 v0
      }}
      store %1 + 1*a1 = v2
      store %2 + 1*a1 = v3
    }}
  }}
}}
"#
        );
        let module = module(&text);
        let mut machine = Machine::new(&module);
        fill(&mut machine, &["x"]);
        agree(ways, &module, &machine, &["sum", "most"], TOLERANCE);
    }
}

pub fn a_maximum_passes_over_nan_wherever_it_stands(ways: &[&dyn Executor]) {
    for width in [1, 3, 8, 21, 37] {
        let text = format!(
            r#"module most {{
  buffer %0: f[{width}] input "x" carried start 0.0
  buffer %1: f[1] temp "most"
  kernel "most" axes {width} {{
    for a0 vector fold v1 = max v0 {{
      v0 = load %0 + 1*a0
    }}
    store %1 = v1
  }}
}}
"#
        );
        let module = module(&text);
        for at in 0..width {
            let mut machine = Machine::new(&module);
            fill(&mut machine, &["x"]);
            machine.get_mut("x").unwrap()[at] = f32::NAN;
            let mut expected = machine.clone();
            run(&module, &mut expected, 0, 0).unwrap();
            for way in ways {
                let mut found = machine.clone();
                way.run(&module, &mut found, 0, 0..1);
                assert_eq!(found.get("most"), expected.get("most"), "NaN at {at} of {width}, {way:?}");
            }
        }
    }
}

pub fn random_numbers_are_those_of_the_interpreter(ways: &[&dyn Executor]) {
    let module = module(
        r#"module random {
  buffer %0: f[3, 5, 23] temp "vector"
  buffer %1: f[3, 5, 23] temp "single"
  loop t0 in 3 {
    kernel "random" axes 5 23 {
      for a0 parallel {
        for a1 vector {
          v0 = random 9 + 4294967200 + 115*t0 + 23*a0 + 1*a1
          store %0 + 115*t0 + 23*a0 + 1*a1 = v0
        }
        for a1 {
          v1 = random 9 + 4294967200 + 115*t0 + 23*a0 + 1*a1
          v2 = random 2 + 1*a1
          v3 = add v1 v2
          v4 = sub v3 v2
          store %1 + 115*t0 + 23*a0 + 1*a1 = v1
        }
      }
    }
  }
}
"#,
    );
    agree(ways, &module, &Machine::new(&module), &["vector", "single"], 0.0);
}

pub fn random_numbers_change_from_step_to_step(ways: &[&dyn Executor]) {
    let module = module(
        r#"module random {
  buffer %0: f[23] input "x" carried start 0.0
  kernel "random" axes 23 {
    for a0 parallel vector {
      v0 = random 0 + 1*a0
      v1 = load %0 + 1*a0
      v2 = add v0 v1
      store %0 + 1*a0 = v2
    }
  }
}
"#,
    );
    let mut expected = Machine::<f32>::new(&module);
    for step in 5..8 {
        run(&module, &mut expected, 1, step).unwrap();
    }
    for way in ways {
        let mut actual = Machine::new(&module);
        way.run(&module, &mut actual, 1, 5..8);
        assert_eq!(actual.get("x"), expected.get("x"), "{way:?}");
    }
}

pub fn rows_are_gathered_and_elements_picked_by_id(ways: &[&dyn Executor]) {
    let module = module(
        r#"module ids {
  buffer %0: f[9, 21] input "table" carried start 0.0
  buffer %1: id[2, 6] input "tokens" tokens
  buffer %2: f[6, 21] temp "rows"
  buffer %3: f[6] temp "picked"
  buffer %4: f[6, 21] temp "hot"
  buffer %5: f[6] temp "column"
  buffer %6: f[6] temp "number"
  loop t0 in 2 {
    kernel "take" axes 6 21 {
      for a0 parallel {
        v0 = load_id %1 + 6*t0 + 1*a0
        for a1 vector {
          v1 = load %0 + 1*a1 + 21*v0
          store %2 + 21*a0 + 1*a1 = v1
        }
        v2 = load %2 + 21*a0 + 1*v0
        store %3 + 1*a0 = v2
        v3 = number v0
        for a1 vector {
          v4 = position a1
          v5 = eq v4 v3
          v6 = select v5 v2 v4
          store %4 + 21*a0 + 1*a1 = v6
        }
      }
    }
    kernel "lanes" axes 6 {
      for a0 parallel vector {
        v0 = load_id %1 + 6*t0 + 1*a0
        v1 = load %0 + 20 + 21*v0
        v2 = number v0
        store %5 + 1*a0 = v1
        store %6 + 1*a0 = v2
      }
    }
  }
}
"#,
    );
    let mut machine = Machine::new(&module);
    fill(&mut machine, &["table"]);
    machine.ids_mut("tokens").unwrap().copy_from_slice(&[0, 8, 3, 3, 1, 7, 5, 0, 2, 8, 8, 4]);
    agree(ways, &module, &machine, &["rows", "picked", "hot", "column", "number"], 0.0);
}

/// Each step adds to a state what the prologue has made of a parameter.
const PREPARED: &str = r#"module prepared {
  buffer %0: f[20, 20] input "w" param parts "w" 0 20
  buffer %1: f[20, 20] temp "w2"
  buffer %2: f[640] packed "w^"
  buffer %3: f[3, 20] input "x" carried start 0.0
  buffer %4: f[3, 20] temp "y"
  prologue {
    kernel "half" axes 400 {
      for a0 parallel vector {
        v0 = load %0 + 1*a0
        v1 = const 0.5
        v2 = mul v0 v1
        store %1 + 1*a0 = v2
      }
    }
    pack nt 20x20: %2 = %1 stride 20
  }
  gemm nt 3x20x20: %4 stride 20 = %3 stride 20 @ packed %2 stride 0
  kernel "add" axes 60 {
    for a0 parallel vector {
      v0 = load %3 + 1*a0
      v1 = load %4 + 1*a0
      v2 = add v0 v1
      store %3 + 1*a0 = v2
    }
  }
}
"#;

/// [`PREPARED`] with a weight that is not packed.
fn prepared_plain() -> String {
    let plain = PREPARED.replace("    pack nt 20x20: %2 = %1 stride 20\n", "");
    plain
        .replace("@ packed %2 stride 0", "@ %1 stride 20")
        .replace("f[640] packed \"w^\"", "f[640] temp \"w^\"")
}

pub fn the_prologue_runs_once(ways: &[&dyn Executor]) {
    for (text, ways) in [(prepared_plain(), ways), (PREPARED.to_owned(), &packing(ways)[..])] {
        let module = module(&text);
        let mut machine = Machine::new(&module);
        fill(&mut machine, &["w", "x"]);
        agree(ways, &module, &machine, &["x"], TOLERANCE);
        // The interpreter runs it in each step, which changes nothing.
        let mut expected = machine.clone();
        (0..3).for_each(|step| run(&module, &mut expected, 0, step).unwrap());
        for way in ways {
            let mut found = machine.clone();
            way.run(&module, &mut found, 0, 0..3);
            for (found, expected) in found.get("x").unwrap().iter().zip(expected.get("x").unwrap()) {
                let close = (found - expected).abs() < 1e-4 * expected.abs().max(1.0);
                assert!(close, "{found}, not {expected}, {way:?}");
            }
        }
    }
}

pub fn no_steps_do_nothing(ways: &[&dyn Executor]) {
    let module = module(&prepared_plain());
    let mut machine = Machine::new(&module);
    fill(&mut machine, &["w", "x"]);
    for way in ways {
        let mut found = machine.clone();
        way.run(&module, &mut found, 0, 0..0);
        assert_eq!(found.get("x"), machine.get("x"), "{way:?}");
    }
}
