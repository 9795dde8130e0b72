//! Products of a time loop that are cut by unit: in every round a CTA computes its units' columns of C.
//!
//! ```text
//! columns of C of the CTA's units     rows of the tensor cores' tiles, 16 each
//! rows of A, of the batch             columns of these tiles, 8 each
//! the contraction                     blocks of 16; warp w has the blocks w, w + WARPS, ..
//! ```
//!
//! So a warp reads each element of A that it needs once a round, from where other CTAs have just written it, and its part of the
//! weight stays the same from round to round ([`Weight`]). The warps' sums are added up in order through shared memory.
//!
//! Which numbers a sum adds up in which order depends on the length of the contraction alone.

use std::ops::Range;

use super::super::math::Math;
use super::super::product::{idle_round, unless_last};
use super::super::report::WeightReport;
use super::super::scope::{Scope, THREADS};
use super::super::text::{Pred, Reg, Wide, Writer, list};
use super::super::units::Units;
use super::tile::{
    BLOCK, Four, Lane, TILE, WARPS, four_words, left_operand, multiply, multiply_as_it_is, right_operand,
    store_sum,
};
use super::weight::{Room, Weight};
use crate::kernel::{Form, Gemm, Matrix, Rounds};

/// Sums of a thread at a time, 4 for each tile; beside them it has operands and a part of the weight in registers. Multiply-adds
/// have more operands in registers than tensor cores.
const SUMS: usize = 64;
const SUMS_AS_THEY_ARE: usize = 32;

/// Registers of a thread for elements of A that are on their way.
const ON_THEIR_WAY: usize = 48;

/// Bytes of shared memory for sums on their way from warp to warp.
const SCRATCH: usize = 48 << 10;

/// A product whose weight is kept.
#[derive(Debug)]
pub(super) struct ColumnProduct<'g> {
    gemm: &'g Gemm,
    math: Math,
    units: Units,
    /// Columns of the CTA in tiles, and blocks of a warp.
    tiles: usize,
    blocks: usize,
    /// By block and tile.
    weight: Weight,
    lane: Lane,
    /// This thread's first element of the contraction.
    depth: Reg,
    /// The weight's columns of this thread, by tile and half of it; none if the loop changes the weight.
    columns: Option<Vec<[Line; 2]>>,
}

/// A row of A or column of the weight, from one of this thread's first elements of the contraction on.
#[derive(Clone, Copy, Debug)]
struct Line {
    depth: Reg,
    at: Wide,
    /// Whether there is one.
    is_one: Pred,
}

/// A place in the contraction: so far from a line's first element. What the last warp reads there may lie beyond the end.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// What is known only when it runs, and what is known here, in elements.
    start: Option<Reg>,
    distance: usize,
    all_inside: bool,
}

impl<'g> ColumnProduct<'g> {
    /// Reads what is kept of the weight. `changes` says that the loop writes it, so that nothing can be kept.
    pub fn new(scope: &mut Scope, gemm: &'g Gemm, units: Units, changes: bool, room: &mut Room) -> Self {
        let math = Math::of(gemm.precision);
        let tiles = (gemm.n / units.count * units.own).div_ceil(TILE[0]);
        let blocks = gemm.k.div_ceil(BLOCK).div_ceil(WARPS);
        let lane = Lane::new(scope);
        let w = &mut scope.w;
        let of_warp = w.mul(lane.warp, BLOCK as u32);
        let kept_depth = w.mad(lane.member, 4, of_warp);
        let depth = if math == Math::F32 { of_warp } else { kept_depth };
        let weight = Weight::new(math);
        let mut new = Self { gemm, math, units, tiles, blocks, weight, lane, depth, columns: None };
        let pass = Pass::new(&new, 0, new.columns_at_once());
        room.moves(4 * pass.columns * pass.rows + ON_THEIR_WAY);
        if !changes {
            let columns = new.columns(scope, depth);
            let kept = if math == Math::F32 { new.columns(scope, kept_depth) } else { columns.clone() };
            new.keep(scope, room, &kept);
            new.columns = Some(columns);
        }
        new
    }

    /// The weight's columns of this thread from `depth` on, by tile and half of it.
    fn columns(&self, scope: &mut Scope, depth: Reg) -> Vec<[Line; 2]> {
        let [across, along] = self.strides_of_weight();
        let at = scope.pointer(&self.gemm.b.at);
        let w = &mut scope.w;
        let mut column = |start: usize| {
            let own = w.add(self.lane.group, start as u32);
            let (column, is_one) = self.units.position(w, self.gemm.n, own);
            let start = w.mul(column, across as u32);
            let start = w.mad(depth, along as u32, start);
            Line { depth, at: w.element(at, start), is_one }
        };
        let starts = (0..self.tiles).map(|tile| [0, TILE[0] / 2].map(|half| tile * TILE[0] + half));
        starts.map(|starts| starts.map(&mut column)).collect()
    }

    /// Elements from one column of the weight to the next, and from one element of the contraction to the next.
    fn strides_of_weight(&self) -> [usize; 2] {
        let stride = self.gemm.b.stride;
        if self.gemm.form == Form::NT { [stride, 1] } else { [1, stride] }
    }

    /// Reads as much of the weight's columns as there is room for.
    fn keep(&mut self, scope: &mut Scope, room: &mut Room, columns: &[[Line; 2]]) {
        let mut weight = Weight::new(self.math);
        for block in 0..self.blocks {
            if !weight.goes_on(room, columns.len()) {
                break;
            }
            for &columns in columns {
                weight.keep(scope, room, |w| self.read(w, self.block(block), columns));
            }
        }
        weight.share(scope);
        self.weight = weight;
    }

    /// The operand of one block and tile.
    fn read(&self, w: &mut Writer, place: Place, columns: [Line; 2]) -> Vec<Reg> {
        let fours = self.of_weight(w, columns, place);
        left_operand(w, self.math, fours)
    }

    /// Of two columns of the weight four elements each.
    fn of_weight(&self, w: &mut Writer, columns: [Line; 2], place: Place) -> [Four; 2] {
        let [_, along] = self.strides_of_weight();
        let together = self.together(&self.gemm.b, along);
        columns.map(|column| self.four(w, column, along, place, together))
    }

    /// Block number `block` of each warp.
    fn block(&self, block: usize) -> Place {
        let all_inside = (block + 1) * WARPS * BLOCK <= self.gemm.k;
        Place { start: None, distance: block * WARPS * BLOCK, all_inside }
    }

    /// Whether four neighbours of the contraction may be read at once: they lie beside each other, at a multiple of 16 bytes.
    fn together(&self, matrix: &Matrix, along: usize) -> bool {
        let strides = matrix.at.terms.iter().map(|&(_, stride)| stride);
        let mut distances = strides.chain([matrix.stride, matrix.at.offset, self.gemm.k]);
        along == 1 && distances.all(|distance| distance.is_multiple_of(4))
    }

    /// Four elements of a line, zeros where there is nothing. From one to the next are `along` words.
    fn four(&self, w: &mut Writer, line: Line, along: usize, place: Place, together: bool) -> Four {
        let Place { start, distance, all_inside } = place;
        let depth = start.map_or(line.depth, |start| w.add(start, line.depth));
        let within = |w: &mut Writer, next: usize| {
            if all_inside {
                return line.is_one;
            }
            let k = w.add(depth, (distance + next) as u32);
            let inside = w.compare("setp.lt.u32", k, self.gemm.k as u32);
            w.both(inside, line.is_one)
        };
        let at = start.map_or(line.at, |start| w.indexed(line.at, start, 4 * along));
        four_words(w, together, |w, next| {
            (format!("[{at}+{}]", 4 * along * (distance + next)), within(w, next))
        })
    }

    /// Where a CTA has its part of the weight.
    pub fn weight_report(&self) -> WeightReport {
        self.weight.report(self.blocks * self.tiles)
    }

    /// Tiles of columns of which there are sums at once: all rows by some columns rather than the reverse, so that a weight is
    /// read once a round.
    fn columns_at_once(&self) -> usize {
        let rows = self.gemm.m.div_ceil(TILE[1]).max(1);
        let all_rows = |columns: &usize| Pass::new(self, 0, *columns).rows == rows;
        (1..=self.tiles).rev().find(all_rows).unwrap_or(1)
    }

    /// C in this round.
    pub fn round(&self, scope: &mut Scope) {
        unless_last(scope, self.gemm, |scope| self.passes(scope));
    }

    fn passes(&self, scope: &mut Scope) {
        let idle = if self.gemm.rounds == Rounds::AfterFirst { idle_round(scope, self.gemm) } else { None };
        let at_once = self.columns_at_once();
        for first in (0..self.tiles).step_by(at_once) {
            let pass = Pass::new(self, first, at_once.min(self.tiles - first));
            let step = (pass.rows * TILE[1]) as u32;
            if step as usize >= self.gemm.m {
                let row = scope.w.bits(0);
                pass.run(scope, row, idle);
            } else {
                scope.each(0, self.gemm.m as u32, step, |scope, row| {
                    pass.run(scope, row, idle);
                    // The sums in shared memory have been read.
                    scope.w.sync();
                });
            }
            if first + at_once < self.tiles {
                scope.w.sync();
            }
        }
    }
}

/// Some tiles of columns, by as many rows as there are registers and shared memory for.
struct Pass<'p, 'g> {
    product: &'p ColumnProduct<'g>,
    /// Tiles of columns.
    first: usize,
    columns: usize,
    /// Tiles of rows.
    rows: usize,
}

impl<'p, 'g> Pass<'p, 'g> {
    fn new(product: &'p ColumnProduct<'g>, first: usize, columns: usize) -> Self {
        let of_rows = |rows: usize| Self { product, first, columns, rows };
        let needed = product.gemm.m.div_ceil(TILE[1]).max(1);
        let most = if product.math == Math::F32 { SUMS_AS_THEY_ARE } else { SUMS };
        let fits = |rows: &usize| 4 * columns * rows <= most && of_rows(*rows).scratch() <= SCRATCH;
        of_rows((1..=needed).rev().find(fits).unwrap_or(1))
    }

    /// Words of shared memory from one column's sums to the next one's: 8 or 24 beyond a multiple of 32, so that the sums that
    /// a warp stores at once lie in different banks.
    fn pitch(&self) -> usize {
        TILE[1] * (self.rows | 1)
    }

    fn scratch(&self) -> usize {
        4 * WARPS * TILE[0] * self.columns * self.pitch()
    }

    /// The columns of C, of the rows from `row` on. In an idle round nothing is multiplied.
    fn run(&self, scope: &mut Scope, row: Reg, idle: Option<Pred>) {
        scope.w.shared(self.scratch());
        let tiles = self.columns * self.rows;
        let sums: Vec<Four> = (0..tiles).map(|_| [(); 4].map(|()| scope.w.real(0.0))).collect();
        let end = scope.w.label();
        if let Some(idle) = idle {
            scope.w.go_if(idle, end);
        }
        let columns = match &self.product.columns {
            Some(columns) => columns.clone(),
            None => self.product.columns(scope, self.product.depth),
        };
        match self.product.math {
            Math::F32 => self.multiply(scope, row, &columns, &sums),
            Math::Tf32 | Math::Bf16 => self.multiply_tiles(scope, row, &columns, &sums),
        }
        scope.w.place(end);
        self.hand_on(scope, &sums);
        scope.w.sync();
        self.add_up(scope, row);
    }

    /// Rows of A, by their numbers from `row` on.
    fn rows<const N: usize>(
        &self,
        scope: &mut Scope,
        row: Reg,
        number: impl Fn(&mut Writer, usize) -> [Reg; N],
    ) -> Vec<[Line; N]> {
        let gemm = self.product.gemm;
        let at = scope.pointer(&gemm.a.at);
        let [across, along] = self.strides_of_left();
        let w = &mut scope.w;
        (0..self.rows)
            .map(|tile| {
                number(w, tile * TILE[1]).map(|number| {
                    let row = w.add(row, number);
                    let is_one = w.compare("setp.lt.u32", row, gemm.m as u32);
                    let start = w.mul(row, across as u32);
                    let depth = self.product.depth;
                    let start = w.mad(depth, along as u32, start);
                    Line { depth, at: w.element(at, start), is_one }
                })
            })
            .collect()
    }

    /// Elements from one row of A to the next, and from one element of the contraction to the next.
    fn strides_of_left(&self) -> [usize; 2] {
        let gemm = self.product.gemm;
        if gemm.form == Form::TN { [1, gemm.a.stride] } else { [gemm.a.stride, 1] }
    }

    /// Four elements of each of these rows of A.
    fn left<const N: usize>(&self, w: &mut Writer, rows: &[[Line; N]], place: Place) -> Vec<[Four; N]> {
        let [_, along] = self.strides_of_left();
        let together = self.product.together(&self.product.gemm.a, along);
        let mut read = |row| self.product.four(w, row, along, place, together);
        rows.iter().map(|rows| rows.map(&mut read)).collect()
    }

    /// By tensor cores. The elements of A for some blocks are asked for before those of the blocks before are multiplied. Blocks
    /// of which nothing is kept come last.
    fn multiply_tiles(&self, scope: &mut Scope, row: Reg, columns: &[[Line; 2]], sums: &[Four]) {
        let product = self.product;
        let rows = self.rows(scope, row, |w, tile| [w.add(product.lane.group, tile as u32)]);
        let at_once = (ON_THEIR_WAY / 2 / (4 * self.rows)).max(1);
        let mut before: Vec<(usize, Vec<[Four; 1]>)> = vec![];
        let (w, kept) = (&mut scope.w, product.weight.kept_until().div_ceil(product.tiles));
        for first in (0..kept).step_by(at_once) {
            // The assembler would ask for all at once, and run out of registers.
            w.line("bar.warp.sync 0xffffffff");
            let read = |block: usize| (block, self.left(w, &rows, product.block(block)));
            let next = (first..kept.min(first + at_once)).map(read).collect();
            for (block, fours) in std::mem::replace(&mut before, next) {
                self.kept_block(w, block, columns, &fours, sums);
            }
        }
        for (block, fours) in before {
            self.kept_block(w, block, columns, &fours, sums);
        }
        self.blocks(scope, kept..product.blocks, |w, place| {
            let right = self.left(w, &rows, place);
            let weights =
                (0..self.columns).map(|column| product.read(w, place, columns[self.first + column]));
            let weights: Vec<Vec<Reg>> = weights.collect();
            self.multiply_block(w, &weights, &right, sums);
        });
    }

    /// `body` for each of these blocks.
    fn blocks(&self, scope: &mut Scope, blocks: Range<usize>, body: impl FnOnce(&mut Writer, Place)) {
        let block = (WARPS * BLOCK) as u32;
        let [start, end] = [blocks.start, blocks.end].map(|blocks| blocks as u32 * block);
        if start < end {
            scope.each(start, end, block, |scope, start| {
                body(&mut scope.w, Place { start: Some(start), distance: 0, all_inside: false });
            });
        }
    }

    /// Adds the products of a block that is kept to the sums.
    fn kept_block(
        &self,
        w: &mut Writer,
        block: usize,
        columns: &[[Line; 2]],
        right: &[[Four; 1]],
        sums: &[Four],
    ) {
        let product = self.product;
        let weights = (0..self.columns).map(|column| {
            let tile = self.first + column;
            let read = |w: &mut Writer| product.read(w, product.block(block), columns[tile]);
            product.weight.operand(w, block * product.tiles + tile, read)
        });
        let weights: Vec<Vec<Reg>> = weights.collect();
        self.multiply_block(w, &weights, right, sums);
    }

    /// Adds one block's products to the sums, of these weights by tile of columns and these elements by tile of rows.
    fn multiply_block(&self, w: &mut Writer, weights: &[Vec<Reg>], right: &[[Four; 1]], sums: &[Four]) {
        let math = self.product.math;
        let right: Vec<Vec<Reg>> = right.iter().map(|[four]| right_operand(w, math, four)).collect();
        for (column, left) in weights.iter().enumerate() {
            for (tile, right) in right.iter().enumerate() {
                multiply(w, math, &sums[column * self.rows + tile], left, right);
            }
        }
    }

    /// By fused multiply-adds: a thread has the sums that tensor cores would give it.
    fn multiply(&self, scope: &mut Scope, row: Reg, columns: &[[Line; 2]], sums: &[Four]) {
        let product = self.product;
        let pair = scope.w.mul(product.lane.member, 2);
        let rows = self.rows(scope, row, |w, tile| [0, 1].map(|next| w.add(pair, (tile + next) as u32)));
        let block = |w: &mut Writer, place: Place, kept: Option<Reg>| {
            for member in 0..BLOCK / 4 {
                let place = Place { distance: 4 * member, ..place };
                let right = self.left(w, &rows, place);
                for column in 0..self.columns {
                    let tile = self.first + column;
                    let left = match kept {
                        Some(at) => product.weight.of_member(w, at, tile, member),
                        None => product.of_weight(w, columns[tile], place),
                    };
                    for (tile, right) in right.iter().enumerate() {
                        multiply_as_it_is(w, &sums[column * self.rows + tile], left, *right);
                    }
                }
            }
        };
        let kept = product.weight.kept_until() / product.tiles;
        self.blocks(scope, 0..kept, |w, place| {
            let number =
                place.start.map(|start| w.op("shr.u32", [start.into(), (WARPS * BLOCK).ilog2().into()]));
            let at =
                number.and_then(|number| product.weight.of_group(w, product.lane, number, product.tiles));
            block(w, place, at);
        });
        self.blocks(scope, kept..product.blocks, |w, place| block(w, place, None));
    }

    /// Every warp's sums go to shared memory.
    fn hand_on(&self, scope: &mut Scope, sums: &[Four]) {
        let (columns, pitch) = (TILE[0] * self.columns, self.pitch());
        let base = scope.w.shared_base();
        let Lane { warp, group, member } = self.product.lane;
        let w = &mut scope.w;
        let at = w.mad(warp, (4 * columns * pitch) as u32, base);
        let at = w.mad(group, (4 * pitch) as u32, at);
        let at = w.mad(member, 8, at);
        for (tile, four) in sums.iter().enumerate() {
            let (column, row) = (TILE[0] * (tile / self.rows), TILE[1] * (tile % self.rows));
            for (half, pair) in four.chunks(2).enumerate() {
                let column = column + half * TILE[0] / 2;
                let offset = 4 * (column * pitch + row);
                w.line(format_args!("st.shared.v2.b32 [{at}+{offset}], {}", list(pair)));
            }
        }
    }

    /// Adds up the warps' sums in order, and stores them.
    fn add_up(&self, scope: &mut Scope, row: Reg) {
        let (columns, pitch) = (TILE[0] * self.columns, self.pitch());
        let gemm = self.product.gemm;
        let rows = (TILE[1] * self.rows).min(gemm.m);
        let (thread, c) = (scope.thread, scope.pointer(&gemm.c.at));
        let base = scope.w.shared_base();
        scope.each(thread, (rows * columns) as u32, THREADS as u32, |scope, at| {
            let w = &mut scope.w;
            let (own_row, own) = w.div_rem(at, columns as u32);
            let place = w.mad(own, pitch as u32, own_row);
            let place = w.mad(place, 4, base);
            let own = w.add(own, (TILE[0] * self.first) as u32);
            let (column, is_column) = self.product.units.position(w, gemm.n, own);
            let own_row = w.add(own_row, row);
            let is_row = w.compare("setp.lt.u32", own_row, gemm.m as u32);
            let is_one = w.both(is_column, is_row);
            let mut sum: Option<Reg> = None;
            for warp in 0..WARPS {
                let part = w.reg();
                w.line(format_args!("ld.shared.b32 {part}, [{place}+{}]", 4 * columns * pitch * warp));
                sum = Some(sum.map_or(part, |sum| w.op("add.rn.f32", [sum.into(), part.into()])));
            }
            let sum = sum.expect("there are warps");
            store_sum(w, gemm, c, [own_row, column], is_one, sum);
        });
    }
}
