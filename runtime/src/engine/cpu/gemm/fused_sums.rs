//! Sums that a product makes beside its result: of what is in a cache because the product has just read or written it.

use std::ops::Range;

use lstmc_compiler::kernel::PANEL;

/// The sums of the columns of packed panels, of which there are fewer than a tile copies: `width` columns over the words
/// `k` of the contraction, panels `apart` elements from one to the next. Each block's sums are added to those before. The
/// order of operations is that of the tiles that sum.
///
/// # Safety
/// There must be panels for these columns, each of a row for each word, and a sum for each column at `to`.
pub unsafe fn sum_panels(at: *const f32, apart: usize, k: &Range<usize>, width: usize, to: *mut f32) {
    for column in (0..width).step_by(PANEL) {
        let columns = PANEL.min(width - column);
        // SAFETY: as the caller promised.
        let (panel, to) = unsafe {
            let panel = at.wrapping_add(column / PANEL * apart);
            let panel = std::slice::from_raw_parts(panel, k.len() * PANEL);
            (panel, std::slice::from_raw_parts_mut(to.wrapping_add(column), columns))
        };
        let mut totals = [0.0f32; PANEL];
        for row in panel.chunks_exact(PANEL) {
            totals.iter_mut().zip(row).for_each(|(total, value)| *total += value);
        }
        for (to, total) in to.iter_mut().zip(totals) {
            *to = if k.start > 0 { *to + total } else { total };
        }
    }
}

/// Columns whose squares are added up at once.
const COLUMNS: usize = 2 * PANEL;
/// Sums of each column that go on side by side, so that no addition waits for the one before.
const SIDE_BY_SIDE: usize = 4;

/// The body of [`super::micro::Isa::squares`]: sums the squares of `rows` rows of C, `width` columns of each, down the
/// columns: `(c, c_row, rows, width, to, add)`; `add`: to what is there. The rows are those of a block, which does not
/// depend on how the product is cut. `FUSED` says that the instruction set multiplies and adds with one rounding.
///
/// # Safety
/// C must have these elements, and there must be a sum for each column at `to`.
#[inline(always)]
pub unsafe fn squares<const FUSED: bool>(
    c: *const f32,
    c_row: usize,
    rows: usize,
    width: usize,
    to: *mut f32,
    add: bool,
) {
    for column in (0..width).step_by(COLUMNS) {
        let columns = COLUMNS.min(width - column);
        // SAFETY: as the caller promised.
        let to = unsafe { std::slice::from_raw_parts_mut(to.wrapping_add(column), columns) };
        let c = c.wrapping_add(column);
        let mut sums = [[0.0f32; COLUMNS]; SIDE_BY_SIDE];
        // A constant number of columns stays in registers.
        // SAFETY: as the caller promised.
        unsafe {
            if columns == COLUMNS {
                add_squares::<FUSED>(c, c_row, rows, COLUMNS, &mut sums);
            } else {
                add_squares::<FUSED>(c, c_row, rows, columns, &mut sums);
            }
        }
        for (at, to) in to.iter_mut().enumerate() {
            let sum = (sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at]);
            *to = if add { *to + sum } else { sum };
        }
    }
}

/// Row `i` goes to sum `i % SIDE_BY_SIDE` of each column.
#[inline(always)]
unsafe fn add_squares<const FUSED: bool>(
    c: *const f32,
    c_row: usize,
    rows: usize,
    columns: usize,
    sums: &mut [[f32; COLUMNS]; SIDE_BY_SIDE],
) {
    let row = |row: usize, sums: &mut [f32; COLUMNS]| {
        // SAFETY: C has this row.
        let values = unsafe { std::slice::from_raw_parts(c.wrapping_add(row * c_row), columns) };
        for (sum, &x) in sums.iter_mut().zip(values) {
            *sum = if FUSED { x.mul_add(x, *sum) } else { x * x + *sum };
        }
    };
    let whole = rows / SIDE_BY_SIDE * SIDE_BY_SIDE;
    for first in (0..whole).step_by(SIDE_BY_SIDE) {
        for (i, sums) in sums.iter_mut().enumerate() {
            row(first + i, sums);
        }
    }
    for (i, sums) in (whole..rows).zip(sums) {
        row(i, sums);
    }
}
