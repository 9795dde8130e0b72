//! PTX, run by the PTX machine, against the kernel interpreter: the suite of all back ends, and what this one alone has.

#[path = "../../../../tests/support/gpu.rs"]
mod gpu;
mod library;
mod products;

use std::ops::Range;

use super::compile;
use crate::backend::suite::{self, Executor};
use crate::kernel::{Machine, Module};
use crate::plan::{self, Verified};
use crate::target::{Grid, Nvidia, Partition, Target};

/// A GPU of so many multiprocessors, under a schedule.
#[derive(Debug)]
struct Gpu {
    multiprocessors: usize,
    schedule: u64,
    /// Whether partial sums travel wherever they can.
    partial_sums: bool,
}

impl Executor for Gpu {
    fn run(&self, module: &Module, machine: &mut Machine<f32>, seed: u64, steps: Range<u64>) {
        let nvidia = Nvidia { multiprocessors: self.multiprocessors, ..Nvidia::SM_80 };
        let mut target = Target::nvidia(nvidia);
        if self.partial_sums {
            target.partition = Partition::Grid(Grid { partial_sums: 0 });
        }
        let mut program = plan::plan(module.clone(), &target);
        // The suite looks at temporaries too: none may lie where another one does.
        program.arena_bytes = 0;
        for (offset, buffer) in program.offsets.iter_mut().zip(&module.buffers) {
            *offset = program.arena_bytes;
            program.arena_bytes = (*offset + buffer.len() * 4).next_multiple_of(target.memory.alignment);
        }
        let program = Verified::new(program).unwrap_or_else(|error| panic!("{error}\n{module}"));
        let ptx = compile(&program);
        gpu::run(&program, &ptx, machine, seed, steps, self.schedule)
            .unwrap_or_else(|error| panic!("{error}\n{}", ptx.text));
    }
}

const WAYS: &[&dyn Executor] = &[
    &Gpu { multiprocessors: 1, schedule: 1, partial_sums: false },
    &Gpu { multiprocessors: 3, schedule: 2, partial_sums: true },
    &Gpu { multiprocessors: 4, schedule: 3, partial_sums: false },
    &Gpu { multiprocessors: 5, schedule: 4, partial_sums: true },
    &Gpu { multiprocessors: 9, schedule: 5, partial_sums: true },
];

suite::tests!(WAYS);
