//! Where values lie: views of buffers, and which value gets which.

use std::collections::HashMap;

use super::cluster::Clusters;
use super::{Lowering, Use};
use crate::graph::{Loop, Node, Op, Value};
use crate::kernel::{Address, BufferId, Index, Item, Matrix, Time, TimeLoop};

/// A strided view of a buffer: element `[i, j, ..]` lies at `offset + i * strides[0] + ..`, plus a term for each time
/// loop around.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub buffer: BufferId,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub times: Vec<(Time, usize)>,
}

impl View {
    pub fn whole(buffer: BufferId, shape: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Self { buffer, offset: 0, shape: shape.to_vec(), strides, times: vec![] }
    }

    /// Indices `start .. start + len` of an axis.
    pub fn cut(&self, axis: usize, start: usize, len: usize) -> Self {
        let mut view = self.clone();
        view.offset += start * view.strides[axis];
        view.shape[axis] = len;
        view
    }

    /// One index of the leading axis.
    pub fn at(&self, index: usize) -> Self {
        let mut view = self.clone();
        view.offset += index * view.strides[0];
        view.strides.remove(0);
        view.shape.remove(0);
        view
    }

    /// The index of the leading axis that a time loop is at.
    pub fn at_time(&self, time: Time) -> Self {
        let mut view = self.at(0);
        view.times.push((time, self.strides[0]));
        view
    }

    /// With the axes of `shape` that are not among `axes`, all of extent 1.
    fn with_ones(&self, axes: &[usize], shape: &[usize]) -> Self {
        let mut view = self.clone();
        view.shape = shape.to_vec();
        view.strides = vec![1; shape.len()];
        axes.iter().zip(&self.strides).for_each(|(&axis, &stride)| view.strides[axis] = stride);
        view
    }

    fn column(&self) -> Self {
        let mut view = self.clone();
        view.shape.push(1);
        view.strides.push(1);
        view
    }

    fn uncolumn(&self) -> Self {
        let mut view = self.clone();
        view.shape.pop();
        view.strides.pop();
        view
    }

    /// The address of element 0.
    pub fn start(&self) -> Address {
        let terms = self.times.iter().map(|&(time, stride)| (Index::Time(time), stride)).collect();
        Address { buffer: self.buffer, offset: self.offset, terms }
    }

    /// As a matrix with the leading axes collapsed into rows, if its rows are evenly spaced and dense.
    pub fn matrix(&self) -> Option<Matrix> {
        let (&columns, rest) = self.shape.split_last()?;
        if *self.strides.last()? != 1 && columns != 1 {
            return None;
        }
        let axes: Vec<usize> = (0..rest.len()).filter(|&axis| rest[axis] != 1).collect();
        let even =
            axes.windows(2).all(|pair| self.strides[pair[0]] == self.strides[pair[1]] * self.shape[pair[1]]);
        let stride = axes.last().map_or(columns, |&axis| self.strides[axis]);
        (even && stride >= columns).then(|| Matrix { at: self.start(), stride })
    }
}

/// Whether a broadcast to `shape` repeats nothing.
pub(super) fn only_adds_ones(axes: &[usize], shape: &[usize]) -> bool {
    shape.iter().enumerate().all(|(axis, &extent)| extent == 1 || axes.contains(&axis))
}

impl<'a> Lowering<'a> {
    /// The view of a value that lies in memory: its home, or a view of what it is a part of.
    pub(super) fn view_of(&self, value: Value) -> Option<View> {
        if let Some(home) = self.homes.get(&value).and_then(|homes| homes.first()) {
            return Some(home.clone());
        }
        if let Some(&(source, time)) = self.slices.get(&value) {
            return self.view_of(source).map(|view| view.at_time(time));
        }
        let node = self.definers.get(&value)?;
        let source = || self.view_of(node.args[0]);
        match &node.op {
            Op::Stop => source(),
            Op::Column => source().map(|view| view.column()),
            Op::Uncolumn => source().map(|view| view.uncolumn()),
            Op::At { index } => source().map(|view| view.at(*index)),
            Op::Broadcast { axes, shape } if only_adds_ones(axes, shape) => {
                source().map(|view| view.with_ones(axes, shape))
            }
            Op::Split { axis, sizes } => {
                let piece = node.results.iter().position(|&result| result == value)?;
                let start = sizes[..piece].iter().sum();
                source().map(|view| view.cut(*axis, start, sizes[piece]))
            }
            _ => None,
        }
    }

    /// What a value that only adds axes of extent 1 to another adds them to, and the view of that one inside `view`.
    pub(super) fn without_ones(&self, value: Value, view: View) -> (Value, View) {
        match self.definers.get(&value) {
            Some(Node { op: Op::Broadcast { axes, shape }, args, .. }) if only_adds_ones(axes, shape) => {
                let kept = |all: &[usize]| axes.iter().map(|&axis| all[axis]).collect();
                let inner = View { shape: kept(&view.shape), strides: kept(&view.strides), ..view };
                self.without_ones(args[0], inner)
            }
            _ => (value, view),
        }
    }

    /// Gives a home to every value of a region that goes through memory and has none yet.
    pub(super) fn assign_homes(&mut self, nodes: &'a [Node], clusters: &Clusters) {
        for node in nodes.iter().rev() {
            let Op::Concat { axis } = node.op else { continue };
            let result = node.result();
            if self.homes.get(&result).is_none_or(Vec::is_empty) {
                let shape = self.graph.shape(result).to_vec();
                let buffer = self.temp("concat", result, shape.clone());
                self.homes.insert(result, vec![View::whole(buffer, &shape)]);
            }
            for (place, &arg) in node.args.iter().enumerate() {
                if clusters.writes_piece(node, place) {
                    let pieces = self.pieces(node, axis, place);
                    self.homes.entry(arg).or_default().extend(pieces);
                }
            }
        }
        for &value in &clusters.produced {
            let slot = clusters.slot_of[&value];
            let homeless = self.homes.get(&value).is_none_or(Vec::is_empty);
            if homeless && self.goes_through_memory(value, slot, clusters) {
                let shape = self.graph.shape(value).to_vec();
                let stem = self.definers.get(&value).map_or("value", |node| node.op.name());
                let buffer = self.temp(stem, value, shape.clone());
                self.homes.insert(value, vec![View::whole(buffer, &shape)]);
            }
        }
    }

    /// The views of one operand of a concatenation inside the concatenation's homes.
    fn pieces(&self, node: &Node, axis: usize, place: usize) -> Vec<View> {
        let size = |arg: &Value| self.graph.shape(*arg)[axis];
        let start = node.args[..place].iter().map(size).sum();
        let len = size(&node.args[place]);
        self.homes[&node.result()].iter().map(|home| home.cut(axis, start, len)).collect()
    }

    /// Whether something outside slot `slot`, in which `value` is computed, reads it.
    fn goes_through_memory(&self, value: Value, slot: usize, clusters: &Clusters) -> bool {
        let Some(uses) = self.uses.get(&value) else { return false };
        uses.iter().any(|how| match how {
            Use::Read | Use::Sliced(_) | Use::Placed => true,
            Use::Node(user) => match clusters.slot_of.get(user) {
                Some(&other) => other != slot,
                None => self.definers.get(user).is_some_and(|node| {
                    node.results.iter().any(|&result| self.goes_through_memory(result, slot, clusters))
                }),
            },
        })
    }

    /// The view of a value that must lie in memory now: where it has none, it is computed into a temporary.
    pub(super) fn materialise(&mut self, value: Value, items: &mut Vec<Item>) -> View {
        if let Some(view) = self.view_of(value) {
            return view;
        }
        let shape = self.graph.shape(value).to_vec();
        let buffer = self.temp("copy", value, shape.clone());
        let view = View::whole(buffer, &shape);
        items.push(self.copy(value, view.clone()));
        self.homes.entry(value).or_default().push(view.clone());
        view
    }

    /// Copies for what a concatenation joins and nobody writes in place.
    pub(super) fn join(&mut self, node: &'a Node, clusters: &Clusters, items: &mut Vec<Item>) {
        let Op::Concat { axis } = node.op else { return };
        for (place, &arg) in node.args.iter().enumerate() {
            if !clusters.writes_piece(node, place) {
                for view in self.pieces(node, axis, place) {
                    items.push(self.copy(arg, view));
                }
            }
        }
    }

    /// Lowers a time loop: decides where its carried and stacked values live, then lowers its body.
    pub(super) fn time_loop(&mut self, inner: &'a Loop, items: &mut Vec<Item>) {
        let time = Time(self.times);
        self.times += 1;
        for sliced in &inner.sliced {
            self.slices.insert(sliced.param, (sliced.source, time));
        }
        self.find_idle_rounds(inner);
        let nexts = inner.carried.iter().map(|carried| carried.next);
        let handed: Vec<Value> = nexts.chain(inner.stacked.iter().map(|stacked| stacked.value)).collect();
        let over = inner.carried.iter().map(|carried| carried.param).collect();
        let clusters = self.cluster(&inner.body, &handed, over);
        let mut stacks: HashMap<Value, Vec<Value>> = HashMap::new();
        for stacked in &inner.stacked {
            stacks.entry(stacked.value).or_default().push(stacked.result);
        }
        let mut copies = vec![];
        for carried in &inner.carried {
            let stacks_of = |value| stacks.get(&value).map_or(&[][..], |results| results);
            let has_history = !stacks_of(carried.param).is_empty()
                || !stacks_of(carried.next).is_empty()
                || !clusters.may_replace(carried.param, carried.next, &inner.body);
            let shape = self.graph.shape(carried.init).to_vec();
            let (before, after, first, last);
            if has_history {
                let full = [&[inner.steps + 1], &shape[..]].concat();
                let buffer = self.temp("history", carried.param, full.clone());
                let all = View::whole(buffer, &full);
                let (early, late) = (all.cut(0, 0, inner.steps), all.cut(0, 1, inner.steps));
                let (read, written) = if inner.reverse { (late, early) } else { (early, late) };
                first = all.at(if inner.reverse { inner.steps } else { 0 });
                last = all.at(if inner.reverse { 0 } else { inner.steps });
                for &result in stacks_of(carried.next) {
                    self.homes.insert(result, vec![written.clone()]);
                }
                for &result in stacks_of(carried.param) {
                    self.homes.insert(result, vec![read.clone()]);
                }
                (before, after) = (read.at_time(time), written.at_time(time));
            } else {
                let buffer = self.temp("carry", carried.param, shape.clone());
                let view = View::whole(buffer, &shape);
                (before, after, first, last) = (view.clone(), view.clone(), view.clone(), view);
            }
            items.push(self.copy(carried.init, first));
            self.homes.insert(carried.param, vec![before]);
            self.homes.insert(carried.last, vec![last]);
            self.place(carried.next, after, &clusters, &mut copies);
        }
        for stacked in &inner.stacked {
            if self.homes.contains_key(&stacked.result) {
                continue;
            }
            let shape = self.graph.shape(stacked.result).to_vec();
            let buffer = self.temp("stack", stacked.result, shape.clone());
            let view = View::whole(buffer, &shape);
            self.place(stacked.value, view.at_time(time), &clusters, &mut copies);
            self.homes.insert(stacked.result, vec![view]);
        }
        // What a loop of no rounds fills is not there after it.
        let ones = self.ones.clone();
        let mut body = self.items(&inner.body, clusters);
        self.ones = ones;
        for (value, view) in copies {
            body.push(self.copy(value, view));
        }
        items.push(Item::Loop(TimeLoop { time, steps: inner.steps, reverse: inner.reverse, items: body }));
    }

    /// Has `value` written to `view`: by what computes it in this region, or by a copy at the region's end.
    fn place(&mut self, value: Value, view: View, clusters: &Clusters, copies: &mut Vec<(Value, View)>) {
        if clusters.writes(value) {
            self.homes.entry(value).or_default().push(view);
        } else {
            copies.push((value, view));
        }
    }
}
