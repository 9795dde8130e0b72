//! Storage under construction: the module's buffers, where values lie in them, and the tasks that write them.

use std::collections::HashSet;

use super::cluster::Nest;
use super::facts::Facts;
use super::homes::Homes;
use super::names::make_unique;
use super::view::View;
use crate::graph::{Node, Value};
use crate::kernel::{Buffer, BufferId, BufferKind, Elem, Item, Matrix, Time};

/// What becomes one item.
pub(super) enum Task<'a> {
    Nest(&'a Nest),
    /// A reduction along axes other than the last.
    ColumnReduce(&'a Node),
    Copy(Copy),
    /// A call of the library, which needs nothing more.
    Library(Item),
    Loop {
        time: Time,
        rounds: usize,
        reverse: bool,
        body: Vec<Task<'a>>,
    },
}

/// A value that is written to a view.
pub(super) struct Copy {
    pub value: Value,
    /// Where it is read; none for where it lies, or for what it is computed from.
    pub from: Option<View>,
    pub to: View,
    /// Whether later tasks read the copy.
    pub stays: bool,
}

impl<'a> Task<'a> {
    pub fn copy(value: Value, to: View) -> Self {
        Task::Copy(Copy { value, from: None, to, stays: false })
    }
}

pub(super) struct Storage<'a> {
    pub facts: &'a Facts<'a>,
    pub buffers: Vec<Buffer>,
    pub homes: Homes,
    /// Those of the buffers.
    names: HashSet<String>,
    times: u32,
    exchanges: u32,
}

impl<'a> Storage<'a> {
    pub fn new(facts: &'a Facts<'a>) -> Self {
        Self {
            facts,
            buffers: vec![],
            homes: Homes::default(),
            names: HashSet::new(),
            times: 0,
            exchanges: 0,
        }
    }

    /// The buffers, and the homes as before the first task.
    pub fn finish(self) -> (Vec<Buffer>, Homes) {
        (self.buffers, self.homes.without_copies())
    }

    pub fn time(&mut self) -> Time {
        self.times += 1;
        Time(self.times - 1)
    }

    /// The number of an exchange.
    pub fn exchange(&mut self) -> u32 {
        self.exchanges += 1;
        self.exchanges - 1
    }

    pub fn buffer(&mut self, name: &str, elem: Elem, shape: Vec<usize>, kind: BufferKind) -> BufferId {
        let id = BufferId(self.buffers.len() as u32);
        self.names.insert(name.to_string());
        self.buffers.push(Buffer { name: name.to_string(), elem, shape, kind });
        id
    }

    /// A temporary; its name says which graph value it holds, with a number behind it where there are several.
    pub fn temp(&mut self, stem: &str, value: Value, shape: Vec<usize>) -> BufferId {
        let mut name = format!("{stem}_{}", value.0);
        make_unique(&mut name, &mut self.names);
        let elem = self.facts.graph.ty(value).elem;
        self.buffer(&name, elem, shape, BufferKind::Temp)
    }

    /// A temporary for all of a value.
    pub fn whole(&mut self, stem: &str, value: Value) -> View {
        let shape = self.facts.shape(value);
        View::whole(self.temp(stem, value, shape.to_vec()), shape)
    }

    pub fn view_of(&self, value: Value) -> Option<View> {
        self.homes.view_of(self.facts, value)
    }

    /// Copies a value into a temporary, from which it is read from now on.
    pub fn copy_to_stay(&mut self, stem: &str, value: Value, tasks: &mut Vec<Task<'a>>) -> View {
        let to = self.whole(stem, value);
        tasks.push(Task::Copy(Copy { value, from: None, to: to.clone(), stays: true }));
        self.homes.copied(value, to.clone());
        to
    }

    /// The view of a value that must lie in memory now: where it has none, it is computed into a temporary.
    pub fn materialise(&mut self, value: Value, tasks: &mut Vec<Task<'a>>) -> View {
        match self.view_of(value) {
            Some(view) => view,
            None => self.copy_to_stay("copy", value, tasks),
        }
    }

    /// A value as a matrix: where it lies, or a copy if it does not lie as one.
    pub fn operand(&mut self, value: Value, tasks: &mut Vec<Task<'a>>) -> Matrix {
        let view = self.materialise(value, tasks);
        if let Some(matrix) = view.matrix() {
            return matrix;
        }
        let dense = self.whole("dense", value);
        let stride = dense.shape.last().copied().unwrap_or(1);
        let at = dense.start();
        tasks.push(Task::copy(value, dense));
        Matrix { at, stride }
    }
}
