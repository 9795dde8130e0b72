//! Compiled code against the kernel interpreter.

mod generated;
mod programs;
mod riders;
mod scalars;
mod support;
mod wide;

use support::execute;

use crate::kernel::{Machine, Module, parse, run, verify};

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
