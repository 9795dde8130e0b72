//! A block of B as the tiles read it, and the panels of it that they take at once.

use std::ops::Range;

use lstmc_compiler::kernel::PANEL;

use super::micro::{Isa, Operands};
use super::packing;
use super::product::{Product, Right};

/// A block of B in panels.
pub struct RightBlock {
    at: *mut f32,
    /// Elements from one panel to the next.
    pub apart: usize,
    /// What the panels are still to be copied from, by the first tile that reads each.
    rows: Option<Rows>,
}

/// Rows of B as they lie.
struct Rows {
    /// The block's first element.
    at: *const f32,
    /// That of the block which is wanted after it. Need not exist.
    next: *const f32,
    apart: usize,
}

/// Panels that tiles take at once.
pub struct Group {
    /// Where the panels are or will be.
    pub at: *mut f32,
    /// Their rows as they lie, and the elements from one to the next, if the first tile is to copy them.
    pub rows: Option<(*const f32, usize)>,
    /// The group that is wanted next, and the elements from one of its rows, and of its panels, to the next.
    pub ahead: *const f32,
    pub ahead_row: usize,
    pub ahead_panel: usize,
}

impl RightBlock {
    /// Columns `columns` and words `k` of B, packed into `memory` if no tile can do it; `next`: the word and the column at
    /// which the next block starts.
    ///
    /// # Safety
    /// B must hold the block, and `memory` have room for it.
    pub unsafe fn new(
        isa: &Isa,
        operands: Operands,
        p: &Product,
        columns: &Range<usize>,
        k: &Range<usize>,
        next: (usize, usize),
        memory: *mut f32,
    ) -> Self {
        let packed = k.len() * PANEL;
        match p.b {
            Right::Panels { at, apart } => {
                let at = at.wrapping_add(columns.start / PANEL * apart + k.start * PANEL);
                RightBlock { at: at.cast_mut(), apart, rows: None }
            }
            Right::Rows { at, apart } if matches!(operands, Operands::Numbers) => {
                let place = |(row, column): (usize, usize)| at.wrapping_add(row * apart + column);
                let rows = Rows { at: place((k.start, columns.start)), next: place(next), apart };
                RightBlock { at: memory, apart: packed, rows: Some(rows) }
            }
            source => {
                let source = source.at_column(columns.start);
                let elements = operands.elements(k, p.k);
                // SAFETY: as the caller promised.
                unsafe { packing::panels(isa, operands, source, columns.len(), elements, memory) };
                RightBlock { at: memory, apart: packed, rows: None }
            }
        }
    }

    /// The first rows of A have seen all panels, and copied those that were to be.
    pub fn now_in_panels(&mut self) {
        self.rows = None;
    }

    /// The panels of `columns`, counted from the block's first; `last`: they are its last ones. If there are fewer of them
    /// than a tile `copies`, they are packed now.
    ///
    /// # Safety
    /// The block must have these columns, and `k` words of each.
    pub unsafe fn group(
        &self,
        isa: &Isa,
        columns: &Range<usize>,
        k: usize,
        last: bool,
        copies: usize,
    ) -> Group {
        let at = self.at.wrapping_add(columns.start / PANEL * self.apart);
        let Some(rows) = &self.rows else {
            let ahead = at.wrapping_add(columns.len().div_ceil(PANEL) * self.apart);
            return Group { at, rows: None, ahead, ahead_row: PANEL, ahead_panel: self.apart };
        };
        let from = rows.at.wrapping_add(columns.start);
        let ahead = if last { rows.next } else { rows.at.wrapping_add(columns.end) };
        let mut group =
            Group { at, rows: Some((from, rows.apart)), ahead, ahead_row: rows.apart, ahead_panel: PANEL };
        if columns.len() < copies * PANEL {
            let source = Right::Rows { at: from, apart: rows.apart };
            // SAFETY: the block has these columns and as many rows, and there is room for them.
            unsafe { packing::panels(isa, Operands::Numbers, source, columns.len(), 0..k, at) };
            group.rows = None;
        }
        group
    }
}
