//! Where workers wait for each other: before an item that touches what another worker may still be touching.
//!
//! Items are walked in order with the accesses since the last barrier in hand. Two accesses to overlapping memory, one
//! of them a write, need a barrier between them, unless both items are cut so that each worker touches the same rows of
//! the same buffer in both. A loop's body is walked until its last items' accesses, seen from its first items, add no
//! barrier: the back edge.

use super::access::{self, Access, RowWise};
use super::partition;
use super::{Split, Step};
use crate::kernel::{Axis, BufferId, Form, Item, Kernel, Module, Time};

/// What one item touches: a byte range of the arena, and how it is cut.
#[derive(Clone, Debug, PartialEq)]
struct Touch {
    start: usize,
    end: usize,
    writes: bool,
    /// Worker 0 does all of the item.
    whole: bool,
    rows: Option<RowWise>,
}

impl Touch {
    fn needs_barrier_before(&self, later: &Touch) -> bool {
        let apart = self.end <= later.start || later.end <= self.start;
        let same_worker = (self.whole && later.whole)
            || (self.start == later.start && self.rows.is_some() && self.rows == later.rows);
        (self.writes || later.writes) && !apart && !same_worker
    }
}

/// The schedule of the prologue or a step: every item with its cut, and the barriers.
pub(super) fn schedule(module: &Module, items: &[Item], offsets: &[usize], workers: usize) -> Vec<Step> {
    let scheduler = Scheduler { module, offsets, workers };
    let mut pending = vec![];
    scheduler.region(items, None, &mut pending)
}

struct Scheduler<'a> {
    module: &'a Module,
    offsets: &'a [usize],
    workers: usize,
}

impl Scheduler<'_> {
    fn region(&self, items: &[Item], time: Option<Time>, pending: &mut Vec<Touch>) -> Vec<Step> {
        let mut barrier_before = vec![false; items.len()];
        let mut steps = self.walk(items, time, pending, &mut barrier_before);
        // Outside loops one walk is enough; a loop's body is walked again from what its end leaves.
        while time.is_some() {
            let known = barrier_before.clone();
            steps = self.walk(items, time, pending, &mut barrier_before);
            if known == barrier_before {
                break;
            }
        }
        steps
    }

    fn walk(
        &self,
        items: &[Item],
        time: Option<Time>,
        pending: &mut Vec<Touch>,
        barrier_before: &mut [bool],
    ) -> Vec<Step> {
        let mut steps = vec![];
        for (item, barrier) in items.iter().zip(barrier_before) {
            if let Item::Loop(inner) = item {
                // What the loop must wait for once is waited for before it, not in every round.
                let touches: Vec<Touch> =
                    inner.items.iter().flat_map(|item| self.item(item, true).1).collect();
                *barrier |= self.must_wait(pending, &touches);
                if *barrier {
                    pending.clear();
                }
                let body = self.region(&inner.items, Some(inner.time), pending);
                // A body that begins with waiting does so in its first round too.
                if *barrier && (inner.steps == 0 || body.first() != Some(&Step::Barrier)) {
                    steps.push(Step::Barrier);
                }
                steps.push(Step::Loop { time: inner.time, steps: inner.steps, reverse: inner.reverse, body });
                continue;
            }
            let (step, touches) = self.item(item, time.is_some());
            *barrier |= self.must_wait(pending, &touches);
            if *barrier {
                pending.clear();
                steps.push(Step::Barrier);
            }
            for touch in touches {
                if !pending.contains(&touch) {
                    pending.push(touch);
                }
            }
            steps.push(step);
        }
        steps
    }

    fn must_wait(&self, pending: &[Touch], touches: &[Touch]) -> bool {
        let waits = |later: &Touch| pending.iter().any(|earlier| earlier.needs_barrier_before(later));
        self.workers > 1 && touches.iter().any(waits)
    }

    fn item(&self, item: &Item, in_loop: bool) -> (Step, Vec<Touch>) {
        match item {
            Item::Kernel(kernel) => {
                let split = partition::of_kernel(kernel, self.workers);
                (Step::Kernel(kernel.clone(), split), self.kernel(kernel, split))
            }
            Item::Gemm(gemm) => {
                let split = partition::of_gemm(gemm, self.workers, in_loop);
                // How many rows of the first ones a worker has is known when they are counted. And who computes a column
                // is known only when all workers are done.
                let cut = (split == Split::Rows && gemm.prefix.is_none()).then_some((Axis(0), 1));
                let left = access::of_matrix(&gemm.a, gemm.m, gemm.k, false);
                let result = access::of_matrix(&gemm.c, gemm.m, gemm.n, true);
                let whole = split == Split::Whole;
                let mut touches = vec![
                    self.touch(&left, whole, cut.filter(|_| gemm.form != Form::TN)),
                    self.all(gemm.b.at.buffer, false, whole),
                    self.touch(&result, whole, cut),
                ];
                touches.extend(gemm.prefix.as_ref().map(|at| self.all(at.buffer, false, whole)));
                touches.extend(gemm.riders().map(|at| self.all(at.buffer, true, whole)));
                (Step::Gemm(gemm.clone(), split), touches)
            }
            Item::Pack(pack) => {
                let split = self.columns();
                let whole = split == Split::Whole;
                let touches = vec![self.all(pack.b.at.buffer, false, whole), self.all(pack.to, true, whole)];
                (Step::Pack(pack.clone(), split), touches)
            }
            Item::Scatter(scatter) => {
                let split = self.columns();
                let whole = split == Split::Whole;
                let touches = vec![
                    self.all(scatter.ids.buffer, false, whole),
                    self.all(scatter.g.at.buffer, false, whole),
                    self.all(scatter.table, true, whole),
                ];
                (Step::Scatter(scatter.clone(), split), touches)
            }
            Item::Distinct(distinct) => {
                let results = distinct.results();
                let mut touches = vec![self.all(distinct.ids.buffer, false, true)];
                touches.extend(results.iter().map(|&(buffer, _)| self.all(buffer, true, true)));
                (Step::Distinct(distinct.clone()), touches)
            }
            Item::Loop(_) => unreachable!("internal error: loops are walked, not scheduled as items"),
        }
    }

    fn columns(&self) -> Split {
        if self.workers > 1 { Split::Columns } else { Split::Whole }
    }

    fn kernel(&self, kernel: &Kernel, split: Split) -> Vec<Touch> {
        let axis = match split {
            Split::Axis(axis) => Some(axis),
            _ => None,
        };
        let cut = axis.map(|axis| (axis, split.grain(kernel.is_vector_axis(axis))));
        let accesses = access::of_kernel(kernel);
        accesses.iter().map(|access| self.touch(access, split == Split::Whole, cut)).collect()
    }

    /// `cut` is the axis along which the item is cut, and the grain.
    fn touch(&self, access: &Access, whole: bool, cut: Option<(Axis, usize)>) -> Touch {
        let rows = cut.and_then(|(axis, grain)| access.row_wise(axis, grain));
        Touch { rows, ..self.all(access.address.buffer, access.writes, whole) }
    }

    fn all(&self, buffer: BufferId, writes: bool, whole: bool) -> Touch {
        let start = self.offsets[buffer.0 as usize];
        let end = start + self.module.buffer(buffer).len() * 4;
        Touch { start, end, writes, whole, rows: None }
    }
}
