//! Sinking: what a time loop computes only for its outputs is computed for all rounds at once, after the loop.
//!
//! A carried value that the body only adds to (every weight's gradient) becomes one sum over all rounds: `acc + a^T @ b`
//! in each round is one product `A^T @ B` of the stacked operands. A product or reduction that is only stacked moves
//! behind the loop likewise.

use std::collections::{HashMap, HashSet};

use super::over_time::{self, Placed};
use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Carried, Form, Graph, Loop, Node, Op, Reduce, Stacked, Value};
use crate::scalar::Scalar;

pub fn sink(graph: &Graph) -> Graph {
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| match &node.op {
        Op::Loop(inner) => Some(Sink::new(inner).run(rewriter)),
        _ => None,
    })
}

struct Sink<'a> {
    inner: &'a Loop,
    definers: HashMap<Value, usize>,
    readers: HashMap<Value, Vec<usize>>,
    /// How often each value is handed out: as the next of a carried one, or stacked.
    handed: HashMap<Value, usize>,
    /// What is carried on.
    nexts: HashSet<Value>,
    carried: HashSet<Value>,
    stacked: HashSet<Value>,
    /// The sources of the sliced parameters.
    sources: HashMap<Value, Value>,
    /// The terms that each accumulator adds up, by its place among the carried values.
    accumulators: HashMap<usize, Vec<Value>>,
    /// Nodes that leave the body.
    sunk: HashSet<usize>,
    /// Values of the body that the loop stacks, and its results, once it is rebuilt.
    stacks: HashMap<Value, Value>,
    /// Values that were computed after the loop.
    placed: HashMap<Value, Placed>,
}

impl<'a> Sink<'a> {
    fn new(inner: &'a Loop) -> Self {
        let mut sink = Self {
            inner,
            definers: over_time::definers(&inner.body),
            readers: over_time::readers(&inner.body),
            handed: HashMap::new(),
            nexts: inner.carried.iter().map(|c| c.next).collect(),
            carried: inner.carried.iter().map(|c| c.param).collect(),
            stacked: inner.stacked.iter().map(|s| s.value).collect(),
            sources: inner.sliced.iter().map(|s| (s.param, s.source)).collect(),
            accumulators: HashMap::new(),
            sunk: HashSet::new(),
            stacks: HashMap::new(),
            placed: HashMap::new(),
        };
        let nexts = inner.carried.iter().map(|c| c.next);
        for value in nexts.chain(inner.stacked.iter().map(|s| s.value)) {
            *sink.handed.entry(value).or_default() += 1;
        }
        for (index, carried) in inner.carried.iter().enumerate() {
            if let Some(terms) = sink.terms(carried) {
                sink.accumulators.insert(index, terms);
            }
        }
        sink.choose();
        sink
    }

    fn reads(&self, value: Value) -> usize {
        self.handed.get(&value).copied().unwrap_or(0) + self.readers.get(&value).map_or(0, Vec::len)
    }

    /// What each round adds, if `carried` is only ever added to; marks the additions as sunk.
    fn terms(&mut self, carried: &Carried) -> Option<Vec<Value>> {
        if self.reads(carried.param) != 1 {
            return None;
        }
        let (mut terms, mut additions) = (vec![], vec![]);
        let mut at = carried.next;
        let mut known = HashMap::new();
        while at != carried.param {
            let index = *self.definers.get(&at)?;
            let node = &self.inner.body[index];
            if node.op != Op::Map(Scalar::Add) || self.reads(at) != 1 {
                return None;
            }
            additions.push(index);
            // The chain goes on through the operand that leads to the carried value: the left one, as `grad` builds it,
            // or the right.
            let (a, b) = (node.args[0], node.args[1]);
            let left = a == carried.param || self.leads_to(a, carried.param, &mut known);
            terms.push(if left { b } else { a });
            at = if left { a } else { b };
        }
        self.sunk.extend(additions);
        let mut split = vec![];
        terms.reverse();
        for term in terms {
            self.split_sum(term, &mut split);
        }
        Some(split)
    }

    /// Whether a value is a sum that `param` is part of; `known` are the answers so far.
    fn leads_to(&self, value: Value, param: Value, known: &mut HashMap<Value, bool>) -> bool {
        if let Some(&leads) = known.get(&value) {
            return leads;
        }
        let node = self.definers.get(&value).map(|&index| &self.inner.body[index]);
        let leads = node.is_some_and(|node| {
            node.op == Op::Map(Scalar::Add)
                && node.args.iter().any(|&arg| arg == param || self.leads_to(arg, param, known))
        });
        known.insert(value, leads);
        leads
    }

    /// A term that is itself a sum, used nowhere else, counts as its parts.
    fn split_sum(&mut self, term: Value, parts: &mut Vec<Value>) {
        if let Some(&index) = self.definers.get(&term)
            && self.inner.body[index].op == Op::Map(Scalar::Add)
            && self.reads(term) == 1
        {
            self.sunk.insert(index);
            for arg in self.inner.body[index].args.clone() {
                self.split_sum(arg, parts);
            }
            return;
        }
        parts.push(term);
    }

    /// Chooses further nodes that leave the body: those whose every reader has left or only hands them out.
    fn choose(&mut self) {
        let terms: HashSet<Value> = self.accumulators.values().flatten().copied().collect();
        for index in (0..self.inner.body.len()).rev() {
            let node = &self.inner.body[index];
            if self.sunk.contains(&index) {
                continue;
            }
            let free = node.results.iter().all(|&result| {
                let readers = self.readers.get(&result).map_or(&[][..], |r| r);
                readers.iter().all(|reader| self.sunk.contains(reader)) && !self.nexts.contains(&result)
            });
            let only_a_term =
                node.results.iter().all(|result| terms.contains(result) && !self.stacked.contains(result));
            let summed = only_a_term && matches!(node.op, Op::MatMul(Form::TN) | Op::Scatter { .. });
            if free && (summed || self.is_worth(node)) {
                self.sunk.insert(index);
            }
        }
    }

    /// Products and reductions are, since they read more than they give; element-wise work is where it costs no more
    /// stacks than it saves.
    fn is_worth(&self, node: &Node) -> bool {
        let varies: Vec<bool> = node.args.iter().map(|arg| self.is_inside(*arg)).collect();
        if !over_time::has_form(&node.op, &varies) {
            return false;
        }
        let available = |arg: &Value| {
            !self.is_inside(*arg) || self.sources.contains_key(arg) || self.stacked.contains(arg)
        };
        match node.op {
            Op::MatMul(_) | Op::Reduce { .. } => true,
            Op::Map(_) => node.args.iter().filter(|arg| !available(arg)).count() <= 1,
            Op::Broadcast { .. } | Op::Unsqueeze | Op::Squeeze | Op::Pick => true,
            _ => false,
        }
    }

    fn is_inside(&self, value: Value) -> bool {
        self.definers.contains_key(&value)
            || self.carried.contains(&value)
            || self.sources.contains_key(&value)
    }

    fn run(mut self, rewriter: &mut Rewriter) -> Vec<Value> {
        if self.accumulators.is_empty() && self.sunk.is_empty() {
            // Nothing to move: the loop is copied as it is.
            let wanted: Vec<Value> = self.inner.stacked.iter().map(|s| s.value).collect();
            let lasts = self.rebuild(rewriter, &wanted);
            let stacks = self.inner.stacked.iter().map(|s| self.stacks[&s.value]);
            return self.inner.carried.iter().map(|c| lasts[&c.param]).chain(stacks).collect();
        }
        let accumulated: HashSet<Value> =
            self.accumulators.keys().map(|&index| self.inner.carried[index].param).collect();
        let sunk = self.sunk.iter().flat_map(|&index| self.inner.body[index].args.iter());
        let stacked = self.inner.stacked.iter().map(|stacked| &stacked.value);
        let read = sunk.chain(self.accumulators.values().flatten()).chain(stacked);
        let mut wanted: Vec<Value> = read
            .filter(|value| !accumulated.contains(value))
            .filter_map(|&value| self.wanted(value))
            .collect();
        wanted.sort();
        wanted.dedup();
        let lasts = self.rebuild(rewriter, &wanted);
        let mut results = vec![];
        for (index, carried) in self.inner.carried.iter().enumerate() {
            results.push(match self.accumulators.get(&index).cloned() {
                Some(terms) => self.total(rewriter, carried, &terms),
                None => lasts[&carried.param],
            });
        }
        for Stacked { value, .. } in &self.inner.stacked {
            let placed = self.after(rewriter, *value);
            results.push(self.stacked(rewriter, placed));
        }
        results
    }

    /// What is stacked where all rounds of `value` are read after the loop: itself, or a concatenation that it is part of.
    fn wanted(&self, value: Value) -> Option<Value> {
        let sunk = self.definers.get(&value).is_some_and(|index| self.sunk.contains(index));
        if !self.is_inside(value) || sunk || self.sources.contains_key(&value) {
            return None;
        }
        Some(self.concatenation(value).map_or(value, |(node, _)| node.result()))
    }

    /// The concatenation, staying in the body, that holds `value`, and the place of `value` in it.
    fn concatenation(&self, value: Value) -> Option<(&'a Node, usize)> {
        let readers = self.readers.get(&value)?;
        readers.iter().find_map(|reader| {
            let node = &self.inner.body[*reader];
            let stays = matches!(node.op, Op::Concat { .. }) && !self.sunk.contains(reader);
            let place = node.args.iter().position(|&arg| arg == value)?;
            stays.then_some((node, place))
        })
    }

    /// The loop with what stays of its body; fills `stacks` and returns the carried values' last by their params.
    fn rebuild(&mut self, rewriter: &mut Rewriter, wanted: &[Value]) -> HashMap<Value, Value> {
        let inner = self.inner;
        rewriter.new.open_loop();
        let carried: Vec<Carried> = inner
            .carried
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.accumulators.contains_key(index))
            .map(|(_, carried)| *carried)
            .collect();
        for carried in &carried {
            let init = rewriter.get(carried.init);
            let param = rewriter.new.carry(init);
            rewriter.set(carried.param, param);
        }
        for sliced in &inner.sliced {
            let source = rewriter.get(sliced.source);
            let slice = rewriter.new.slice(source);
            rewriter.set(sliced.param, slice.param);
        }
        let body: Vec<Node> = inner
            .body
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.sunk.contains(index))
            .map(|(_, node)| node.clone())
            .collect();
        rewriter.nodes(&body, &mut |_: &mut Rewriter, _: &Node| None);
        let stacked = wanted.iter().map(|&value| Stacked { value, result: value }).collect();
        let kept = Loop { carried, body, stacked, ..inner.clone() };
        let results = rewriter.close_loop(&kept);
        let (lasts, stacks) = results.split_at(kept.carried.len());
        self.stacks = wanted.iter().copied().zip(stacks.iter().copied()).collect();
        kept.carried.iter().map(|c| c.param).zip(lasts.iter().copied()).collect()
    }

    /// A value of the body, after the loop.
    fn after(&mut self, rewriter: &mut Rewriter, value: Value) -> Placed {
        if let Some(&placed) = self.placed.get(&value) {
            return placed;
        }
        if let Some(&stack) = self.stacks.get(&value) {
            return Placed::Stacked(stack);
        }
        if !self.is_inside(value) {
            return Placed::Fixed(rewriter.get(value));
        }
        if let Some(&source) = self.sources.get(&value) {
            return Placed::Stacked(rewriter.get(source));
        }
        let sunk = self.definers.get(&value).filter(|index| self.sunk.contains(index)).copied();
        if let Some(index) = sunk {
            let node = &self.inner.body[index];
            let args: Vec<Placed> = node.args.iter().map(|&arg| self.after(rewriter, arg)).collect();
            let results = over_time::emit(&mut rewriter.new, &node.op, &args, self.inner.rounds);
            self.placed.extend(node.results.iter().copied().zip(results));
        } else if let Some((node, _)) = self.concatenation(value)
            && let Op::Concat { axis } = node.op
        {
            let sizes = node.args.iter().map(|&arg| rewriter.old.ty(arg).shape[axis]).collect();
            let stack = self.stacks[&node.result()];
            let pieces = rewriter.new.emit(Op::Split { axis: axis + 1, sizes }, &[stack]);
            for (&arg, piece) in node.args.iter().zip(pieces) {
                self.placed.insert(arg, Placed::Stacked(piece));
            }
        }
        self.placed[&value]
    }

    fn stacked(&self, rewriter: &mut Rewriter, placed: Placed) -> Value {
        match placed {
            Placed::Stacked(value) => value,
            Placed::Fixed(value) => over_time::repeat(&mut rewriter.new, value, self.inner.rounds),
        }
    }

    /// `init` plus the sum over all rounds of the terms.
    fn total(&mut self, rewriter: &mut Rewriter, carried: &Carried, terms: &[Value]) -> Value {
        let mut total = rewriter.get(carried.init);
        for &term in terms {
            let sum = self.sum(rewriter, term);
            total = rewriter.new.add(total, sum);
        }
        total
    }

    /// The sum of one term over all rounds.
    fn sum(&mut self, rewriter: &mut Rewriter, term: Value) -> Value {
        let definer = self.definers.get(&term).filter(|index| self.sunk.contains(index)).copied();
        if let Some(index) = definer {
            let node = &self.inner.body[index];
            match node.op {
                // By the same ids in every round: what they scatter is added up first.
                Op::Scatter { .. } if !self.is_inside(node.args[0]) => {
                    let ids = rewriter.get(node.args[0]);
                    let placed = self.after(rewriter, node.args[1]);
                    let all = self.stacked(rewriter, placed);
                    let sum = rewriter.new.reduce(Reduce::Sum, all, vec![0]);
                    return rewriter.new.op(node.op.clone(), &[ids, sum]);
                }
                Op::MatMul(Form::TN) | Op::Scatter { .. } => {
                    let args: Vec<Value> = node
                        .args
                        .iter()
                        .map(|&arg| {
                            let placed = self.after(rewriter, arg);
                            self.stacked(rewriter, placed)
                        })
                        .collect();
                    return rewriter.new.op(node.op.clone(), &args);
                }
                Op::Reduce { kind: Reduce::Sum, ref axes } => {
                    let placed = self.after(rewriter, node.args[0]);
                    let x = self.stacked(rewriter, placed);
                    let axes = std::iter::once(0).chain(axes.iter().map(|axis| axis + 1)).collect();
                    return rewriter.new.reduce(Reduce::Sum, x, axes);
                }
                _ => {}
            }
        }
        let placed = self.after(rewriter, term);
        let all = self.stacked(rewriter, placed);
        rewriter.new.reduce(Reduce::Sum, all, vec![0])
    }
}
