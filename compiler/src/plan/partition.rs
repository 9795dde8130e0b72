//! How each item is cut among the workers.

use super::{COLUMN_GRAIN, Split};
use crate::kernel::{Axis, Gemm, Kernel, Stmt};

/// A kernel is cut along the outermost loop, if that is parallel and all of the kernel.
pub(super) fn of_kernel(kernel: &Kernel, workers: usize) -> Split {
    let mut loops = vec![];
    for stmt in &kernel.body {
        match stmt {
            Stmt::For(inner) => loops.push(inner),
            Stmt::Store { .. } => return Split::Whole,
            Stmt::Let { .. } => {}
        }
    }
    let [only] = loops[..] else { return Split::Whole };
    let extent = kernel.axes[only.axis.0 as usize];
    let grain = Split::Axis(only.axis).grain(only.vector);
    if workers > 1 && only.parallel && only.folds.is_empty() && extent >= workers * grain {
        return Split::Axis(only.axis);
    }
    Split::Whole
}

/// The grain at which a kernel's cut axis is shared out.
pub(super) fn grain(kernel: &Kernel, axis: Axis) -> usize {
    let vector =
        kernel.body.iter().any(|stmt| matches!(stmt, Stmt::For(inner) if inner.axis == axis && inner.vector));
    Split::Axis(axis).grain(vector)
}

/// Beyond this size a weight that every worker reads whole no longer fits the caches beside the rest.
const SHARED_WEIGHT_BYTES: usize = 8 << 20;

/// A product inside a time loop is cut by rows, so that a worker keeps its rows of the batch through all steps and
/// needs no barrier, unless the rows are too few or the weight too large to be read by every worker. Other products are
/// cut along the longer side of the result.
pub(super) fn of_gemm(gemm: &Gemm, workers: usize, in_loop: bool) -> Split {
    if workers == 1 {
        return Split::Whole;
    }
    let small_weight = gemm.k * gemm.n * 4 <= SHARED_WEIGHT_BYTES;
    if in_loop && gemm.m >= 4 * workers && small_weight {
        return Split::Rows;
    }
    if gemm.n >= gemm.m && gemm.n >= workers * COLUMN_GRAIN {
        return Split::Columns;
    }
    if gemm.m >= workers {
        return Split::Rows;
    }
    Split::Whole
}
