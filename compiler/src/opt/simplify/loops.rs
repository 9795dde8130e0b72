//! Loops: what every round sees alike is neither a carried nor a sliced value, and a loop of one round is its body.

use std::collections::HashMap;

use super::Simplify;
use crate::graph::rewrite::Rewriter;
use crate::graph::{Carried, Loop, Op, Sliced, Stacked, Value};

/// Copies a loop, with
/// - a carried value whose `next` is itself replaced by its `init`,
/// - a slice of a constant, or of a broadcast along time, replaced by what it repeats,
/// - a source that is sliced twice sliced once, and a value that is stacked twice stacked once.
pub(super) fn simplify_loop(pass: &mut Simplify, rewriter: &mut Rewriter, inner: &Loop) -> Vec<Value> {
    rewriter.new.open_loop();
    pass.enter_body();
    let mut kept = Loop { body: vec![], carried: vec![], sliced: vec![], stacked: vec![], ..*inner };
    for carried in &inner.carried {
        let init = rewriter.get(carried.init);
        if carried.next == carried.param {
            rewriter.set(carried.param, init);
            continue;
        }
        let param = rewriter.new.carry(init);
        rewriter.set(carried.param, param);
        kept.carried.push(*carried);
    }
    let mut sources: HashMap<Value, Value> = HashMap::new();
    for sliced in &inner.sliced {
        let source = rewriter.get(sliced.source);
        if let Some(value) = repeated(pass, rewriter, source) {
            rewriter.set(sliced.param, value);
        } else if let Some(&param) = sources.get(&source) {
            rewriter.set(sliced.param, param);
        } else {
            let slice = rewriter.new.slice(source);
            sources.insert(source, slice.param);
            rewriter.set(sliced.param, slice.param);
            kept.sliced.push(*sliced);
        }
    }
    rewriter.nodes(&inner.body, pass);
    let mut stacks: HashMap<Value, usize> = HashMap::new();
    for stacked in &inner.stacked {
        stacks.entry(rewriter.get(stacked.value)).or_insert_with(|| {
            kept.stacked.push(*stacked);
            kept.stacked.len() - 1
        });
    }
    let results = rewriter.close_loop(&kept);
    results_of(rewriter, inner, &kept, &stacks, &results)
}

/// The results of a loop of one round, computed outside any loop. `None` for other loops, and for those that slice ids:
/// no operation takes one index of these.
pub(super) fn single_round(pass: &mut Simplify, rewriter: &mut Rewriter, inner: &Loop) -> Option<Vec<Value>> {
    let is_real = |sliced: &Sliced| rewriter.old.ty(sliced.source).is_real();
    if inner.rounds != 1 || !inner.sliced.iter().all(is_real) {
        return None;
    }
    for carried in &inner.carried {
        let init = rewriter.get(carried.init);
        rewriter.set(carried.param, init);
    }
    for sliced in &inner.sliced {
        let source = rewriter.get(sliced.source);
        let slice = pass.one(&mut rewriter.new, Op::At { index: 0 }, &[source]);
        rewriter.set(sliced.param, slice);
    }
    rewriter.nodes(&inner.body, pass);
    let mut results: Vec<Value> = inner.carried.iter().map(|carried| rewriter.get(carried.next)).collect();
    for stacked in &inner.stacked {
        let value = rewriter.get(stacked.value);
        let shape = rewriter.new.shape(value);
        let stack = Op::Broadcast { axes: (1..=shape.len()).collect(), shape: [&[1], &shape[..]].concat() };
        results.push(pass.one(&mut rewriter.new, stack, &[value]));
    }
    Some(results)
}

/// What every round sees of `source`, if that does not depend on the round.
fn repeated(pass: &mut Simplify, rewriter: &mut Rewriter, source: Value) -> Option<Value> {
    let shape = rewriter.new.shape(source)[1..].to_vec();
    if let Some(number) = rewriter.new.as_constant(source) {
        return Some(pass.full(&mut rewriter.new, number, &shape));
    }
    let node = rewriter.new.definition(source)?.clone();
    match node.op {
        Op::Broadcast { axes, .. } if !axes.contains(&0) => {
            let axes = axes.iter().map(|axis| axis - 1).collect();
            Some(pass.one(&mut rewriter.new, Op::Broadcast { axes, shape }, &node.args))
        }
        _ => None,
    }
}

/// The old loop's results, in its order, among the new loop's; `stacks` are the places of what that stacks.
fn results_of(
    rewriter: &Rewriter,
    inner: &Loop,
    kept: &Loop,
    stacks: &HashMap<Value, usize>,
    results: &[Value],
) -> Vec<Value> {
    let lasts: HashMap<Value, Value> =
        kept.carried.iter().map(|carried| carried.param).zip(results.iter().copied()).collect();
    let last = |carried: &Carried| match lasts.get(&carried.param) {
        Some(&last) => last,
        None => rewriter.get(carried.init),
    };
    let stack = |stacked: &Stacked| results[kept.carried.len() + stacks[&rewriter.get(stacked.value)]];
    inner.carried.iter().map(last).chain(inner.stacked.iter().map(stack)).collect()
}
