//! The layouts that register tiles read: panels of B, tiles of A.

use std::ops::Range;

use lstmc_compiler::kernel::PANEL;

use super::driver::Right;
use super::micro::Isa;

/// How many elements past a tile's end packing may write.
pub const OVERRUN: usize = 16;

/// Rows `k` of `n` columns of `source` in panels of [`PANEL`] columns, the last one padded with zeros.
///
/// # Safety
/// `source` must hold the elements, `to` have room for `n` rounded up to panels times `k.len()`, and the CPU have `isa`.
pub unsafe fn panels(isa: &Isa, source: Right, n: usize, k: Range<usize>, to: *mut f32) {
    match source {
        // SAFETY: as the caller promised.
        Right::Rows { at, apart } => unsafe {
            panels_of_rows(at.wrapping_add(k.start * apart), apart, n, k.len(), to)
        },
        Right::Columns { at, apart } => {
            for column in (0..n).step_by(PANEL) {
                let from = at.wrapping_add(column * apart + k.start);
                let to = to.wrapping_add(column * k.len());
                // SAFETY: there are as many columns as asked for; with PANEL elements a row nothing is overrun.
                unsafe { (isa.interleave)(from, apart, PANEL.min(n - column), k.len(), to, PANEL) };
            }
        }
        Right::Panels { .. } => unreachable!("packed panels are read as they lie"),
    }
}

/// Panels that are filled side by side, so that each visit to a row of the source reads several cache lines.
const SIDE_BY_SIDE: usize = 4;

unsafe fn panels_of_rows(from: *const f32, apart: usize, n: usize, k: usize, to: *mut f32) {
    let mut column = 0;
    while column + PANEL * SIDE_BY_SIDE <= n {
        for p in 0..k {
            for panel in 0..SIDE_BY_SIDE {
                let offset = column + panel * PANEL;
                // SAFETY: the panel is whole: PANEL elements can be read here and written there.
                unsafe {
                    let (from, to) = (from.add(p * apart + offset), to.add(offset * k + p * PANEL));
                    std::ptr::copy_nonoverlapping(from, to, PANEL);
                }
            }
        }
        column += PANEL * SIDE_BY_SIDE;
    }
    while column < n {
        let width = PANEL.min(n - column);
        for p in 0..k {
            // SAFETY: `width` elements can be read; a row of the panel takes PANEL.
            unsafe {
                let (from, to) = (from.add(p * apart + column), to.add(column * k + p * PANEL));
                std::ptr::copy_nonoverlapping(from, to, width);
                std::slice::from_raw_parts_mut(to.add(width), PANEL - width).fill(0.0);
            }
        }
        column += width;
    }
}

/// `rows` rows of A, which lie `row` elements apart, in columns: `to[p * rows + i]` is element (i, p).
///
/// # Safety
/// `from` must hold `rows` rows of `k` elements, `to` have room for them and [`OVERRUN`] more, and the CPU have `isa`.
pub unsafe fn tile(isa: &Isa, from: *const f32, row: usize, rows: usize, k: usize, to: *mut f32) {
    // From below, since a group of less than 16 rows spills over into the next column's first rows.
    for start in (0..rows).step_by(16).rev() {
        let count = (rows - start).min(16);
        // SAFETY: the group's rows are there, and its columns lie within `to`.
        unsafe { (isa.interleave)(from.add(start * row), row, count, k, to.add(start), rows) };
    }
}

/// `k` rows of `width` elements, `apart` elements from one to the next, one after the other.
///
/// # Safety
/// `from` must hold the rows and `to` have room for them; `width` is at most 24.
pub unsafe fn rows(from: *const f32, apart: usize, width: usize, k: usize, to: *mut f32) {
    // A copy of known length is a few moves; of unknown length, a call.
    macro_rules! copy {
        ($($width:literal)*) => {
            match width {
                $($width => for p in 0..k {
                    // SAFETY: as the caller promised.
                    unsafe { std::ptr::copy_nonoverlapping(from.add(p * apart), to.add(p * $width), $width) };
                })*
                _ => unreachable!("no tile has {width} rows"),
            }
        };
    }
    copy!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24);
}
