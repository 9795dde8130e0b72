//! What lowering knows of a graph before it starts: who defines and who uses each value.

use super::{Lowering, Use, squares};
use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Graph, Node, Op, Reduce, Value};
use crate::target::Target;

/// Reductions over every axis of a tensor become one along the last axis, which runs in parallel rows, followed by
/// reductions of what is left: a fixed order of summation whatever the number of workers.
///
/// Of the squares of a product's result the sums down the columns come first: see [`squares`].
pub(super) fn one_axis_reductions(graph: &Graph, target: &Target) -> Graph {
    let first = squares::sums_of_squares(graph, target);
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| {
        let Op::Reduce { kind, axes } = &node.op else { return None };
        let rank = rewriter.old.ty(node.args[0]).rank();
        if axes.len() != rank || rank < 2 {
            return None;
        }
        let mut x = rewriter.get(node.args[0]);
        if first.contains(&node.result()) {
            x = rewriter.new.reduce(*kind, x, vec![0]);
            return Some(vec![rewriter.new.reduce(*kind, x, vec![0])]);
        }
        for axis in (0..rank).rev() {
            x = rewriter.new.reduce(*kind, x, vec![axis]);
        }
        Some(vec![x])
    })
}

/// Fills `definers` and `uses`.
pub(super) fn index<'a>(lowering: &mut Lowering<'a>, nodes: &'a [Node]) {
    region(lowering, nodes);
    for output in &lowering.graph.outputs {
        lowering.uses.entry(output.value).or_default().push(Use::Placed);
    }
}

fn region<'a>(lowering: &mut Lowering<'a>, nodes: &'a [Node]) {
    for node in nodes {
        for &result in &node.results {
            lowering.definers.insert(result, node);
        }
        let mut note = |value: Value, how: Use| lowering.uses.entry(value).or_default().push(how);
        match &node.op {
            Op::Loop(inner) => {
                for sliced in &inner.sliced {
                    note(sliced.source, Use::Sliced(sliced.param));
                }
                for value in inner.captured() {
                    note(value, Use::Read);
                }
                for carried in &inner.carried {
                    note(carried.init, Use::Read);
                    note(carried.next, Use::Placed);
                }
                for stacked in &inner.stacked {
                    note(stacked.value, Use::Placed);
                }
                region(lowering, &inner.body);
            }
            Op::MatMul(_)
            | Op::MatMulPrefix(_)
            | Op::Distinct { .. }
            | Op::Scatter { .. }
            | Op::Combine { .. }
            | Op::AddRows => {
                for &arg in &node.args {
                    note(arg, Use::Read);
                }
            }
            Op::Concat { .. } => {
                for &arg in &node.args {
                    note(arg, Use::Placed);
                }
            }
            _ => {
                for &arg in &node.args {
                    note(arg, Use::Node(node.results[0]));
                }
            }
        }
    }
}

/// Sums and maxima along the given axis only.
pub(super) fn kept_axes(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|axis| !axes.contains(axis)).collect()
}

/// The name of a reduction in kernel names.
pub(super) fn reduce_name(kind: Reduce) -> &'static str {
    match kind {
        Reduce::Sum => "sum",
        Reduce::Max => "max",
    }
}
