//! The plan: where every buffer lies, who computes what, and where workers wait for each other.
//!
//! Promises: buffers that are alive at the same time do not overlap; between two barriers no worker reads or writes
//! what another one writes. A back end takes a [`Verified`] program, cannot fail on it, and relies on it: what is compiled
//! touches nothing outside its arena. That the rule by which barriers are set is right is tested on small programs by a
//! simulator of schedules (`compiler/tests/support/simulator.rs`).

mod apart;
mod barriers;
mod in_place;
mod memory;
mod partition;
mod pending;
mod print;
mod ranges;
mod schedule;
mod space;
mod units;
mod verify;

use std::ops::Range;

pub use in_place::may_share;
pub use schedule::{Leaf, Schedule, Scheduled, Task};
pub use units::{SharedLoops, overlap, reason_in_loop, shared_loops};
pub use verify::{Verified, verify};

/// Worker number `index`'s range of an extent that is cut among `count` workers.
pub use crate::kernel::chunk as worker_range;
use memory::Beside;

use crate::kernel::{Axis, Module};
use crate::target::{Partition, Target};

/// A module with its memory and its schedule for a number of workers; what it promises is checked by [`Verified::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Buffers and items as lowered. `prologue` and `schedule` refer to these items, each once and in order.
    pub module: Module,
    /// What the module is planned for, with as many workers as run it.
    pub target: Target,
    /// Byte offset of each buffer in the arena.
    pub offsets: Vec<usize>,
    pub arena_bytes: usize,
    /// The bytes of the arena that steps read and do not write, and before which all lies that they write; only where the
    /// target wants these apart, else none.
    pub constants: Range<usize>,
    /// What is done once before the steps of a run. All workers have finished it when the first step begins.
    pub prologue: Vec<Scheduled>,
    /// A step.
    pub schedule: Vec<Scheduled>,
}

/// How one step's work is cut among the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Worker 0 does all.
    Whole,
    /// A kernel's parallel axis, in ranges of [`worker_range`].
    Axis(Axis),
    /// Rows of C.
    Rows,
    /// Columns: of C (gemm), of B (pack), of the table (scatter).
    Columns,
    /// Columns of C, which workers may take from each other (work stealing): who computes a column is decided at run time.
    AnyColumns,
    /// Parts of a product's contraction.
    Parts,
    /// Columns of C by unit: column `n` belongs to unit `n % units`, and a worker has a range of the units.
    Units(usize),
    /// The contraction by unit: a worker multiplies the elements of A with number `k % units` among its units, and when all have,
    /// adds up the partial sums of C's columns that belong to its units as in [`Split::Units`]. In between every worker waits
    /// for the others.
    Terms(usize),
    /// All workers take part, in a way that the back end chooses.
    Any,
}

impl Split {
    /// The grain of [`worker_range`] for this cut, where columns are cut at `column_grain`. A vector axis is cut as columns are,
    /// any other axis anywhere.
    pub fn grain(self, vector_axis: bool, column_grain: usize) -> usize {
        match self {
            Split::Columns | Split::AnyColumns => column_grain,
            Split::Axis(_) if vector_axis => column_grain,
            Split::Axis(_) | Split::Whole | Split::Rows | Split::Parts => 1,
            Split::Units(_) | Split::Terms(_) | Split::Any => 1,
        }
    }
}

impl Program {
    /// Why the plan cuts a leaf as it does.
    pub fn reason(&self, leaf: &Leaf<'_>) -> &'static str {
        let target = &self.target;
        let Partition::Ranges(ranges) = &target.partition else {
            return if leaf.in_loop { reason_in_loop(leaf.task) } else { "a launch of its own" };
        };
        match leaf.task {
            Task::Kernel(kernel, _) => match partition::of_kernel(kernel, target, ranges) {
                Ok(_) => "its iterations are independent",
                Err(reason) => reason,
            },
            Task::Gemm(gemm, _) => partition::of_gemm(gemm, target, ranges, leaf.in_loop).1,
            Task::Pack(..) | Task::Scatter(..) => "workers write columns of their own",
            Task::Distinct(_) => "one id after the other",
            Task::Exchange(_) => "one worker begins it, and waits for it",
            Task::Loop(..) | Task::Barrier => "",
        }
    }
}

/// Plans a module for a target and its workers.
pub fn plan(module: Module, target: &Target) -> Program {
    in_arena(module, target, &Beside::default())
}

/// Plans a module for the arena and the target of `host`, to run between two of its steps with the same parameters;
/// none if they do not have the same. The arena may have to be larger than `host` alone needs.
pub fn plan_beside(module: Module, host: &Program) -> Option<Program> {
    let beside = Beside::of(&module, host)?;
    Some(in_arena(module, &host.target, &beside))
}

fn in_arena(module: Module, target: &Target, beside: &Beside) -> Program {
    let memory::Places { offsets, arena_bytes, constants } = memory::place(&module, beside, &target.memory);
    let prologue = barriers::schedule(&module, &module.prologue, &offsets, target);
    let schedule = barriers::schedule(&module, &module.items, &offsets, target);
    Program { module, target: target.clone(), offsets, arena_bytes, constants, prologue, schedule }
}

/// Plans a module for all of a target's workers, or for one if it is so small that they would mostly wait for each other.
pub fn plan_for(module: Module, target: &Target) -> Program {
    let program = plan(module, target);
    match partition::helpful_workers(program.step_schedule(), target) {
        helpful if helpful < program.target.workers => plan(program.module, &target.with_workers(helpful)),
        _ => program,
    }
}
