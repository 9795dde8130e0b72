//! What the entry calls: kernels, and parts of a long schedule.

use cranelift_codegen::ir::{Signature, types};
use cranelift_module::{FuncId, Module};

use super::assembly::Assembly;
use crate::kernel::{Kernel, Time};
use crate::plan::{Schedule, Split};

/// A kernel that the entry calls and that is still to be defined.
pub(super) struct KernelCall<'p> {
    pub id: FuncId,
    pub kernel: &'p Kernel,
    pub split: Split,
    /// The time loops around it, outermost first: its last arguments.
    pub times: Vec<Time>,
}

/// Tasks that have a function of their own and are still to be defined.
pub(super) struct Part<'p> {
    pub id: FuncId,
    pub name: String,
    pub tasks: Schedule<'p>,
    /// The time loops around them, outermost first.
    pub times: Vec<Time>,
    /// How many rounds the innermost one has.
    pub rounds: Option<usize>,
    /// The number of the first leaf, where probes are wanted.
    pub next_probe: Option<u32>,
}

/// What a function calls that is still to be defined.
#[derive(Default)]
pub(super) struct Calls<'p> {
    pub kernels: Vec<KernelCall<'p>>,
    pub parts: Vec<Part<'p>>,
}

/// `(run, worker, times.., round)`, the last one in loops only.
pub(super) fn part_signature<M: Module>(
    assembly: &Assembly<'_, M>,
    times: usize,
    in_loop: bool,
) -> Signature {
    let numbers = vec![types::I64; times + usize::from(in_loop)];
    assembly.signature(&[&[types::I64, types::I32], &numbers[..]].concat(), None)
}

/// `(run, arena, low, high, times..)`
pub(super) fn kernel_signature<M: Module>(assembly: &Assembly<'_, M>, times: usize) -> Signature {
    assembly.signature(&vec![types::I64; 4 + times], None)
}
