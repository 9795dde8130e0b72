//! Values that one pass over a nest's columns computes at some cost and a later one needs again, such as the exponentials
//! of a softmax, which are summed first and then divided. The storage of the nest's output is reused for them.
//!
//! It is free until the last pass stores the output, each element of which needs the value at its own position only.
//! Nothing else may read that storage in this nest.

use std::collections::{HashMap, HashSet};

use super::cluster::Nest;
use super::column_passes::ColumnPasses;
use super::homes::Memory;
use super::view::View;
use crate::graph::{Op, Value};
use crate::kernel::BufferId;
use crate::scalar::Scalar;

/// A value that lies in the output's storage from the pass that computes it first.
pub(super) struct Reused {
    pub value: Value,
    pub pass: usize,
    pub view: View,
}

/// What a nest leaves in the storage of its output.
pub(super) fn choose(memory: Memory, nest: &Nest, passes: &ColumnPasses) -> Vec<Reused> {
    let last = passes.folds.len() - 1;
    if last == 0 {
        return vec![];
    }
    let costly: Vec<Vec<Value>> = (0..=last)
        .map(|pass| {
            let folded = passes.folds[pass].iter().map(|fold| fold.operand);
            let stored = passes.full_stores.iter().copied().filter(|_| pass == last);
            let (mut found, mut seen) = (vec![], HashSet::new());
            folded.chain(stored).for_each(|value| costly_in(memory, nest, value, &mut found, &mut seen));
            found
        })
        .collect();
    let mut last_pass: HashMap<Value, usize> = HashMap::new();
    for (pass, values) in costly.iter().enumerate() {
        last_pass.extend(values.iter().map(|&value| (value, pass)));
    }
    let mut places = free_places(memory, nest, passes);
    let mut reused: Vec<Reused> = vec![];
    let mut known = HashSet::new();
    for (pass, values) in costly.iter().enumerate().take(last) {
        for &value in values {
            if last_pass[&value] <= pass || known.contains(&value) {
                continue;
            }
            let Some(view) = places.pop() else { return reused };
            known.insert(value);
            reused.push(Reused { value, pass, view });
        }
    }
    reused
}

/// The transcendental values on all of the nest's positions that `value` is computed from, outermost first, as far as
/// they are neither in memory nor folded.
fn costly_in(memory: Memory, nest: &Nest, value: Value, found: &mut Vec<Value>, seen: &mut HashSet<Value>) {
    let Some(node) = memory.facts.definer(value).filter(|_| seen.insert(value)) else { return };
    let in_memory = !nest.contains(value) && memory.view_of(value).is_some();
    if in_memory || matches!(node.op, Op::Reduce { .. }) {
        return;
    }
    let everywhere = memory.facts.shape(value).len() == nest.rows.len() + 1;
    let transcendental =
        matches!(node.op, Op::Map(Scalar::Exp | Scalar::Tanh | Scalar::Sigmoid | Scalar::Log | Scalar::Pow));
    if everywhere && transcendental {
        found.push(value);
        return;
    }
    if matches!(node.op, Op::Map(_) | Op::Stop) {
        node.args.iter().for_each(|&arg| costly_in(memory, nest, arg, found, seen));
    }
}

/// Where the nest's results will lie, if that is temporary memory that the nest does not read.
fn free_places(memory: Memory, nest: &Nest, passes: &ColumnPasses) -> Vec<View> {
    let shape: Vec<usize> = nest.rows.iter().copied().chain(nest.columns).collect();
    let mut read = HashSet::new();
    let mut seen = HashSet::new();
    nest.members.iter().for_each(|&member| buffers_read(memory, nest, member, &mut read, &mut seen));
    let home = |value: &Value| memory.homes.of(*value).first().cloned();
    passes
        .full_stores
        .iter()
        .filter_map(home)
        .filter(|view| view.shape == shape && !read.contains(&view.buffer))
        .filter(|view| memory.is_temporary(view.buffer))
        .collect()
}

/// The buffers that computing `value` reads.
fn buffers_read(
    memory: Memory,
    nest: &Nest,
    value: Value,
    read: &mut HashSet<BufferId>,
    seen: &mut HashSet<Value>,
) {
    if !seen.insert(value) {
        return;
    }
    if !nest.contains(value)
        && let Some(view) = memory.view_of(value)
    {
        read.insert(view.buffer);
        return;
    }
    if let Some((source, _)) = memory.homes.source_of(value) {
        buffers_read(memory, nest, source, read, seen);
    }
    if let Some(node) = memory.facts.definer(value) {
        node.args.iter().for_each(|&arg| buffers_read(memory, nest, arg, read, seen));
    }
}
