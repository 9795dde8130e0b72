//! Products in time loops that one round can leave out: the first, where they multiply a state that starts at zero, or the
//! last, where no round follows that reads their result.

use std::collections::{HashMap, HashSet};

use super::facts::Facts;
use crate::graph::{Loop, Node, Op, Value};
use crate::kernel::Rounds;

/// The rounds of each product in the body of `inner` that has something to multiply in some of them only.
pub(super) fn idle_rounds(facts: &Facts, inner: &Loop) -> HashMap<Value, Rounds> {
    let needed = needed_in_last_round(facts, inner);
    let inits: HashMap<Value, Value> = inner.carried.iter().map(|c| (c.param, c.init)).collect();
    let mut found = HashMap::new();
    for node in inner.body.iter().filter(|node| matches!(node.op, Op::MatMul(_))) {
        let rounds = match inits.get(&node.args[0]) {
            // In a loop of one round the result would never be written.
            _ if !needed.contains(&node.result()) && inner.rounds > 1 => Rounds::BeforeLast,
            Some(&init) if is_zero(facts, init) => Rounds::AfterFirst,
            _ => continue,
        };
        found.insert(node.result(), rounds);
    }
    found
}

/// The values of a loop's body that its results are computed from in the last round.
fn needed_in_last_round(facts: &Facts, inner: &Loop) -> HashSet<Value> {
    let lasts = inner.carried.iter().filter(|carried| !facts.uses(carried.last).is_empty());
    let mut needed: HashSet<Value> = lasts.map(|carried| carried.next).collect();
    needed.extend(inner.stacked.iter().map(|stacked| stacked.value));
    for node in inner.body.iter().rev() {
        if node.results.iter().any(|result| needed.contains(result)) {
            needed.extend(&node.args);
        }
    }
    needed
}

/// Whether all of a value is known to be zero.
fn is_zero(facts: &Facts, value: Value) -> bool {
    match facts.definer(value) {
        Some(Node { op: Op::Const(number), .. }) => *number == 0.0,
        Some(Node { op: Op::Broadcast { .. }, args, .. }) => is_zero(facts, args[0]),
        _ => false,
    }
}
