//! Lookups by token id, and their adjoints.

use crate::grad::Reverse;
use crate::graph::{Node, Op, Value};
use crate::scalar::Scalar;

pub(super) fn lookup(cx: &mut Reverse, node: &Node, y_adj: Value) -> Vec<Option<Value>> {
    match node.op {
        Op::Take => {
            let (table, ids) = (node.args[0], cx.primal(node.args[1]));
            let rows = cx.builder.ty(table).shape[0];
            let table_adj = cx.is_active(table).then(|| cx.builder.op(Op::Scatter { rows }, &[ids, y_adj]));
            vec![table_adj, None]
        }
        Op::Scatter { .. } => {
            let (ids, g) = (cx.primal(node.args[0]), node.args[1]);
            vec![None, cx.is_active(g).then(|| cx.builder.op(Op::Take, &[y_adj, ids]))]
        }
        // Each place's row went to the first place of its id.
        Op::Combine { rows } => {
            let (ids, g) = (cx.primal(node.args[0]), node.args[1]);
            vec![None, cx.is_active(g).then(|| from_first_places(cx, rows, ids, y_adj))]
        }
        Op::AddRows => {
            let (table, ids, g) = (node.args[0], cx.primal(node.args[1]), node.args[2]);
            let g_adj = cx.is_active(g).then(|| cx.builder.op(Op::Take, &[y_adj, ids]));
            vec![cx.is_active(table).then_some(y_adj), None, g_adj]
        }
        Op::Pick => {
            let (x, ids) = (node.args[0], cx.primal(node.args[1]));
            let len = cx.builder.ty(x).shape.last().copied().unwrap_or(1);
            vec![cx.is_active(x).then(|| cx.builder.op(Op::Spread { len }, &[y_adj, ids])), None]
        }
        _ => {
            let (g, ids) = (node.args[0], cx.primal(node.args[1]));
            vec![cx.is_active(g).then(|| cx.builder.op(Op::Pick, &[y_adj, ids])), None]
        }
    }
}

/// At each place what `x` has at the first place of the same id.
fn from_first_places(cx: &mut Reverse, rows: usize, ids: Value, x: Value) -> Value {
    let shape = cx.builder.shape(x);
    let ones = cx.builder.full(1.0, &shape);
    let counts = cx.builder.op(Op::Combine { rows }, &[ids, ones]);
    let zero = cx.builder.full(0.0, &shape);
    let is_first = cx.builder.map(Scalar::Gt, &[counts, zero]);
    let first = cx.builder.map(Scalar::Mul, &[x, is_first]);
    let table = cx.builder.op(Op::Scatter { rows }, &[ids, first]);
    cx.builder.op(Op::Take, &[table, ids])
}
