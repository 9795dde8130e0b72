//! Where workers wait for each other: before an item that touches what another worker may still be touching.
//!
//! Items are walked in order with the accesses since the last barrier in hand. Two accesses to overlapping memory, one
//! of them a write, need a barrier between them, unless both items are cut so that each worker touches the same rows of
//! the same buffer in both, or the buffer has a part for each round of a loop and they touch the parts of two rounds. A
//! loop's body is walked until its last items' accesses, seen from its first items, add no barrier: the back edge.

use super::apart::{RoundPart, RowWise};
use super::partition;
use super::pending::{Pending, Touch};
use super::{Program, Scheduled, Split, units, worker_range};
use crate::kernel::access::{Access, COLUMNS, DEPTH, PARTS, ROWS, UNITS};
use crate::kernel::{Axis, Item, Module, TimeLoop};
use crate::target::{Partition, Target};

/// The schedule of these items, the prologue's or a step's: each with its cut, and the barriers.
pub(super) fn schedule(
    module: &Module,
    items: &[Item],
    offsets: &[usize],
    target: &Target,
) -> Vec<Scheduled> {
    let scheduler = Scheduler { module, offsets, target, workers: target.workers };
    let mut pending = Pending::default();
    scheduler.walk(items, None, &mut pending, &mut vec![false; items.len()])
}

/// Whether every item of a schedule waits where [`schedule`] would have it wait, cut as it is.
pub(super) fn check(program: &Program) -> Result<(), String> {
    let Program { module, target, offsets, .. } = program;
    let scheduler = Scheduler { module, offsets, target, workers: target.workers };
    for (items, scheduled) in [(&module.prologue, &program.prologue), (&module.items, &program.schedule)] {
        scheduler.check(items, scheduled, false, &mut Pending::default())?;
    }
    Ok(())
}

/// The time loop around items.
#[derive(Clone, Copy)]
struct Around<'a> {
    inner: &'a TimeLoop,
    /// How each item is cut; nothing for a loop.
    splits: &'a [Option<Split>],
}

impl Around<'_> {
    fn split(&self, index: usize) -> Split {
        self.splits[index].expect("an item that is no loop")
    }
}

/// Whether workers wait for each other before this or within it.
fn waits(scheduled: &Scheduled) -> bool {
    matches!(scheduled, Scheduled::Barrier | Scheduled::Item { split: Split::Terms(_), .. })
}

struct Scheduler<'a> {
    module: &'a Module,
    offsets: &'a [usize],
    target: &'a Target,
    workers: usize,
}

impl Scheduler<'_> {
    /// How the items of a time loop are cut.
    fn splits(&self, inner: &TimeLoop) -> Vec<Option<Split>> {
        let of_items = |split: &dyn Fn(&Item) -> Split| {
            let of_item = |item: &Item| (!matches!(item, Item::Loop(_))).then(|| split(item));
            inner.items.iter().map(of_item).collect()
        };
        match &self.target.partition {
            Partition::Ranges(ranges) => of_items(&|item| partition::of(item, self.target, ranges, true)),
            Partition::Grid(grid) => {
                let by_units = |count| {
                    of_items(&|item| {
                        units::split(item, count, &|a, b| units::overlap(self.module, self.offsets, a, b))
                    })
                };
                let barriers = |splits: &[Option<Split>]| {
                    let body = self.body(Around { inner, splits }, &mut Pending::default());
                    body.iter().filter(|scheduled| waits(scheduled)).count()
                };
                units::best(inner, grid, by_units, barriers)
            }
        }
    }

    /// How an item outside time loops is cut.
    fn split(&self, item: &Item) -> Split {
        match &self.target.partition {
            Partition::Ranges(ranges) => partition::of(item, self.target, ranges, false),
            Partition::Grid(_) => Split::Any,
        }
    }

    /// The body of a loop, which is walked again from what its end leaves.
    fn body(&self, around: Around<'_>, pending: &mut Pending) -> Vec<Scheduled> {
        let inner = around.inner;
        let mut barrier_before = vec![false; inner.items.len()];
        let scheduled = self.walk(&inner.items, Some(around), pending, &mut barrier_before);
        if self.alone() {
            return scheduled;
        }
        loop {
            let known = barrier_before.clone();
            pending.next_round(inner.time);
            let scheduled = self.walk(&inner.items, Some(around), pending, &mut barrier_before);
            if known == barrier_before {
                return scheduled;
            }
        }
    }

    fn walk(
        &self,
        items: &[Item],
        around: Option<Around<'_>>,
        pending: &mut Pending,
        barrier_before: &mut [bool],
    ) -> Vec<Scheduled> {
        let mut scheduled = vec![];
        for (index, (item, barrier)) in items.iter().zip(barrier_before).enumerate() {
            if let Item::Loop(inner) = item {
                let splits = self.splits(inner);
                let inside = Around { inner, splits: &splits };
                // What the loop must wait for once is waited for before it, not in every round.
                let touches: Vec<Touch> = self.touches_of(inner, &splits);
                *barrier |= self.must_wait(pending, &touches, false);
                if *barrier {
                    pending.clear();
                }
                let body = self.body(inside, pending);
                // A body that begins with waiting does so in its first round too.
                if *barrier && (inner.rounds == 0 || body.first() != Some(&Scheduled::Barrier)) {
                    scheduled.push(Scheduled::Barrier);
                }
                scheduled.push(Scheduled::Loop { index, body });
                continue;
            }
            let split = around.map_or_else(|| self.split(item), |around| around.split(index));
            let touches = self.touches(item, split);
            *barrier |= self.must_wait(pending, &touches, around.is_some_and(|around| around.inner.reverse));
            if *barrier {
                pending.clear();
                scheduled.push(Scheduled::Barrier);
            }
            self.done(split, touches, pending);
            scheduled.push(Scheduled::Item { index, split });
        }
        scheduled
    }

    /// [`Scheduler::walk`] of a schedule as it is. `reverse` says that the rounds of the loop around go down.
    fn check(
        &self,
        items: &[Item],
        schedule: &[Scheduled],
        reverse: bool,
        pending: &mut Pending,
    ) -> Result<(), String> {
        for scheduled in schedule {
            match scheduled {
                Scheduled::Barrier => pending.clear(),
                Scheduled::Item { index, split } => {
                    let item = &items[*index];
                    let touches = self.touches(item, *split);
                    if self.must_wait(pending, &touches, reverse) {
                        return Err(format!("item {index} does not wait for others that touch the same"));
                    }
                    self.done(*split, touches, pending);
                }
                Scheduled::Loop { index, body } => {
                    let Item::Loop(inner) = &items[*index] else { continue };
                    self.check(&inner.items, body, inner.reverse, pending)?;
                    pending.next_round(inner.time);
                    self.check(&inner.items, body, inner.reverse, pending)?;
                }
            }
        }
        Ok(())
    }

    /// Adds what an item touches that is cut so.
    fn done(&self, split: Split, touches: Vec<Touch>, pending: &mut Pending) {
        let terms = matches!(split, Split::Terms(_));
        if terms {
            // Within the item all wait for each other, and only write C after that.
            pending.clear();
        }
        touches.into_iter().filter(|touch| !terms || touch.writes).for_each(|touch| pending.add(touch));
    }

    /// What the items of a loop touch.
    fn touches_of(&self, inner: &TimeLoop, splits: &[Option<Split>]) -> Vec<Touch> {
        let of_item = |(item, split): (&Item, &Option<Split>)| match (item, split) {
            (Item::Loop(inner), _) => self.touches_of(inner, &self.splits(inner)),
            (_, Some(split)) => self.touches(item, *split),
            (_, None) => unreachable!("internal error: an item without a cut"),
        };
        inner.items.iter().zip(splits).flat_map(of_item).collect()
    }

    fn must_wait(&self, pending: &Pending, touches: &[Touch], reverse: bool) -> bool {
        touches.iter().any(|later| pending.must_wait(later, reverse))
    }

    /// A single worker never waits. The time loops of a GPU are planned as for several CTAs however few there are, since how they
    /// are cut fixes the bits of sums.
    fn alone(&self) -> bool {
        self.workers == 1 && matches!(self.target.partition, Partition::Ranges(_))
    }

    /// What an item touches that is cut so.
    fn touches(&self, item: &Item, split: Split) -> Vec<Touch> {
        if self.alone() {
            return vec![];
        }
        let cuts = self.cuts(item, split);
        let mut found = vec![];
        item.each_access(&mut |access| {
            let access = match split {
                Split::Units(units) => access.by_unit(COLUMNS, units),
                Split::Terms(units) if access.effect.writes() => access.by_unit(COLUMNS, units),
                Split::Terms(units) => access.by_unit(DEPTH, units),
                _ => access,
            };
            found.push(self.touch(&access, split, &cuts));
        });
        found
    }

    /// The axes of an item's accesses of which each worker has a range, and where the ranges begin and end. An axis that
    /// is not here says nothing of who touches what.
    fn cuts(&self, item: &Item, split: Split) -> Vec<(Axis, Vec<usize>)> {
        let grain = self.target.column_grain;
        match (item, split) {
            (Item::Kernel(kernel), Split::Axis(axis)) => {
                let grain = split.grain(kernel.is_vector_axis(axis), grain);
                vec![(axis, self.ends(kernel.axes[axis.0 as usize], grain))]
            }
            // With a prefix only the rows of the prefix are shared out, and how many these are is not known here.
            (Item::Gemm(gemm), Split::Rows) if gemm.prefix.is_none() && gemm.parts == 1 => {
                vec![(ROWS, self.ends(gemm.m, 1))]
            }
            (Item::Gemm(gemm), Split::Columns) => vec![(COLUMNS, self.ends(gemm.n, grain))],
            (Item::Gemm(_), Split::Units(units) | Split::Terms(units)) => vec![(UNITS, self.ends(units, 1))],
            (Item::Gemm(gemm), Split::Parts) => {
                let parts = self.ends(gemm.parts, 1);
                let deep = parts.iter().map(|&part| gemm.part(part).start).collect();
                vec![(PARTS, parts), (DEPTH, deep)]
            }
            _ => vec![],
        }
    }

    /// Where the workers' shares of an extent begin, and where the last one ends.
    fn ends(&self, extent: usize, grain: usize) -> Vec<usize> {
        let ends = (0..self.workers).map(|worker| worker_range(extent, worker, self.workers, grain).end);
        [0].into_iter().chain(ends).collect()
    }

    fn touch(&self, access: &Access<'_>, split: Split, cuts: &[(Axis, Vec<usize>)]) -> Touch {
        let buffer = access.buffer();
        let start = self.offsets[buffer.0 as usize];
        Touch {
            start,
            end: start + self.module.buffer(buffer).len() * 4,
            writes: access.effect.writes(),
            whole: split == Split::Whole,
            rows: cuts.iter().find_map(|(axis, ends)| RowWise::of(access, *axis, ends)),
            part: RoundPart::of(access),
            earlier_round: false,
        }
    }
}
