//! Where values lie, and the tasks that write them: the regions' schedules laid out in buffers.
//!
//! Values that a later group reads get a home in a buffer. Pieces of a concatenation are written in place; what a loop
//! stacks is written to its place in the stack; a carried value that is also stacked lives in one buffer of `rounds + 1`
//! values, so that carrying costs no copy. An updated input is written in place where all that reads it has run.

use std::collections::{HashMap, HashSet};

use super::cluster::{Clusters, Group};
use super::facts::{Facts, Use};
use super::library;
use super::rounds::idle_rounds;
use super::storage::{Storage, Task};
use super::view::{View, only_adds_ones};
use crate::graph::{Carried, Loop, Node, Op, OutputRole, Value};
use crate::kernel::{BufferKind, Rounds, Time};

/// The storage of a graph, and its tasks in order.
pub(super) fn place<'a>(facts: &'a Facts<'a>, clusters: &'a Clusters<'a>) -> (Storage<'a>, Vec<Task<'a>>) {
    let mut storage = Storage::new(facts);
    for input in &facts.graph.inputs {
        let ty = facts.graph.ty(input.value);
        let kind = BufferKind::Input(input.role.clone());
        let buffer = storage.buffer(&input.name, ty.elem, ty.shape.clone(), kind);
        storage.homes.set(input.value, vec![View::whole(buffer, &ty.shape)]);
    }
    let mut copies = outputs(&mut storage, clusters);
    let early = read_after_overwritten(clusters, &copies);
    let mut tasks = vec![];
    region(&mut storage, clusters, &HashMap::new(), &mut tasks);
    for value in early {
        storage.copy_to_stay("before", value, &mut tasks);
    }
    copies.sort_by_key(|copy| copy.replaced.is_some());
    tasks.extend(copies.into_iter().map(|LastCopy { value, view, .. }| Task::copy(value, view)));
    (storage, tasks)
}

/// A copy at the end of the step, into an output or over an input.
struct LastCopy {
    value: Value,
    view: View,
    /// The input that is overwritten.
    replaced: Option<Value>,
}

/// The values that copies at the step's end would read from an input after another copy, or another place of the
/// same one, has overwritten it: `a` and `b` that are each other's update.
fn read_after_overwritten(clusters: &Clusters, copies: &[LastCopy]) -> Vec<Value> {
    let overwritten: HashSet<Value> = copies.iter().filter_map(|copy| copy.replaced).collect();
    let mut found = vec![];
    let mut seen = HashSet::new();
    for copy in copies.iter().filter(|copy| copy.replaced.is_some()) {
        let mut reads = clusters.read_by_copy(copy.value).into_iter();
        let is_read_late = reads.any(|(input, own_position)| {
            overwritten.contains(&input) && (copy.replaced != Some(input) || !own_position)
        });
        if is_read_late && seen.insert(copy.value) {
            found.push(copy.value);
        }
    }
    found
}

/// What a value that only adds axes of extent 1 to another adds them to, and the view of that one inside `view`.
fn without_ones(facts: &Facts, value: Value, view: View) -> (Value, View) {
    match facts.definer(value) {
        Some(Node { op: Op::Broadcast { axes, shape }, args, .. }) if only_adds_ones(axes, shape) => {
            let kept = |all: &[usize]| axes.iter().map(|&axis| all[axis]).collect();
            let inner = View { shape: kept(&view.shape), strides: kept(&view.strides), ..view };
            without_ones(facts, args[0], inner)
        }
        _ => (value, view),
    }
}

/// Whether something outside group `group`, in which `value` is computed, reads it.
fn goes_through_memory(facts: &Facts, clusters: &Clusters, value: Value, group: usize) -> bool {
    facts.uses(value).iter().any(|how| match how {
        Use::Read | Use::Sliced(_) | Use::Placed => true,
        Use::Node(user) => match clusters.group_of.get(user) {
            Some(&other) => other != group,
            None => facts.definer(*user).is_some_and(|node| {
                node.results.iter().any(|&result| goes_through_memory(facts, clusters, result, group))
            }),
        },
    })
}

/// Gives the graph's outputs their places, and returns the copies into those that are not written in place.
fn outputs(storage: &mut Storage, clusters: &Clusters) -> Vec<LastCopy> {
    let facts = storage.facts;
    let inputs: HashMap<&str, Value> =
        facts.graph.inputs.iter().map(|input| (input.name.as_str(), input.value)).collect();
    let mut copies = vec![];
    for (index, output) in facts.graph.outputs.iter().enumerate() {
        let (value, view, replaced) = match &output.role {
            OutputRole::Update(name) => match inputs.get(name.as_str()) {
                Some(&input) => (output.value, storage.homes.of(input)[0].clone(), Some(input)),
                None => continue,
            },
            role => {
                let ty = facts.graph.ty(output.value);
                let kind = BufferKind::Output(role.clone());
                let name = format!("out_{index}");
                let buffer = storage.buffer(&name, ty.elem, ty.shape.clone(), kind);
                let (value, view) = without_ones(facts, output.value, View::whole(buffer, &ty.shape));
                (value, view, None)
            }
        };
        let in_place = match replaced {
            Some(input) => clusters.may_replace(input, value),
            None => clusters.writes(value),
        };
        if in_place {
            storage.homes.add(value, view);
        } else {
            copies.push(LastCopy { value, view, replaced });
        }
    }
    copies
}

/// The tasks of one region, in order. `rounds` are those of its products that idle in some.
fn region<'a>(
    storage: &mut Storage<'a>,
    clusters: &'a Clusters<'a>,
    rounds: &HashMap<Value, Rounds>,
    tasks: &mut Vec<Task<'a>>,
) {
    assign_homes(storage, clusters);
    for group in &clusters.groups {
        match group {
            Group::Nest(nest) => tasks.push(Task::Nest(nest)),
            Group::Loop(inner, body) => time_loop(storage, inner, body, tasks),
            Group::Single(node) => match &node.op {
                Op::Concat { axis } => join(storage, node, *axis, clusters, tasks),
                Op::Reduce { .. } => tasks.push(Task::ColumnReduce(node)),
                Op::Distinct { rows } => library::distinct(storage, node, *rows, tasks),
                Op::SumShards => library::sum_shards(storage, node, tasks),
                _ => library::call(storage, node, rounds, tasks),
            },
        }
    }
}

/// Gives a home to every value of a region that goes through memory and has none yet.
fn assign_homes(storage: &mut Storage, clusters: &Clusters) {
    for node in clusters.nodes.iter().rev() {
        let Op::Concat { axis } = node.op else { continue };
        let result = node.result();
        if !storage.homes.has(result) {
            let home = storage.whole("concat", result);
            storage.homes.set(result, vec![home]);
        }
        for (place, &arg) in node.args.iter().enumerate() {
            if clusters.writes_piece(node, place) {
                let pieces = pieces(storage, node, axis, place);
                pieces.into_iter().for_each(|piece| storage.homes.add(arg, piece));
            }
        }
    }
    for &value in &clusters.produced {
        let group = clusters.group_of[&value];
        let facts = storage.facts;
        if !storage.homes.has(value) && goes_through_memory(facts, clusters, value, group) {
            let stem = facts.definer(value).map_or("value", |node| node.op.name());
            let home = storage.whole(stem, value);
            storage.homes.set(value, vec![home]);
        }
    }
}

/// The views of one operand of a concatenation inside the concatenation's homes.
fn pieces(storage: &Storage, node: &Node, axis: usize, place: usize) -> Vec<View> {
    let size = |arg: &Value| storage.facts.shape(*arg)[axis];
    let start = node.args[..place].iter().map(size).sum();
    let len = size(&node.args[place]);
    storage.homes.of(node.result()).iter().map(|home| home.slice(axis, start, len)).collect()
}

/// Copies of a concatenation's operands that are not written in place.
fn join<'a>(
    storage: &mut Storage<'a>,
    node: &'a Node,
    axis: usize,
    clusters: &Clusters,
    tasks: &mut Vec<Task<'a>>,
) {
    for (place, &arg) in node.args.iter().enumerate() {
        if !clusters.writes_piece(node, place) {
            tasks.extend(pieces(storage, node, axis, place).into_iter().map(|view| Task::copy(arg, view)));
        }
    }
}

/// Lays out a time loop: where its carried and stacked values live, then its body.
fn time_loop<'a>(
    storage: &mut Storage<'a>,
    inner: &'a Loop,
    clusters: &'a Clusters<'a>,
    tasks: &mut Vec<Task<'a>>,
) {
    let facts = storage.facts;
    let time = storage.time();
    for sliced in &inner.sliced {
        storage.homes.set_source(sliced.param, sliced.source, time);
    }
    let mut stacks: HashMap<Value, Vec<Value>> = HashMap::new();
    for stacked in &inner.stacked {
        stacks.entry(stacked.value).or_default().push(stacked.result);
    }
    let mut copies = vec![];
    for carried in &inner.carried {
        let stacks_of = |value| stacks.get(&value).map_or(&[][..], |results| results);
        let has_history = !stacks_of(carried.param).is_empty()
            || !stacks_of(carried.next).is_empty()
            || !clusters.may_replace(carried.param, carried.next);
        let rooms = match has_history {
            true => {
                let history = History::of(storage, carried, inner);
                for &result in stacks_of(carried.next) {
                    storage.homes.set(result, vec![history.written.clone()]);
                }
                for &result in stacks_of(carried.param) {
                    storage.homes.set(result, vec![history.read.clone()]);
                }
                history.carry(time)
            }
            false => {
                let shape = facts.shape(carried.init);
                let view = View::whole(storage.temp("carry", carried.param, shape.to_vec()), shape);
                Carry { before: view.clone(), after: view.clone(), first: view.clone(), last: view }
            }
        };
        tasks.push(Task::copy(carried.init, rooms.first));
        storage.homes.set(carried.param, vec![rooms.before]);
        storage.homes.set(carried.last, vec![rooms.last]);
        write_to(storage, carried.next, rooms.after, clusters, &mut copies);
    }
    for stacked in &inner.stacked {
        if storage.homes.has(stacked.result) {
            continue;
        }
        let view = storage.whole("stack", stacked.result);
        write_to(storage, stacked.value, view.at_time(time), clusters, &mut copies);
        storage.homes.set(stacked.result, vec![view]);
    }
    let mut body = vec![];
    region(storage, clusters, &idle_rounds(facts, inner), &mut body);
    body.extend(copies.into_iter().map(|(value, view)| Task::copy(value, view)));
    tasks.push(Task::Loop { time, rounds: inner.rounds, reverse: inner.reverse, body });
}

/// Has `value` written to `view`: by what computes it in this region, or by a copy at the region's end.
fn write_to(
    storage: &mut Storage,
    value: Value,
    view: View,
    clusters: &Clusters,
    copies: &mut Vec<(Value, View)>,
) {
    if clusters.writes(value) {
        storage.homes.add(value, view);
    } else {
        copies.push((value, view));
    }
}

/// Where a carried value lies.
struct Carry {
    /// What a round reads.
    before: View,
    /// What a round writes, for the next one to read.
    after: View,
    /// Before the first round.
    first: View,
    /// After the last round.
    last: View,
}

/// A carried value's history: before the first round and after each, one after the other.
struct History {
    all: View,
    /// What the rounds read.
    read: View,
    /// What they write.
    written: View,
    first: usize,
    last: usize,
}

impl History {
    fn of(storage: &mut Storage, carried: &Carried, inner: &Loop) -> Self {
        let shape = [&[inner.rounds + 1], storage.facts.shape(carried.init)].concat();
        let all = View::whole(storage.temp("history", carried.param, shape.clone()), &shape);
        let (early, late) = (all.slice(0, 0, inner.rounds), all.slice(0, 1, inner.rounds));
        match inner.reverse {
            true => Self { all, read: late, written: early, first: inner.rounds, last: 0 },
            false => Self { all, read: early, written: late, first: 0, last: inner.rounds },
        }
    }

    fn carry(&self, time: Time) -> Carry {
        Carry {
            before: self.read.at_time(time),
            after: self.written.at_time(time),
            first: self.all.at(self.first),
            last: self.all.at(self.last),
        }
    }
}
