//! Operations that only move elements, and reductions.

use crate::grad::Reverse;
use crate::graph::{Node, Op, Reduce, Value};
use crate::scalar::Scalar;

pub(super) fn shape(cx: &mut Reverse, node: &Node, y_adj: Value) -> Vec<Option<Value>> {
    let Some(&x) = node.args.first() else { return vec![] };
    if let Op::Concat { axis } = node.op {
        let sizes = node.args.iter().map(|&arg| cx.builder.ty(arg).shape[axis]).collect();
        return cx.builder.emit(Op::Split { axis, sizes }, &[y_adj]).into_iter().map(Some).collect();
    }
    let x_shape = cx.builder.shape(x);
    let x_adj = match &node.op {
        Op::Broadcast { axes, shape } => {
            let repeated = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
            cx.builder.reduce(Reduce::Sum, y_adj, repeated)
        }
        Op::Reduce { kind, axes } => {
            let kept: Vec<usize> = (0..x_shape.len()).filter(|axis| !axes.contains(axis)).collect();
            let spread = cx.builder.spread_to(y_adj, kept.clone(), &x_shape);
            match kind {
                Reduce::Sum => spread,
                Reduce::Max => {
                    let (x, y) = (cx.primal(x), cx.primal(node.result()));
                    let y = cx.builder.spread_to(y, kept, &x_shape);
                    let largest = cx.builder.map(Scalar::Eq, &[x, y]);
                    cx.builder.mul(largest, spread)
                }
            }
        }
        Op::At { index } => cx.builder.op(Op::Put { index: *index, len: x_shape[0] }, &[y_adj]),
        Op::Put { index, .. } => cx.builder.op(Op::At { index: *index }, &[y_adj]),
        // What depends on every shard's part gets something of every shard.
        Op::SumShards => cx.builder.op(Op::SumShards, &[y_adj]),
        Op::Unsqueeze => cx.builder.op(Op::Squeeze, &[y_adj]),
        Op::Squeeze => cx.builder.op(Op::Unsqueeze, &[y_adj]),
        op => unreachable!("{} has no rule among the shape operations", op.name()),
    };
    vec![Some(x_adj)]
}

pub(super) fn split(cx: &mut Reverse, node: &Node, pieces: &[Value]) -> Vec<Option<Value>> {
    let Op::Split { axis, .. } = node.op else { return vec![None] };
    vec![Some(cx.builder.op(Op::Concat { axis }, pieces))]
}
