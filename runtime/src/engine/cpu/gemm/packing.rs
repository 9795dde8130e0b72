//! The layouts that register tiles read: panels of B, tiles of A.

use std::ops::Range;

use lstmc_compiler::kernel::{Format, PANEL, bf16_bits, bf16_value, int8_bits, int8_scale, larger};

use super::cache::prefetch;
use super::micro::matrix::MatrixUnit;
use super::micro::{AHEAD, InterleaveFn, Isa, Operands, PairFn};
use super::product::{Left, Panels, Right};
use super::{scratch, stream};

/// How many elements past a tile's end packing may write.
pub const OVERRUN: usize = 16;

/// Rows `k` of `n` columns of `source` in panels of [`PANEL`] columns, the last one padded with zeros, as words.
///
/// # Safety
/// `source` must hold the elements, `to` have room for `n` rounded up to panels times the words of `k.len()`, and the CPU
/// have `isa` and be that of `operands`.
pub unsafe fn panels(isa: &Isa, operands: Operands, source: Right, n: usize, k: Range<usize>, to: *mut f32) {
    // SAFETY: as the caller promised.
    unsafe {
        match operands {
            Operands::Numbers => panels_of_numbers(isa, source, n, k, to),
            Operands::Rounded => {
                let len = n.next_multiple_of(PANEL) * k.len();
                panels_of_numbers(isa, source, n, k, to);
                round_all(to, len);
            }
            Operands::Pairs(of) => pairs((of.panels, of.interleave), source, n, k, to),
        }
    }
}

/// Rounds what has been packed.
unsafe fn round_all(at: *mut f32, len: usize) {
    // SAFETY: the caller has written `len` elements here.
    for x in unsafe { std::slice::from_raw_parts_mut(at, len) } {
        *x = bf16_value(bf16_bits(*x));
    }
}

/// [`panels`] of pairs of `bf16`, by the functions for a B in rows, and in columns.
///
/// # Safety
/// As [`panels`], and the CPU must have what the functions use.
pub unsafe fn pairs(
    (panels, interleave): (PairFn, InterleaveFn),
    source: Right,
    n: usize,
    k: Range<usize>,
    to: *mut f32,
) {
    match source {
        Right::Rows { at, apart } => {
            // SAFETY: as the caller promised.
            unsafe { panels(at.wrapping_add(k.start * apart), apart, n, k.len(), to) }
        }
        Right::Columns { at, apart } => {
            for column in (0..n).step_by(PANEL) {
                let from = at.wrapping_add(column * apart + k.start);
                let to = to.wrapping_add(column * k.len().div_ceil(2));
                // SAFETY: there are as many columns as asked for; with PANEL elements a row nothing is overrun.
                unsafe { interleave(from, apart, PANEL.min(n - column), k.len(), to, PANEL) };
            }
        }
        Right::Reduced(weights) => {
            let words = k.len().div_ceil(2);
            for panel in 0..n.div_ceil(PANEL) {
                // SAFETY: the panel has the rows, and there is room for their words.
                unsafe {
                    whole_numbers(
                        weights.panel(panel).rows.cast(),
                        &k,
                        to.wrapping_add(panel * PANEL * words),
                    )
                };
            }
        }
        Right::Panels { .. } => unreachable!("packed pairs are read as they lie"),
    }
}

unsafe fn panels_of_numbers(isa: &Isa, source: Right, n: usize, k: Range<usize>, to: *mut f32) {
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
        Right::Reduced(panels) => {
            for panel in 0..n.div_ceil(PANEL) {
                let to = to.wrapping_add(panel * PANEL * k.len());
                // SAFETY: the panel has the rows, and there is room for them.
                unsafe { widened(panels, panel, k.clone(), to.cast()) };
            }
        }
        Right::Panels { .. } => unreachable!("packed panels are read as they lie"),
    }
}

/// Rows `k` of a panel of whole numbers, without their scale, as pairs of `bf16`.
///
/// # Safety
/// The panel has these rows, and `to` room for their words.
unsafe fn whole_numbers(rows: *const [i8; PANEL], k: &Range<usize>, to: *mut f32) {
    // Eight bits hold them exactly.
    let bits = |x: i8| f32::from(x).to_bits() >> 16;
    for (word, p) in k.clone().step_by(2).enumerate() {
        // SAFETY: as the caller promised.
        let (first, second) =
            unsafe { (*rows.add(p), if p + 1 < k.end { *rows.add(p + 1) } else { [0; PANEL] }) };
        let words: [u32; PANEL] = std::array::from_fn(|j| bits(first[j]) | bits(second[j]) << 16);
        // SAFETY: as the caller promised.
        unsafe { *to.cast::<[u32; PANEL]>().add(word) = words };
    }
}

/// Rows `k` of a panel as `f32`.
unsafe fn widened(panels: Panels, panel: usize, k: Range<usize>, to: *mut [f32; PANEL]) {
    let panel_at = panels.panel(panel);
    for (i, p) in k.enumerate() {
        // SAFETY: as the caller promised.
        unsafe {
            *to.add(i) = match panels.format {
                Format::F32 => stream::row(Format::F32, panel_at, p),
                Format::Bf16 => stream::row(Format::Bf16, panel_at, p),
                Format::Int8 => stream::row(Format::Int8, panel_at, p),
                Format::TwoParts | Format::ThreeParts => {
                    unreachable!("only products in parts read panels in parts")
                }
            }
        };
    }
}

/// Panels that are rounded at a time, so that their `f32` form stays in a cache.
const ROUNDED: usize = SIDE_BY_SIDE;

/// Elements of scratch that [`packed`] needs.
pub fn scratch(isa: &Isa, format: Format, k: usize) -> usize {
    if lies_packed(isa, format) { 0 } else { ROUNDED * PANEL * k }
}

/// Whether panels of a format are made in one go.
fn lies_packed(isa: &Isa, format: Format) -> bool {
    match format {
        Format::F32 => true,
        Format::Bf16 => isa.pairs.is_some(),
        Format::TwoParts | Format::ThreeParts => isa.matrix.is_some(),
        Format::Int8 => false,
    }
}

/// [`panels`] of all `k` rows, in any format.
///
/// # Safety
/// As [`panels`], with room for [`Format::packed_len`] elements; `to` is aligned as an `f32`.
pub unsafe fn packed(isa: &Isa, source: Right, n: usize, k: usize, format: Format, to: *mut f32) {
    match (format, &isa.pairs, isa.matrix) {
        // SAFETY: as the caller promised.
        (Format::F32, ..) => return unsafe { panels_of_numbers(isa, source, n, 0..k, to) },
        (Format::Bf16, Some(of), _) => {
            // SAFETY: as the caller promised.
            return unsafe { pairs((of.panels, of.interleave), source, n, 0..k, to) };
        }
        (Format::TwoParts | Format::ThreeParts, _, Some(unit)) => {
            // SAFETY: as the caller promised.
            return unsafe { in_parts(unit, source, n, k, format, to) };
        }
        _ => {}
    }
    scratch::with(scratch(isa, format, k), |wide| {
        for column in (0..n).step_by(ROUNDED * PANEL) {
            let width = (ROUNDED * PANEL).min(n - column);
            // SAFETY: the scratch has room for these panels, and `to` for their rounded form.
            unsafe { panels_of_numbers(isa, source.at_column(column), width, 0..k, wide) };
            for panel in 0..width.div_ceil(PANEL) {
                // SAFETY: `panels` has written k rows of it; `to` has `panel_len` elements for each.
                unsafe {
                    let rows = std::slice::from_raw_parts(wide.add(panel * PANEL * k).cast(), k);
                    let place = to.add((column / PANEL + panel) * format.panel_len(k));
                    let place = std::slice::from_raw_parts_mut(place.cast(), 4 * format.panel_len(k));
                    round(format, rows, place);
                }
            }
        }
    });
}

/// [`packed`] in a format of parts by a matrix unit's functions.
unsafe fn in_parts(unit: &MatrixUnit, source: Right, n: usize, k: usize, format: Format, to: *mut f32) {
    for column in (0..n).step_by(PANEL) {
        let panel = to.wrapping_add(column / PANEL * format.panel_len(k));
        let width = PANEL.min(n - column);
        for part in 0..format.parts() {
            let to = panel.wrapping_add(part * format.panel_len(k) / format.parts());
            let pack = (unit.panels[part], unit.interleave[part]);
            // SAFETY: as the caller promised.
            unsafe { pairs(pack, source.at_column(column), width, 0..k, to) };
        }
    }
}

/// A panel's weights, rounded, as bytes.
fn round(format: Format, rows: &[[f32; PANEL]], to: &mut [u8]) {
    match format {
        Format::F32 => to.chunks_exact_mut(4).zip(rows.as_flattened()).for_each(|(to, x)| {
            to.copy_from_slice(&x.to_ne_bytes());
        }),
        Format::Bf16 => to.chunks_exact_mut(4 * PANEL).zip(rows.chunks(2)).for_each(|(to, rows)| {
            for (j, to) in to.chunks_exact_mut(4).enumerate() {
                let half = |i: usize| rows.get(i).map_or(0, |row| u32::from(bf16_bits(row[j])));
                to.copy_from_slice(&(half(0) | half(1) << 16).to_ne_bytes());
            }
        }),
        Format::TwoParts | Format::ThreeParts => unreachable!("only a matrix unit packs panels in parts"),
        Format::Int8 => {
            let mut most = [0.0f32; PANEL];
            for row in rows {
                most = std::array::from_fn(|j| larger(most[j], row[j]));
            }
            let scales = most.map(int8_scale);
            let (header, weights) = to.split_at_mut(4 * PANEL);
            header.chunks_exact_mut(4).zip(scales).for_each(|(to, scale)| {
                to.copy_from_slice(&scale.to_ne_bytes());
            });
            for (to, row) in weights.chunks_exact_mut(PANEL).zip(rows) {
                for j in 0..PANEL {
                    to[j] = int8_bits(row[j], scales[j]) as u8;
                }
            }
        }
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
                prefetch(from.wrapping_add((p + AHEAD) * apart + offset));
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

/// A tile of `rows` rows of A, `[rows, k]`, in columns of words: `to[p * rows + i]` is word (i, p).
///
/// # Safety
/// `from` must hold the elements, `to` have room for the words and [`OVERRUN`] more, and the CPU have `isa` and be that of
/// `operands`; rows or columns of A lie one element after the other.
pub unsafe fn left(isa: &Isa, operands: Operands, from: Left, rows: usize, k: usize, to: *mut f32) {
    let Left { at, row, step } = from;
    // SAFETY: as the caller promised.
    unsafe {
        match (operands, step) {
            (Operands::Pairs(pairs), 1) => tile(pairs.interleave, at, row, rows, k, to),
            (Operands::Pairs(pairs), _) => (pairs.rows)(at, step, rows, k, to),
            (_, 1) => tile(isa.interleave, at, row, rows, k, to),
            _ => copy_rows(at, step, rows, k, to),
        }
        if matches!(operands, Operands::Rounded) {
            round_all(to, rows * k);
        }
    }
}

/// `rows` rows of A, which lie `row` elements apart, in columns.
unsafe fn tile(interleave: InterleaveFn, from: *const f32, row: usize, rows: usize, k: usize, to: *mut f32) {
    // From below, since a group of less than 16 rows spills over into the next column's first rows.
    for start in (0..rows).step_by(16).rev() {
        let count = (rows - start).min(16);
        // SAFETY: the group's rows are there, and its columns lie within `to`.
        unsafe { interleave(from.add(start * row), row, count, k, to.add(start), rows) };
    }
}

/// `k` rows of `width` elements, at most 24, `apart` elements from one to the next, one after the other.
unsafe fn copy_rows(from: *const f32, apart: usize, width: usize, k: usize, to: *mut f32) {
    // A copy of known length is a few moves; of unknown length, a call.
    macro_rules! copy {
        ($($width:literal)*) => {
            match width {
                $($width => for p in 0..k {
                    prefetch(from.wrapping_add((p + AHEAD) * apart));
                    // SAFETY: as the caller promised.
                    unsafe { std::ptr::copy_nonoverlapping(from.add(p * apart), to.add(p * $width), $width) };
                })*
                _ => unreachable!("no tile has {width} rows"),
            }
        };
    }
    copy!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24);
}
