//! Values that one pass over a nest's columns computes at a price and a later one wants again, such as the exponentials
//! of a softmax, which are summed first and then divided: they are kept where the nest's result will lie.
//!
//! The result's place is free until the last pass stores it, each element of which needs the kept value at its own
//! position only. Nothing else may read that place in this nest.

use std::collections::{HashMap, HashSet};

use super::Lowering;
use super::cluster::Nest;
use super::nest::Passes;
use super::storage::View;
use crate::graph::{Op, Value};
use crate::kernel::{BufferId, BufferKind};
use crate::scalar::Scalar;

/// A value that is kept from the pass that computes it first.
pub(super) struct Kept {
    pub value: Value,
    pub pass: usize,
    pub view: View,
}

/// What a nest keeps, and where.
pub(super) fn choose(lowering: &Lowering, nest: &Nest, passes: &Passes) -> Vec<Kept> {
    let last = passes.folds.len() - 1;
    if last == 0 {
        return vec![];
    }
    let costly: Vec<Vec<Value>> = (0..=last)
        .map(|pass| {
            let folded = passes.folds[pass].iter().map(|&(_, operand, _)| operand);
            let stored = passes.full_stores.iter().copied().filter(|_| pass == last);
            let (mut found, mut seen) = (vec![], HashSet::new());
            folded.chain(stored).for_each(|value| costly_in(lowering, nest, value, &mut found, &mut seen));
            found
        })
        .collect();
    let mut last_pass: HashMap<Value, usize> = HashMap::new();
    for (pass, values) in costly.iter().enumerate() {
        last_pass.extend(values.iter().map(|&value| (value, pass)));
    }
    let mut places = free_places(lowering, nest, passes);
    let mut kept: Vec<Kept> = vec![];
    let mut known = HashSet::new();
    for (pass, values) in costly.iter().enumerate().take(last) {
        for &value in values {
            if last_pass[&value] <= pass || known.contains(&value) {
                continue;
            }
            let Some(view) = places.pop() else { return kept };
            known.insert(value);
            kept.push(Kept { value, pass, view });
        }
    }
    kept
}

/// The transcendental values on all of the nest's positions that `value` is computed from, outermost first, as far as
/// they are neither in memory nor folded.
fn costly_in(
    lowering: &Lowering,
    nest: &Nest,
    value: Value,
    found: &mut Vec<Value>,
    seen: &mut HashSet<Value>,
) {
    let Some(node) = lowering.definers.get(&value).filter(|_| seen.insert(value)) else { return };
    let in_memory = !nest.contains(value) && lowering.view_of(value).is_some();
    if in_memory || matches!(node.op, Op::Reduce { .. }) {
        return;
    }
    let everywhere = lowering.graph.shape(value).len() == nest.rows.len() + 1;
    let transcendental =
        matches!(node.op, Op::Map(Scalar::Exp | Scalar::Tanh | Scalar::Sigmoid | Scalar::Log | Scalar::Pow));
    if everywhere && transcendental {
        found.push(value);
        return;
    }
    if matches!(node.op, Op::Map(_) | Op::Stop) {
        node.args.iter().for_each(|&arg| costly_in(lowering, nest, arg, found, seen));
    }
}

/// Where the nest's results will lie, if that is temporary memory that the nest does not read.
fn free_places(lowering: &Lowering, nest: &Nest, passes: &Passes) -> Vec<View> {
    let shape: Vec<usize> = nest.rows.iter().copied().chain(nest.columns).collect();
    let mut read = HashSet::new();
    let mut seen = HashSet::new();
    nest.members.iter().for_each(|&member| buffers_read(lowering, nest, member, &mut read, &mut seen));
    let home = |value: &Value| lowering.homes.get(value).and_then(|homes| homes.first()).cloned();
    passes
        .full_stores
        .iter()
        .filter_map(home)
        .filter(|view| view.shape == shape && !read.contains(&view.buffer))
        .filter(|view| matches!(lowering.module.buffer(view.buffer).kind, BufferKind::Temp))
        .collect()
}

/// The buffers that computing `value` reads.
fn buffers_read(
    lowering: &Lowering,
    nest: &Nest,
    value: Value,
    read: &mut HashSet<BufferId>,
    seen: &mut HashSet<Value>,
) {
    if !seen.insert(value) {
        return;
    }
    if !nest.contains(value)
        && let Some(view) = lowering.view_of(value)
    {
        read.insert(view.buffer);
        return;
    }
    if let Some(&(source, _)) = lowering.slices.get(&value) {
        buffers_read(lowering, nest, source, read, seen);
    }
    if let Some(node) = lowering.definers.get(&value) {
        node.args.iter().for_each(|&arg| buffers_read(lowering, nest, arg, read, seen));
    }
}
