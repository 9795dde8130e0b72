//! From a thread's sums to C, neighbours at once where the columns allow it.

use super::super::scope::Scope;
use super::super::text::{Pred, Reg, Wide};
use super::copy::alignment;
use super::fragments::Place;
use super::shape::Shape;
use crate::kernel::Gemm;

/// How a thread writes its sums.
#[derive(Debug)]
pub(super) struct Store<'g> {
    gemm: &'g Gemm,
    shape: Shape,
    at: Wide,
    /// The first row and column of C that it holds in a tile.
    row: Reg,
    column: Reg,
    /// How many neighbours it writes at once: 1, 2 or 4.
    width: usize,
}

impl<'g> Store<'g> {
    pub fn new(scope: &mut Scope, gemm: &'g Gemm, shape: &Shape, place: &Place) -> Self {
        let at = scope.pointer(&gemm.c.at);
        // Either all of those that are written at once lie in C, or none.
        let width = Self::run(shape).min(alignment(scope, &gemm.c)).min(1 << gemm.n.trailing_zeros().min(2));
        let w = &mut scope.w;
        let row = w.mad(place.positions[0], shape.a.neighbours() as u32, place.starts[0]);
        let column = w.mad(place.columns, shape.b.neighbours() as u32, place.starts[1]);
        Self { gemm, shape: *shape, at, row, column, width }
    }

    /// How many columns that lie side by side a thread holds.
    fn run(shape: &Shape) -> usize {
        shape.b.neighbours() * shape.pairs()
    }

    /// The sum at a distance from the start of a run, whose first line of B is number `first`.
    fn place(&self, a: usize, first: usize, distance: usize) -> usize {
        let neighbours = self.shape.b.neighbours();
        self.shape.sum(a, first + distance % neighbours, distance / neighbours)
    }

    /// Writes the sums of the tile that begins at these, in part number `part` of the contraction.
    pub fn tile(&self, scope: &mut Scope, [row, column]: [Reg; 2], part: Reg, sums: &[Reg]) {
        let (m, n, stride) = (self.gemm.m as u32, self.gemm.n as u32, self.gemm.c.stride);
        let w = &mut scope.w;
        let row = w.add(self.row, row);
        let column = w.add(self.column, column);
        // Parts lie below each other.
        let below = w.mad(part, m, row);
        let element = w.mad(below, stride as u32, column);
        let at = w.element(self.at, element);
        let b = self.shape.b;
        let runs = (0..b.held()).step_by(b.neighbours());
        let starts =
            runs.flat_map(|first| (0..Self::run(&self.shape)).step_by(self.width).map(move |x| (first, x)));
        let starts: Vec<(usize, usize, Pred)> = starts
            .map(|(first, x)| {
                let own = w.add(column, (b.line(first) + x) as u32);
                (first, x, w.compare("setp.lt.u32", own, n))
            })
            .collect();
        for line in 0..self.shape.a.held() {
            let down = self.shape.a.line(line);
            let own = w.add(row, down as u32);
            let is_row = w.compare("setp.lt.u32", own, m);
            for &(first, x, is_column) in &starts {
                let holds = w.both(is_row, is_column);
                let own: Vec<Reg> = (x..x + self.width).map(|x| sums[self.place(line, first, x)]).collect();
                let to = w.after(at, 4 * (down * stride + b.line(first) + x));
                let own = if self.gemm.accumulate {
                    let before = w.load_global_if(holds, &to, self.width);
                    before.iter().zip(own).map(|(&x, y)| w.op("add.rn.f32", [x.into(), y.into()])).collect()
                } else {
                    own
                };
                w.store_global_if(holds, &to, &own);
            }
        }
    }
}
