//! One operation of a loop body done for all rounds at once: what `hoist` and `sink` share.

use std::collections::HashMap;

use crate::graph::{Builder, Form, Node, Op, Value};

/// Where a value of a loop body lies outside the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// The same in every round: `[..]`.
    Fixed(Value),
    /// All rounds: `[rounds, ..]`.
    Stacked(Value),
}

/// Whether `op` has a form for all rounds at once, given which operands differ from round to round.
pub(super) fn has_form(op: &Op, varies: &[bool]) -> bool {
    match op {
        Op::Map(_)
        | Op::Stop
        | Op::Unsqueeze
        | Op::Squeeze
        | Op::Number
        | Op::Broadcast { .. }
        | Op::Reduce { .. }
        | Op::Split { .. }
        | Op::Concat { .. } => true,
        Op::MatMul(Form::NN | Form::NT) => varies == [true, false],
        Op::Take => varies == [false, true],
        // Ids have no broadcast: they must differ from round to round themselves.
        Op::Pick | Op::Spread { .. } => varies[1],
        _ => false,
    }
}

/// Emits `node` for all rounds. If no operand varies the operation itself, once.
pub(super) fn emit(builder: &mut Builder, op: &Op, args: &[Placed], rounds: usize) -> Vec<Placed> {
    if args.iter().all(|arg| matches!(arg, Placed::Fixed(_))) {
        let args: Vec<Value> = args.iter().map(|arg| arg.value()).collect();
        return builder.emit(op.clone(), &args).into_iter().map(Placed::Fixed).collect();
    }
    let shift = |axes: &[usize]| axes.iter().map(|axis| axis + 1).collect::<Vec<_>>();
    let op = match op {
        Op::Broadcast { axes, shape } => {
            let axes = [&[0], &shift(axes)[..]].concat();
            Op::Broadcast { axes, shape: [&[rounds], &shape[..]].concat() }
        }
        Op::Reduce { kind, axes } => Op::Reduce { kind: *kind, axes: shift(axes) },
        Op::Split { axis, sizes } => Op::Split { axis: axis + 1, sizes: sizes.clone() },
        Op::Concat { axis } => Op::Concat { axis: axis + 1 },
        op => op.clone(),
    };
    let keeps_fixed = matches!(op, Op::MatMul(_) | Op::Take);
    let args: Vec<Value> = args
        .iter()
        .map(|arg| match *arg {
            Placed::Fixed(value) if !keeps_fixed => repeat(builder, value, rounds),
            placed => placed.value(),
        })
        .collect();
    builder.emit(op, &args).into_iter().map(Placed::Stacked).collect()
}

/// A fixed value with a leading time axis.
pub(super) fn repeat(builder: &mut Builder, value: Value, rounds: usize) -> Value {
    let shape = builder.shape(value);
    let axes = (1..=shape.len()).collect();
    builder.spread_to(value, axes, &[&[rounds], &shape[..]].concat())
}

impl Placed {
    pub(super) fn value(self) -> Value {
        match self {
            Placed::Fixed(value) | Placed::Stacked(value) => value,
        }
    }
}

/// For each value that a region reads, the nodes (by index) that read it, in order.
pub(super) fn readers(body: &[Node]) -> HashMap<Value, Vec<usize>> {
    let mut readers: HashMap<Value, Vec<usize>> = HashMap::new();
    for (index, node) in body.iter().enumerate() {
        for operand in node.operands() {
            readers.entry(operand).or_default().push(index);
        }
    }
    readers
}

/// The index of the node that defines each value of a loop's body.
pub(super) fn definers(body: &[Node]) -> HashMap<Value, usize> {
    let pairs = body.iter().enumerate();
    pairs.flat_map(|(index, node)| node.results.iter().map(move |&result| (result, index))).collect()
}
