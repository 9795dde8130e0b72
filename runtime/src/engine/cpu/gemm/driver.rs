//! Blocking: which part of A, B and C is worked on when, for every form and instruction set.

use std::ops::Range;

use lstmc_compiler::kernel::PANEL;

use super::micro::{Isa, Operands, Tile};
use super::product::{Layout, Left, Product, pieces};
use super::right_block::RightBlock;
use super::work_stealing::Taking;
use super::{fused_sums, packing, scratch};

/// Rows of A that are kept in the second-level cache at a time: up to 470 KB with the longest block.
const ROW_BLOCK: usize = 168;
/// Columns of B that are packed at a time.
const COLUMN_BLOCK: usize = 256;
/// The same where B's columns lie one element after the other: then C is narrow as a rule, and A, which is long, is read
/// once for all of them.
const COLUMN_BLOCK_NT: usize = 1024;
/// A packed B of more bytes than this is read from memory each time.
const CACHED_WEIGHT: usize = 8 << 20;
/// Up to so many rows C is computed one group of panels after the other.
pub const NARROW: usize = 64;
/// Where columns of A lie a multiple of so many elements apart (1 KB), rows of a tile from many of them would share few
/// places of the caches: A is packed.
const CROWDED: usize = 256;
/// Elements of A that are packed at a time; they live in the last-level cache.
const PACKED_LEFT: usize = 1 << 20;

/// Whether tiles of f32 read A as it lies; see [`Left::step`].
pub fn reads_as_it_lies(left_step: usize) -> bool {
    !left_step.is_multiple_of(CROWDED)
}

/// `len` in equal parts of at most `max`, each a multiple of `unit` but the last.
fn part(len: usize, max: usize, unit: usize) -> usize {
    let parts = len.div_ceil(max).max(1);
    len.div_ceil(parts).next_multiple_of(unit).max(unit)
}

/// The length of the contraction's blocks, a function of its length alone on one instruction set; in words.
pub fn k_block(isa: &Isa, words: usize) -> usize {
    part(words, isa.k_block, 8)
}

/// The register tiles over `rows`: as few as possible, as equal as possible, the higher ones first.
pub fn tiles(rows: Range<usize>, max: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.len().div_ceil(max);
    let (height, higher) = (rows.len() / count.max(1), rows.len() % count.max(1));
    let mut end = rows.start;
    (0..count).map(move |i| {
        let start = end;
        end += height + usize::from(i < higher);
        start..end
    })
}

/// Computes `p`; if there is something to take, the columns that it gives.
///
/// # Safety
/// The pointers of `p` must be valid for its extents, C must overlap neither A nor B, and the CPU must have `isa`. No
/// other worker may meanwhile write the columns that this worker takes, or any if it takes none.
pub unsafe fn product(isa: &Isa, operands: Operands, p: &Product, taking: Option<&Taking>) {
    if p.k == 0 {
        // SAFETY: as the caller promised.
        unsafe { clear(p) };
        return;
    }
    let words = operands.words(p.k);
    let plan = Plan::new(isa, operands, (p.m, p.n, words), p.a.step, p.b.layout());
    scratch::with(plan.left_len + plan.right_len, |memory| {
        for rows in pieces(0..p.m, plan.rows) {
            for span in pieces(0..words, plan.span) {
                let left = Blocks {
                    at: memory,
                    k: span.clone(),
                    rows: rows.clone(),
                    packed: plan.pack_left,
                    height: plan.height,
                };
                // SAFETY: the scratch holds these lengths; the rest is the caller's promise.
                unsafe {
                    if plan.pack_left {
                        left.pack(isa, operands, p, &plan);
                    }
                    sweep(isa, operands, p, &plan, &left, memory.add(plan.left_len), taking);
                }
            }
        }
    });
}

/// Elements of scratch that a worker needs for a product; see [`Plan::new`].
pub fn scratch(
    isa: &Isa,
    operands: Operands,
    (m, n, k): (usize, usize, usize),
    left_step: usize,
    right: Layout,
) -> usize {
    let plan = Plan::new(isa, operands, (m, n, operands.words(k)), left_step, right);
    plan.left_len + plan.right_len
}

/// C = 0 where nothing is to be added, and no sums.
///
/// # Safety
/// As [`product`].
pub unsafe fn clear(p: &Product) {
    if !p.sums.is_null() {
        // SAFETY: there is one for each column.
        unsafe { std::slice::from_raw_parts_mut(p.sums, p.n).fill(0.0) };
    }
    if !p.add {
        for i in 0..p.m {
            // SAFETY: row `i` of C has `n` elements, which are this worker's.
            unsafe { std::slice::from_raw_parts_mut(p.c.add(i * p.c_row), p.n).fill(0.0) };
        }
    }
    if !p.squares.is_null() {
        // SAFETY: C has these rows.
        unsafe { fused_sums::squares::<false>(p.c, p.c_row, p.m, p.n, p.squares, false) };
    }
}

/// The sizes of blocks for one product; lengths along the contraction are in words.
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
    /// For `m`, `n` and the words of `k` of a product; `left_step`: [`Left::step`]; `right`: how B lies.
    fn new(
        isa: &Isa,
        operands: Operands,
        (m, n, k): (usize, usize, usize),
        left_step: usize,
        right: Layout,
    ) -> Plan {
        let packed = right == Layout::Panels;
        let set = operands.tiles(isa);
        let k_block = k_block(isa, k);
        // Tiles of one panel that hold all rows read a B that comes from memory once.
        let tall = m > set.rows() && m <= set.rows() + set.tall.len();
        let streams = tall && packed && k * n * size_of::<f32>() > CACHED_WEIGHT;
        let as_it_lies = matches!(operands, Operands::Numbers) && reads_as_it_lies(left_step);
        let pack_left = !as_it_lies || streams;
        let height = if streams { m } else { set.rows() };
        let rows = if pack_left { part(m, PACKED_LEFT / isa.k_block, set.rows()) } else { m };
        let span = if pack_left { (PACKED_LEFT / rows / k_block).max(1) * k_block } else { k };
        let column_block = match m {
            ..=NARROW if packed => usize::MAX,
            ..=NARROW => set.panels(m) * PANEL,
            _ if right == Layout::Columns => part(n, COLUMN_BLOCK_NT, PANEL),
            _ => COLUMN_BLOCK,
        };
        let left_len =
            if pack_left { (rows * span.min(k) + packing::OVERRUN).next_multiple_of(16) } else { 0 };
        let right_len = if packed { 0 } else { column_block * k_block };
        let row_block = part(rows, ROW_BLOCK, set.rows());
        Plan { height, k_block, pack_left, rows, span, row_block, column_block, left_len, right_len }
    }
}

/// Rows `rows` of A over the words `k` of the contraction: packed at `at`, or as they lie.
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

    unsafe fn pack(&self, isa: &Isa, operands: Operands, p: &Product, plan: &Plan) {
        for k in pieces(self.k.clone(), plan.k_block) {
            for block in pieces(self.rows.clone(), plan.row_block) {
                for rows in tiles(block, plan.height) {
                    let to = self.tile(p, &rows, &k).at.cast_mut();
                    let k = operands.elements(&k, p.k);
                    let at = p.a.at.wrapping_add(rows.start * p.a.row + k.start * p.a.step);
                    // SAFETY: `to` has room for the tile and what follows it is written later or is the overrun.
                    unsafe { packing::left(isa, operands, Left { at, ..p.a }, rows.len(), k.len(), to) };
                }
            }
        }
    }
}

/// All columns of C or those taken, for the rows and the part of the contraction in `left`.
unsafe fn sweep(
    isa: &Isa,
    operands: Operands,
    p: &Product,
    plan: &Plan,
    left: &Blocks,
    memory: *mut f32,
    taking: Option<&Taking>,
) {
    debug_assert!(taking.is_none() || !plan.pack_left, "columns can be taken in one pass only");
    let mut all = pieces(0..p.n, plan.column_block);
    let mut next = || match taking {
        Some(taking) => taking.next(plan.column_block),
        None => all.next(),
    };
    while let Some(columns) = next() {
        for k in pieces(left.k.clone(), plan.k_block) {
            let next = if k.end < left.k.end { (k.end, columns.start) } else { (left.k.start, columns.end) };
            // SAFETY: the scratch has room for the block; B holds its elements.
            let mut right = unsafe { RightBlock::new(isa, operands, p, &columns, &k, next, memory) };
            for rows in pieces(left.rows.clone(), plan.row_block) {
                // SAFETY: the block lies within C, and no other worker writes these columns; A and B hold what it needs.
                unsafe { block(isa, operands, p, left, [&rows, &columns, &k], &right) };
                right.now_in_panels();
            }
        }
    }
}

/// One block of C by one block of the contraction: all register tiles of a group of panels, then the next group.
unsafe fn block(
    isa: &Isa,
    operands: Operands,
    p: &Product,
    left: &Blocks,
    [rows, columns, k]: [&Range<usize>; 3],
    right: &RightBlock,
) {
    let set = operands.tiles(isa);
    let tall = left.height > set.rows();
    let wide = if tall { 1 } else { set.panels(rows.len()) };
    let mut column = 0;
    while column < columns.len() {
        let rest = columns.len() - column;
        // The last panel of a wide tile may have columns that are not wanted.
        let panels = if rest.div_ceil(PANEL) >= wide { wide } else { 1 };
        let width = (panels * PANEL).min(rest);
        let last = column + width == columns.len();
        // SAFETY: the block has these columns.
        let group = unsafe { right.group(isa, &(column..column + width), k.len(), last, wide) };
        // The first rows see all of B once.
        let sums = !p.sums.is_null() && rows.start == 0;
        let totals = p.sums.wrapping_add(columns.start + column);
        if sums && group.rows.is_none() {
            // SAFETY: the panels are packed, and there is a sum for each of their columns.
            unsafe { fused_sums::sum_panels(group.at, right.apart, k, width, totals) };
        }
        for (i, tile) in tiles(rows.clone(), left.height).enumerate() {
            let copied = if i == 0 { group.rows } else { None };
            let (b, b_row) = copied.unwrap_or((group.at, PANEL));
            let a = left.tile(p, &tile, k);
            let by_column = a.row == 1;
            let args = Tile {
                a: a.at,
                a_apart: if by_column { a.step } else { a.row },
                b,
                b_row,
                b_panel: right.apart,
                copy: group.at,
                // Each tile prefetches one panel.
                ahead: group.ahead.wrapping_add(i % panels * group.ahead_panel),
                ahead_row: group.ahead_row,
                k: k.len(),
                c: p.c.wrapping_add(tile.start * p.c_row + columns.start + column),
                c_row: p.c_row,
                columns: width,
                add: p.add || k.start > 0,
                sums: totals,
                add_sums: k.start > 0,
            };
            let kernel = match copied {
                Some(_) => set.copying(tile.len(), by_column, sums),
                None if tall => set.tall[tile.len() - set.rows() - 1],
                None => set.tile(tile.len(), panels, by_column),
            };
            // SAFETY: the tile lies within C, and A and B hold its operands.
            unsafe { kernel(&args) };
        }
        if !p.squares.is_null() && k.end == operands.words(p.k) {
            let at = columns.start + column;
            let (c, to) = (p.c.wrapping_add(rows.start * p.c_row + at), p.squares.wrapping_add(at));
            // SAFETY: these rows of C are finished, and there is a sum for each column.
            unsafe { (isa.squares)(c, p.c_row, rows.len(), width, to, rows.start > 0) };
        }
        column += width;
    }
}
