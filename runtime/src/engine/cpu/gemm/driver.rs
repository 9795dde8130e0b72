//! Blocking: which part of A, B and C is worked on when, for every form and instruction set.

use std::ops::Range;

use lstmc_compiler::kernel::PANEL;

use super::limits::Limits;
use super::micro::{Isa, Operands, Tile};
use super::product::{Layout, Left, Product, pieces};
use super::right_block::RightBlock;
use super::ways::Way;
use super::work_stealing::Taking;
use super::{fused_sums, packing, scratch};

/// Rows of C whose squares are summed at a time, where their last row was computed. This fixes bits, so it depends on no cache.
const SUMMED_ROWS: usize = 168;
/// Up to so many rows C is computed one group of panels after the other.
pub const NARROW: usize = 64;
/// Where columns of A lie a multiple of so many elements apart (1 KB), rows of a tile from many of them would share few
/// places of the first-level cache, which on every processor are those of one page of memory: A seems better packed.
const CROWDED: usize = 256;
/// Whether tiles of f32 seem to read A best as it lies; see [`Left::step`].
pub fn reads_as_it_lies(left_step: usize) -> bool {
    !left_step.is_multiple_of(CROWDED)
}

/// Whether all of an A of numbers is packed at once, if it is packed: then a worker's columns need nothing else beforehand.
pub fn packs_at_once(limits: &Limits, m: usize, k: usize) -> bool {
    m * k <= 2 * limits.packed_left
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

/// Computes `p`, or if there is something to take, the columns that it gives, in one of the ways; returns how many columns.
///
/// # Safety
/// The pointers of `p` must be valid for its extents, C must overlap neither A nor B, and the CPU must have `isa`. No
/// other worker may meanwhile write the columns that this worker takes, or any if it takes none.
pub unsafe fn product(
    isa: &Isa,
    limits: &Limits,
    operands: Operands,
    p: &Product,
    taking: Option<&Taking>,
    mut way: Way,
) -> usize {
    if p.k == 0 {
        // SAFETY: as the caller promised.
        unsafe { clear(p) };
        return p.n;
    }
    if taking.is_some() && !packs_at_once(limits, p.m, p.k) {
        way.packs_left = false;
    }
    let lies = Lies { left_step: p.a.step, right: p.b.layout() };
    let words = operands.words(p.k);
    let plan = Plan::new(isa, limits, operands, (p.m, p.n, words), lies, way);
    let mut done = 0;
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
                done = unsafe { sweep(isa, operands, p, &plan, &left, memory.add(plan.left_len), taking) };
            }
        }
    });
    done
}

/// The way of a product of `n` columns and the words of its contraction that seems best beforehand.
pub fn likely(limits: &Limits, (n, words): (usize, usize), lies: Lies) -> Way {
    let weight = words * n * size_of::<f32>();
    let tall = lies.right == Layout::Panels && weight > limits.cached_weight;
    Way { packs_left: !reads_as_it_lies(lies.left_step), tall, wide: false }
}

/// The ways of a product of `m`, `n` and `k` that differ in anything, the [`likely`] one first.
pub fn ways(
    isa: &Isa,
    limits: &Limits,
    operands: Operands,
    (m, n, k): (usize, usize, usize),
    lies: Lies,
) -> impl Iterator<Item = Way> {
    let words = operands.words(k);
    let first = likely(limits, (n, words), lies);
    let mut plans: Vec<Plan> = Vec::new();
    [first].into_iter().chain(Way::all()).filter(move |&way| {
        let plan = Plan::new(isa, limits, operands, (m, n, words), lies, way);
        let is_new = !plans.contains(&plan);
        plans.extend(is_new.then_some(plan));
        is_new
    })
}

/// Elements of scratch that a worker needs for a product in any of its ways, or in the first; see [`ways`].
pub fn scratch(
    isa: &Isa,
    operands: Operands,
    (m, n, k): (usize, usize, usize),
    lies: Lies,
    any_way: bool,
) -> usize {
    let limits = Limits::here();
    let each = ways(isa, limits, operands, (m, n, k), lies).map(|way| {
        let plan = Plan::new(isa, limits, operands, (m, n, operands.words(k)), lies, way);
        plan.left_len + plan.right_len
    });
    each.take(if any_way { usize::MAX } else { 1 }).max().unwrap_or(0)
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

/// How the operands of a product lie.
#[derive(Clone, Copy)]
pub struct Lies {
    /// [`Left::step`]
    pub left_step: usize,
    pub right: Layout,
}

/// The sizes of blocks for one product; lengths along the contraction are in words.
#[derive(PartialEq)]
struct Plan {
    /// The highest tile.
    height: usize,
    k_block: usize,
    pack_left: bool,
    /// Rows of C for which A is packed.
    rows: usize,
    /// Length of the contraction for which A is packed, all of it or a multiple of `k_block`.
    span: usize,
    row_block: usize,
    column_block: usize,
    left_len: usize,
    right_len: usize,
}

impl Plan {
    /// For `m`, `n` and the words of `k` of a product that is gone about in a way, as far as it can be.
    fn new(
        isa: &Isa,
        limits: &Limits,
        operands: Operands,
        (m, n, k): (usize, usize, usize),
        lies: Lies,
        way: Way,
    ) -> Plan {
        let packed = lies.right == Layout::Panels;
        let set = operands.tiles(isa);
        let k_block = k_block(isa, k);
        // Tiles of one panel that hold all rows, which are then one block, read a B that comes from memory once.
        let in_a_block = m <= limits.rows(isa) && m <= limits.packed_left / isa.k_block;
        let tall = way.tall && packed && in_a_block && m > set.rows() && m <= set.rows() + set.tall.len();
        let pack_left = way.packs_left || tall || !matches!(operands, Operands::Numbers);
        let height = if tall { m } else { set.rows() };
        let (rows, span) = match pack_left {
            true if !packs_at_once(limits, m, k) => {
                let rows = part(m, limits.packed_left / isa.k_block, set.rows());
                (rows, (limits.packed_left / rows / k_block).max(1) * k_block)
            }
            _ => (m, k),
        };
        let column_block = match m {
            ..=NARROW if packed => usize::MAX,
            ..=NARROW => set.panels(m) * PANEL,
            _ if way.wide || lies.right == Layout::Columns => part(n, limits.many_columns(isa), PANEL),
            _ => limits.columns(isa),
        };
        let left_len =
            if pack_left { (rows * span.min(k) + packing::OVERRUN).next_multiple_of(16) } else { 0 };
        let right_len = if packed { 0 } else { column_block * k_block };
        let row_block = part(rows, limits.rows(isa), set.rows());
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

/// All columns of C or those taken, for the rows and the part of the contraction in `left`, which is packed if it is to be;
/// returns how many.
unsafe fn sweep(
    isa: &Isa,
    operands: Operands,
    p: &Product,
    plan: &Plan,
    left: &Blocks,
    memory: *mut f32,
    taking: Option<&Taking>,
) -> usize {
    debug_assert!(
        taking.is_none() || plan.rows >= p.m && plan.span >= operands.words(p.k),
        "columns can be taken in one pass only"
    );
    let mut all = pieces(0..p.n, plan.column_block);
    let mut next = || match taking {
        Some(taking) => taking.next(plan.column_block),
        None => all.next(),
    };
    let mut done = 0;
    while let Some(columns) = next() {
        if done == 0 && left.packed {
            // SAFETY: there is room for A's rows and words.
            unsafe { left.pack(isa, operands, p, plan) };
        }
        done += columns.len();
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
    done
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
            for group in pieces(0..p.m, part(p.m, SUMMED_ROWS, set.rows())) {
                if rows.contains(&(group.end - 1)) {
                    let c = p.c.wrapping_add(group.start * p.c_row + at);
                    let (len, to) = (group.len(), p.squares.wrapping_add(at));
                    // SAFETY: these rows of C are finished, and there is a sum for each column.
                    unsafe { (isa.squares)(c, p.c_row, len, width, to, group.start > 0) };
                }
            }
        }
        column += width;
    }
}
