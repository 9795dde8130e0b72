//! Matrix products. The three forms are closed under differentiation, so no operand is ever transposed by itself; and so
//! are those of the first rows only: each adjoint is a product of as many.

use crate::grad::Reverse;
use crate::graph::{Form, Node, Value};

pub(super) fn matmul(cx: &mut Reverse, form: Form, node: &Node, y_adj: Value) -> Vec<Option<Value>> {
    let (a, b) = (node.args[0], node.args[1]);
    let count = node.args.get(2).map(|&count| cx.primal(count));
    let a_adj = cx.is_active(a).then(|| {
        let b = cx.primal(b);
        match form {
            Form::NN => cx.builder.matmul_prefix(Form::NT, y_adj, b, count),
            Form::NT => cx.builder.matmul_prefix(Form::NN, y_adj, b, count),
            Form::TN => cx.builder.matmul_prefix(Form::NT, b, y_adj, count),
        }
    });
    let b_adj = cx.is_active(b).then(|| {
        let a = cx.primal(a);
        match form {
            Form::NN => cx.builder.matmul_prefix(Form::TN, a, y_adj, count),
            Form::NT => cx.builder.matmul_prefix(Form::TN, y_adj, a, count),
            Form::TN => cx.builder.matmul_prefix(Form::NN, a, y_adj, count),
        }
    });
    vec![a_adj, b_adj, None]
}
