//! Reductions over every axis of a tensor become one along the last axis, which runs in parallel rows, followed by
//! reductions of what is left: a fixed order of summation whatever the number of workers.

use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Graph, Node, Op};

pub(super) fn one_axis_reductions(graph: &Graph) -> Graph {
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| {
        let Op::Reduce { kind, axes } = &node.op else { return None };
        let rank = rewriter.old.ty(node.args[0]).rank();
        if axes.len() != rank || rank < 2 {
            return None;
        }
        let mut x = rewriter.get(node.args[0]);
        for axis in (0..rank).rev() {
            x = rewriter.new.reduce(*kind, x, vec![axis]);
        }
        Some(vec![x])
    })
}
