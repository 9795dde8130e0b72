//! What a product is: its operands as they lie in memory, and the order in which it goes through them.

use std::ops::Range;

use lstmc_compiler::kernel::{Format, PANEL};

/// A, `[m, k]`: element (i, p) at `at[i * row + p * step]`.
#[derive(Clone, Copy)]
pub struct Left {
    pub at: *const f32,
    pub row: usize,
    pub step: usize,
}

/// B, `[k, n]`, as it lies in memory.
#[derive(Clone, Copy)]
pub enum Right {
    /// Rows of `n` elements, `apart` elements from one to the next.
    Rows { at: *const f32, apart: usize },
    /// Columns of `k` elements, `apart` elements from one to the next.
    Columns { at: *const f32, apart: usize },
    /// Panels of rows of [`PANEL`] words, `apart` words from one to the next.
    Panels { at: *const f32, apart: usize },
    /// Panels of a format that is widened block by block.
    Reduced(Panels),
}

/// The layout of a [`Right`], as far as the blocking depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In rows, or in panels that are widened block by block.
    Rows,
    Columns,
    Panels,
}

/// Packed panels of B, as [`lstmc_compiler::kernel::Pack`] leaves them.
#[derive(Clone, Copy)]
pub struct Panels {
    pub at: *const f32,
    /// Elements of 4 bytes from one panel to the next.
    pub apart: usize,
    pub format: Format,
}

impl Panels {
    /// Panel number `panel`.
    pub fn panel(self, panel: usize) -> Panel {
        let scales = self.at.wrapping_add(panel * self.apart);
        let header = if self.format == Format::Int8 { PANEL } else { 0 };
        Panel { scales, rows: scales.wrapping_add(header).cast() }
    }
}

/// One panel.
#[derive(Clone, Copy)]
pub struct Panel {
    /// [`PANEL`] scales, if the format has any.
    pub scales: *const f32,
    /// The first row.
    pub rows: *const u8,
}

impl Right {
    pub fn layout(&self) -> Layout {
        match self {
            Right::Rows { .. } | Right::Reduced(_) => Layout::Rows,
            Right::Columns { .. } => Layout::Columns,
            Right::Panels { .. } => Layout::Panels,
        }
    }

    pub fn at_column(self, column: usize) -> Right {
        match self {
            Right::Rows { at, apart } => Right::Rows { at: at.wrapping_add(column), apart },
            Right::Columns { at, apart } => Right::Columns { at: at.wrapping_add(column * apart), apart },
            Right::Panels { at, apart } => {
                Right::Panels { at: at.wrapping_add(column / PANEL * apart), apart }
            }
            Right::Reduced(panels) => {
                let at = panels.at.wrapping_add(column / PANEL * panels.apart);
                Right::Reduced(Panels { at, ..panels })
            }
        }
    }
}

/// One worker's range of a product, or all of it where workers take columns from each other.
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// The length of the blocks of the contraction, in words: a function of `k` alone on one instruction set.
    pub k_block: usize,
    pub a: Left,
    pub b: Right,
    pub c: *mut f32,
    pub c_row: usize,
    /// Add to C.
    pub add: bool,
    /// Read B from its end, where it is read once.
    pub from_end: bool,
    /// Where the sums of B's columns go; may be null. Only for a B in [`Right::Rows`] that is multiplied as it is.
    pub sums: *mut f32,
    /// Where the sums of squares of C's columns go; may be null.
    pub squares: *mut f32,
}

/// Which of `count` rows, columns or parts comes after `step` others, from the first on or from the last.
#[inline(always)]
pub fn in_order(from_end: bool, step: usize, count: usize) -> usize {
    if from_end { count - 1 - step } else { step }
}

/// `range` in pieces of `len`, the last one shorter where they do not fit.
pub fn pieces(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(len).map(move |start| start..(start + len).min(end))
}
