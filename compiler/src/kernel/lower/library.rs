//! Products, scatters and distinct ids: calls of the library.

use std::collections::HashMap;

use super::storage::{Copy, Storage, Task};
use super::view::View;
use crate::graph::{Form, Node, Op, Value};
use crate::kernel::{
    BufferId, BufferKind, Distinct, Exchange, Gather, Gemm, Item, Phase, Rounds, Scatter, ShardSum,
};

/// A product or scatter, with copies before it for operands that are not an evenly spaced matrix, and after it for
/// results that are wanted in several places. `rounds` are those of products that idle in some.
pub(super) fn call<'a>(
    storage: &mut Storage<'a>,
    node: &Node,
    rounds: &HashMap<Value, Rounds>,
    tasks: &mut Vec<Task<'a>>,
) {
    let result = node.result();
    let homes = storage.homes.of(result).to_vec();
    if homes.is_empty() {
        return;
    }
    let to = match homes.iter().find(|view| view.matrix().is_some()) {
        Some(view) => view.clone(),
        None => storage.whole("product", result),
    };
    // From now on the result is read where the library has written it.
    let mut order = vec![to.clone()];
    order.extend(homes.into_iter().filter(|view| *view != to));
    storage.homes.set(result, order.clone());
    match &node.op {
        Op::MatMul(form) | Op::MatMulPrefix(form) => {
            let rounds = rounds.get(&result).copied().unwrap_or_default();
            product(storage, *form, node, &to, rounds, tasks);
        }
        Op::Scatter { .. } | Op::Combine { .. } | Op::AddRows => scatter(storage, node, &to, tasks),
        op => unreachable!("internal error: {} is not a library call", op.name()),
    }
    for view in order.drain(1..) {
        tasks.push(Task::copy(result, view));
    }
}

fn product<'a>(
    storage: &mut Storage<'a>,
    form: Form,
    node: &Node,
    to: &View,
    rounds: Rounds,
    tasks: &mut Vec<Task<'a>>,
) {
    let (a, b) = (storage.operand(node.args[0], tasks), storage.operand(node.args[1], tasks));
    let rows = |shape: &[usize]| shape[..shape.len() - 1].iter().product::<usize>();
    let last = |shape: &[usize]| shape[shape.len() - 1];
    let (left, right) = (storage.facts.shape(node.args[0]), storage.facts.shape(node.args[1]));
    let (m, n, k) = match form {
        Form::NN => (rows(left), last(right), last(left)),
        Form::NT => (rows(left), rows(right), last(left)),
        Form::TN => (last(left), last(right), rows(left)),
    };
    let Some(c) = to.matrix() else { unreachable!("internal error: the product's target is a matrix") };
    let prefix = node.args.get(2).map(|&count| storage.materialise(count, tasks).start());
    let plain = Gemm::plain(form, [m, n, k], a, b, c);
    tasks.push(Task::Library(Item::Gemm(Gemm { prefix, rounds, ..plain })));
}

/// Which ids there are. All results are written, read or not.
pub(super) fn distinct<'a>(storage: &mut Storage<'a>, node: &Node, rows: usize, tasks: &mut Vec<Task<'a>>) {
    let ids = storage.materialise(node.args[0], tasks).start();
    let len = storage.facts.graph.ty(node.args[0]).len();
    let [places, distinct, count, ranks, present] = node.results[..] else {
        unreachable!("internal error: distinct ids have five results")
    };
    let wanted = [ranks, present].into_iter().any(|result| storage.homes.has(result));
    let inverse = wanted.then(|| [ranks, present].map(|result| own_buffer(storage, result)));
    let [places, distinct, count] = [places, distinct, count].map(|result| own_buffer(storage, result));
    let found = Distinct { ids, len, rows, places, distinct, count, inverse };
    tasks.push(Task::Library(Item::Distinct(found)));
    let others = storage.homes.of(present).get(1..).unwrap_or(&[]);
    tasks.extend(others.iter().map(|view| Task::copy(present, view.clone())));
}

/// A sum over shards is begun and finished at once; a pass puts what it can between the two.
pub(super) fn sum_shards<'a>(storage: &mut Storage<'a>, node: &Node, tasks: &mut Vec<Task<'a>>) {
    let (value, result) = (node.args[0], node.result());
    if storage.homes.of(result).is_empty() {
        return;
    }
    let shape = storage.facts.shape(value);
    let view = storage.materialise(value, tasks);
    let dense = view.strides == View::whole(view.buffer, shape).strides;
    let from = if dense { view } else { storage.copy_to_stay("dense", value, tasks) };
    let n = shape.last().copied().unwrap_or(1);
    let rows = storage.facts.graph.ty(value).len() / n.max(1);
    let to = own_buffer(storage, result);
    let sums = vec![ShardSum { from: from.start(), to, rows, n }];
    let number = storage.exchange();
    for phase in [Phase::Start, Phase::Finish] {
        tasks.push(Task::Library(Item::Exchange(Exchange { number, phase, sums: sums.clone() })));
    }
    let others = storage.homes.of(result).get(1..).unwrap_or(&[]);
    tasks.extend(others.iter().map(|view| Task::copy(result, view.clone())));
}

/// The whole buffer that a result lies in, be it read or not. The flags of the rows may also be wanted elsewhere, as a
/// part of something or as an output: these are copies of them.
fn own_buffer(storage: &mut Storage, value: Value) -> BufferId {
    let shape = storage.facts.shape(value);
    let mut homes = storage.homes.of(value).to_vec();
    // The first piece of a concatenation starts where its buffer does.
    let own = homes.iter().position(|view| {
        let buffer = &storage.buffers[view.buffer.0 as usize];
        let all = buffer.len() == shape.iter().product::<usize>();
        all && *view == View::whole(view.buffer, shape) && buffer.kind == BufferKind::Temp
    });
    let whole = match own {
        Some(index) => homes.remove(index),
        None => storage.whole("distinct", value),
    };
    let buffer = whole.buffer;
    homes.insert(0, whole);
    storage.homes.set(value, homes);
    buffer
}

/// Adds rows to a table of zeros, or to one that is given: where that lies if the result is wanted there, to a copy
/// otherwise.
fn scatter<'a>(storage: &mut Storage<'a>, node: &Node, to: &View, tasks: &mut Vec<Task<'a>>) {
    let facts = storage.facts;
    let (gather, rows, table, ids, g) = match (&node.op, &node.args[..]) {
        (Op::Scatter { rows }, &[ids, g]) => (Gather::Table, *rows, None, ids, g),
        (Op::Combine { rows }, &[ids, g]) => (Gather::Combine, *rows, None, ids, g),
        (Op::AddRows, &[table, ids, g]) => (Gather::Add, facts.shape(table)[0], Some(table), ids, g),
        (op, args) => unreachable!("internal error: {} of {} operands", op.name(), args.len()),
    };
    let count = facts.graph.ty(ids).len();
    let n = facts.shape(g).last().copied().unwrap_or(1);
    let ids = storage.materialise(ids, tasks).start();
    let g = storage.operand(g, tasks);
    // A table inside a wider buffer is not dense: it is made apart and copied.
    let table_rows = if gather == Gather::Combine { count } else { rows };
    let even = to.matrix().is_some_and(|matrix| matrix.stride == n || table_rows == 1);
    let dense = even && to.offset == 0 && to.times.is_empty();
    let place = match dense {
        true => to.clone(),
        false => View::whole(storage.temp("table", node.result(), to.shape.clone()), &to.shape),
    };
    if let Some(table) = table
        && storage.view_of(table).as_ref() != Some(&place)
    {
        tasks.push(Task::copy(table, place.clone()));
    }
    let call = Scatter { gather, ids, count, g, table: place.buffer, rows, n };
    tasks.push(Task::Library(Item::Scatter(call)));
    if !dense {
        let (value, to) = (node.result(), to.clone());
        tasks.push(Task::Copy(Copy { value, from: Some(place), to, stays: false }));
    }
}
