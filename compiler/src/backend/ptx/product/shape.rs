//! The sizes of a product's tiles, and how they lie in shared memory.
//!
//! A *line* is a row of A or a column of B. A tile lies in shared memory as its operand lies in memory: line by line, with the
//! contraction along the rows ([`Layout::Along`]), or with the lines side by side in each row ([`Layout::Across`]). Rows are
//! longer than the tile by so many words that no two threads that are served at once meet in a bank.
//!
//! ```text
//!                   what a thread reads of a tile at a time               words between rows
//! Along   f32       4 neighbours of a line, by ld.v4                      4 more than a multiple of 8
//!         tf32      8 rows of 4 words for a warp, by ldmatrix             4 more than a multiple of 8
//!         bf16      2 neighbours of a line, by ld.v2                      8 more than a multiple of 16
//! Across  f32       up to 4 lines of a row, by ld.v4                      any number
//!         tf32      up to 4 lines of one of 4 neighbouring rows           8 more than a multiple of 32
//!         bf16      up to 4 lines of one of 4 rows, each 2 after another  4 more than a multiple of 16
//! ```
//!
//! Which tile is taken changes no bits: each element of C is summed over the contraction in one order, whatever tile it is in.

use super::super::math::Math;
use super::super::scope::{THREADS, WARP};
use crate::kernel::{Form, Gemm};
use crate::target::Nvidia;

/// Bytes of shared memory that an entry may declare.
pub(super) const SHARED: usize = 48 << 10;

/// The most tiles of a contraction that are on their way or in use at once. More hide no more of memory's latency.
const STAGES: usize = 4;

/// Rows and columns of the tiles that there are, largest first: a larger tile is read less often for what is multiplied.
pub(in super::super) const TILES: [[usize; 2]; 4] = [[128, 128], [128, 64], [64, 64], [32, 32]];

/// How an operand lies, in memory and in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Layout {
    /// A row is a line: neighbours in a row are neighbours in the contraction.
    Along,
    /// Neighbours in a row are neighbouring lines.
    Across,
}

/// One operand's share of a tile.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Side {
    pub math: Math,
    pub layout: Layout,
    /// Lines of a tile.
    pub lines: usize,
    /// Elements of the contraction of a tile.
    pub depth: usize,
    /// How many groups of threads share the lines out: warps, or 1 where threads multiply by themselves.
    pub groups: usize,
}

impl Side {
    /// Threads of a group that hold different lines: lane quarters of a warp, or one side of a square of threads.
    pub fn positions(self) -> usize {
        if self.math == Math::F32 { 16 } else { 8 }
    }

    /// How many lines a thread holds.
    pub fn held(self) -> usize {
        self.lines / (self.groups * self.positions())
    }

    /// How many neighbouring lines a thread holds: those that it can read at once.
    pub fn neighbours(self) -> usize {
        match self.layout {
            Layout::Along => 1,
            Layout::Across => self.held().min(4),
        }
    }

    /// Where line number `number` of a thread lies: this far behind the thread's position times [`Side::neighbours`].
    pub fn line(self, number: usize) -> usize {
        let neighbours = self.neighbours();
        number / neighbours * neighbours * self.positions() + number % neighbours
    }

    /// Rows in shared memory, and elements of each.
    pub fn extents(self) -> [usize; 2] {
        match self.layout {
            Layout::Along => [self.lines, self.depth],
            Layout::Across => [self.depth, self.lines],
        }
    }

    /// Words from a row in shared memory to the next.
    pub fn row(self) -> usize {
        let pad = match (self.layout, self.math) {
            (Layout::Along, Math::Bf16) | (Layout::Across, Math::Tf32) => 8,
            _ => 4,
        };
        self.extents()[1] + pad
    }

    pub fn bytes(self) -> usize {
        4 * self.extents()[0] * self.row()
    }
}

/// The tiles of a product.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Shape {
    pub math: Math,
    pub a: Side,
    pub b: Side,
    /// Elements of the contraction of a tile.
    pub depth: usize,
    /// Tiles that have room in shared memory at once.
    pub stages: usize,
}

impl Shape {
    /// The largest tile that leaves enough of them, and of which not half would lie beyond C.
    pub fn of(gemm: &Gemm) -> Self {
        let math = Math::of(gemm.precision);
        let is_worth = |&[rows, columns]: &[usize; 2]| {
            let tiles = gemm.m.div_ceil(rows) * gemm.n.div_ceil(columns) * gemm.parts;
            // A thread that multiplies by itself has no room for more sums.
            let too_large = math == Math::F32 && rows * columns > 128 * 64;
            tiles >= Nvidia::ENOUGH_TILES && rows < 2 * gemm.m && columns < 2 * gemm.n && !too_large
        };
        let tile = TILES.into_iter().find(is_worth).unwrap_or([32, 32]);
        Self::new(math, gemm.form, tile)
    }

    pub fn new(math: Math, form: Form, [rows, columns]: [usize; 2]) -> Self {
        // Every thread has something to copy.
        let depth = if rows.min(columns) < 64 { 32 } else { 16 };
        let a = if form == Form::TN { Layout::Across } else { Layout::Along };
        let b = if form == Form::NT { Layout::Along } else { Layout::Across };
        let warps = THREADS / WARP;
        let down = if rows > columns { 4 } else { 2 };
        let [down, across] = if math == Math::F32 { [1, 1] } else { [down, warps / down] };
        let a = Side { math, layout: a, lines: rows, depth, groups: down };
        let b = Side { math, layout: b, lines: columns, depth, groups: across };
        let stages = (SHARED / (a.bytes() + b.bytes())).min(STAGES);
        Self { math, a, b, depth, stages }
    }

    /// Bytes of one stage in shared memory: a tile of A, then one of B.
    pub fn stage(self) -> usize {
        self.a.bytes() + self.b.bytes()
    }

    /// How many tiles there are below each other, and beside each other.
    pub fn tiles(self, gemm: &Gemm) -> [usize; 2] {
        [gemm.m.div_ceil(self.a.lines), gemm.n.div_ceil(self.b.lines)]
    }

    /// Columns of C that a thread holds for each column of B that it holds: tensor cores give it two neighbours.
    pub fn pairs(self) -> usize {
        if self.math == Math::F32 { 1 } else { 2 }
    }

    /// Sums of a thread.
    pub fn sums(self) -> usize {
        self.a.held() * self.b.held() * self.pairs()
    }

    /// Which of a thread's sums is that of a line of A and one of B that it holds: the `element`th of a pair. A fragment of
    /// the tensor cores has two lines of A, and the sums of both one after the other.
    pub fn sum(self, a: usize, b: usize, element: usize) -> usize {
        match self.math {
            Math::F32 => a * self.b.held() + b,
            Math::Tf32 | Math::Bf16 => 4 * (a / 2 * self.b.held() + b) + 2 * (a % 2) + element,
        }
    }
}
