//! Where workers wait for each other: before an item that touches what another worker may still be touching.
//!
//! Items are walked in order with the accesses since the last barrier in hand. Two accesses to overlapping memory, one
//! of them a write, need a barrier between them, unless both items are cut so that each worker touches the same rows of
//! the same buffer in both, or the buffer has a part for each round of a loop and they touch the parts of two rounds. A
//! loop's body is walked until its last items' accesses, seen from its first items, add no barrier: the back edge.

use super::apart::{RoundPart, RowWise};
use super::partition;
use super::pending::{Pending, Touch};
use super::{Split, Step, share};
use crate::kernel::access::{Access, COLUMNS, DEPTH, PARTS, ROWS};
use crate::kernel::{Axis, Item, Module, TimeLoop};
use crate::target::Target;

/// The schedule of these items, the prologue's or a step's: each with its cut, and the barriers.
pub(super) fn schedule(module: &Module, items: &[Item], offsets: &[usize], target: &Target) -> Vec<Step> {
    let scheduler = Scheduler { module, offsets, target, workers: target.workers };
    let mut pending = Pending::default();
    scheduler.walk(items, None, &mut pending, &mut vec![false; items.len()])
}

struct Scheduler<'a> {
    module: &'a Module,
    offsets: &'a [usize],
    target: &'a Target,
    workers: usize,
}

impl Scheduler<'_> {
    /// The body of a loop, which is walked again from what its end leaves.
    fn body(&self, inner: &TimeLoop, pending: &mut Pending) -> Vec<Step> {
        let mut barrier_before = vec![false; inner.items.len()];
        let steps = self.walk(&inner.items, Some(inner), pending, &mut barrier_before);
        if self.workers == 1 {
            return steps;
        }
        loop {
            let known = barrier_before.clone();
            pending.next_round(inner.time);
            let steps = self.walk(&inner.items, Some(inner), pending, &mut barrier_before);
            if known == barrier_before {
                return steps;
            }
        }
    }

    fn walk(
        &self,
        items: &[Item],
        around: Option<&TimeLoop>,
        pending: &mut Pending,
        barrier_before: &mut [bool],
    ) -> Vec<Step> {
        let mut steps = vec![];
        for (index, (item, barrier)) in items.iter().zip(barrier_before).enumerate() {
            if let Item::Loop(inner) = item {
                // What the loop must wait for once is waited for before it, not in every round.
                let touches: Vec<Touch> = inner
                    .items
                    .iter()
                    .flat_map(|item| self.touches(item, partition::of(item, self.target, true)))
                    .collect();
                *barrier |= self.must_wait(pending, &touches, false);
                if *barrier {
                    pending.clear();
                }
                let body = self.body(inner, pending);
                // A body that begins with waiting does so in its first round too.
                if *barrier && (inner.steps == 0 || body.first() != Some(&Step::Barrier)) {
                    steps.push(Step::Barrier);
                }
                steps.push(Step::Loop { index, body });
                continue;
            }
            let split = partition::of(item, self.target, around.is_some());
            let touches = self.touches(item, split);
            *barrier |= self.must_wait(pending, &touches, around.is_some_and(|around| around.reverse));
            if *barrier {
                pending.clear();
                steps.push(Step::Barrier);
            }
            touches.into_iter().for_each(|touch| pending.add(touch));
            steps.push(Step::Item { index, split });
        }
        steps
    }

    fn must_wait(&self, pending: &Pending, touches: &[Touch], reverse: bool) -> bool {
        touches.iter().any(|later| pending.must_wait(later, reverse))
    }

    /// What an item touches that is cut so. A single worker never waits.
    fn touches(&self, item: &Item, split: Split) -> Vec<Touch> {
        if self.workers == 1 {
            return vec![];
        }
        let cuts = self.cuts(item, split);
        let mut found = vec![];
        item.each_access(&mut |access| found.push(self.touch(&access, split, &cuts)));
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
        let ends = (0..self.workers).map(|worker| share(extent, worker, self.workers, grain).end);
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
