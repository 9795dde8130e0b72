//! What an instruction set offers: its register tiles, and its loops for products of few rows.

use std::ops::Range;

use lstmc_compiler::kernel::Precision;

use super::matrix::MatrixUnit;

use crate::engine::cpu::gemm::product::{Panels, Product};

/// What a register tile works on: `C[..rows, ..columns]` becomes, or grows by, `k` products of A and B. Elements of A and B
/// are `f32`, or pairs of `bf16` for the tiles of [`Pairs`].
pub struct Tile {
    /// Element (i, p) of A at `a[i * a_apart + p]`, or for a tile by column at `a[p * a_apart + i]`.
    pub a: *const f32,
    pub a_apart: usize,
    /// `k` rows of a panel of B.
    pub b: *const f32,
    /// Elements from one row of a panel to the next: [`PANEL`], except for a tile that copies.
    pub b_row: usize,
    /// Elements from one panel of B to the next.
    pub b_panel: usize,
    pub k: usize,
    /// Where a tile that copies lays B out: the panels one after the other, each `k` rows of [`PANEL`].
    pub copy: *mut f32,
    /// A panel of B that will be wanted soon: row `p` of it is prefetched in round `p`. Need not exist.
    pub ahead: *const f32,
    /// Elements from one row of that panel to the next.
    pub ahead_row: usize,
    pub c: *mut f32,
    pub c_row: usize,
    /// Columns of C, counted over all panels: more than in one panel less than there are.
    pub columns: usize,
    /// Add to C.
    pub add: bool,
    /// Where a tile that sums puts, or if `k` is not the first block adds, the sums of B's columns, of all its panels.
    pub sums: *mut f32,
    /// Add to `sums`.
    pub add_sums: bool,
}

/// How many rows ahead packing prefetches: each row may be on a page of its own.
pub const AHEAD: usize = 8;

/// Computes a [`Tile`] of a fixed number of rows and panels, in one of two [`Forms`].
pub type TileFn = unsafe fn(&Tile);

/// `to[p * apart + i] = from[i * row + p]` for `i < rows <= 16` and `p < k`, where `apart >= rows`. If `apart` is 16, elements from `rows` on become zero; otherwise up to [`crate::engine::cpu::gemm::packing::OVERRUN`]
/// elements after the last are overwritten.
pub type InterleaveFn =
    unsafe fn(from: *const f32, row: usize, rows: usize, k: usize, to: *mut f32, apart: usize);

/// [`crate::engine::cpu::gemm::direct::run`] or [`crate::engine::cpu::gemm::dots::run`] on one instruction set.
pub type DirectFn = unsafe fn(product: &Product, b: *const f32, apart: usize);

/// [`crate::engine::cpu::gemm::stream::run`] on one instruction set.
pub type StreamFn = unsafe fn(product: &Product, b: Panels);

/// [`crate::engine::cpu::gemm::fused_sums::squares`] on one instruction set.
pub type SquaresFn =
    unsafe fn(c: *const f32, c_row: usize, rows: usize, width: usize, to: *mut f32, add: bool);

/// Numbers in [`crate::engine::cpu::gemm::packing::Layout::Pairs`] from rows of `f32`, of `k` rows of `width`
/// numbers that lie `apart` from one to the next. The last pair of an odd `k` is with zero.
pub type PairFn = unsafe fn(from: *const f32, apart: usize, width: usize, k: usize, to: *mut f32);

/// The tiles of one height.
pub struct Height {
    /// Panels that `wide` takes at once: more for low tiles, whose few sums would wait for each other.
    pub panels: usize,
    pub wide: Forms,
    /// Takes one panel.
    pub single: Forms,
    /// As `wide`, of panels whose rows lie apart: copies them as it goes, one after the other. The loads of B are there
    /// anyway, and there is time for the stores. Where B is not packed as it is, there is none.
    pub copying: Option<Forms>,
    /// As `copying`, and sums the columns that it copies.
    pub summing: Option<Forms>,
}

/// A tile for an A whose rows lie in one piece each, and for one whose columns do, as a packed A's.
pub struct Forms {
    pub by_row: TileFn,
    pub by_column: TileFn,
}

impl Forms {
    fn of(&self, by_column: bool) -> TileFn {
        if by_column { self.by_column } else { self.by_row }
    }
}

/// Register tiles, by height.
pub struct Tiles {
    /// From 1 on.
    pub heights: &'static [Height],
    /// Higher tiles of one panel, from one more than the highest of `heights` on; may be none. They read a weight that lies
    /// in memory once where two tiles would read it twice. A is packed.
    pub tall: &'static [TileFn],
}

/// Products of numbers that are rounded to `bf16` and lie in pairs, two that follow each other along the contraction in
/// the place of one `f32`: the lower half is the first.
pub struct Pairs {
    /// The instructions for them.
    pub name: &'static str,
    pub tiles: Tiles,
    /// As [`Isa::interleave`] of `k` numbers in each row, which become `k / 2` pairs, rounded up: of a last one alone the
    /// upper half is zero.
    pub interleave: InterleaveFn,
    /// Panels of `width` columns, the last one padded with zeros.
    pub panels: PairFn,
    /// Rows of at most 24 pairs one after the other; up to [`crate::engine::cpu::gemm::packing::OVERRUN`] elements after the last are
    /// overwritten.
    pub rows: PairFn,
    /// Rounds of [`CHAINS`] instructions that each multiply and add the pairs of a register, as fast as the processor can.
    pub multiply_add: unsafe fn(rounds: usize),
}

/// Multiply-adds that do not wait for each other: as many as are on their way at once.
pub const CHAINS: usize = 12;

/// An instruction set's kernels.
pub struct Isa {
    pub name: &'static str,
    /// The vectors that numbers are multiplied in.
    pub numbers: &'static str,
    /// Numbers in a vector.
    pub lanes: usize,
    /// The longest block of the contraction. Fewer blocks load and store C less often, but a panel of B that is as deep
    /// should stay in the first-level cache while all tiles of A go over it, unless the second level keeps up.
    pub k_block: usize,
    pub tiles: Tiles,
    /// If there are instructions for it; otherwise rounded numbers are multiplied as `f32`.
    pub pairs: Option<Pairs>,
    /// If there is one, for products in `bf16` and by weights in fewer bits; see [`crate::engine::cpu::gemm::matrix`].
    pub matrix: Option<&'static MatrixUnit>,
    pub interleave: InterleaveFn,
    pub direct: DirectFn,
    pub dots: DirectFn,
    pub stream: StreamFn,
    pub squares: SquaresFn,
}

impl Tiles {
    /// The highest tile but for `tall`.
    pub fn rows(&self) -> usize {
        self.heights.len()
    }

    /// Panels to take at once for `m` rows.
    pub fn panels(&self, m: usize) -> usize {
        // Of the tiles that make up `m`, which differ by one, the higher one.
        let height = m.div_ceil(m.div_ceil(self.rows()).max(1));
        self.heights[height.max(1) - 1].panels
    }

    /// The kernel for a tile of `rows` by `panels`, which is [`Tiles::panels`] or 1; [`Forms`] says what `by_column` is.
    pub fn tile(&self, rows: usize, panels: usize, by_column: bool) -> TileFn {
        let height = &self.heights[rows - 1];
        debug_assert!(panels == 1 || panels == height.panels, "there is no tile of {rows} x {panels}");
        let forms = if panels == 1 { &height.single } else { &height.wide };
        forms.of(by_column)
    }

    /// The same of [`Height::panels`] panels, which it copies, and whose columns it sums.
    ///
    /// # Panics
    /// If B is to be packed as something else than it is: [`Height::copying`].
    pub fn copying(&self, rows: usize, by_column: bool, sums: bool) -> TileFn {
        let height = &self.heights[rows - 1];
        let forms = if sums { height.summing.as_ref() } else { height.copying.as_ref() };
        forms.expect("tiles of numbers copy B").of(by_column)
    }
}

/// What register tiles multiply. A and B are packed as words of 4 bytes, each a number or two.
#[derive(Clone, Copy)]
pub enum Operands {
    Numbers,
    /// Numbers rounded to `bf16`.
    Rounded,
    /// Two numbers in `bf16` that follow each other along the contraction.
    Pairs(&'static Pairs),
}

impl Operands {
    /// Of products in this precision.
    pub fn of(isa: &'static Isa, precision: Precision) -> Self {
        match (precision, &isa.pairs) {
            // A machine without a unit for parts is asked for none.
            (Precision::F32 | Precision::Tf32 | Precision::Bf16x3 | Precision::Bf16x6, _) => {
                Operands::Numbers
            }
            (Precision::Bf16, Some(pairs)) => Operands::Pairs(pairs),
            (Precision::Bf16, None) => Operands::Rounded,
        }
    }

    /// Words of a contraction of length `k`.
    pub fn words(self, k: usize) -> usize {
        k.div_ceil(self.per_word())
    }

    /// The elements of these words, where there are `k`.
    pub fn elements(self, words: &Range<usize>, k: usize) -> Range<usize> {
        words.start * self.per_word()..(words.end * self.per_word()).min(k)
    }

    fn per_word(self) -> usize {
        if matches!(self, Operands::Pairs(_)) { 2 } else { 1 }
    }

    pub fn tiles(self, isa: &Isa) -> &Tiles {
        match self {
            Operands::Pairs(pairs) => &pairs.tiles,
            Operands::Numbers | Operands::Rounded => &isa.tiles,
        }
    }
}

/// A table of heights: `rows x panels` for each. `tile::<rows, panels, by_column, copies, sums>` must be in scope.
macro_rules! heights {
    ($copying:ident: $($rows:literal x $panels:literal),* $(,)?) => {
        &[$(crate::engine::cpu::gemm::micro::isa::Height {
            panels: $panels,
            wide: crate::engine::cpu::gemm::micro::isa::forms!($rows, $panels, false, false),
            single: crate::engine::cpu::gemm::micro::isa::forms!($rows, 1, false, false),
            copying: crate::engine::cpu::gemm::micro::isa::heights!(@$copying $rows, $panels, false),
            summing: crate::engine::cpu::gemm::micro::isa::heights!(@$copying $rows, $panels, true),
        }),*]
    };
    (@copying $rows:literal, $panels:literal, $sums:literal) => {
        Some(crate::engine::cpu::gemm::micro::isa::forms!($rows, $panels, true, $sums))
    };
    (@plain $rows:literal, $panels:literal, $sums:literal) => { None };
}
macro_rules! forms {
    ($rows:literal, $panels:literal, $copies:literal, $sums:literal) => {
        crate::engine::cpu::gemm::micro::isa::Forms {
            by_row: tile::<$rows, $panels, false, $copies, $sums>,
            by_column: tile::<$rows, $panels, true, $copies, $sums>,
        }
    };
}
pub(super) use {forms, heights};
