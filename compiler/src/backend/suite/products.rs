//! Products, scatters and distinct ids, in time loops and outside.

use super::{Executor, TOLERANCE, agree, fill, module};
use crate::kernel::{Machine, Module, run};

/// A recurrent layer forwards, then a loop backwards, with a scatter and products of every form.
const RECURRENT: &str = r#"module recurrent {
  buffer %0: f[11, 20] input "table" carried start 0.0
  buffer %1: f[20, 20] input "r" carried start 0.0
  buffer %2: id[4, 3] input "tokens" tokens
  buffer %3: f[5, 3, 20] temp "h"
  buffer %4: f[3, 20] temp "dz"
  buffer %5: f[4, 3, 20] temp "dx"
  buffer %6: f[11, 20] output "dtable" gradient "table"
  buffer %7: f[20, 20] output "dr" gradient "r"
  kernel "start" axes 60 {
    for a0 parallel vector {
      v0 = const 0.1
      store %3 + 1*a0 = v0
      store %4 + 1*a0 = v0
    }
  }
  loop t0 in 4 {
    gemm nn 3x20x20: %3 + 60 + 60*t0 stride 20 = %3 + 60*t0 stride 20 @ %1 stride 20
    kernel "cell" axes 3 20 {
      for a0 parallel {
        v0 = load_id %2 + 3*t0 + 1*a0
        for a1 vector {
          v1 = load %0 + 20*v0 + 1*a1
          v2 = load %3 + 60 + 60*t0 + 20*a0 + 1*a1
          v3 = add v1 v2
          v4 = tanh v3
          store %3 + 60 + 60*t0 + 20*a0 + 1*a1 = v4
        }
      }
    }
  }
  loop t1 in 4 reverse {
    kernel "back" axes 3 20 {
      for a0 parallel {
        for a1 vector {
          v0 = load %4 + 20*a0 + 1*a1
          v1 = load %3 + 60 + 60*t1 + 20*a0 + 1*a1
          v2 = mul v1 v1
          v3 = const 1.0
          v4 = sub v3 v2
          v5 = mul v0 v4
          store %5 + 60*t1 + 20*a0 + 1*a1 = v5
        }
      }
    }
    gemm nt 3x20x20: %4 stride 20 = %5 + 60*t1 stride 20 @ %1 stride 20
  }
  scatter %6 [11, 20]: %2 count 12 from %5 stride 20
  gemm tn 20x20x12: %7 stride 20 = %3 stride 20 @ %5 stride 20
  gemm tn 20x20x12: %7 stride 20 += %3 + 60 stride 20 @ %5 stride 20
}
"#;

/// Weights small enough that states stay away from the ends of `tanh`, and tokens of which some come twice.
fn recurrent_machine(module: &Module) -> Machine<f32> {
    let mut machine = Machine::new(module);
    fill(&mut machine, &["table", "r"]);
    machine.get_mut("r").unwrap().iter_mut().for_each(|r| *r *= 0.3);
    machine.ids_mut("tokens").unwrap().copy_from_slice(&[1, 10, 3, 3, 3, 0, 7, 7, 9, 1, 2, 3]);
    machine
}

pub fn time_runs_forwards_and_backwards(ways: &[&dyn Executor]) {
    let module = module(RECURRENT);
    agree(ways, &module, &recurrent_machine(&module), &["h", "dx", "dtable", "dr"], TOLERANCE);
}

pub fn products_leave_out_a_round(ways: &[&dyn Executor]) {
    let forth = "= %3 + 60*t0 stride 20 @ %1 stride 20";
    let back = "= %5 + 60*t1 stride 20 @ %1 stride 20";
    let text = RECURRENT
        .replace(forth, &format!("{forth} after first"))
        .replace(back, &format!("{back} before last"));
    assert!(text.contains("after first") && text.contains("before last"));
    let module = module(&text);
    agree(ways, &module, &recurrent_machine(&module), &["h", "dz", "dx", "dtable", "dr"], TOLERANCE);
}

pub fn products_in_bf16_round_their_operands(ways: &[&dyn Executor]) {
    let mut text = RECURRENT.to_owned();
    for extents in ["3x20x20:", "20x20x12:"] {
        text = text.replace(extents, &extents.replace(':', " bf16:"));
    }
    let rounded = module(&text);
    let mut machine = recurrent_machine(&rounded);
    // What differs by the rounding of f32 may be rounded the other way, by 2^-8, when it is an operand next.
    agree(ways, &rounded, &machine, &["h", "dx", "dtable", "dr"], 4e-3);
    let mut exact = machine.clone();
    run(&module(RECURRENT), &mut exact, 0, 0).unwrap();
    ways[0].run(&rounded, &mut machine, 0, 0..1);
    let off = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4;
    assert!(machine.get("dr").unwrap().iter().zip(exact.get("dr").unwrap()).any(off), "nothing was rounded");
}

/// A product of each form that sets C and one that adds to it, of matrices that stand apart from the start of their
/// buffers and have wider rows than they use; of all rows, or of the first `count`.
fn every_form([m, n, k]: [usize; 3], prefix: bool) -> String {
    let (x, y, z) = (n + 3, m.max(k) + 2, n.max(k) + 1);
    let longest = m.max(n).max(k);
    let prefix = if prefix { " prefix %3" } else { "" };
    let size = 5 + longest * (longest + 3);
    let mut text = format!(
        r#"module forms {{
  buffer %0: f[{size}] input "a" carried start 0.0
  buffer %1: f[{size}] input "b" carried start 0.0
  buffer %2: id[12] input "tokens" tokens
  buffer %3: id[] temp "count"
  buffer %4: id[12] temp "places"
  buffer %5: id[12] temp "distinct"
"#
    );
    for (i, name) in ["nn", "nt", "tn", "nn+", "nt+", "tn+"].iter().enumerate() {
        text += &format!("  buffer %{}: f[{size}] input {name:?} carried start 0.0\n", 6 + i);
    }
    text += "  distinct %4 %5 %3: %2 count 12 rows 50\n";
    for (assign, first) in [("=", 6), ("+=", 9)] {
        for (i, form) in ["nn", "nt", "tn"].iter().enumerate() {
            // A is m x k, or k x m as it lies in TN; B is k x n, or n x k as it lies in NT.
            let (a, b) = (if *form == "tn" { m + 2 } else { y }, if *form == "nt" { z } else { x });
            text += &format!(
                "  gemm {form} {m}x{n}x{k}: %{} + 2 stride {x} {assign} %0 + 1 stride {a} @ %1 + 3 stride {b}{prefix}\n",
                first + i
            );
        }
    }
    text + "}\n"
}

pub fn every_form_sets_and_adds_all_rows_or_the_first(ways: &[&dyn Executor]) {
    let sizes = [[1, 1, 1], [1, 40, 30], [4, 3, 50], [7, 16, 5], [12, 33, 17], [20, 12, 70], [65, 130, 9]];
    for (size, prefix) in sizes.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let [m, _, k] = size;
        // The prefix counts rows of A as it lies.
        if prefix && m.min(k) < 7 {
            continue;
        }
        let module = module(&every_form(size, prefix));
        let mut machine = Machine::new(&module);
        let names = ["nn", "nt", "tn", "nn+", "nt+", "tn+"];
        fill(&mut machine, &["a", "b"]);
        fill(&mut machine, &names);
        machine.ids_mut("tokens").unwrap().copy_from_slice(&[7, 3, 7, 49, 3, 3, 0, 7, 1, 2, 49, 49]);
        agree(ways, &module, &machine, &names, 1e-4);
    }
}

/// Each part has a C of its own, below that of the part before.
pub fn contractions_in_parts_of_every_form(ways: &[&dyn Executor]) {
    for ([m, n, k], parts) in [([3, 20, 70], 3), ([40, 33, 100], 2), ([1, 5, 16], 2)] {
        let mut text = format!(
            r#"module parts {{
  buffer %0: f[{}] input "a" carried start 0.0
  buffer %1: f[{}] input "b" carried start 0.0
"#,
            m * k,
            k * n
        );
        let names = ["nn", "nt", "tn", "nn bf16", "nt bf16", "tn bf16"];
        for (i, name) in names.iter().enumerate() {
            text += &format!("  buffer %{}: f[{parts}, {m}, {n}] temp {name:?}\n", 2 + i);
        }
        for (i, name) in names.iter().enumerate() {
            let (form, precision) = name.split_at(2);
            let (a, b) = (if form == "tn" { m } else { k }, if form == "nt" { k } else { n });
            text += &format!(
                "  gemm {form} {m}x{n}x{k}{precision} parts {parts}: %{} stride {n} = %0 stride {a} @ %1 stride {b}\n",
                2 + i
            );
        }
        let module = module(&(text + "}\n"));
        let mut machine = Machine::new(&module);
        fill(&mut machine, &["a", "b"]);
        agree(ways, &module, &machine, &names, 1e-4);
    }
}

pub fn rows_are_multiplied_once_for_each_distinct_id(ways: &[&dyn Executor]) {
    let text = r#"module distinct {
  buffer %0: f[50, 20] input "table" carried start 0.0
  buffer %1: f[20, 40] input "w" carried start 0.0
  buffer %2: id[12] input "tokens" tokens
  buffer %3: id[12] temp "places"
  buffer %4: id[12] temp "distinct"
  buffer %5: id[] temp "count"
  buffer %6: f[12, 20] temp "x"
  buffer %7: f[12, 40] temp "y"
  buffer %8: f[12, 40] temp "z"
  buffer %9: f[20, 40] temp "dw"
  buffer %10: f[12, 20] temp "dx"
  buffer %11: id[50] temp "ranks"
  buffer %12: f[50] temp "present"
  buffer %13: f[50, 20] temp "dtable"
  distinct %3 %4 %5: %2 count 12 rows 50 inverse %11 %12
  kernel "rows" axes 12 20 {
    for a0 parallel {
      v0 = load_id %4 + 1*a0
      for a1 vector {
        v1 = load %0 + 20*v0 + 1*a1
        store %6 + 20*a0 + 1*a1 = v1
      }
    }
  }
  gemm nn 12x40x20: %7 stride 40 = %6 stride 20 @ %1 stride 40 prefix %5
  kernel "places" axes 12 40 {
    for a0 parallel {
      v0 = load_id %3 + 1*a0
      for a1 vector {
        v1 = load %7 + 40*v0 + 1*a1
        store %8 + 40*a0 + 1*a1 = v1
      }
    }
  }
  gemm tn 20x40x12: %9 stride 40 = %6 stride 20 @ %7 stride 40 prefix %5
  gemm nt 12x20x40: %10 stride 20 = %7 stride 40 @ %1 stride 40 prefix %5
  kernel "table" axes 50 20 {
    for a0 parallel {
      v0 = load_id %11 + 1*a0
      v1 = load %12 + 1*a0
      v2 = const 0.0
      for a1 vector {
        v3 = load %10 + 20*v0 + 1*a1
        v4 = select v1 v3 v2
        store %13 + 20*a0 + 1*a1 = v4
      }
    }
  }
}
"#;
    let module = module(text);
    let ids: [[u32; 12]; 3] =
        [[7, 3, 7, 49, 3, 3, 0, 7, 1, 2, 49, 49], [11; 12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]];
    for ids in ids {
        let mut machine = Machine::new(&module);
        fill(&mut machine, &["table", "w"]);
        machine.ids_mut("tokens").unwrap().copy_from_slice(&ids);
        agree(ways, &module, &machine, &["x", "y", "z", "dw", "dx", "dtable"], 1e-4);
    }
}
