//! How a long schedule is cut into functions: to give registers to values takes longer than in proportion to the length of
//! a function.

use crate::plan::Step;

/// Leaves of a schedule that one function has at most. Models of some layers have fewer in all.
const LEAVES: usize = 512;

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
pub(super) fn divide(steps: &[Step]) -> Vec<&[Step]> {
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
