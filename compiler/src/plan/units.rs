//! How a time loop is cut by unit, where the workers are the CTAs of a GPU.
//!
//! A layer's hidden units are computed each from its own columns of a few matrices, of all its gates say, and the layer's whole
//! state of the round before. So each worker keeps a range of units through all rounds: in a kernel the iterations with these
//! positions on one of its axes, in a product the columns of C that belong to them. Then workers meet only where the whole state
//! is read, once a round in most cells.
//!
//! What cannot be cut so is shared out freely, and waited for before and after.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Split, Task};
use crate::kernel::{
    Axis, BufferId, Expr, Form, Gemm, Item, Kernel, Module, Rounds, Stmt, TimeLoop, each_stmt,
};
use crate::target::Grid;

/// The parallel loops around all that a kernel does, whose iterations may be done in any order and by any worker.
#[derive(Debug)]
pub struct SharedLoops<'k> {
    /// What stands before the loop of each axis, within the loops before it: definitions, which each
    /// iteration may make again.
    pub before: Vec<&'k [Stmt]>,
    /// Outermost first.
    pub axes: Vec<Axis>,
    /// What one iteration of them all does.
    pub body: &'k [Stmt],
}

/// The loops of a kernel whose iterations are shared out. `overlap` says whether two buffers have bytes in common.
pub fn shared_loops<'k>(kernel: &'k Kernel, overlap: &dyn Fn(BufferId, BufferId) -> bool) -> SharedLoops<'k> {
    let stored: Vec<BufferId> = kernel.stored().into_iter().collect();
    let overwritten = |lets: &[Stmt]| {
        let mut found = false;
        each_stmt(lets, &mut |stmt| {
            if let Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } = stmt {
                found |= stored.iter().any(|&other| overlap(at.buffer, other));
            }
        });
        found
    };
    let mut loops = SharedLoops { before: vec![], axes: vec![], body: &kernel.body };
    while let [lets @ .., Stmt::For(inner)] = loops.body {
        let free = inner.parallel && inner.folds.is_empty();
        let plain = lets.iter().all(|stmt| matches!(stmt, Stmt::Let { .. }));
        if !free || !plain || overwritten(lets) {
            break;
        }
        loops.before.push(lets);
        loops.axes.push(inner.axis);
        loops.body = &inner.body;
    }
    loops
}

/// Whether two buffers have bytes in common, where they lie at these offsets in the arena.
pub fn overlap(module: &Module, offsets: &[usize], a: BufferId, b: BufferId) -> bool {
    let bytes = |id: BufferId| {
        let start = offsets[id.0 as usize];
        (start, start + 4 * module.buffer(id).len())
    };
    let ((a_start, a_end), (b_start, b_end)) = (bytes(a), bytes(b));
    a_start < b_end && b_start < a_end
}

/// Of how many units each worker may keep its own: the extents of loops of the kernels, and the widths of products.
fn candidates(inner: &TimeLoop) -> Vec<usize> {
    let mut found = BTreeSet::new();
    for item in &inner.items {
        match item {
            Item::Kernel(kernel) => {
                let loops = shared_loops(kernel, &|_, _| false);
                found.extend(loops.axes.iter().map(|axis| kernel.axes[axis.0 as usize]));
            }
            Item::Gemm(gemm) => _ = found.insert(gemm.n),
            _ => {}
        }
    }
    found.into_iter().filter(|&units| units > 0).collect()
}

/// The best way to cut a loop's items. `by_units` cuts them by so many units, and `barriers` says how many barriers a round has
/// then.
///
/// Of those with the fewest barriers it is the one with the most units. A product of which nothing else keeps to its units has
/// each column as one, so that no worker has none. Where A is long and C is not, partial sums travel.
pub(super) fn best(
    inner: &TimeLoop,
    grid: &Grid,
    by_units: impl Fn(usize) -> Vec<Option<Split>>,
    barriers: impl Fn(&[Option<Split>]) -> usize,
) -> Vec<Option<Split>> {
    let ways = candidates(inner).into_iter().map(|count| (count, by_units(count)));
    let best = ways.min_by_key(|(count, splits)| (barriers(splits), Reverse(*count)));
    let Some((count, mut best)) = best else { return by_units(1) };
    for (index, item) in inner.items.iter().enumerate() {
        let Item::Gemm(gemm) = item else { continue };
        let is_long = 4 * gemm.m * gemm.k >= grid.partial_sums && gemm.k >= 2 * gemm.n;
        let terms = (is_long && can_have_terms(gemm, count)).then_some(Split::Terms(count));
        for other in [Some(Split::Units(gemm.n)), terms].into_iter().flatten() {
            if best[index] == Some(Split::Units(count)) {
                let mut changed = best.clone();
                changed[index] = Some(other);
                best = if barriers(&changed) <= barriers(&best) { changed } else { best };
            }
        }
    }
    best
}

/// How an item of a loop that is cut by so many units is cut, but for a loop inside.
pub(super) fn split(item: &Item, units: usize, overlap: &dyn Fn(BufferId, BufferId) -> bool) -> Split {
    match item {
        Item::Kernel(kernel) => {
            let loops = shared_loops(kernel, overlap);
            let is_unit =
                |axis: &&Axis| kernel.axes[axis.0 as usize] == units && kernel.check_cut(**axis).is_ok();
            loops.axes.iter().rev().find(is_unit).map_or(Split::Any, |&axis| Split::Axis(axis))
        }
        Item::Gemm(gemm) if can_have(gemm, units) => Split::Units(units),
        Item::Gemm(_) | Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => {
            Split::Any
        }
        Item::Loop(_) => unreachable!("internal error: a time loop is cut"),
    }
}

/// Whether the columns of a product can be cut by unit.
pub(super) fn can_have(gemm: &Gemm, units: usize) -> bool {
    units > 0
        && gemm.n.is_multiple_of(units)
        && gemm.parts == 1
        && gemm.prefix.is_none()
        && gemm.fused_sums().next().is_none()
}

/// Whether the contraction of a product can be cut by unit, so that partial sums of C travel.
pub(super) fn can_have_terms(gemm: &Gemm, units: usize) -> bool {
    can_have(gemm, units)
        && gemm.k.is_multiple_of(units)
        && gemm.form != Form::TN
        && gemm.rounds != Rounds::AfterFirst
}

/// Why a task is cut as it is, in a time loop of a plan for a GPU.
pub fn reason_in_loop(task: Task<'_>) -> &'static str {
    match task {
        Task::Kernel(_, Split::Axis(_)) => "a CTA keeps its units through the loop",
        Task::Gemm(_, Split::Units(_)) => "a CTA computes its units' columns, by its part of the weight",
        Task::Gemm(_, Split::Terms(_)) => {
            "a CTA multiplies what it has itself computed, and partial sums travel: the left side is long"
        }
        Task::Loop(..) | Task::Barrier => "",
        _ => "its iterations are not by unit: the whole grid shares it, and waits before and after",
    }
}
