//! What the entry calls, and how a long schedule is cut into functions: to give registers to values takes longer than in
//! proportion to the length of a function.

use cranelift_codegen::ir::{Signature, types};
use cranelift_module::{FuncId, Module};

use super::assemble::Assembly;
use crate::kernel::{Kernel, Time};
use crate::plan::{Split, Step};

/// Leaves of a schedule that one function has at most. Models of some layers have fewer in all.
const LEAVES: usize = 512;

/// A kernel that the entry calls and that is still to be defined.
pub(super) struct KernelCall<'p> {
    pub id: FuncId,
    pub kernel: &'p Kernel,
    pub split: Split,
    /// The time loops around it, outermost first: its last arguments.
    pub times: Vec<Time>,
}

/// Steps that have a function of their own and are still to be defined.
pub(super) struct Part<'p> {
    pub id: FuncId,
    pub name: String,
    pub steps: &'p [Step],
    /// The time loops around them, outermost first.
    pub times: Vec<Time>,
    /// How many rounds the innermost one has.
    pub rounds: Option<usize>,
    /// The number of the first leaf, where marks are wanted.
    pub next_mark: Option<u32>,
}

/// What a function calls that is still to be defined.
#[derive(Default)]
pub(super) struct Calls<'p> {
    pub kernels: Vec<KernelCall<'p>>,
    pub parts: Vec<Part<'p>>,
}

/// `(run, worker, times.., round)`, the last one in loops only.
pub(super) fn signature<M: Module>(assembly: &Assembly<'_, M>, times: usize, in_loop: bool) -> Signature {
    let numbers = vec![types::I64; times + usize::from(in_loop)];
    assembly.signature(&[&[types::I64, types::I32], &numbers[..]].concat(), None)
}

/// The steps of a schedule that are no loops, but those of loops without rounds; as [`crate::plan::Program::leaves`].
pub(super) fn leaves(steps: &[Step]) -> usize {
    let leaves = |step: &Step| match step {
        Step::Loop { steps: 0, .. } => 0,
        Step::Loop { body, .. } => leaves(body),
        _ => 1,
    };
    steps.iter().map(leaves).sum()
}

/// Steps in runs of at most [`LEAVES`] leaves. A loop that has more is a run of its own, and its body is cut in turn.
pub(super) fn cut(steps: &[Step]) -> Vec<&[Step]> {
    if steps.is_empty() {
        return vec![steps];
    }
    let mut runs = vec![];
    let (mut start, mut count) = (0, 0);
    for (at, step) in steps.iter().enumerate() {
        let more = leaves(std::slice::from_ref(step));
        if at > start && count + more > LEAVES {
            runs.push(&steps[start..at]);
            (start, count) = (at, 0);
        }
        count += more;
    }
    runs.push(&steps[start..]);
    runs
}
