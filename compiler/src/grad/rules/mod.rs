//! The rules: the adjoints of each operation's operands, from that of its result.

mod lookup;
mod map;
mod products;
mod shape;
mod time_loop;

use super::Reverse;
use crate::graph::{Node, Op, Value};

pub(super) use time_loop::time_loop;

/// Adjoints of the active operands of `node`, whose results have adjoints.
pub(super) fn local(cx: &mut Reverse, node: &Node) -> Vec<(Value, Value)> {
    let arg_adjs = match &node.op {
        Op::Split { .. } => {
            let pieces: Vec<Value> = node.results.iter().map(|&piece| cx.adjoint(piece)).collect();
            shape::split(cx, node, &pieces)
        }
        op => {
            let y_adj = cx.adjoint(node.result());
            match op {
                Op::Map(scalar) => map::map(cx, *scalar, node, y_adj),
                Op::MatMul(form) | Op::MatMulPrefix(form) => products::matmul(cx, *form, node, y_adj),
                Op::Take
                | Op::Scatter { .. }
                | Op::Combine { .. }
                | Op::AddRows
                | Op::Pick
                | Op::Spread { .. } => lookup::lookup(cx, node, y_adj),
                _ => shape::shape(cx, node, y_adj),
            }
        }
    };
    node.args.iter().copied().zip(arg_adjs).filter_map(|(arg, adj)| Some((arg, adj?))).collect()
}
