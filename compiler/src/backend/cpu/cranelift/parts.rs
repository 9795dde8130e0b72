//! How a long schedule is divided into functions: register allocation takes longer than in proportion to a function's length.

use crate::plan::Schedule;

/// Leaves of a schedule that one function has at most. Models of some layers have fewer in all.
const LEAVES: usize = 512;

/// Tasks in parts of at most [`LEAVES`] leaves. A loop that has more is a part of its own, and its body is divided too.
pub(super) fn divide(tasks: Schedule<'_>) -> Vec<Schedule<'_>> {
    if tasks.is_empty() {
        return vec![tasks];
    }
    let mut parts = vec![];
    let (mut start, mut count) = (0, 0);
    for at in 0..tasks.len() {
        let more = tasks.slice(at..at + 1).count_leaves();
        if at > start && count + more > LEAVES {
            parts.push(tasks.slice(start..at));
            (start, count) = (at, 0);
        }
        count += more;
    }
    parts.push(tasks.slice(start..tasks.len()));
    parts
}
