//! Where workers wait for each other: before an item that touches what another worker may still be touching.
//!
//! Items are walked in order with the accesses since the last barrier in hand. Two accesses to overlapping memory, one
//! of them a write, need a barrier between them, unless both items are cut so that each worker touches the same rows of
//! the same buffer in both, or the buffer has a part for each round of a loop and they touch the parts of two rounds. A
//! loop's body is walked until its last items' accesses, seen from its first items, add no barrier: the back edge.

use super::access::{self, Access};
use super::partition;
use super::pending::{Pending, Touch};
use super::{Split, Step, share};
use crate::kernel::{Axis, BufferId, Form, Gemm, Item, Kernel, Module, TimeLoop};
use crate::target::Target;

/// The schedule of the prologue or a step: every item with its cut, and the barriers.
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
        for (item, barrier) in items.iter().zip(barrier_before) {
            if let Item::Loop(inner) = item {
                // What the loop must wait for once is waited for before it, not in every round.
                let touches: Vec<Touch> =
                    inner.items.iter().flat_map(|item| self.item(item, true).1).collect();
                *barrier |= self.must_wait(pending, &touches, false);
                if *barrier {
                    pending.clear();
                }
                let body = self.body(inner, pending);
                // A body that begins with waiting does so in its first round too.
                if *barrier && (inner.steps == 0 || body.first() != Some(&Step::Barrier)) {
                    steps.push(Step::Barrier);
                }
                steps.push(Step::Loop { time: inner.time, steps: inner.steps, reverse: inner.reverse, body });
                continue;
            }
            let (step, touches) = self.item(item, around.is_some());
            *barrier |= self.must_wait(pending, &touches, around.is_some_and(|around| around.reverse));
            if *barrier {
                pending.clear();
                steps.push(Step::Barrier);
            }
            if self.workers > 1 {
                touches.into_iter().for_each(|touch| pending.add(touch));
            }
            steps.push(step);
        }
        steps
    }

    fn must_wait(&self, pending: &Pending, touches: &[Touch], reverse: bool) -> bool {
        self.workers > 1 && touches.iter().any(|later| pending.must_wait(later, reverse))
    }

    fn item(&self, item: &Item, in_loop: bool) -> (Step, Vec<Touch>) {
        match item {
            Item::Kernel(kernel) => {
                let split = partition::of_kernel(kernel, self.target);
                (Step::Kernel(kernel.clone(), split), self.kernel(kernel, split))
            }
            Item::Gemm(gemm) => {
                let split = partition::of_gemm(gemm, self.target, in_loop);
                let whole = split == Split::Whole;
                let mut touches = self.operands(gemm, split);
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

    /// A, B and C of a product.
    fn operands(&self, gemm: &Gemm, split: Split) -> Vec<Touch> {
        let (m, n, k) = (gemm.m, gemm.n, gemm.k);
        let (row, column) = (Axis(0), Axis(1));
        // Of each: along which of its axes it is cut, and where.
        let (a_cut, b_cut, c_cut) = match split {
            // How many rows of the first ones a worker has is known when they are counted.
            Split::Rows if gemm.prefix.is_none() && gemm.cpu.parts == 1 => {
                let rows = self.cuts(m, 1);
                let of_a = if gemm.form == Form::TN { column } else { row };
                (Some((of_a, rows.clone())), None, Some((row, rows)))
            }
            Split::Columns => {
                let columns = self.cuts(n, self.target.column_grain);
                let of_b = if gemm.form == Form::NT { row } else { column };
                (None, Some((of_b, columns.clone())), Some((column, columns)))
            }
            Split::Parts => {
                let parts = self.cuts(gemm.cpu.parts, 1);
                let deep: Vec<usize> = parts.iter().map(|&part| gemm.part(part).start).collect();
                let rows = parts.iter().map(|&part| part * m).collect();
                (Some((column, deep.clone())), Some((row, deep)), Some((row, rows)))
            }
            _ => (None, None, None),
        };
        let [a_rows, a_columns] = if gemm.form == Form::TN { [k, m] } else { [m, k] };
        let [b_rows, b_columns] = if gemm.form == Form::NT { [n, k] } else { [k, n] };
        let whole = split == Split::Whole;
        let a = access::of_matrix(&gemm.a, a_rows, a_columns, false);
        let b = access::of_matrix(&gemm.b, b_rows, b_columns, false);
        let c = access::of_matrix(&gemm.c, gemm.cpu.parts * m, n, true);
        vec![
            self.touch(&a, whole, a_cut),
            match gemm.cpu.packed {
                Some(_) => self.all(gemm.b.at.buffer, false, whole),
                None => self.touch(&b, whole, b_cut),
            },
            self.touch(&c, whole, c_cut),
        ]
    }

    /// Where the workers' shares of an extent begin, and where the last one ends.
    fn cuts(&self, extent: usize, grain: usize) -> Vec<usize> {
        let ends = (0..self.workers).map(|worker| share(extent, worker, self.workers, grain).end);
        [0].into_iter().chain(ends).collect()
    }

    fn columns(&self) -> Split {
        if self.workers > 1 { Split::Columns } else { Split::Whole }
    }

    fn kernel(&self, kernel: &Kernel, split: Split) -> Vec<Touch> {
        let axis = match split {
            Split::Axis(axis) => Some(axis),
            _ => None,
        };
        let cut = axis.map(|axis| {
            let grain = split.grain(kernel.is_vector_axis(axis));
            (axis, self.cuts(kernel.axes[axis.0 as usize], grain))
        });
        let accesses = access::of_kernel(kernel);
        accesses.iter().map(|access| self.touch(access, split == Split::Whole, cut.clone())).collect()
    }

    /// `cut` is the axis along which the item is cut, and where.
    fn touch(&self, access: &Access, whole: bool, cut: Option<(Axis, Vec<usize>)>) -> Touch {
        let rows = cut.and_then(|(axis, cuts)| access.row_wise(axis, cuts));
        Touch { rows, slot: access.slot(), ..self.all(access.address.buffer, access.writes, whole) }
    }

    fn all(&self, buffer: BufferId, writes: bool, whole: bool) -> Touch {
        let start = self.offsets[buffer.0 as usize];
        let end = start + self.module.buffer(buffer).len() * 4;
        Touch { start, end, writes, whole, rows: None, slot: None, earlier_round: false }
    }
}
