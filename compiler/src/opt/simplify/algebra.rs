//! The identities, one function for each kind of operation. Each returns what to use instead, or `None`.

use super::Simplify;
use crate::graph::{Builder, Op, Reduce, Value};
use crate::scalar::{self, Scalar};

pub(super) fn apply(cx: &mut Simplify, builder: &mut Builder, op: &Op, args: &[Value]) -> Option<Vec<Value>> {
    let one = |value: Option<Value>| value.map(|value| vec![value]);
    match op {
        Op::Map(scalar) => one(map(cx, builder, *scalar, args)),
        Op::Broadcast { axes, shape } => one(broadcast(cx, builder, axes, shape, args[0])),
        Op::Reduce { kind, axes } => one(reduce(cx, builder, *kind, axes, args[0])),
        Op::Pick => one(pick(cx, builder, args)),
        Op::Split { axis, sizes } => split(cx, builder, *axis, sizes, args[0]),
        Op::Concat { axis } => one(concat(cx, builder, *axis, args)),
        Op::At { index } => one(at(cx, builder, *index, args[0])),
        Op::Squeeze => match builder.definition(args[0])?.clone() {
            node if node.op == Op::Unsqueeze => Some(vec![node.args[0]]),
            _ => None,
        },
        Op::MatMul(_)
        | Op::MatMulPrefix(_)
        | Op::Scatter { .. }
        | Op::Combine { .. }
        | Op::Take
        | Op::Spread { .. }
        | Op::Put { .. }
        | Op::Unsqueeze => zero_in_zero_out(cx, builder, op, args),
        Op::Stop if builder.as_constant(args[0]).is_some() => Some(vec![args[0]]),
        _ => None,
    }
}

/// Linear operations of a zero operand are zero.
fn zero_in_zero_out(cx: &mut Simplify, builder: &mut Builder, op: &Op, args: &[Value]) -> Option<Vec<Value>> {
    if !args.iter().any(|&arg| builder.as_constant(arg) == Some(0.0)) {
        return None;
    }
    let types: Vec<_> = args.iter().map(|&arg| builder.ty(arg)).collect();
    let shape = crate::graph::infer(op, &types).ok()?.pop()?.shape;
    Some(vec![cx.full(builder, 0.0, &shape)])
}

fn map(cx: &mut Simplify, builder: &mut Builder, op: Scalar, args: &[Value]) -> Option<Value> {
    let shape = builder.shape(args[0]);
    let numbers: Vec<Option<f64>> = args.iter().map(|&arg| builder.as_constant(arg)).collect();
    if let Some(numbers) = numbers.iter().copied().collect::<Option<Vec<f64>>>() {
        return Some(cx.full(builder, scalar::eval(op, &numbers), &shape));
    }
    if let Some(value) = identity(cx, builder, op, args, &numbers, &shape) {
        return Some(value);
    }
    if let Some(value) = through_definition(cx, builder, op, args) {
        return Some(value);
    }
    narrow(cx, builder, op, args, &shape)
}

/// Identities that a constant operand allows.
fn identity(
    cx: &mut Simplify,
    builder: &mut Builder,
    op: Scalar,
    args: &[Value],
    numbers: &[Option<f64>],
    shape: &[usize],
) -> Option<Value> {
    match (op, args, numbers) {
        (Scalar::Add, &[a, _], [_, Some(0.0)]) | (Scalar::Sub, &[a, _], [_, Some(0.0)]) => Some(a),
        (Scalar::Add, &[_, b], [Some(0.0), _]) => Some(b),
        (Scalar::Sub, &[_, b], [Some(0.0), _]) => Some(cx.one(builder, Op::Map(Scalar::Neg), &[b])),
        (Scalar::Mul | Scalar::Div, &[a, _], [_, Some(1.0)]) => Some(a),
        (Scalar::Mul, &[_, b], [Some(1.0), _]) => Some(b),
        (Scalar::Mul, _, [_, Some(0.0)] | [Some(0.0), _]) | (Scalar::Div, _, [Some(0.0), _]) => {
            Some(cx.full(builder, 0.0, shape))
        }
        (Scalar::Mul, &[a, _], [_, Some(-1.0)]) => Some(cx.one(builder, Op::Map(Scalar::Neg), &[a])),
        (Scalar::Mul, &[_, b], [Some(-1.0), _]) => Some(cx.one(builder, Op::Map(Scalar::Neg), &[b])),
        // A constant divisor that is a power of two has an exact inverse.
        (Scalar::Div, &[a, _], [_, Some(n)]) if n.abs().log2().fract() == 0.0 && *n != 0.0 => {
            let inverse = cx.full(builder, 1.0 / n, shape);
            Some(cx.one(builder, Op::Map(Scalar::Mul), &[a, inverse]))
        }
        (Scalar::Pow, &[a, _], [_, Some(1.0)]) => Some(a),
        (Scalar::Pow, &[a, _], [_, Some(2.0)]) => Some(cx.one(builder, Op::Map(Scalar::Mul), &[a, a])),
        (Scalar::Pow, &[a, _], [_, Some(0.5)]) => Some(cx.one(builder, Op::Map(Scalar::Sqrt), &[a])),
        (Scalar::Pow, _, [_, Some(0.0)]) => Some(cx.full(builder, 1.0, shape)),
        (Scalar::Select, &[_, a, b], [Some(c), _, _]) => Some(if *c == 0.0 { b } else { a }),
        (Scalar::Select, &[_, a, b], _) if a == b => Some(a),
        _ => None,
    }
}

/// Identities that an operand's own operation allows.
fn through_definition(cx: &mut Simplify, builder: &mut Builder, op: Scalar, args: &[Value]) -> Option<Value> {
    let inner = |builder: &Builder, value: Value, wanted: Scalar| {
        let node = builder.definition(value)?;
        (node.op == Op::Map(wanted)).then(|| node.args.clone())
    };
    match (op, args) {
        (Scalar::Neg, &[x]) => inner(builder, x, Scalar::Neg).map(|args| args[0]),
        (Scalar::Log, &[x]) => {
            if let Some(args) = inner(builder, x, Scalar::Exp) {
                return Some(args[0]);
            }
            let quotient = inner(builder, x, Scalar::Div)?;
            let above = cx.one(builder, Op::Map(Scalar::Log), &quotient[..1]);
            let below = cx.one(builder, Op::Map(Scalar::Log), &quotient[1..]);
            Some(cx.one(builder, Op::Map(Scalar::Sub), &[above, below]))
        }
        // Differences that share their subtrahend compare as their minuends do, and without rounding.
        (Scalar::Lt | Scalar::Le | Scalar::Gt | Scalar::Ge | Scalar::Eq | Scalar::Ne, &[a, b]) => {
            let (a, b) = minuends(cx, builder, a, b)?;
            Some(cx.one(builder, Op::Map(op), &[a, b]))
        }
        (Scalar::Sub, &[a, b]) if a == b => {
            let shape = builder.shape(a);
            Some(cx.full(builder, 0.0, &shape))
        }
        (Scalar::Add, &[a, b]) => {
            if let Some(args) = inner(builder, b, Scalar::Neg) {
                return Some(cx.one(builder, Op::Map(Scalar::Sub), &[a, args[0]]));
            }
            let args = inner(builder, a, Scalar::Neg)?;
            Some(cx.one(builder, Op::Map(Scalar::Sub), &[b, args[0]]))
        }
        (Scalar::Sub, &[a, b]) => {
            let args = inner(builder, b, Scalar::Neg)?;
            Some(cx.one(builder, Op::Map(Scalar::Add), &[a, args[0]]))
        }
        _ => None,
    }
}

/// The minuends of two differences with one subtrahend, where the second difference may be repeated as that subtrahend is:
/// `x - s` and `spread(y - d)` with `s = spread(d)` give `x` and `spread(y)`.
fn minuends(cx: &mut Simplify, builder: &mut Builder, a: Value, b: Value) -> Option<(Value, Value)> {
    let difference = |builder: &Builder, value: Value| {
        let node = builder.definition(value)?;
        (node.op == Op::Map(Scalar::Sub)).then(|| (node.args[0], node.args[1]))
    };
    let (x, subtrahend) = difference(builder, a)?;
    if let Some((y, other)) = difference(builder, b) {
        return (other == subtrahend).then_some((x, y));
    }
    let (spread, whole) = (builder.definition(subtrahend)?.clone(), builder.definition(b)?);
    let Op::Broadcast { .. } = whole.op else { return None };
    let (y, other) = difference(builder, whole.args[0])?;
    let same = whole.op == spread.op && other == spread.args[0];
    same.then(|| (x, cx.one(builder, spread.op, &[y])))
}

/// An operation on broadcasts of the same kind is done before broadcasting.
fn narrow(
    cx: &mut Simplify,
    builder: &mut Builder,
    op: Scalar,
    args: &[Value],
    shape: &[usize],
) -> Option<Value> {
    let mut common: Option<(Vec<usize>, Vec<usize>)> = None;
    for &arg in args {
        if builder.as_constant(arg).is_some() {
            continue;
        }
        let node = builder.definition(arg)?;
        let Op::Broadcast { axes, .. } = &node.op else { return None };
        let found = (axes.clone(), builder.shape(node.args[0]));
        if common.as_ref().is_some_and(|common| *common != found) {
            return None;
        }
        common = Some(found);
    }
    let (axes, narrow) = common?;
    let args: Vec<Value> = args
        .iter()
        .map(|&arg| match builder.as_constant(arg) {
            Some(number) => Some(cx.full(builder, number, &narrow)),
            None => builder.definition(arg).map(|node| node.args[0]),
        })
        .collect::<Option<_>>()?;
    let value = cx.one(builder, Op::Map(op), &args);
    Some(cx.one(builder, Op::Broadcast { axes, shape: shape.to_vec() }, &[value]))
}

fn broadcast(
    cx: &mut Simplify,
    builder: &mut Builder,
    axes: &[usize],
    shape: &[usize],
    x: Value,
) -> Option<Value> {
    if builder.shape(x) == shape {
        return Some(x);
    }
    let node = builder.definition(x)?.clone();
    let Op::Broadcast { axes: inner, .. } = node.op else { return None };
    let axes = inner.iter().map(|&axis| axes[axis]).collect();
    Some(cx.one(builder, Op::Broadcast { axes, shape: shape.to_vec() }, &[node.args[0]]))
}

fn reduce(cx: &mut Simplify, builder: &mut Builder, kind: Reduce, axes: &[usize], x: Value) -> Option<Value> {
    let x_shape = builder.shape(x);
    let kept: Vec<usize> = (0..x_shape.len()).filter(|axis| !axes.contains(axis)).collect();
    let shape: Vec<usize> = kept.iter().map(|&axis| x_shape[axis]).collect();
    if let Some(number) = builder.as_constant(x) {
        let count: usize = axes.iter().map(|&axis| x_shape[axis]).product();
        let total = if kind == Reduce::Sum { number * count as f64 } else { number };
        return Some(cx.full(builder, total, &shape));
    }
    if kind == Reduce::Sum {
        return None;
    }
    // max(x - y) = max(x) - y where y is the same along the reduced axes.
    let node = builder.definition(x)?.clone();
    if node.op == Op::Stop {
        let inner = cx.one(builder, Op::Reduce { kind, axes: axes.to_vec() }, &node.args);
        return Some(cx.one(builder, Op::Stop, &[inner]));
    }
    if node.op != Op::Map(Scalar::Sub) {
        return None;
    }
    let spread = builder.definition(node.args[1])?.clone();
    let Op::Broadcast { axes: from, .. } = &spread.op else { return None };
    if from.iter().any(|axis| axes.contains(axis)) {
        return None;
    }
    let largest = cx.one(builder, Op::Reduce { kind, axes: axes.to_vec() }, &node.args[..1]);
    let place = |axis: &usize| kept.iter().position(|kept| kept == axis);
    let narrow = from.iter().map(place).collect::<Option<Vec<usize>>>()?;
    let rest = cx.one(builder, Op::Broadcast { axes: narrow, shape }, &spread.args);
    Some(cx.one(builder, Op::Map(Scalar::Sub), &[largest, rest]))
}

/// A pick moves through element-wise operations, which are then done for the picked elements only.
fn pick(cx: &mut Simplify, builder: &mut Builder, args: &[Value]) -> Option<Value> {
    let (x, ids) = (args[0], args[1]);
    let x_shape = builder.shape(x);
    let last = x_shape.len() - 1;
    if let Some(number) = builder.as_constant(x) {
        return Some(cx.full(builder, number, &x_shape[..last]));
    }
    let node = builder.definition(x)?.clone();
    match &node.op {
        Op::Map(_) | Op::Stop => {
            let picked: Vec<Value> =
                node.args.iter().map(|&arg| cx.one(builder, Op::Pick, &[arg, ids])).collect();
            Some(cx.one(builder, node.op, &picked))
        }
        Op::Broadcast { axes, .. } if !axes.contains(&last) => {
            let op = Op::Broadcast { axes: axes.clone(), shape: x_shape[..last].to_vec() };
            Some(cx.one(builder, op, &node.args))
        }
        _ => None,
    }
}

fn split(
    cx: &mut Simplify,
    builder: &mut Builder,
    axis: usize,
    sizes: &[usize],
    x: Value,
) -> Option<Vec<Value>> {
    let shape = builder.shape(x);
    if sizes.len() == 1 {
        return Some(vec![x]);
    }
    if let Some(number) = builder.as_constant(x) {
        let piece = |&size: &usize| {
            let mut shape = shape.clone();
            shape[axis] = size;
            cx.full(builder, number, &shape)
        };
        return Some(sizes.iter().map(piece).collect());
    }
    let node = builder.definition(x)?;
    if node.op != (Op::Concat { axis }) {
        return None;
    }
    let same_sizes = node.args.iter().map(|&arg| builder.ty(arg).shape[axis]).eq(sizes.iter().copied());
    same_sizes.then(|| node.args.clone())
}

fn concat(cx: &mut Simplify, builder: &mut Builder, axis: usize, args: &[Value]) -> Option<Value> {
    if let [only] = args {
        return Some(*only);
    }
    let first = builder.as_constant(args[0]);
    if first.is_some() && args.iter().all(|&arg| builder.as_constant(arg) == first) {
        let mut shape = builder.shape(args[0]);
        shape[axis] = args.iter().map(|&arg| builder.ty(arg).shape[axis]).sum();
        return first.map(|number| cx.full(builder, number, &shape));
    }
    let node = builder.definition(args[0])?;
    let whole = matches!(node.op, Op::Split { axis: cut, .. } if cut == axis) && node.results == args;
    whole.then(|| node.args[0])
}

fn at(cx: &mut Simplify, builder: &mut Builder, index: usize, x: Value) -> Option<Value> {
    let shape = builder.shape(x)[1..].to_vec();
    if let Some(number) = builder.as_constant(x) {
        return Some(cx.full(builder, number, &shape));
    }
    let node = builder.definition(x)?.clone();
    match node.op {
        Op::Put { index: put, .. } if put == index => Some(node.args[0]),
        Op::Put { .. } => Some(cx.full(builder, 0.0, &shape)),
        // What repeats along the leading axis.
        Op::Broadcast { axes, .. } if !axes.contains(&0) => {
            let axes = axes.iter().map(|axis| axis - 1).collect();
            Some(cx.one(builder, Op::Broadcast { axes, shape }, &node.args))
        }
        _ => None,
    }
}
