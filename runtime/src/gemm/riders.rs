//! Sums that ride on a product: of what is in a cache because the product has just read or written it.

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
