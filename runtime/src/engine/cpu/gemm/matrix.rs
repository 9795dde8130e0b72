//! Products on a matrix unit: which parts of numbers are multiplied, and the blocking.
//!
//! A is laid out in tiles first, in blocks that stay in the second-level cache, and B, unless it was packed beforehand, a few panels at
//! a time; then `micro::matrix::square` goes over pairs of panels, and groups of two tiles of rows. Parts of the contraction begin
//! where a step does, so none of this changes a bit. Shorter ones, that would keep a pair of panels in the first-level cache, cost more
//! by loading and storing C than they gain.

use std::ops::{Range, RangeInclusive};
use std::ptr::null;

use lstmc_compiler::kernel::{Format, PANEL, Precision};

use super::micro::Isa;
use super::micro::matrix::{MatrixUnit, PARTS, SIDE, Square, TILE};
use super::product::{Left, Product, Right, pieces};
use super::{driver, packing, scratch};

/// Numbers in a step of the contraction.
const STEP: usize = 2 * SIDE;
/// Words of A that are laid out at a time: half of a second-level cache, which is of 2 MB on all processors that have such a unit.
const LEFT: usize = 1 << 18;
/// Rows of A that are laid out at a time, if so many are there: few enough for all of the contraction, if that is possible, since C is
/// loaded and stored once for each part of it. They fix in which order squares of C are summed.
const ROWS: RangeInclusive<usize> = 352..=768;
/// Rows of two tiles.
const GROUP: usize = 2 * SIDE;
/// Panels of B that are laid out at a time: so many cache lines are read of each of its rows.
const PANELS: usize = 4;

/// Which parts of A and B are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    a: usize,
    b: usize,
    /// By which part of B each part of A is multiplied.
    products: &'static [(usize, usize)],
    /// C's columns are multiplied by a scale at the end.
    scaled: bool,
}

/// Numbers rounded to `bf16`.
const ROUNDED: Parts = Parts { a: 1, b: 1, products: &[(0, 0)], scaled: false };
/// Numbers in two parts; the product of the two second ones, some 2^-16 of the whole, is left out.
const TWO: Parts = Parts { a: 2, b: 2, products: &[(0, 1), (0, 0), (1, 0)], scaled: false };
/// Numbers in all three parts; products of some 2^-24 of the whole and less are left out.
const THREE: Parts =
    Parts { a: 3, b: 3, products: &[(0, 2), (0, 1), (1, 1), (1, 0), (0, 0), (2, 0)], scaled: false };
/// A number as it is by a weight in `bf16`, or by a whole number that is one.
const WHOLE: Parts = Parts { a: 3, b: 1, products: &[(0, 0), (1, 0), (2, 0)], scaled: false };

impl Parts {
    /// Those of a product of more than [`super::stream::MAX_ROWS`] rows in a precision by a right side that may be packed; none if it
    /// gains nothing.
    pub fn of(precision: Precision, packed: Option<Format>) -> Option<Self> {
        match (precision, packed) {
            (Precision::Bf16, _) => Some(ROUNDED),
            (Precision::Bf16x3, _) => Some(TWO),
            (Precision::Bf16x6, _) => Some(THREE),
            (Precision::F32 | Precision::Tf32, Some(Format::Bf16)) => Some(WHOLE),
            (Precision::F32 | Precision::Tf32, Some(Format::Int8)) => Some(Parts { scaled: true, ..WHOLE }),
            (
                Precision::F32 | Precision::Tf32,
                None | Some(Format::F32 | Format::TwoParts | Format::ThreeParts),
            ) => None,
        }
    }

    /// The format of a packed B whose panels are tiles as they lie; none if they have to be widened.
    pub fn lying(self) -> Option<Format> {
        match self {
            Parts { scaled: true, .. } => None,
            Parts { b: 2, .. } => Some(Format::TwoParts),
            Parts { b: 3, .. } => Some(Format::ThreeParts),
            _ => Some(Format::Bf16),
        }
    }
}

/// The sizes of blocks for one product, functions of its sizes.
struct Plan {
    /// Rows and steps for which A is laid out.
    rows: usize,
    span: usize,
    left_len: usize,
    right_len: usize,
}

impl Plan {
    fn new(parts: Parts, (m, k): (usize, usize), packed: bool) -> Self {
        let (steps, tile_row) = (k.div_ceil(STEP), parts.a * SIDE);
        let fit = LEFT / (steps * tile_row);
        let most = match parts.scaled {
            // All of the contraction is added up before the sums are scaled.
            true => fit.max(GROUP),
            false => fit.clamp(*ROWS.start(), *ROWS.end()),
        };
        let rows = part(m, most).next_multiple_of(GROUP).min(m);
        let span = match parts.scaled {
            true => steps,
            false => part(steps, LEFT / (rows * tile_row)),
        };
        let right_len = if packed { 0 } else { parts.b * PANELS * span * TILE };
        Plan { rows, span, left_len: rows * span * tile_row, right_len }
    }
}

/// The length of equal parts of at most `most`.
fn part(len: usize, most: usize) -> usize {
    len.div_ceil(len.div_ceil(most.max(1)))
}

/// Words of scratch that a worker needs for `m` rows of a product; `in_tiles`: B lies in tiles, packed.
pub fn scratch(parts: Parts, (m, k): (usize, usize), in_tiles: bool) -> usize {
    if m == 0 || k == 0 {
        return 0;
    }
    let plan = Plan::new(parts, (m, k), in_tiles);
    plan.left_len + plan.right_len
}

/// Whether tiles of B are loaded as it lies.
fn lies_in_tiles(right: &Right) -> bool {
    matches!(right, Right::Panels { .. })
}

/// A block of A in tiles: groups of rows one after the other, in each its one or two rows of tiles.
struct LeftBlock {
    at: *mut f32,
    rows: Range<usize>,
    /// Steps.
    span: Range<usize>,
    parts: usize,
}

/// How many rows the tiles of a group have.
fn heights(group: &Range<usize>) -> [usize; 2] {
    match group.len() {
        rows @ ..=SIDE => [rows, 0],
        rows => [rows.div_ceil(2), rows / 2],
    }
}

impl LeftBlock {
    /// The first tiles of a group.
    fn tiles(&self, group: &Range<usize>) -> [*mut f32; 2] {
        let row = self.span.len() * self.parts * SIDE;
        let first = self.at.wrapping_add((group.start - self.rows.start) * row);
        [first, first.wrapping_add(heights(group)[0] * row)]
    }

    /// # Safety
    /// A has these rows and steps, and there is room for their tiles.
    unsafe fn lay_out(&self, unit: &MatrixUnit, p: &Product) {
        let elements = self.span.start * STEP..(self.span.end * STEP).min(p.k);
        for group in pieces(self.rows.clone(), GROUP) {
            let mut row = group.start;
            for (tile, height) in self.tiles(&group).into_iter().zip(heights(&group)) {
                if height == 0 {
                    continue;
                }
                let at = p.a.at.wrapping_add(row * p.a.row + elements.start * p.a.step);
                let by = if p.a.step == 1 { &unit.by_row } else { &unit.by_column };
                for (part, lay_out) in by.iter().enumerate().take(self.parts) {
                    let to = tile.wrapping_add(part * height * SIDE);
                    // SAFETY: as the caller promised.
                    unsafe {
                        lay_out(Left { at, ..p.a }, height, elements.len(), to, self.parts * height * SIDE)
                    };
                }
                row += height;
            }
        }
    }
}

/// Some panels of B over the steps of a block of A.
struct RightBlock {
    /// The first tile of the first panel.
    at: *const f32,
    /// Words from one panel to the next, and from one part to the next.
    apart: usize,
    part: usize,
    /// Words of a column, of which the last tile may have less than its rows.
    words: usize,
}

impl RightBlock {
    /// Of columns from `column` on; laid out at `memory` if they do not lie in tiles.
    ///
    /// # Safety
    /// B has these columns and steps, and there is room for them.
    unsafe fn new(
        unit: &MatrixUnit,
        p: &Product,
        parts: Parts,
        columns: &Range<usize>,
        span: &Range<usize>,
        memory: *mut f32,
    ) -> Self {
        let k = span.start * STEP..(span.end * STEP).min(p.k);
        let (words, panels) = (k.len().div_ceil(2), columns.len().div_ceil(PANEL));
        if let Right::Panels { at, apart } = p.b {
            let at = at.wrapping_add(columns.start / PANEL * apart + span.start * TILE);
            return Self { at, apart, part: p.k.div_ceil(2) * PANEL, words };
        }
        let part = panels * PANEL * words;
        for number in 0..parts.b {
            let (source, to) = (p.b.at_column(columns.start), memory.wrapping_add(number * part));
            let pack = (unit.panels[number], unit.interleave[number]);
            // SAFETY: as the caller promised.
            unsafe { packing::pairs(pack, source, columns.len(), k.clone(), to) };
        }
        Self { at: memory, apart: words * PANEL, part, words }
    }

    /// The last tiles of panels from `panel` on, filled up with zeros, if they have not all of their rows: see [`Square::tail`].
    ///
    /// # Safety
    /// The block has these panels.
    unsafe fn tail(&self, panel: usize, count: usize, parts: usize, to: &mut Tail) -> bool {
        let rest = self.words % SIDE * PANEL;
        if rest == 0 {
            return false;
        }
        for part in 0..parts {
            for j in 0..count {
                let last = self.words / SIDE * TILE;
                let from = self.tile(panel + j).wrapping_add(part * self.part + last);
                // What follows is zero from the start: all panels of a block end alike.
                let to = to.0[2 * part + j].as_mut_ptr();
                // SAFETY: the panel has so many words after its last whole tile.
                unsafe { std::ptr::copy_nonoverlapping(from, to, rest) };
            }
        }
        true
    }

    /// The first tile of a panel.
    fn tile(&self, panel: usize) -> *const f32 {
        self.at.wrapping_add(panel * self.apart)
    }
}

/// Two panels' last tiles, in each of their parts.
#[repr(align(64))]
struct Tail([[f32; TILE]; 2 * PARTS]);

/// A group of rows by a pair of panels.
#[repr(align(64))]
struct Sums([f32; GROUP * 2 * PANEL]);

/// Computes `p` on the matrix unit.
///
/// # Safety
/// The pointers of `p` must be valid for its extents, C must overlap neither A nor B, the CPU must have `isa` and `unit`, and this
/// process may use the unit.
pub unsafe fn product(isa: &Isa, unit: &MatrixUnit, parts: Parts, p: &Product) {
    if p.k == 0 {
        // SAFETY: as the caller promised.
        return unsafe { driver::clear(p) };
    }
    let plan = Plan::new(parts, (p.m, p.k), lies_in_tiles(&p.b));
    let steps = p.k.div_ceil(STEP);
    let mut work = Work { unit, parts, p, configured: [0; 2], sums: Sums([0.0; GROUP * 2 * PANEL]) };
    scratch::with(plan.left_len + plan.right_len, |memory| {
        for rows in pieces(0..p.m, plan.rows) {
            for span in pieces(0..steps, plan.span) {
                let left = LeftBlock { at: memory, rows: rows.clone(), span: span.clone(), parts: parts.a };
                // SAFETY: the scratch holds these lengths; the rest is the caller's promise.
                unsafe {
                    left.lay_out(unit, p);
                    for columns in pieces(0..p.n, PANELS * PANEL) {
                        let to = memory.wrapping_add(plan.left_len);
                        let right = RightBlock::new(unit, p, parts, &columns, &span, to);
                        work.columns(&left, &right, &columns);
                        if span.end == steps && !p.squares.is_null() {
                            let c = p.c.wrapping_add(rows.start * p.c_row + columns.start);
                            let to = p.squares.wrapping_add(columns.start);
                            (isa.squares)(c, p.c_row, rows.len(), columns.len(), to, rows.start > 0);
                        }
                    }
                }
            }
        }
    });
    // SAFETY: the CPU has the unit.
    unsafe { (unit.release)() };
}

/// A product as it is being computed.
struct Work<'a> {
    unit: &'a MatrixUnit,
    parts: Parts,
    p: &'a Product,
    /// The rows of the unit's tiles.
    configured: [usize; 2],
    /// Of a group of rows and a pair of panels before they are scaled.
    sums: Sums,
}

impl Work<'_> {
    /// All rows of A's block by some panels.
    ///
    /// # Safety
    /// As [`product`].
    unsafe fn columns(&mut self, left: &LeftBlock, right: &RightBlock, columns: &Range<usize>) {
        let mut tail = Tail([[0.0; TILE]; 2 * PARTS]);
        for pair in pieces(columns.clone(), 2 * PANEL) {
            let panel = (pair.start - columns.start) / PANEL;
            // SAFETY: the block has these panels.
            let padded = unsafe { right.tail(panel, pair.len().div_ceil(PANEL), self.parts.b, &mut tail) };
            let place = PairOfPanels {
                columns: pair.clone(),
                b: [right.tile(panel), right.tile(panel + 1)],
                part: right.part,
                tail: if padded { tail.0.as_ptr().cast() } else { null() },
            };
            for group in pieces(left.rows.clone(), GROUP) {
                // SAFETY: the blocks have what the square reads; C is the caller's promise.
                unsafe { self.square(left, &group, &place) };
            }
        }
    }

    /// One group of rows by a pair of panels.
    ///
    /// # Safety
    /// As [`product`].
    unsafe fn square(&mut self, left: &LeftBlock, group: &Range<usize>, panels: &PairOfPanels) {
        let (p, rows) = (self.p, heights(group));
        let c = p.c.wrapping_add(group.start * p.c_row + panels.columns.start);
        let square = Square {
            a: left.tiles(group).map(|tile| tile.cast_const()),
            a_parts: self.parts.a,
            rows,
            b: panels.b,
            b_part: panels.part,
            steps: left.span.len(),
            tail: panels.tail,
            products: self.parts.products,
            c: if self.parts.scaled { self.sums.0.as_mut_ptr() } else { c },
            c_row: if self.parts.scaled { 2 * PANEL } else { p.c_row },
            columns: panels.columns.len(),
            add: !self.parts.scaled && (p.add || left.span.start > 0),
        };
        let kernel = &self.unit.squares[usize::from(rows[1] > 0)];
        let kernel = kernel[usize::from(square.columns > PANEL)];
        // SAFETY: the tiles are where the square says; C has these rows and columns.
        unsafe {
            if self.configured != rows {
                (self.unit.configure)(rows);
                self.configured = rows;
            }
            kernel(&square);
        }
        if let Right::Reduced(weights) = p.b {
            let first = panels.columns.start / PANEL;
            let scales =
                |column: usize| weights.panel(first + column / PANEL).scales.wrapping_add(column % PANEL);
            for (row, sums) in self.sums.0.chunks_exact(2 * PANEL).enumerate().take(group.len()) {
                for (column, &sum) in sums.iter().enumerate().take(panels.columns.len()) {
                    // SAFETY: C has these rows and columns, and each column a scale.
                    unsafe {
                        let (c, scaled) = (c.add(row * p.c_row + column), *scales(column) * sum);
                        *c = if p.add { *c + scaled } else { scaled };
                    }
                }
            }
        }
    }
}

/// Where a square finds its part of B.
struct PairOfPanels {
    columns: Range<usize>,
    /// See [`Square::b`], [`Square::b_part`] and [`Square::tail`].
    b: [*const f32; 2],
    part: usize,
    tail: *const f32,
}
