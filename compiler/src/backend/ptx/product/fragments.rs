//! From shared memory to registers, and multiplied there.
//!
//! A thread reads a step of the contraction of all lines that it holds, rounds it, and multiplies. Tensor cores take tf32 as
//! words of 32 bits, whose fragments `ldmatrix` reads as pairs of halves where the contraction is along the rows. Of bf16 shared
//! memory holds the `f32` that are to be rounded, since copies do not round, so that `ldmatrix`, which wants halves, has
//! nothing to read: two neighbours are read as a pair, and become a word. That reads twice the bytes and keeps one path for all
//! precisions, with the same copies.

use super::super::math::{Math, rounded, tensor_product};
use super::super::scope::{Scope, WARP};
use super::super::text::{Reg, Writer, list};
use super::shape::{Layout, Shape, Side};

/// Where a thread stands among those that share a tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The first lines of A and of B of the thread's group.
    pub starts: [Reg; 2],
    /// Its position among the group's threads that hold lines of A, and of B.
    pub positions: [Reg; 2],
    /// Which columns of C it has: the position of the first.
    pub columns: Reg,
    /// Which elements of a step it holds, of a thread that multiplies on tensor cores.
    member: Reg,
    lane: Reg,
}

impl Place {
    pub fn of(scope: &mut Scope, shape: &Shape) -> Self {
        let thread = scope.thread;
        let w = &mut scope.w;
        if shape.math == Math::F32 {
            let (row, column) = w.div_rem(thread, shape.b.positions() as u32);
            let zero = w.bits(0);
            return Self {
                starts: [zero; 2],
                positions: [row, column],
                columns: column,
                member: zero,
                lane: zero,
            };
        }
        let (warp, lane) = w.div_rem(thread, WARP as u32);
        let (down, across) = w.div_rem(warp, shape.b.groups as u32);
        let (quarter, member) = w.div_rem(lane, 4);
        let lines = |side: Side| (side.lines / side.groups) as u32;
        let starts = [w.mul(down, lines(shape.a)), w.mul(across, lines(shape.b))];
        let columns = w.mul(member, shape.pairs() as u32);
        Self { starts, positions: [quarter; 2], columns, member, lane }
    }
}

/// How a thread reads the lines that it holds of one operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    side: Side,
    /// The first word that it reads in the first stage.
    at: Reg,
}

/// What a thread holds of a step: of each line its words.
type Words = Vec<Vec<Reg>>;

impl Reader {
    /// `which`: 0 of A, 1 of B, whose tile begins at `shared` in the first stage.
    pub fn new(w: &mut Writer, side: Side, place: &Place, which: usize, shared: Reg) -> Self {
        let row = side.row() as u32;
        let (start, position) = (place.starts[which], place.positions[which]);
        let word = match (side.layout, side.math) {
            (Layout::Along, Math::Tf32) => {
                // Lanes 8 by 8 say where the rows of a matrix are: of one line or two, then of the other half of the step.
                let lines = 8 * side.held().min(2) as u32;
                let (half, below) = w.div_rem(place.lane, lines);
                // With one line there are two matrices, and half of the lanes say nothing.
                let half = w.op("and.b32", [half.into(), 1.into()]);
                let line = w.add(start, below);
                let along = w.mul(half, 4);
                w.mad(line, row, along)
            }
            (Layout::Along, _) => {
                let line = w.add(start, position);
                let along = w.mul(place.member, 2);
                w.mad(line, row, along)
            }
            (Layout::Across, _) => {
                let line = w.mad(position, side.neighbours() as u32, start);
                // A member of a quarter holds one row, or two neighbours.
                let rows = if side.math == Math::Bf16 { 2 * row } else { row };
                w.mad(place.member, rows, line)
            }
        };
        Self { side, at: w.mad(word, 4, shared) }
    }

    /// What the thread multiplies of the step that begins at `k` in the tile of a stage.
    pub fn read(&self, w: &mut Writer, stage: Reg, k: usize) -> Words {
        let at = w.add(self.at, stage);
        let words = match (self.side.layout, self.side.math) {
            (Layout::Across, Math::F32) => self.across(w, at, &[k, k + 1, k + 2, k + 3]),
            (Layout::Across, Math::Tf32) => self.across(w, at, &[k, k + 4]),
            (Layout::Across, Math::Bf16) => self.across(w, at, &[k, k + 1, k + 8, k + 9]),
            (Layout::Along, Math::F32) => self.along(w, at, &[k], 4),
            (Layout::Along, Math::Tf32) => self.matrices(w, at, k),
            (Layout::Along, Math::Bf16) => self.along(w, at, &[k, k + 8], 2),
        };
        words.into_iter().map(|line| rounded(w, self.side.math, line)).collect()
    }

    /// Of each line a vector from each of these places on.
    fn along(&self, w: &mut Writer, at: Reg, starts: &[usize], width: usize) -> Words {
        let line = |w: &mut Writer, number| {
            let row = self.side.line(number) * self.side.row();
            starts.iter().flat_map(|&k| w.load_shared(at, 4 * (row + k), width)).collect()
        };
        (0..self.side.held()).map(|number| line(w, number)).collect()
    }

    /// Of each line a word from each of these rows, in which neighbours are read at once.
    fn across(&self, w: &mut Writer, at: Reg, rows: &[usize]) -> Words {
        let mut words = vec![vec![]; self.side.held()];
        for row in rows {
            for first in (0..self.side.held()).step_by(self.side.neighbours()) {
                let place = row * self.side.row() + self.side.line(first);
                let read = w.load_shared(at, 4 * place, self.side.neighbours());
                words[first..].iter_mut().zip(read).for_each(|(line, word)| line.push(word));
            }
        }
        words
    }

    /// Of each line a word of either half of the step: one or two lines at once.
    fn matrices(&self, w: &mut Writer, at: Reg, k: usize) -> Words {
        let at_once = self.side.held().min(2);
        let pair = |w: &mut Writer, first: usize| {
            let read: Vec<Reg> = (0..2 * at_once).map(|_| w.reg()).collect();
            let from = 4 * (self.side.line(first) * self.side.row() + k);
            w.line(format_args!(
                "ldmatrix.sync.aligned.m8n8.x{}.shared.b16 {}, [{at}+{from}]",
                read.len(),
                list(&read)
            ));
            (0..at_once).map(move |line| vec![read[line], read[at_once + line]]).collect::<Vec<_>>()
        };
        (0..self.side.held()).step_by(at_once).flat_map(|first| pair(w, first)).collect()
    }
}

/// Adds the products of a step to a thread's sums.
pub(super) fn multiply(w: &mut Writer, shape: &Shape, a: &Words, b: &Words, sums: &[Reg]) {
    if shape.math == Math::F32 {
        for k in 0..shape.math.step() {
            for (i, j) in (0..a.len()).flat_map(|i| (0..b.len()).map(move |j| (i, j))) {
                let sum = sums[shape.sum(i, j, 0)];
                w.assign(sum, "fma.rn.f32", [a[i][k].into(), b[j][k].into(), sum.into()]);
            }
        }
        return;
    }
    for (i, lines) in a.chunks(2).enumerate() {
        let left = [lines[0][0], lines[1][0], lines[0][1], lines[1][1]];
        for (j, line) in b.iter().enumerate() {
            let first = shape.sum(2 * i, j, 0);
            tensor_product(w, shape.math, &sums[first..first + 4], &left, line);
        }
    }
}
