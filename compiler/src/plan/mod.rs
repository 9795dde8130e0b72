//! The plan: where every buffer lies, who computes what, and where workers wait for each other.
//!
//! Promises: buffers that are alive at the same time do not overlap; between two barriers no worker reads or writes
//! what another one writes. A back end takes a verified [`Program`] and cannot fail on it. [`verify`] checks memory, cuts
//! and order; that no worker meets another between barriers is too slow to check for large programs, and is checked on
//! small ones by a simulator of schedules (`compiler/tests/support/simulator.rs`).

mod access;
mod barriers;
mod in_place;
mod memory;
mod partition;
mod pending;
mod print;
mod ranges;
mod space;
mod verify;

pub use in_place::may_share;
pub use verify::verify;

/// Worker number `index`'s range of an extent.
pub use crate::kernel::share;
use memory::Beside;

use crate::kernel::{Axis, Distinct, Gemm, Kernel, Module, Pack, Rounds, Scatter, Time};
pub use crate::target::COLUMN_GRAIN;
use crate::target::Target;

/// A module with its memory and its schedule for a number of workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Buffers and items as lowered; `prologue` and `schedule` hold the same items in the same order.
    pub module: Module,
    pub workers: usize,
    /// Byte offset of each buffer in the arena; multiples of 64.
    pub offsets: Vec<usize>,
    pub arena_bytes: usize,
    /// What is done once before the steps of a run. All workers have finished it when the first step begins.
    pub prologue: Vec<Step>,
    /// A step.
    pub schedule: Vec<Step>,
}

/// What each worker does, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Kernel(Kernel, Split),
    Gemm(Gemm, Split),
    Pack(Pack, Split),
    Scatter(Scatter, Split),
    /// Worker 0 does it.
    Distinct(Distinct),
    Loop {
        time: Time,
        steps: usize,
        reverse: bool,
        body: Vec<Step>,
    },
    /// Every worker waits until all have come here.
    Barrier,
}

/// How one step's work is cut among the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Worker 0 does all.
    Whole,
    /// A kernel's parallel axis, in ranges of [`share`].
    Axis(Axis),
    /// Rows of C.
    Rows,
    /// Columns: of C (gemm), of B (pack), of the table (scatter).
    Columns,
    /// Columns of C, which workers may take from each other: who has computed which is known when all are done.
    AnyColumns,
    /// Parts of a product's contraction.
    Parts,
}

/// A step that is no loop, where it stands in a schedule.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'p> {
    pub step: &'p Step,
    /// How often it has something to do each time that the schedule runs.
    pub rounds: usize,
    pub in_loop: bool,
}

impl Program {
    /// The steps of the schedule that are no loops, in order, but those of loops without rounds. A leaf's number is its
    /// place here.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        fn collect<'p>(steps: &'p [Step], rounds: usize, in_loop: bool, found: &mut Vec<Leaf<'p>>) {
            for step in steps {
                match step {
                    Step::Loop { steps: 0, .. } => {}
                    Step::Loop { steps, body, .. } => collect(body, rounds * steps, true, found),
                    _ => {
                        let idle = matches!(step, Step::Gemm(gemm, _) if gemm.rounds != Rounds::All);
                        found.push(Leaf { step, rounds: rounds - usize::from(idle), in_loop });
                    }
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.schedule, 1, false, &mut found);
        found
    }
}

impl Split {
    /// The grain of [`share`] for this cut. A vector axis is cut at [`COLUMN_GRAIN`], any other axis anywhere.
    pub fn grain(self, vector_axis: bool) -> usize {
        match self {
            Split::Columns | Split::AnyColumns => COLUMN_GRAIN,
            Split::Axis(_) if vector_axis => COLUMN_GRAIN,
            _ => 1,
        }
    }
}

impl Leaf<'_> {
    /// Why the plan for a target cuts it as it does.
    pub fn reason(&self, target: &Target) -> &'static str {
        match self.step {
            Step::Kernel(kernel, _) => match partition::cut(kernel, target) {
                Ok(_) => "its iterations are independent",
                Err(reason) => reason,
            },
            Step::Gemm(gemm, _) => partition::cut_of_gemm(gemm, target, self.in_loop).1,
            Step::Pack(..) | Step::Scatter(..) => "workers write columns of their own",
            Step::Distinct(_) => "one id after the other",
            Step::Loop { .. } | Step::Barrier => "",
        }
    }
}

/// Plans a module for a target and its workers.
pub fn plan(module: Module, target: &Target) -> Program {
    in_arena(module, target, &Beside::default())
}

/// Plans a module for the arena and the workers of `host`, to run between two of its steps with the same parameters;
/// none if they do not have the same. The arena may have to be larger than `host` alone needs.
pub fn plan_beside(module: Module, host: &Program, target: &Target) -> Option<Program> {
    let beside = Beside::of(&module, host)?;
    Some(in_arena(module, &target.with_workers(host.workers), &beside))
}

fn in_arena(module: Module, target: &Target, beside: &Beside) -> Program {
    let (offsets, arena_bytes) = memory::place(&module, beside, &target.memory);
    let prologue = barriers::schedule(&module, &module.prologue, &offsets, target);
    let schedule = barriers::schedule(&module, &module.items, &offsets, target);
    Program { module, workers: target.workers, offsets, arena_bytes, prologue, schedule }
}

/// Plans a module for all of a target's workers, or for one if it is so small that they would mostly wait for each other.
pub fn plan_for(module: Module, target: &Target) -> Program {
    let program = plan(module, target);
    match partition::helpful_workers(&program.schedule, target) {
        helpful if helpful < program.workers => plan(program.module, &target.with_workers(helpful)),
        _ => program,
    }
}
