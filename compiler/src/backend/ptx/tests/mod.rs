//! PTX, run by the PTX machine, against the kernel interpreter: the suite of all back ends, and what this one alone has.

#[path = "../../../../tests/support/gpu.rs"]
mod gpu;
mod products;

use std::ops::Range;

use super::compile;
use crate::backend::suite::{self, Executor};
use crate::kernel::{Machine, Module};
use crate::plan;
use crate::target::{Nvidia, Target};

/// A GPU of so many multiprocessors, under a schedule.
#[derive(Debug)]
struct Gpu {
    multiprocessors: usize,
    schedule: u64,
}

impl Executor for Gpu {
    fn run(&self, module: &Module, machine: &mut Machine<f32>, seed: u64, steps: Range<u64>) {
        let nvidia = Nvidia { multiprocessors: self.multiprocessors, ..Nvidia::SM_80 };
        let mut program = plan::plan(module.clone(), &Target::nvidia(nvidia));
        // The suite looks at temporaries too: none may lie where another one does.
        program.arena_bytes = 0;
        for (offset, buffer) in program.offsets.iter_mut().zip(&module.buffers) {
            *offset = program.arena_bytes;
            program.arena_bytes = (*offset + buffer.len() * 4).next_multiple_of(64);
        }
        let ptx = compile(&program, nvidia);
        gpu::run(&program, &ptx, machine, seed, steps, self.schedule)
            .unwrap_or_else(|error| panic!("{error}\n{}", ptx.text));
    }
}

const WAYS: &[&dyn Executor] = &[
    &Gpu { multiprocessors: 1, schedule: 1 },
    &Gpu { multiprocessors: 3, schedule: 2 },
    &Gpu { multiprocessors: 4, schedule: 3 },
];

suite::tests!(WAYS);
