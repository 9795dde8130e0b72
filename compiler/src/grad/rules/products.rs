//! Matrix products. The three forms are closed under differentiation, so no operand is ever transposed by itself.

use crate::grad::Reverse;
use crate::graph::{Form, Node, Value};

pub(super) fn matmul(cx: &mut Reverse, form: Form, node: &Node, y_adj: Value) -> Vec<Option<Value>> {
    let (a, b) = (node.args[0], node.args[1]);
    let a_adj = cx.is_active(a).then(|| {
        let b = cx.primal(b);
        match form {
            Form::NN => cx.builder.matmul(Form::NT, y_adj, b),
            Form::NT => cx.builder.matmul(Form::NN, y_adj, b),
            Form::TN => cx.builder.matmul(Form::NT, b, y_adj),
        }
    });
    let b_adj = cx.is_active(b).then(|| {
        let a = cx.primal(a);
        match form {
            Form::NN => cx.builder.matmul(Form::TN, a, y_adj),
            Form::NT => cx.builder.matmul(Form::TN, y_adj, a),
            Form::TN => cx.builder.matmul(Form::NN, a, y_adj),
        }
    });
    vec![a_adj, b_adj]
}
