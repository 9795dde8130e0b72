//! How a long schedule is cut into functions: to give registers to values takes longer than in proportion to the length of
//! a function.

use crate::plan::Steps;

/// Leaves of a schedule that one function has at most. Models of some layers have fewer in all.
const LEAVES: usize = 512;

/// Steps in runs of at most [`LEAVES`] leaves. A loop that has more is a run of its own, and its body is cut in turn.
pub(super) fn divide(steps: Steps<'_>) -> Vec<Steps<'_>> {
    if steps.is_empty() {
        return vec![steps];
    }
    let mut runs = vec![];
    let (mut start, mut count) = (0, 0);
    for at in 0..steps.len() {
        let more = steps.slice(at..at + 1).count_leaves();
        if at > start && count + more > LEAVES {
            runs.push(steps.slice(start..at));
            (start, count) = (at, 0);
        }
        count += more;
    }
    runs.push(steps.slice(start..steps.len()));
    runs
}
