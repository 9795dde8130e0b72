//! Blocking: which part of A, B and C is worked on when, for every form and instruction set.

use std::ops::Range;

use lstmc_compiler::kernel::PANEL;

use super::micro::{Isa, Tile};
use super::stream::Panels;
use super::{packing, scratch};

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
    /// Panels of `k` rows of [`PANEL`] elements, `apart` elements from one to the next.
    Panels { at: *const f32, apart: usize },
    /// Panels of a format that is widened block by block.
    Reduced(Panels),
}

/// One worker's share of a product.
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// [`k_block`] of `k`.
    pub k_block: usize,
    pub a: Left,
    pub b: Right,
    pub c: *mut f32,
    pub c_row: usize,
    /// Add to C.
    pub add: bool,
}

/// Rows of A that are kept in the second-level cache at a time: up to 470 KB with the longest block.
const ROW_BLOCK: usize = 168;
/// Columns of B that are packed at a time.
const COLUMN_BLOCK: usize = 256;
/// A packed B of more bytes than this is read from memory each time.
const CACHED_WEIGHT: usize = 8 << 20;
/// Up to so many rows A is read as it lies: there is little of it.
const AS_IT_LIES: usize = 4;
/// Up to so many rows C is computed panel by panel.
const NARROW: usize = 64;
/// Elements of A that are packed at a time; they live in the last-level cache.
const PACKED_LEFT: usize = 1 << 20;

/// `len` cut into equal parts of at most `max`, each a multiple of `unit` but the last.
fn part(len: usize, max: usize, unit: usize) -> usize {
    let parts = len.div_ceil(max).max(1);
    len.div_ceil(parts).next_multiple_of(unit).max(unit)
}

/// The length of the contraction's blocks, a function of `k` alone on one instruction set.
pub fn k_block(isa: &Isa, k: usize) -> usize {
    part(k, isa.k_block, 8)
}

pub fn cut(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(len).map(move |start| start..(start + len).min(end))
}

/// The heights of register tiles over `rows`: as few as possible, as equal as possible.
pub fn tiles(rows: Range<usize>, max: usize) -> impl Iterator<Item = Range<usize>> {
    let (start, len) = (rows.start, rows.len());
    let count = len.div_ceil(max);
    (0..count).map(move |i| start + len * i / count..start + len * (i + 1) / count)
}

/// Computes `p`.
///
/// # Safety
/// The pointers of `p` must be valid for its extents, C must overlap neither A nor B, and the CPU must have `isa`.
pub unsafe fn product(isa: &Isa, p: &Product) {
    if p.k == 0 {
        // SAFETY: as the caller promised.
        unsafe { clear(p) };
        return;
    }
    let packed = matches!(p.b, Right::Panels { .. });
    let plan = Plan::new(isa, (p.m, p.n, p.k), p.a.step == 1, packed);
    scratch::with(plan.left_len + plan.right_len, |memory| {
        for rows in cut(0..p.m, plan.rows) {
            for span in cut(0..p.k, plan.span) {
                let left = Blocks {
                    at: memory,
                    k: span.clone(),
                    rows: rows.clone(),
                    packed: plan.pack_left,
                    height: plan.height,
                };
                // SAFETY: the scratch holds the lengths asked for; the rest is the caller's promise.
                unsafe {
                    if plan.pack_left {
                        left.pack(isa, p, &plan);
                    }
                    sweep(isa, p, &plan, &left, memory.add(plan.left_len));
                }
            }
        }
    });
}

/// Elements of scratch that a worker needs for a product; see [`Plan::new`].
pub fn scratch(isa: &Isa, shape: (usize, usize, usize), contiguous: bool, packed: bool) -> usize {
    let plan = Plan::new(isa, shape, contiguous, packed);
    plan.left_len + plan.right_len
}

/// C = 0 where nothing is to be added.
unsafe fn clear(p: &Product) {
    if p.add {
        return;
    }
    for i in 0..p.m {
        // SAFETY: row `i` of C has `n` elements, which are this worker's.
        unsafe { std::slice::from_raw_parts_mut(p.c.add(i * p.c_row), p.n).fill(0.0) };
    }
}

/// The sizes of blocks for one product.
struct Plan {
    /// The highest tile.
    height: usize,
    k_block: usize,
    pack_left: bool,
    /// Rows of C for which A is packed.
    rows: usize,
    /// Length of the contraction for which A is packed, a multiple of `k_block`.
    span: usize,
    row_block: usize,
    column_block: usize,
    left_len: usize,
    right_len: usize,
}

impl Plan {
    /// For `m`, `n` and `k` of a product; `contiguous`: rows of A lie one element after the other; `packed`: B is.
    fn new(isa: &Isa, (m, n, k): (usize, usize, usize), contiguous: bool, packed: bool) -> Plan {
        let k_block = k_block(isa, k);
        // Tiles of one panel that hold all rows read a B that comes from memory once.
        let tall = m > isa.rows() && m <= isa.rows() + isa.tall.len();
        let streams = tall && packed && k * n * size_of::<f32>() > CACHED_WEIGHT;
        let pack_left = !contiguous || m > AS_IT_LIES;
        let height = if streams { m } else { isa.rows() };
        let rows = if pack_left { part(m, PACKED_LEFT / isa.k_block, isa.rows()) } else { m };
        let span = if pack_left { (PACKED_LEFT / rows / k_block).max(1) * k_block } else { k };
        let column_block = match m {
            ..=NARROW if packed => usize::MAX,
            ..=NARROW => PANEL,
            _ => COLUMN_BLOCK,
        };
        let left_len =
            if pack_left { (rows * span.min(k) + packing::OVERRUN).next_multiple_of(16) } else { 0 };
        let right_len = if packed { 0 } else { column_block * k_block };
        let row_block = part(rows, ROW_BLOCK, isa.rows());
        Plan { height, k_block, pack_left, rows, span, row_block, column_block, left_len, right_len }
    }
}

/// Rows `rows` of A over the part `k` of the contraction: packed at `at`, or as they lie.
struct Blocks {
    at: *mut f32,
    rows: Range<usize>,
    k: Range<usize>,
    packed: bool,
    /// [`Plan::height`]
    height: usize,
}

impl Blocks {
    /// The tile of `rows` over `k`. Packed: blocks of `k` one after the other, in each the rows' tiles.
    fn tile(&self, p: &Product, rows: &Range<usize>, k: &Range<usize>) -> Left {
        if self.packed {
            let block = (k.start - self.k.start) * self.rows.len();
            let at = self.at.wrapping_add(block + (rows.start - self.rows.start) * k.len());
            Left { at, row: 1, step: rows.len() }
        } else {
            Left { at: p.a.at.wrapping_add(rows.start * p.a.row + k.start * p.a.step), ..p.a }
        }
    }

    unsafe fn pack(&self, isa: &Isa, p: &Product, plan: &Plan) {
        for k in cut(self.k.clone(), plan.k_block) {
            for block in cut(self.rows.clone(), plan.row_block) {
                for rows in tiles(block, plan.height) {
                    let to = self.tile(p, &rows, &k).at.cast_mut();
                    let from = p.a.at.wrapping_add(rows.start * p.a.row + k.start * p.a.step);
                    // SAFETY: `to` has room for the tile and what follows it is written later or is the overrun.
                    unsafe {
                        if p.a.step == 1 {
                            packing::tile(isa, from, p.a.row, rows.len(), k.len(), to);
                        } else {
                            packing::rows(from, p.a.step, rows.len(), k.len(), to);
                        }
                    }
                }
            }
        }
    }
}

/// All columns of C, for the rows and the part of the contraction in `left`.
unsafe fn sweep(isa: &Isa, p: &Product, plan: &Plan, left: &Blocks, memory: *mut f32) {
    for columns in cut(0..p.n, plan.column_block) {
        for k in cut(left.k.clone(), plan.k_block) {
            let (b, apart) = match p.b {
                Right::Panels { at, apart } => {
                    (at.wrapping_add(columns.start / PANEL * apart + k.start * PANEL), apart)
                }
                source => {
                    let source = source.at_column(columns.start);
                    // SAFETY: the scratch has room for the block; the source holds its elements.
                    unsafe { packing::panels(isa, source, columns.len(), k.clone(), memory) };
                    (memory.cast_const(), k.len() * PANEL)
                }
            };
            for rows in cut(left.rows.clone(), plan.row_block) {
                // SAFETY: the block lies within C; A and B hold what it needs.
                unsafe { block(isa, p, left, &rows, &columns, &k, (b, apart)) };
            }
        }
    }
}

impl Right {
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

/// One block of C by one block of the contraction: all register tiles of a group of panels, then the next group.
unsafe fn block(
    isa: &Isa,
    p: &Product,
    left: &Blocks,
    rows: &Range<usize>,
    columns: &Range<usize>,
    k: &Range<usize>,
    (b, apart): (*const f32, usize),
) {
    let tall = left.height > isa.rows();
    let group = if tall { 1 } else { isa.panels(rows.len()) };
    let mut column = columns.start;
    while column < columns.end {
        let panels = if columns.end - column >= group * PANEL { group } else { 1 };
        let width = (panels * PANEL).min(columns.end - column);
        let b = b.wrapping_add((column - columns.start) / PANEL * apart);
        for (i, tile) in tiles(rows.clone(), left.height).enumerate() {
            let a = left.tile(p, &tile, k);
            let args = Tile {
                a: a.at,
                a_row: a.row,
                a_step: a.step,
                b,
                // Of the next group of panels, each tile asks for one.
                ahead: b.wrapping_add((panels + i % panels) * apart),
                b_panel: apart,
                k: k.len(),
                c: p.c.wrapping_add(tile.start * p.c_row + column),
                c_row: p.c_row,
                columns: width,
                add: p.add || k.start > 0,
            };
            let kernel = match tall {
                true => isa.tall[tile.len() - isa.rows() - 1],
                false => isa.tile(tile.len(), panels, left.packed),
            };
            // SAFETY: the tile lies within C, and A and B hold its operands.
            unsafe { kernel(&args) };
        }
        column += width;
    }
}
