//! Matrix products. The three forms are closed under differentiation, so no operand is ever transposed by itself; and so
//! are those of the first rows only: each adjoint is a product of as many.

use crate::grad::Reverse;
use crate::graph::{Form, Node, Op, Value};

pub(super) fn matmul(cx: &mut Reverse, form: Form, node: &Node, y_adj: Value) -> Vec<Option<Value>> {
    let (a, b) = (node.args[0], node.args[1]);
    let count = node.args.get(2).map(|&count| cx.primal(count));
    let a_adj = cx.is_active(a).then(|| {
        let b = cx.primal(b);
        match form {
            Form::NN => product(cx, Form::NT, y_adj, b, count),
            Form::NT => product(cx, Form::NN, y_adj, b, count),
            Form::TN => product(cx, Form::NT, b, y_adj, count),
        }
    });
    let b_adj = cx.is_active(b).then(|| {
        let a = cx.primal(a);
        match form {
            Form::NN => product(cx, Form::TN, a, y_adj, count),
            Form::NT => product(cx, Form::TN, y_adj, a, count),
            Form::TN => product(cx, Form::NN, a, y_adj, count),
        }
    });
    vec![a_adj, b_adj, None]
}

fn product(cx: &mut Reverse, form: Form, a: Value, b: Value, count: Option<Value>) -> Value {
    match count {
        Some(count) => cx.builder.op(Op::MatMulPrefix(form), &[a, b, count]),
        None => cx.builder.matmul(form, a, b),
    }
}
