//! Where values lie. A value has a home, or several, which what computes it writes; it may have been copied, and is then
//! read from there; or it is a view of what lies in memory. Otherwise it is computed where it is read.

use std::collections::HashMap;

use super::facts::Facts;
use super::view::{View, only_adds_ones};
use crate::graph::{Op, Value};
use crate::kernel::{Buffer, BufferId, BufferKind, Time};

/// Homes do not change any more once the tasks that write them are laid out; copies are added in the order of their tasks.
#[derive(Default)]
pub(super) struct Homes {
    /// All homes of a value are written, the first one is read.
    homes: HashMap<Value, Vec<View>>,
    copies: HashMap<Value, View>,
    /// The source of each sliced loop parameter, and the loop's variable.
    slices: HashMap<Value, (Value, Time)>,
}

impl Homes {
    /// The homes of a value; none if it does not go through memory.
    pub fn of(&self, value: Value) -> &[View] {
        self.homes.get(&value).map_or(&[], |homes| homes)
    }

    pub fn add(&mut self, value: Value, view: View) {
        self.homes.entry(value).or_default().push(view);
    }

    pub fn set(&mut self, value: Value, homes: Vec<View>) {
        self.homes.insert(value, homes);
    }

    /// From now on a value is read from this copy.
    pub fn copied(&mut self, value: Value, view: View) {
        self.copies.insert(value, view);
    }

    /// As before the first task.
    pub fn without_copies(self) -> Self {
        Self { copies: HashMap::new(), ..self }
    }

    pub fn set_source(&mut self, param: Value, source: Value, time: Time) {
        self.slices.insert(param, (source, time));
    }

    /// The value that a loop's parameter is a slice of, and the loop's variable.
    pub fn source_of(&self, param: Value) -> Option<(Value, Time)> {
        self.slices.get(&param).copied()
    }

    /// Whether a value itself lies in memory.
    pub fn has(&self, value: Value) -> bool {
        self.copies.contains_key(&value) || !self.of(value).is_empty()
    }

    /// The view of a value that lies in memory: its own, or a view of what it is a part of.
    pub fn view_of(&self, facts: &Facts, value: Value) -> Option<View> {
        if let Some(own) = self.copies.get(&value).or_else(|| self.of(value).first()) {
            return Some(own.clone());
        }
        if let Some((source, time)) = self.source_of(value) {
            return self.view_of(facts, source).map(|view| view.at_time(time));
        }
        let node = facts.definer(value)?;
        let source = || self.view_of(facts, node.args[0]);
        match &node.op {
            Op::Stop => source(),
            Op::Unsqueeze => source().map(|view| view.unsqueeze()),
            Op::Squeeze => source().map(|view| view.squeeze()),
            Op::At { index } => source().map(|view| view.at(*index)),
            Op::Broadcast { axes, shape } if only_adds_ones(axes, shape) => {
                source().map(|view| view.with_ones(axes, shape))
            }
            Op::Split { axis, sizes } => {
                let piece = node.results.iter().position(|&result| result == value)?;
                let start = sizes[..piece].iter().sum();
                source().map(|view| view.slice(*axis, start, sizes[piece]))
            }
            _ => None,
        }
    }
}

/// What a kernel's statements are made from.
#[derive(Clone, Copy)]
pub(super) struct Memory<'m> {
    pub facts: &'m Facts<'m>,
    pub homes: &'m Homes,
    pub buffers: &'m [Buffer],
}

impl Memory<'_> {
    pub fn view_of(&self, value: Value) -> Option<View> {
        self.homes.view_of(self.facts, value)
    }

    pub fn buffer_name(&self, id: BufferId) -> &str {
        &self.buffers[id.0 as usize].name
    }

    pub fn is_temporary(&self, id: BufferId) -> bool {
        self.buffers[id.0 as usize].kind == BufferKind::Temp
    }
}
