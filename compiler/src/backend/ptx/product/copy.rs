//! Tiles on their way from memory to shared memory, by `cp.async`: zeros beyond the matrix.
//!
//! A copy is of 16 bytes where every row of the matrix begins at a multiple of them, else of 8 or 4; neighbouring threads copy
//! neighbours. Nothing is rounded on the way: a copy that goes through no register cannot be, and what is in shared memory is
//! rounded when it is read there.

use super::super::scope::{Scope, THREADS};
use super::super::text::{Operand, Reg, Wide, Writer};
use super::shape::{Layout, Side};
use crate::kernel::Matrix;

/// How many elements, 4, 2 or 1, are aligned together wherever a row of a matrix begins.
pub(super) fn alignment(scope: &Scope, matrix: &Matrix) -> usize {
    let start = scope.offset(matrix.at.buffer) / 4 + matrix.at.offset;
    let strides = matrix.at.terms.iter().map(|&(_, stride)| stride).chain([matrix.stride, start]);
    1 << strides.map(usize::trailing_zeros).fold(2, u32::min)
}

/// How a thread copies its part of an operand's tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copier {
    side: Side,
    matrix: Wide,
    /// Elements from a row of the matrix to the next.
    stride: usize,
    /// Elements of a copy.
    width: usize,
    /// The first element that the thread copies of a tile, and where that goes in the first stage.
    row: Reg,
    column: Reg,
    to: Reg,
}

/// What a thread copies next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    at: Wide,
    row: Reg,
    column: Reg,
    /// Rows and columns of the matrix that count.
    rows: Operand,
    columns: Operand,
}

impl Copier {
    /// `shared`: where the operand's tile begins in the first stage.
    pub fn new(scope: &mut Scope, matrix: &Matrix, side: Side, shared: Reg) -> Self {
        let width = alignment(scope, matrix);
        let (at, thread) = (scope.pointer(&matrix.at), scope.thread);
        let w = &mut scope.w;
        let copies = (side.extents()[1] / width) as u32;
        let (row, column) = w.div_rem(thread, copies);
        let column = w.mul(column, width as u32);
        let word = w.mad(row, side.row() as u32, column);
        let to = w.mad(word, 4, shared);
        Self { side, matrix: at, stride: matrix.stride, width, row, column, to }
    }

    /// The tile that begins at `line` and `k`. Beyond `lines` and `depth` everything is zero.
    pub fn begin(&self, w: &mut Writer, [line, k]: [Operand; 2], [lines, depth]: [Operand; 2]) -> Cursor {
        let ([row, column], [rows, columns]) = match self.side.layout {
            Layout::Along => ([line, k], [lines, depth]),
            Layout::Across => ([k, line], [depth, lines]),
        };
        let (row, column) = (w.add(self.row, row), w.add(self.column, column));
        let element = w.mad(row, self.stride as u32, column);
        let at = w.element(self.matrix, element);
        Cursor { at, row, column, rows, columns }
    }

    /// Sends the thread's part of a tile to the stage that is `stage` bytes after the first, and goes on to the next tile.
    pub fn copy(&self, w: &mut Writer, next: &Cursor, stage: Operand) {
        let (bytes, kind) = (4 * self.width, if self.width == 4 { "cg" } else { "ca" });
        let left = w.op("sub.s32", [next.columns, next.column.into()]);
        let left = w.op("max.s32", [left.into(), 0.into()]);
        let left = w.op("min.s32", [left.into(), (self.width as u32).into()]);
        let left = w.op("shl.b32", [left.into(), 2.into()]);
        let to = w.add(self.to, stage);
        let [rows, columns] = self.side.extents();
        let apart = THREADS * self.width / columns;
        for below in (0..rows).step_by(apart) {
            let row = w.add(next.row, below as u32);
            let is_inside = w.compare("setp.lt.u32", row, next.rows);
            let taken = w.choose(is_inside, [left.into(), 0.into()]);
            let from = w.after(next.at, 4 * below * self.stride);
            let to = format!("[{to}+{}]", 4 * below * self.side.row());
            w.line(format_args!("cp.async.{kind}.shared.global {to}, {from}, {bytes}, {taken}"));
        }
        let depth = self.side.depth;
        let (moving, further) = match self.side.layout {
            Layout::Along => (next.column, depth),
            Layout::Across => (next.row, depth * self.stride),
        };
        w.assign(moving, "add.u32", [moving.into(), (depth as u32).into()]);
        w.line(format_args!("add.s64 {}, {}, {}", next.at, next.at, 4 * further));
    }
}
