//! Products by tiles: a CTA computes a tile of C at a time, from tiles of A and B in shared memory.
//!
//! ```text
//! for each tile of C, or of a part of the contraction, of this CTA          tile number, then + CTAs
//!   stages 0, 1, .. := the first tiles of A and B                           copy
//!   for each tile along the contraction
//!     wait for its stage, and until all have read the one before
//!     the stage that was read before := a tile that is needed in some rounds
//!     multiply                                                              fragments
//!   C = sums, or C += sums                                                  store
//! ```
//!
//! The order of sums depends on the sizes alone, and not on which tiles there are ([`shape`]).

mod copy;
mod fragments;
mod shape;
mod store;

use super::scope::Scope;
use super::text::{Operand, Pred, Reg};
use crate::kernel::{Form, Gemm, PANEL, Rounds};
use copy::{Copier, Cursor};
use fragments::{Place, Reader};
use shape::SHARED;
pub(super) use shape::Shape;
#[cfg(test)]
pub(super) use shape::TILES;
use store::Store;

/// Writes a product, and says how many CTAs have something to do.
pub(super) fn product(scope: &mut Scope, gemm: &Gemm) -> usize {
    if scope.round().is_none() {
        // While one waits for memory, the other one multiplies.
        scope.w.resident(2);
    }
    in_tiles(scope, gemm, Shape::of(gemm))
}

/// [`product`] in tiles of a shape.
pub(super) fn in_tiles(scope: &mut Scope, gemm: &Gemm, shape: Shape) -> usize {
    let [down, across] = shape.tiles(gemm);
    unless_last(scope, gemm, |scope| Product::new(scope, gemm, shape).tiles());
    down * across * gemm.parts
}

/// `body`, but not in a last round that the product leaves out.
pub(super) fn unless_last(scope: &mut Scope, gemm: &Gemm, body: impl FnOnce(&mut Scope)) {
    let last = if gemm.rounds == Rounds::BeforeLast { idle_round(scope, gemm) } else { None };
    let end = scope.w.label();
    if let Some(last) = last {
        scope.w.go_if(last, end);
    }
    body(scope);
    scope.w.place(end);
}

/// Whether this is the round in which there is nothing to multiply.
pub(super) fn idle_round(scope: &mut Scope, gemm: &Gemm) -> Option<Pred> {
    let round = scope.round()?;
    match gemm.rounds {
        Rounds::All => None,
        Rounds::AfterFirst => Some(scope.w.compare("setp.eq.u32", round.now, round.first)),
        Rounds::BeforeLast => Some(scope.w.compare("setp.eq.u32", round.now, round.last)),
    }
}

struct Product<'s, 'a, 'g> {
    scope: &'s mut Scope<'a>,
    gemm: &'g Gemm,
    shape: Shape,
    /// Of A and of B.
    copiers: [Copier; 2],
    readers: [Reader; 2],
    store: Store<'g>,
    /// How many rows of A there are, and how far the contraction goes.
    m: Operand,
    k: Operand,
}

impl<'s, 'a, 'g> Product<'s, 'a, 'g> {
    fn new(scope: &'s mut Scope<'a>, gemm: &'g Gemm, shape: Shape) -> Self {
        let (mut m, mut k): (Operand, Operand) = ((gemm.m as u32).into(), (gemm.k as u32).into());
        if let Some(prefix) = &gemm.prefix {
            let at = scope.pointer(prefix);
            let count = scope.w.reg();
            scope.w.line(format_args!("ld.global.b32 {count}, [{at}]"));
            let limited = if gemm.form == Form::TN { &mut k } else { &mut m };
            *limited = scope.w.op("min.u32", [count.into(), *limited]).into();
        }
        if gemm.rounds == Rounds::AfterFirst
            && let Some(first) = idle_round(scope, gemm)
        {
            k = scope.w.choose(first, [0.into(), k]).into();
        }
        assert!(shape.stages >= 2 && shape.stages * shape.stage() <= SHARED, "{shape:?} has no room");
        scope.w.shared(shape.stages * shape.stage());
        let of_a = scope.w.shared_base();
        let of_b = scope.w.add(of_a, shape.a.bytes() as u32);
        let place = Place::of(scope, &shape);
        let copiers =
            [Copier::new(scope, &gemm.a, shape.a, of_a), Copier::new(scope, &gemm.b, shape.b, of_b)];
        let store = Store::new(scope, gemm, &shape, &place);
        let w = &mut scope.w;
        let readers = [Reader::new(w, shape.a, &place, 0, of_a), Reader::new(w, shape.b, &place, 1, of_b)];
        Self { scope, gemm, shape, copiers, readers, store, m, k }
    }

    fn tiles(&mut self) {
        let [down, across] = self.shape.tiles(self.gemm).map(|tiles| tiles as u32);
        let (cta, ctas) = (self.scope.cta, self.scope.ctas);
        let number = self.scope.w.op("mov.b32", [cta.into()]);
        let all = self.scope.w.begin();
        let over = self.scope.w.compare("setp.ge.u32", number, down * across * self.gemm.parts as u32);
        self.scope.w.go_if(over, all.done);
        let (part, tile) = self.scope.w.div_rem(number, down * across);
        // Along the shorter side first: what tiles that are computed at once read is then the least.
        let (slow, fast) = self.scope.w.div_rem(tile, down.min(across));
        let [row, column] = if down < across { [fast, slow] } else { [slow, fast] };
        let row = self.scope.w.mul(row, self.shape.a.lines as u32);
        let column = self.scope.w.mul(column, self.shape.b.lines as u32);
        let depths = self.depths(part);
        let sums = self.contract([row, column], depths);
        self.store.tile(self.scope, [row, column], part, &sums);
        self.scope.w.assign(number, "add.u32", [number.into(), ctas.into()]);
        self.scope.w.end(all);
    }

    /// Where a part of the contraction begins and ends: [`Gemm::part`].
    fn depths(&mut self, part: Reg) -> [Operand; 2] {
        let parts = self.gemm.parts as u32;
        if parts == 1 {
            return [0.into(), self.k];
        }
        let units = self.gemm.k.div_ceil(PANEL) as u32;
        let w = &mut self.scope.w;
        let next = w.add(part, 1);
        [part, next].map(|part| {
            let scaled = w.mul(part, units);
            let cut = w.op("div.u32", [scaled.into(), parts.into()]);
            let cut = w.mul(cut, PANEL as u32);
            w.op("min.u32", [cut.into(), self.k]).into()
        })
    }

    /// This thread's sums of the tile that begins at this row of A and column of B, from one place in the contraction to
    /// another.
    fn contract(&mut self, starts: [Reg; 2], [first, k]: [Operand; 2]) -> Vec<Reg> {
        let shape = self.shape;
        let ahead = shape.stages as u32 - 1;
        let stage = shape.stage() as u32;
        let lines = [self.m, (self.gemm.n as u32).into()];
        let w = &mut self.scope.w;
        let sums: Vec<Reg> = (0..shape.sums()).map(|_| w.real(0.0)).collect();
        let cursors: [Cursor; 2] =
            [0, 1].map(|side| self.copiers[side].begin(w, [starts[side].into(), first], [lines[side], k]));
        // All are through with what shared memory has been used for before.
        w.sync();
        for number in 0..ahead {
            self.copiers
                .iter()
                .zip(&cursors)
                .for_each(|(copier, cursor)| copier.copy(w, cursor, (number * stage).into()));
            w.line("cp.async.commit_group");
        }
        let k0 = w.op("mov.b32", [first]);
        let (read, written) = (w.bits(0), w.bits(ahead * stage));
        let along = w.begin();
        let over = w.compare("setp.ge.u32", k0, k);
        w.go_if(over, along.done);
        // Its own copies have come when a thread has waited, those of all when all have met.
        w.line(format_args!("cp.async.wait_group {}", ahead - 1));
        w.sync();
        let copied = w.label();
        let next = w.add(k0, ahead * shape.depth as u32);
        let none = w.compare("setp.ge.u32", next, k);
        w.go_if(none, copied);
        self.copiers.iter().zip(&cursors).for_each(|(copier, cursor)| copier.copy(w, cursor, written.into()));
        w.place(copied);
        // A group for every tile, if an empty one: they are counted.
        w.line("cp.async.commit_group");
        for step in (0..shape.depth).step_by(shape.math.step()) {
            let [a, b] = [0, 1].map(|side| self.readers[side].read(w, read, step));
            fragments::multiply(w, &shape, &a, &b, &sums);
        }
        // The next tile lies in the next stage, and the stage just read is free.
        w.assign(written, "mov.b32", [read.into()]);
        let next = w.add(read, stage);
        let is_last = w.compare("setp.eq.u32", next, shape.stages as u32 * stage);
        let next = w.choose(is_last, [0.into(), next.into()]);
        w.assign(read, "mov.b32", [next.into()]);
        w.assign(k0, "add.u32", [k0.into(), (shape.depth as u32).into()]);
        w.end(along);
        // Of a short contraction some are still on their way.
        w.line("cp.async.wait_all");
        sums
    }
}
