//! Lookups by token id, and their adjoints.

use crate::grad::Reverse;
use crate::graph::{Node, Op, Value};

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
