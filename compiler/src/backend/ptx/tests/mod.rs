//! PTX, run by the PTX machine, against the kernel interpreter: the suite of all back ends, and what this one alone has.

#[path = "../../../../tests/support/gpu.rs"]
mod gpu;

use std::ops::Range;

use super::{Architecture, compile};
use crate::backend::suite::{self, Executor};
use crate::kernel::{Machine, Module};

/// A GPU of so many multiprocessors, under a schedule.
#[derive(Debug)]
struct Gpu {
    multiprocessors: usize,
    schedule: u64,
}

impl Executor for Gpu {
    fn run(&self, module: &Module, machine: &mut Machine<f32>, seed: u64, steps: Range<u64>) {
        let architecture = Architecture { multiprocessors: self.multiprocessors, ..Architecture::SM_80 };
        let mut offsets = vec![];
        let mut end = 0_usize;
        for buffer in &module.buffers {
            offsets.push(end);
            end = (end + buffer.len() * 4).next_multiple_of(64);
        }
        let ptx = compile(module, &offsets, architecture);
        gpu::run(module, &offsets, &ptx, machine, seed, steps, self.schedule)
            .unwrap_or_else(|error| panic!("{error}\n{}", ptx.text));
    }
}

const WAYS: &[&dyn Executor] = &[
    &Gpu { multiprocessors: 1, schedule: 1 },
    &Gpu { multiprocessors: 3, schedule: 2 },
    &Gpu { multiprocessors: 4, schedule: 3 },
];

suite::tests!(WAYS);
