//! What each worker does, in order: a schedule, which refers to a module's items by index, and its tasks, which have
//! the items.
//!
//! An index counts in the list of items around it: a module's prologue, its items, or those of a time loop. Items are
//! kept in the module alone. [`super::verify`] checks that a schedule has each item of its list once and in order; what
//! is said here of a schedule holds after that.

use std::ops::Range;

use super::{Program, Split};
use crate::kernel::{Distinct, Exchange, Gemm, Item, Kernel, Pack, Rounds, Scatter, TimeLoop};

/// What each worker does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Scheduled {
    /// An item that is not a loop. Worker 0 does all of a [`Distinct`] and of an [`Exchange`], which are [`Split::Whole`].
    Item { index: usize, split: Split },
    /// A time loop, and a round of it.
    Loop { index: usize, body: Vec<Scheduled> },
    /// Every worker waits until all have come here.
    Barrier,
}

/// What is scheduled, with its item.
#[derive(Clone, Copy, Debug)]
pub enum Task<'p> {
    Kernel(&'p Kernel, Split),
    Gemm(&'p Gemm, Split),
    Pack(&'p Pack, Split),
    Scatter(&'p Scatter, Split),
    Distinct(&'p Distinct),
    Exchange(&'p Exchange),
    /// A time loop and its body.
    Loop(&'p TimeLoop, Schedule<'p>),
    Barrier,
}

/// A schedule and the list of items that it refers to.
#[derive(Clone, Copy, Debug)]
pub struct Schedule<'p> {
    items: &'p [Item],
    scheduled: &'p [Scheduled],
}

impl<'p> Schedule<'p> {
    pub(super) fn new(items: &'p [Item], scheduled: &'p [Scheduled]) -> Self {
        Self { items, scheduled }
    }

    pub fn len(self) -> usize {
        self.scheduled.len()
    }

    pub fn is_empty(self) -> bool {
        self.scheduled.is_empty()
    }

    /// A part of it.
    pub fn slice(self, range: Range<usize>) -> Self {
        Self { scheduled: &self.scheduled[range], ..self }
    }

    /// What is done, in order.
    pub fn tasks(self) -> impl Iterator<Item = Task<'p>> {
        self.scheduled.iter().map(move |scheduled| self.task(scheduled))
    }

    /// How many [`leaves`](Program::leaves) it has.
    pub fn count_leaves(self) -> usize {
        let count = |task| match task {
            Task::Loop(inner, _) if inner.rounds == 0 => 0,
            Task::Loop(_, body) => body.count_leaves(),
            _ => 1,
        };
        self.tasks().map(count).sum()
    }

    fn task(self, scheduled: &'p Scheduled) -> Task<'p> {
        match *scheduled {
            Scheduled::Item { index, split } => match &self.items[index] {
                Item::Kernel(kernel) => Task::Kernel(kernel, split),
                Item::Gemm(gemm) => Task::Gemm(gemm, split),
                Item::Pack(pack) => Task::Pack(pack, split),
                Item::Scatter(scatter) => Task::Scatter(scatter, split),
                Item::Distinct(distinct) => Task::Distinct(distinct),
                Item::Exchange(exchange) => Task::Exchange(exchange),
                Item::Loop(_) => unreachable!("internal error: a loop is scheduled as a single item"),
            },
            Scheduled::Loop { index, ref body } => match &self.items[index] {
                Item::Loop(inner) => Task::Loop(inner, Schedule::new(&inner.items, body)),
                _ => unreachable!("internal error: an item that is not a loop is scheduled as one"),
            },
            Scheduled::Barrier => Task::Barrier,
        }
    }
}

/// A task that is not a loop, where it stands in a schedule.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'p> {
    pub task: Task<'p>,
    /// How often it has something to do each time that the schedule runs.
    pub rounds: usize,
    pub in_loop: bool,
}

impl Program {
    /// What is done once before the steps of a run.
    pub fn prologue_schedule(&self) -> Schedule<'_> {
        Schedule::new(&self.module.prologue, &self.prologue)
    }

    /// What is done in each step of a run.
    pub fn step_schedule(&self) -> Schedule<'_> {
        Schedule::new(&self.module.items, &self.schedule)
    }

    /// The tasks of the schedule that are not loops, in order, without those of loops of no rounds. A leaf's number is its
    /// place here.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        fn collect<'p>(schedule: Schedule<'p>, rounds: usize, in_loop: bool, found: &mut Vec<Leaf<'p>>) {
            for task in schedule.tasks() {
                match task {
                    Task::Loop(inner, _) if inner.rounds == 0 => {}
                    Task::Loop(inner, body) => collect(body, rounds * inner.rounds, true, found),
                    _ => {
                        let idle = matches!(task, Task::Gemm(gemm, _) if gemm.rounds != Rounds::All);
                        found.push(Leaf { task, rounds: rounds - usize::from(idle), in_loop });
                    }
                }
            }
        }
        let mut found = Vec::new();
        collect(self.step_schedule(), 1, false, &mut found);
        found
    }
}
