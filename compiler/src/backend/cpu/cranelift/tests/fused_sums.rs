//! Sums that a product makes beside its result.

use super::{agree, fill, module};
use crate::kernel::Machine;

/// The sums of a product's right side, of columns that are cut and of ones that are not; in a loop too.
#[test]
fn products_sum_what_they_read() {
    let text = r#"module sums {
  buffer %0: f[4, 30, 6] input "x" carried start 0.0
  buffer %1: f[4, 30, 80] input "g" carried start 0.0
  buffer %2: f[6, 80] temp "dw"
  buffer %3: f[80] temp "db"
  buffer %4: f[80, 6] temp "high"
  buffer %5: f[4, 8] temp "each"
  gemm tn 6x80x120: %2 stride 80 = %0 stride 6 @ %1 stride 80 sums %3
  loop t0 in 4 {
    gemm tn 80x6x30: %4 stride 6 = %1 + 2400*t0 stride 80 @ %0 + 180*t0 stride 6 sums %5 + 1 + 8*t0
  }
  kernel "add" axes 4 6 {
    for a0 {
      for a1 vector {
        v0 = load %3 + 70 + 1*a1
        v1 = load %5 + 1 + 8*a0 + 1*a1
        v2 = add v0 v1
        store %3 + 70 + 1*a1 = v2
      }
    }
  }
}
"#;
    let module = module(text);
    let mut machine = Machine::new(&module);
    fill(&mut machine, &["x", "g"]);
    agree(&module, &machine, &["dw", "db", "high"], 1e-4);
}

/// The squares of a result whose columns are cut, of one that has too few to be, and of one in a loop.
#[test]
fn products_sum_squares_of_what_they_write() {
    let text = r#"module squares {
  buffer %0: f[4, 30, 6] input "x" carried start 0.0
  buffer %1: f[4, 30, 80] input "g" carried start 0.0
  buffer %2: f[6, 80] temp "wide"
  buffer %3: f[80] temp "of_wide"
  buffer %4: f[80, 6] temp "high"
  buffer %5: f[8] temp "of_high"
  buffer %6: f[80, 80] temp "inside"
  buffer %7: f[4, 80] temp "of_inside"
  gemm tn 6x80x120: %2 stride 80 = %0 stride 6 @ %1 stride 80 squares %3
  gemm tn 80x6x120: %4 stride 6 = %1 stride 80 @ %0 stride 6 squares %5 + 1
  loop t0 in 4 {
    gemm tn 80x80x30: %6 stride 80 = %1 + 2400*t0 stride 80 @ %1 + 2400*t0 stride 80 squares %7 + 80*t0
  }
  kernel "add" axes 4 6 {
    for a0 {
      for a1 vector {
        v0 = load %3 + 70 + 1*a1
        v1 = load %5 + 1 + 1*a1
        v2 = load %7 + 80*a0 + 1*a1
        v3 = add v0 v1
        v4 = add v2 v3
        store %3 + 70 + 1*a1 = v4
      }
    }
  }
}
"#;
    let module = module(text);
    let mut machine = Machine::new(&module);
    fill(&mut machine, &["x", "g"]);
    agree(&module, &machine, &["wide", "high", "of_wide", "of_inside"], 1e-4);
}
