//! Sums that ride on a product.

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
