//! How each item is cut among the workers.
//!
//! The cut is static, except that workers take columns of large products from each other where the plan allows it
//! ([`Split::AnyColumns`]). A kernel is cut along its outer parallel axis, or one inside where that is too short to be shared
//! evenly. A product inside a time loop is cut by rows of the batch, so that a worker keeps its rows through all steps and
//! needs no barrier in the loop; if the rows are too few, or the weight too large for every worker to read, by columns. Other
//! products are cut along the longer side of the result, but by columns if they sum squares down them, or if their right side
//! has to be transposed and its columns can be shared evenly. A product in parts is cut by these, so that a worker reads the
//! same rows of the weight in it, in the product by the transpose and in the update.

use super::{Schedule, Split, Task, worker_range};
use crate::kernel::{Axis, Form, Gemm, Item, Kernel, Precision, Stmt};
use crate::target::{Partition, Ranges, Target};

/// How an item that is not a loop is cut; `in_loop` says that it stands in a time loop.
pub(super) fn of(item: &Item, target: &Target, ranges: &Ranges, in_loop: bool) -> Split {
    match item {
        Item::Kernel(kernel) => of_kernel(kernel, target, ranges).map_or(Split::Whole, Split::Axis),
        Item::Gemm(gemm) => of_gemm(gemm, target, ranges, in_loop).0,
        Item::Pack(_) | Item::Scatter(_) if target.workers > 1 => Split::Columns,
        Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => Split::Whole,
        Item::Loop(_) => unreachable!("internal error: a time loop is cut"),
    }
}

/// A kernel is cut along the outermost loop, if that is parallel and all of the kernel, or along the first one inside that
/// can be shared evenly if that has so few iterations that some worker would have many more than another. The axis, or
/// why it is not cut.
pub(super) fn of_kernel(kernel: &Kernel, target: &Target, ranges: &Ranges) -> Result<Axis, &'static str> {
    let workers = target.workers;
    let loops = parallel_loops(kernel)?;
    let grain = |axis: Axis| Split::Axis(axis).grain(kernel.is_vector_axis(axis), target.column_grain);
    let extent = |axis: Axis| kernel.axes[axis.0 as usize];
    let is_long = |axis: &Axis| workers > 1 && extent(*axis) >= workers * grain(*axis);
    let is_fair = |axis: &Axis| {
        extent(*axis) >= ranges.many_each * workers * grain(*axis)
            || is_even(extent(*axis), workers, grain(*axis))
    };
    let mut long = loops.into_iter().filter(is_long);
    let first = long.clone().next();
    long.find(is_fair).or(first).ok_or("its loops are too short to be cut")
}

/// The axes of a kernel's loops from the outermost one inwards, as long as each is parallel and all that is inside the one
/// before; or why there is none.
fn parallel_loops(kernel: &Kernel) -> Result<Vec<Axis>, &'static str> {
    let mut found = vec![];
    let mut body = &kernel.body;
    loop {
        let mut loops = vec![];
        let mut stores = false;
        for stmt in body {
            match stmt {
                Stmt::For(inner) => loops.push(inner),
                Stmt::Store { .. } => stores = true,
                Stmt::Let { .. } => {}
            }
        }
        let reason = match loops[..] {
            _ if stores => "it stores outside its loop",
            [only] if only.parallel && only.folds.is_empty() => {
                found.push(only.axis);
                body = &only.body;
                continue;
            }
            [_] => "its iterations depend on each other",
            _ => "it has more than one loop, or none",
        };
        return if found.is_empty() { Err(reason) } else { Ok(found) };
    }
}

/// A product inside a time loop is cut by rows, so that a worker keeps its rows of the batch through all steps and
/// needs no barrier, unless the rows are too few or the weight too large to be read by every worker. Other products are
/// cut along the longer side of the result, but for those whose right side has to be transposed: of that each worker then
/// transposes its own columns. Parts of a contraction are shared out as such, if that is even.
/// The cut, and why it is this one.
pub(super) fn of_gemm(gemm: &Gemm, target: &Target, ranges: &Ranges, in_loop: bool) -> (Split, &'static str) {
    let (workers, grain) = (target.workers, target.column_grain);
    if workers == 1 {
        return (Split::Whole, "there is one worker");
    }
    if gemm.parts > 1 && gemm.parts.is_multiple_of(workers) {
        return (Split::Parts, "a worker keeps its rows of the weight, step after step");
    }
    if gemm.cpu.squares.is_some() {
        return match gemm.n >= workers * grain {
            true => (columns_of(gemm, target), "it sums squares down the columns of its result"),
            false => (Split::Whole, "it sums squares down the columns of its result, which are few"),
        };
    }
    let format = gemm.cpu.packed.unwrap_or_default();
    let small_weight = 4 * format.packed_len(gemm.k, gemm.n) <= ranges.shared_weight;
    if in_loop && gemm.m >= 4 * workers && small_weight {
        return (
            Split::Rows,
            "a worker keeps its rows of the batch through the loop, and reads the whole weight",
        );
    }
    if gemm.n >= gemm.m && gemm.n >= workers * grain {
        return (columns_of(gemm, target), "the result is no higher than wide");
    }
    if gemm.form == Form::NT && gemm.cpu.packed.is_none() && is_even(gemm.n, workers, grain) {
        return (Split::Columns, "each worker transposes its own part of the right side");
    }
    if gemm.m >= workers {
        return (Split::Rows, "the result is higher than wide, or too narrow for columns");
    }
    (Split::Whole, "the result has too few rows and columns")
}

/// A cut by columns: workers may take them from each other where that is one pass over the right side as it lies.
fn columns_of(gemm: &Gemm, target: &Target) -> Split {
    let one_pass = gemm.form != Form::NT && gemm.cpu.packed.is_none() && gemm.precision == Precision::F32;
    if one_pass && gemm.m > target.few_rows { Split::AnyColumns } else { Split::Columns }
}

/// Whether no worker's share of `extent` is more than 3 % above the average.
fn is_even(extent: usize, workers: usize, grain: usize) -> bool {
    let shares = (0..workers).map(|worker| worker_range(extent, worker, workers, grain).len());
    shares.max().is_some_and(|largest| 100 * workers * largest <= 103 * extent)
}

/// How many of a target's workers a program gains from: all of them, or one if it is too small to be cut.
pub(super) fn helpful_workers(schedule: Schedule<'_>, target: &Target) -> usize {
    let Partition::Ranges(ranges) = &target.partition else { return target.workers };
    let (work, barriers) = work_and_barriers(schedule);
    if work / barriers.max(1) < ranges.work_worth_a_barrier { 1 } else { target.workers }
}

/// Floating-point operations of one run, roughly, and barriers passed.
fn work_and_barriers(schedule: Schedule<'_>) -> (usize, usize) {
    let mut total = (0, 0);
    for task in schedule.tasks() {
        let (work, barriers) = match task {
            Task::Kernel(kernel, _) => (work_of(&kernel.body, kernel), 0),
            Task::Gemm(gemm, _) => (2 * gemm.m * gemm.n * gemm.k, 0),
            Task::Pack(pack, _) => (pack.k * pack.n, 0),
            Task::Scatter(scatter, _) => ((scatter.count + scatter.table_rows()) * scatter.n, 0),
            Task::Distinct(distinct) => (distinct.len + distinct.rows, 0),
            Task::Exchange(_) => (0, 0),
            Task::Barrier => (0, 1),
            Task::Loop(inner, body) => {
                let (work, barriers) = work_and_barriers(body);
                (work * inner.rounds, barriers * inner.rounds)
            }
        };
        total = (total.0 + work, total.1 + barriers);
    }
    total
}

fn work_of(stmts: &[Stmt], kernel: &Kernel) -> usize {
    let work = |stmt: &Stmt| match stmt {
        Stmt::For(inner) => kernel.axes[inner.axis.0 as usize] * work_of(&inner.body, kernel),
        Stmt::Let { .. } | Stmt::Store { .. } => 1,
    };
    stmts.iter().map(work).sum()
}
