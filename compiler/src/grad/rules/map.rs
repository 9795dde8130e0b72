//! Element-wise operations.

use crate::grad::Reverse;
use crate::graph::{Node, Value};
use crate::scalar::Scalar;

/// One adjoint per operand; `None` where the operand is not active.
pub(super) fn map(cx: &mut Reverse, scalar: Scalar, node: &Node, y_adj: Value) -> Vec<Option<Value>> {
    let wanted: Vec<bool> = node.args.iter().map(|&arg| cx.is_active(arg)).collect();
    match (scalar, &node.args[..]) {
        (Scalar::Add, _) => wanted.iter().map(|&wanted| wanted.then_some(y_adj)).collect(),
        (Scalar::Sub, _) => {
            let b_adj = wanted[1].then(|| cx.builder.neg(y_adj));
            vec![wanted[0].then_some(y_adj), b_adj]
        }
        (Scalar::Select, &[c, _, _]) => {
            let c = cx.primal(c);
            let zeros = cx.zeros(y_adj);
            let a_adj = wanted[1].then(|| cx.builder.map(Scalar::Select, &[c, y_adj, zeros]));
            let b_adj = wanted[2].then(|| cx.builder.map(Scalar::Select, &[c, zeros, y_adj]));
            vec![None, a_adj, b_adj]
        }
        (_, &[x]) => vec![wanted[0].then(|| unary(cx, scalar, x, node.result(), y_adj))],
        (_, &[a, b]) => (0..2)
            .map(|operand| wanted[operand].then(|| binary(cx, scalar, operand, [a, b], node.result(), y_adj)))
            .collect(),
        _ => unreachable!("{scalar} has one, two or three operands"),
    }
}

fn unary(cx: &mut Reverse, scalar: Scalar, x: Value, y: Value, y_adj: Value) -> Value {
    match scalar {
        Scalar::Neg => cx.builder.neg(y_adj),
        Scalar::Abs => {
            let x = cx.primal(x);
            let zeros = cx.zeros(y_adj);
            let negative = cx.builder.map(Scalar::Lt, &[x, zeros]);
            let flipped = cx.builder.neg(y_adj);
            cx.builder.map(Scalar::Select, &[negative, flipped, y_adj])
        }
        Scalar::Exp => {
            let y = cx.primal(y);
            cx.builder.mul(y_adj, y)
        }
        Scalar::Log => {
            let x = cx.primal(x);
            cx.builder.div(y_adj, x)
        }
        Scalar::Sqrt => {
            let y = cx.primal(y);
            let half = cx.builder.scale(y_adj, 0.5);
            cx.builder.div(half, y)
        }
        Scalar::Tanh => {
            let y = cx.primal(y);
            let square = cx.builder.mul(y, y);
            let slope = one_minus(cx, square);
            cx.builder.mul(y_adj, slope)
        }
        Scalar::Sigmoid => {
            let y = cx.primal(y);
            let rest = one_minus(cx, y);
            let slope = cx.builder.mul(y, rest);
            cx.builder.mul(y_adj, slope)
        }
        _ => unreachable!("{scalar} is not a smooth function of one operand"),
    }
}

fn one_minus(cx: &mut Reverse, x: Value) -> Value {
    let shape = cx.builder.shape(x);
    let one = cx.builder.full(1.0, &shape);
    cx.builder.sub(one, x)
}

fn binary(
    cx: &mut Reverse,
    scalar: Scalar,
    operand: usize,
    args: [Value; 2],
    y: Value,
    y_adj: Value,
) -> Value {
    match scalar {
        Scalar::Mul => {
            let other = cx.primal(args[1 - operand]);
            cx.builder.mul(y_adj, other)
        }
        Scalar::Div => {
            let b = cx.primal(args[1]);
            let quotient = cx.builder.div(y_adj, b);
            if operand == 0 {
                return quotient;
            }
            let y = cx.primal(y);
            let product = cx.builder.mul(quotient, y);
            cx.builder.neg(product)
        }
        Scalar::Pow => {
            let (a, b) = (cx.primal(args[0]), cx.primal(args[1]));
            let slope = if operand == 0 {
                let shape = cx.builder.shape(b);
                let one = cx.builder.full(1.0, &shape);
                let less = cx.builder.sub(b, one);
                let power = cx.builder.map(Scalar::Pow, &[a, less]);
                cx.builder.mul(b, power)
            } else {
                let y = cx.primal(y);
                let log = cx.builder.map(Scalar::Log, &[a]);
                cx.builder.mul(y, log)
            };
            cx.builder.mul(y_adj, slope)
        }
        Scalar::Max | Scalar::Min => {
            let (a, b) = (cx.primal(args[0]), cx.primal(args[1]));
            let test = if scalar == Scalar::Max { Scalar::Gt } else { Scalar::Lt };
            let first = cx.builder.map(test, &[a, b]);
            let zeros = cx.zeros(y_adj);
            let choice = if operand == 0 { [first, y_adj, zeros] } else { [first, zeros, y_adj] };
            cx.builder.map(Scalar::Select, &choice)
        }
        _ => unreachable!("{scalar} is not a smooth function of two operands"),
    }
}
