//! Compiled code against the kernel interpreter: the suite of all back ends, and what this one alone has.

mod fused_sums;
mod parts;
mod products;
mod programs;
mod scalars;
mod support;

use std::ops::Range;

use support::{Host, execute_steps, execute_without, library, plan};

use super::compile;
use crate::backend::suite::{self, Executor, TOLERANCE, bits, fill, module};
use crate::kernel::{Machine, Module};

/// Compiled code on so many workers.
#[derive(Debug)]
struct Workers(usize);

impl Executor for Workers {
    fn run(&self, module: &Module, machine: &mut Machine<f32>, seed: u64, steps: Range<u64>) {
        let &Workers(workers) = self;
        let program = plan(module, workers);
        let native = compile(&program, &library()).unwrap();
        let host = Host::new(workers, seed, steps.start);
        execute_steps(&native, &program, machine, &host, steps.end - steps.start);
    }

    fn packs(&self) -> bool {
        true
    }
}

/// Compiled code on two workers of a machine that lacks these features.
#[derive(Clone, Copy, Debug)]
struct Without(&'static [&'static str]);

impl Executor for Without {
    fn run(&self, module: &Module, machine: &mut Machine<f32>, seed: u64, steps: Range<u64>) {
        let &Without(features) = self;
        steps.for_each(|step| execute_without(features, module, machine, 2, seed, step));
    }

    fn packs(&self) -> bool {
        true
    }
}

const WAYS: &[&dyn Executor] = &[&Workers(1), &Workers(2), &Workers(3)];

/// This machine, and on x86-64 older ones too. Without fused multiply-add bits differ.
#[cfg(target_arch = "x86_64")]
const MACHINES: &[&dyn Executor] = &[
    &Without(&[]),
    &Without(&["has_avx512f"]),
    &Without(&["has_avx512f", "has_avx2"]),
    &Without(&["has_fma"]),
    &Without(&["has_fma", "has_avx2"]),
];
#[cfg(not(target_arch = "x86_64"))]
const MACHINES: &[&dyn Executor] = &[&Without(&[])];

suite::tests!(WAYS);

#[test]
fn exact_kernels_agree_on_older_machines() {
    suite::generated::random_kernels_agree_with_the_interpreter(MACHINES);
}

/// Vectors of each width have their own limit of registers.
#[test]
fn loops_with_many_values_and_folds_agree_on_older_machines() {
    for machine in MACHINES {
        suite::axes::elements_do_not_depend_on_the_length_of_an_axis(&[*machine]);
        suite::axes::loops_with_many_values_and_folds_agree(&[*machine]);
    }
}

/// A recurrent layer forwards, then a loop backwards, with packed and plain products and a scatter.
const RECURRENT: &str = r#"module recurrent {
  buffer %0: f[11, 20] input "table" carried start 0.0
  buffer %1: f[20, 20] input "r" carried start 0.0
  buffer %2: id[4, 3] input "tokens" tokens
  buffer %3: f[5, 3, 20] temp "h"
  buffer %4: f[400] packed "r^"
  buffer %5: f[640] packed "r^t"
  buffer %6: f[3, 20] temp "dz"
  buffer %7: f[4, 3, 20] temp "dx"
  buffer %8: f[11, 20] output "dtable" gradient "table"
  buffer %9: f[20, 20] output "dr" gradient "r"
  kernel "start" axes 60 {
    for a0 parallel vector {
      v0 = const 0.1
      store %3 + 1*a0 = v0
      store %6 + 1*a0 = v0
    }
  }
  pack nn 20x20: %5 = %1 stride 20
  loop t0 in 4 {
    gemm nn 3x20x20: %3 + 60 + 60*t0 stride 20 = %3 + 60*t0 stride 20 @ packed %5 stride 0
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
  pack nt 20x20: %5 = %1 stride 20
  loop t1 in 4 reverse {
    kernel "back" axes 3 20 {
      for a0 parallel {
        for a1 vector {
          v0 = load %6 + 20*a0 + 1*a1
          v1 = load %3 + 60 + 60*t1 + 20*a0 + 1*a1
          v2 = mul v1 v1
          v3 = const 1.0
          v4 = sub v3 v2
          v5 = mul v0 v4
          store %7 + 60*t1 + 20*a0 + 1*a1 = v5
        }
      }
    }
    gemm nt 3x20x20: %6 stride 20 = %7 + 60*t1 stride 20 @ packed %5 stride 0
  }
  scatter %8 [11, 20]: %2 count 12 from %7 stride 20
  gemm tn 20x20x12: %9 stride 20 = %3 stride 20 @ %7 stride 20
  gemm tn 20x20x12: %9 stride 20 += %3 + 60 stride 20 @ %7 stride 20
}
"#;

/// [`suite::agree`] on one, two and three workers.
#[track_caller]
fn agree(module: &Module, machine: &Machine<f32>, names: &[&str], tolerance: f64) {
    suite::agree(WAYS, module, machine, names, tolerance);
}
