//! Products of a time loop whose contraction is cut by unit: a CTA multiplies the elements of A that it has itself computed, and
//! partial sums of C travel.
//!
//! ```text
//! every CTA     partial sums of all columns of C over its units' terms, to the exchange
//!               a barrier of the grid
//! every CTA     its units' columns of C: the partial sums of all CTAs, in order
//! ```
//!
//! The terms are those that the CTA's units have in each group of units of the contraction, one group after the other, in blocks
//! of 16. Columns of C are tiles of 16, of which warp `w` has the tiles `w`, `w + WARPS`, .., and its part of the weight stays the
//! same from round to round ([`Weight`]).
//!
//! The exchange has two halves, for even and for odd rounds: a CTA may begin the next round while another one still reads. Which
//! numbers a sum adds up in which order depends on the sizes and on how many units a CTA has.

use std::ops::Range;

use super::super::math::Math;
use super::super::product::unless_last;
use super::super::report::WeightReport;
use super::super::scope::{Scope, THREADS};
use super::super::text::{Label, Operand, Pred, Reg, Wide, Writer, list};
use super::super::units::Units;
use super::tile::{
    BLOCK, Four, Lane, TILE, WARPS, four_words, left_operand, multiply, multiply_as_it_is, operand_registers,
    right_operand, store_sum,
};
use super::weight::{Room, Weight};
use crate::kernel::{Form, Gemm};

/// Registers of a thread for elements of A.
const ELEMENTS: usize = 64;

/// Partial sums that are asked for at once.
const AT_ONCE: usize = 8;

/// A product whose partial sums travel.
#[derive(Debug)]
pub(super) struct TermProduct<'g> {
    gemm: &'g Gemm,
    math: Math,
    units: Units,
    /// Blocks of the CTA's terms, and tiles of columns of a warp.
    blocks: usize,
    tiles: usize,
    /// By tile and block.
    weight: Weight,
    lane: Lane,
    /// Where the exchange begins in the arena, in bytes.
    exchange: usize,
}

/// Four terms that follow each other, as they are numbered in the contraction, and whether there are such. If they lie together
/// there is one number for all four.
#[derive(Clone, Debug)]
struct Terms(Vec<(Reg, Pred)>);

impl<'g> TermProduct<'g> {
    /// Reads what is kept of the weight. `changes` says that the loop writes it, so that nothing can be kept.
    pub fn new(
        scope: &mut Scope,
        gemm: &'g Gemm,
        units: Units,
        changes: bool,
        exchange: usize,
        room: &mut Room,
    ) -> Self {
        let math = Math::of(gemm.precision);
        let blocks = (gemm.k / units.count * units.own).div_ceil(BLOCK);
        let tiles = gemm.n.div_ceil(TILE[0]).div_ceil(WARPS);
        let lane = Lane::new(scope);
        let mut new = Self { gemm, math, units, blocks, tiles, weight: Weight::new(math), lane, exchange };
        // Elements of A and sums, and the operands of a tile that are not in registers.
        let of_rows = 4 * new.rows_at_once() * (blocks + 1);
        room.moves(of_rows + blocks * operand_registers(math));
        if !changes {
            new.keep(scope, room);
        }
        new
    }

    /// Bytes of the exchange: two halves, with sums of each CTA, column and row.
    pub fn exchange_bytes(&self) -> usize {
        2 * self.half()
    }

    fn half(&self) -> usize {
        self.units.ctas() * self.of_cta()
    }

    /// Bytes of a CTA's partial sums.
    fn of_cta(&self) -> usize {
        4 * self.gemm.n.next_multiple_of(TILE[0]) * self.pitch()
    }

    /// Sums of a column.
    fn pitch(&self) -> usize {
        self.gemm.m.next_multiple_of(TILE[1])
    }

    /// Tiles of rows whose elements are in registers at once.
    fn rows_at_once(&self) -> usize {
        let all = self.gemm.m.div_ceil(TILE[1]);
        (ELEMENTS / (4 * self.blocks)).clamp(1, all.max(1))
    }

    fn keep(&mut self, scope: &mut Scope, room: &mut Room) {
        let mut weight = Weight::new(self.math);
        let terms = self.all_terms(&mut scope.w);
        for tile in 0..self.tiles {
            if !weight.goes_on(room, self.blocks) {
                break;
            }
            let columns = self.columns(scope, tile as u32);
            for terms in &terms {
                weight.keep(scope, room, |w| self.operand(w, columns, terms));
            }
        }
        weight.share(scope);
        self.weight = weight;
    }

    /// This thread's four terms of each block.
    fn all_terms(&self, w: &mut Writer) -> Vec<Terms> {
        (0..self.blocks)
            .map(|block| {
                let own = w.mad(self.lane.member, 4, (block * BLOCK) as u32);
                self.terms(w, own)
            })
            .collect()
    }

    /// Four terms from number `own` of the CTA's on.
    fn terms(&self, w: &mut Writer, own: Reg) -> Terms {
        let count = if self.together() { 1 } else { 4 };
        let numbers = (0..count).map(|next| {
            let own = if next == 0 { own } else { w.add(own, next) };
            self.units.position(w, self.gemm.k, own)
        });
        Terms(numbers.collect())
    }

    /// Whether four terms lie beside each other and none of them is missing alone.
    fn together(&self) -> bool {
        self.units.own.is_multiple_of(4) && self.units.count.is_multiple_of(4)
    }

    /// Number `next` of four terms.
    fn term(w: &mut Writer, terms: &Terms, next: usize) -> (Reg, Pred) {
        match terms.0[..] {
            [(first, are)] => (if next == 0 { first } else { w.add(first, next as u32) }, are),
            _ => terms.0[next],
        }
    }

    /// The columns of C of this thread in a tile of its warp: where each begins in the weight, and whether there is one.
    fn columns(&self, scope: &mut Scope, tile: impl Into<Operand>) -> [(Wide, Pred); 2] {
        let stride = self.gemm.b.stride;
        let across = if self.gemm.form == Form::NT { stride } else { 1 };
        let at = scope.pointer(&self.gemm.b.at);
        let w = &mut scope.w;
        let tile = w.mad(tile.into(), WARPS as u32, self.lane.warp);
        let column = w.mad(tile, TILE[0] as u32, self.lane.group);
        [0, TILE[0] / 2].map(|half| {
            let column = w.add(column, half as u32);
            let is_one = w.compare("setp.lt.u32", column, self.gemm.n as u32);
            let start = w.mul(column, across as u32);
            (w.element(at, start), is_one)
        })
    }

    /// Four elements of a line, whose neighbours in the contraction are `along` words apart.
    fn four(w: &mut Writer, (at, is_one): (Wide, Pred), along: usize, terms: &Terms, at_once: bool) -> Four {
        four_words(w, at_once, |w, next| {
            let (term, is_term) = Self::term(w, terms, next);
            let element = w.mul(term, along as u32);
            (format!("[{}]", w.element(at, element)), w.both(is_one, is_term))
        })
    }

    /// Of both columns of this thread four elements of the weight.
    fn of_weight(&self, w: &mut Writer, columns: [(Wide, Pred); 2], terms: &Terms) -> [Four; 2] {
        let along = if self.gemm.form == Form::NT { 1 } else { self.gemm.b.stride };
        columns.map(|column| Self::four(w, column, along, terms, false))
    }

    fn operand(&self, w: &mut Writer, columns: [(Wide, Pred); 2], terms: &Terms) -> Vec<Reg> {
        let fours = self.of_weight(w, columns, terms);
        left_operand(w, self.math, fours)
    }

    /// Where a CTA has its part of the weight.
    pub fn weight_report(&self) -> WeightReport {
        self.weight.report(self.blocks * self.tiles)
    }

    /// This CTA's partial sums in this round.
    pub fn partial_sums(&self, scope: &mut Scope) {
        unless_last(scope, self.gemm, |scope| {
            let step = self.rows_at_once() * TILE[1];
            if step >= self.gemm.m {
                let row = scope.w.bits(0);
                self.rows(scope, row);
            } else {
                scope.each(0, self.gemm.m as u32, step as u32, |scope, row| self.rows(scope, row));
            }
        });
    }

    /// Partial sums of some rows from `row` on.
    fn rows(&self, scope: &mut Scope, row: Reg) {
        let to = self.place_of_sums(scope, row);
        if self.math == Math::F32 {
            self.rows_as_they_are(scope, row, to);
            return;
        }
        let elements = self.elements(scope, row);
        let kept = self.weight.kept_until().div_ceil(self.blocks);
        for tile in 0..kept {
            let columns = self.columns(scope, tile as u32);
            let all = (tile + 1) * WARPS * TILE[0] <= self.gemm.n.next_multiple_of(TILE[0]);
            let index = tile * self.blocks;
            self.tile(scope, (to, (tile as u32).into()), all, &elements, |w, block, terms| {
                self.weight.operand(w, index + block, |w| self.operand(w, columns, terms))
            });
        }
        self.tiles(scope, kept..self.tiles, |scope, tile| {
            let columns = self.columns(scope, tile);
            self.tile(scope, (to, tile.into()), false, &elements, |w, _, terms| {
                self.operand(w, columns, terms)
            });
        });
    }

    /// `body` for each of these tiles of a warp, where there are some.
    fn tiles(&self, scope: &mut Scope, tiles: Range<usize>, body: impl FnOnce(&mut Scope, Reg)) {
        if !tiles.is_empty() {
            scope.each(tiles.start as u32, tiles.end as u32, 1, body);
        }
    }

    /// Elements of A by block and tile of rows, as right operands, with the terms of the block.
    fn elements(&self, scope: &mut Scope, row: Reg) -> Vec<(Terms, Vec<Vec<Reg>>)> {
        let terms = self.all_terms(&mut scope.w);
        let group = self.lane.group;
        let rows: Vec<(Wide, Pred)> = (0..self.rows_at_once())
            .map(|tile| {
                let number = scope.w.add(group, (tile * TILE[1]) as u32);
                self.row(scope, row, number)
            })
            .collect();
        let w = &mut scope.w;
        let at_once = self.reads_at_once();
        let fours: Vec<Vec<Four>> = terms
            .iter()
            .map(|terms| rows.iter().map(|&row| Self::four(w, row, 1, terms, at_once)).collect())
            .collect();
        let operands = fours.iter().map(|fours| {
            fours.iter().map(|four| right_operand(w, self.math, four)).collect::<Vec<Vec<Reg>>>()
        });
        let operands: Vec<_> = operands.collect();
        terms.into_iter().zip(operands).collect()
    }

    /// Where a row of A begins, and whether there is one.
    fn row(&self, scope: &mut Scope, row: Reg, number: Reg) -> (Wide, Pred) {
        let at = scope.pointer(&self.gemm.a.at);
        let w = &mut scope.w;
        let row = w.add(row, number);
        let is_one = w.compare("setp.lt.u32", row, self.gemm.m as u32);
        let start = w.mul(row, self.gemm.a.stride as u32);
        (w.element(at, start), is_one)
    }

    /// Whether four neighbours in a row of A lie at a multiple of 16 bytes.
    fn reads_at_once(&self) -> bool {
        let a = &self.gemm.a;
        let mut distances = a.at.terms.iter().map(|&(_, stride)| stride).chain([a.stride, a.at.offset]);
        self.together() && distances.all(|distance| distance.is_multiple_of(4))
    }

    /// This thread's place in the exchange of this round, of its warp's first tile and rows from `row` on.
    fn place_of_sums(&self, scope: &mut Scope, row: Reg) -> Wide {
        let (cta, half) = (scope.cta, self.half_of_round(scope));
        let Lane { warp, group, member } = self.lane;
        let pitch = self.pitch() as u32;
        let w = &mut scope.w;
        let to = w.indexed(half, cta, self.of_cta());
        let column = w.mad(warp, TILE[0] as u32, group);
        let place = w.mad(column, pitch, row);
        let place = w.mad(member, 2, place);
        w.element(to, place)
    }

    /// The half of the exchange that this round uses.
    fn half_of_round(&self, scope: &mut Scope) -> Wide {
        let start = scope.at(self.exchange);
        let Some(round) = scope.round() else { return start };
        let w = &mut scope.w;
        let odd = w.op("and.b32", [round.now.into(), 1.into()]);
        w.indexed(start, odd, self.half())
    }

    /// Sums of a tile of columns, number `tile` of the warp's; `all` says that every warp has it.
    fn tile(
        &self,
        scope: &mut Scope,
        (to, tile): (Wide, Operand),
        all: bool,
        elements: &[(Terms, Vec<Vec<Reg>>)],
        left: impl Fn(&mut Writer, usize, &Terms) -> Vec<Reg>,
    ) {
        let end = self.unless_beyond(scope, tile, all);
        let w = &mut scope.w;
        let sums: Vec<Four> = (0..self.rows_at_once()).map(|_| [(); 4].map(|()| w.real(0.0))).collect();
        for (block, (terms, right)) in elements.iter().enumerate() {
            let left = left(w, block, terms);
            for (sums, right) in sums.iter().zip(right) {
                multiply(w, self.math, sums, &left, right);
            }
        }
        self.hand_on(w, to, tile, &sums);
        w.place(end);
    }

    /// A label that a warp goes to that has no tile of this number.
    fn unless_beyond(&self, scope: &mut Scope, tile: Operand, all: bool) -> Label {
        let w = &mut scope.w;
        let end = w.label();
        if !all {
            let number = w.mad(tile, WARPS as u32, self.lane.warp);
            let beyond = w.compare("setp.ge.u32", number, self.gemm.n.div_ceil(TILE[0]) as u32);
            w.go_if(beyond, end);
        }
        end
    }

    /// Stores a tile's sums in the exchange.
    fn hand_on(&self, w: &mut Writer, to: Wide, tile: Operand, sums: &[Four]) {
        let pitch = self.pitch();
        let of_tile = 4 * WARPS * TILE[0] * pitch;
        let at = match tile {
            Operand::Const(tile) => w.moved(to, of_tile * tile as usize),
            Operand::Reg(tile) => w.indexed(to, tile, of_tile),
        };
        for (row, four) in sums.iter().enumerate() {
            for (half, pair) in four.chunks(2).enumerate() {
                let offset = 4 * (half * TILE[0] / 2 * pitch + row * TILE[1]);
                w.line(format_args!("st.global.v2.b32 [{at}+{offset}], {}", list(pair)));
            }
        }
    }

    /// As [`TermProduct::rows`] by fused multiply-adds: a thread has the sums that tensor cores would give it.
    fn rows_as_they_are(&self, scope: &mut Scope, row: Reg, to: Wide) {
        let pair = scope.w.mul(self.lane.member, 2);
        let at_once = self.rows_at_once();
        let rows: Vec<[(Wide, Pred); 2]> = (0..at_once)
            .map(|tile| {
                [0, 1].map(|next| {
                    let number = scope.w.add(pair, (tile * TILE[1] + next) as u32);
                    self.row(scope, row, number)
                })
            })
            .collect();
        let kept = self.weight.kept_until() / self.blocks;
        self.tiles(scope, 0..kept, |scope, tile| {
            let at = self.weight.of_group(&mut scope.w, self.lane, tile, self.blocks);
            self.tile_as_it_is(scope, (to, tile), &rows, at);
        });
        self.tiles(scope, kept..self.tiles, |scope, tile| self.tile_as_it_is(scope, (to, tile), &rows, None));
    }

    /// As [`TermProduct::tile`] by fused multiply-adds. What is kept of the weight begins at `kept`.
    fn tile_as_it_is(
        &self,
        scope: &mut Scope,
        (to, tile): (Wide, Reg),
        rows: &[[(Wide, Pred); 2]],
        kept: Option<Reg>,
    ) {
        let end = self.unless_beyond(scope, tile.into(), false);
        let columns = self.columns(scope, tile);
        let sums: Vec<Four> = rows.iter().map(|_| [(); 4].map(|()| scope.w.real(0.0))).collect();
        let multiply = |w: &mut Writer, terms: &Terms, left: [Four; 2]| {
            for (sums, rows) in sums.iter().zip(rows) {
                let right = rows.map(|row| Self::four(w, row, 1, terms, self.reads_at_once()));
                multiply_as_it_is(w, sums, left, right);
            }
        };
        match kept {
            Some(at) => scope.each(0, self.blocks as u32, 1, |scope, block| {
                let w = &mut scope.w;
                let at = w.mad(block, self.weight.bytes() as u32, at);
                for member in 0..BLOCK / 4 {
                    let own = w.mul(block, BLOCK as u32);
                    let own = w.add(own, 4 * member as u32);
                    let terms = self.terms(w, own);
                    let left = self.weight.of_member(w, at, 0, member);
                    multiply(w, &terms, left);
                }
            }),
            None => scope.each(0, (self.blocks * BLOCK) as u32, 4, |scope, own| {
                let w = &mut scope.w;
                let terms = self.terms(w, own);
                let left = self.of_weight(w, columns, &terms);
                multiply(w, &terms, left);
            }),
        }
        self.hand_on(&mut scope.w, to, tile.into(), &sums);
        scope.w.place(end);
    }

    /// The CTA's columns of C in this round, when all have their partial sums.
    pub fn add_up(&self, scope: &mut Scope) {
        unless_last(scope, self.gemm, |scope| {
            let from = self.half_of_round(scope);
            let c = scope.pointer(&self.gemm.c.at);
            let rows = self.gemm.m;
            let columns = self.gemm.n / self.units.count * self.units.own;
            let thread = scope.thread;
            scope.each(thread, (rows * columns) as u32, THREADS as u32, |scope, at| {
                let w = &mut scope.w;
                let row = w.op("rem.u32", [at.into(), (rows as u32).into()]);
                let own = w.op("div.u32", [at.into(), (rows as u32).into()]);
                let (column, is_one) = self.units.position(w, self.gemm.n, own);
                let place = w.mad(column, self.pitch() as u32, row);
                let place = w.element(from, place);
                let end = w.label();
                w.go_unless(is_one, end);
                let sum = self.sum_of_ctas(scope, place);
                store_sum(&mut scope.w, self.gemm, c, [row, column], is_one, sum);
                scope.w.place(end);
            });
        });
    }

    /// The sum of what all CTAs have at a place, in order; some are asked for before the first is added.
    fn sum_of_ctas(&self, scope: &mut Scope, place: Wide) -> Reg {
        let ctas = self.units.ctas();
        let sum = scope.w.real(0.0);
        let of_cta = self.of_cta();
        let add = |w: &mut Writer, at: Wide, count: usize| {
            let parts: Vec<Reg> = (0..count)
                .map(|number| {
                    let part = w.reg();
                    w.line(format_args!("ld.global.b32 {part}, [{at}+{}]", number * of_cta));
                    part
                })
                .collect();
            for part in parts {
                w.assign(sum, "add.rn.f32", [sum.into(), part.into()]);
            }
        };
        let whole = ctas / AT_ONCE * AT_ONCE;
        if whole > 0 {
            scope.each(0, whole as u32, AT_ONCE as u32, |scope, first| {
                let at = scope.w.indexed(place, first, of_cta);
                add(&mut scope.w, at, AT_ONCE);
            });
        }
        let at = scope.w.moved(place, whole * of_cta);
        add(&mut scope.w, at, ctas - whole);
        sum
    }
}
