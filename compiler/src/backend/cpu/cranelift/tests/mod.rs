//! Compiled code against the kernel interpreter.

mod generated;
mod parts;
mod products;
mod programs;
mod riders;
mod scalars;
mod support;
mod wide;

use support::execute;

use crate::kernel::{Machine, Module, parse, run, verify};

/// Rounding of sums of up to a few hundred numbers below 1, and of the approximated functions.
const TOLERANCE: f64 = 1e-5;

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

/// A verified module from its text.
fn module(text: &str) -> Module {
    let module = parse(text).unwrap();
    verify(&module).unwrap();
    module
}

/// Numbers that differ, of both signs, below 1 in size.
fn some_reals(count: usize) -> impl Iterator<Item = f32> {
    (0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 50.5 - 1.0)
}

/// Fills the buffers of reals of these names with different numbers.
fn fill(machine: &mut Machine<f32>, names: &[&str]) {
    for name in names {
        let values = machine.get_mut(name).unwrap();
        let numbers: Vec<f32> = some_reals(values.len()).collect();
        values.copy_from_slice(&numbers);
    }
}

/// The same buffers in double precision.
fn widen(module: &Module, machine: &Machine<f32>) -> Machine<f64> {
    let mut wide = Machine::<f64>::new(module);
    for buffer in &module.buffers {
        if let (Some(to), Some(from)) = (wide.get_mut(&buffer.name), machine.get(&buffer.name)) {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = f64::from(from));
        }
        if let (Some(to), Some(from)) = (wide.ids_mut(&buffer.name), machine.ids(&buffer.name)) {
            to.copy_from_slice(from);
        }
    }
    wide
}

/// Runs the module compiled for one, two and three workers and by the interpreter. The compiled results must be the
/// same bits, and lie within `tolerance` times the larger of 1 and the interpreter's result in double precision.
#[track_caller]
fn agree(module: &Module, machine: &Machine<f32>, names: &[&str], tolerance: f64) {
    let (seed, step) = (7, 3);
    let mut expected = widen(module, machine);
    run(module, &mut expected, seed, step).unwrap();
    let mut first: Option<Machine<f32>> = None;
    for workers in 1..=3 {
        let mut actual = machine.clone();
        execute(module, &mut actual, workers, seed, step);
        for name in names {
            let values = actual.get(name).unwrap();
            for (i, (&a, &e)) in values.iter().zip(expected.get(name).unwrap()).enumerate() {
                let close = (f64::from(a) - e).abs() <= tolerance * e.abs().max(1.0);
                assert!(close, "{name}[{i}] is {a}, not {e}, with {workers} workers");
            }
            if let Some(first) = &first {
                assert_eq!(bits(values), bits(first.get(name).unwrap()), "{name} with {workers} workers");
            }
        }
        first.get_or_insert(actual);
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
