//! Products of a time loop that are cut by unit: in every round a CTA computes its units' columns of C.
//!
//! ```text
//! columns of C of the CTA's units     rows of the tensor cores' tiles, 16 each
//! rows of A, of the batch             columns of these tiles, 8 each
//! the contraction                     blocks of 16; warp w has the blocks w, w + WARPS, ..
//! ```
//!
//! So a warp reads each element of A that it needs once a round, from where other CTAs have just written it, and its part of the
//! weight stays the same from round to round. It is kept in registers as far as [`Room`] goes, then in shared memory, and the
//! rest is read from the L2 cache, by the same code. The warps' sums are added up in order through shared memory.
//!
//! Which numbers a sum adds up in which order depends on the length of the contraction alone.
//!
//! Within a block a thread holds four neighbours in k, which are read at once: the tensor cores do not mind in which order both
//! operands have the contraction.

use super::product::{Math, idle_round, rounded};
use super::scope::{Scope, THREADS, WARP};
use super::text::{Operand, Pred, Reg, Wide, Writer};
use crate::kernel::{Form, Gemm, Index, Matrix, Rounds};

const WARPS: usize = THREADS / WARP;

/// Elements of the contraction that a warp multiplies at a time.
const BLOCK: usize = 16;

/// Columns of C and rows of A in a tile.
const TILE: [usize; 2] = [16, 8];

/// Sums of a thread at a time, 4 for each tile; beside them it has operands and a part of the weight in registers.
const SUMS: usize = 64;

/// Registers of a thread for elements of A that are on their way.
const ON_THEIR_WAY: usize = 48;

/// Bytes of shared memory for sums on their way from warp to warp.
const SCRATCH: usize = 40 << 10;

/// The units of a CTA in a time loop: `own` from `first` on, as far as there are so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    pub count: usize,
    pub own: usize,
    pub first: Reg,
}

/// How many units each CTA has: as many CTAs as there can be, but no more than make each compute fewer tiles.
pub(super) fn own_units(count: usize, gemms: &[&Gemm], ctas: usize) -> usize {
    let tiles = |own: usize| -> usize { gemms.iter().map(|gemm| (gemm.n / count * own).div_ceil(TILE[0])).sum() };
    let least = count.div_ceil(ctas).max(1);
    let same = |own: &usize| !gemms.is_empty() && tiles(*own) == tiles(least);
    (least..=count).take_while(same).last().unwrap_or(least)
}

/// Room that is left for weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Registers of each thread.
    pub registers: usize,
    /// Bytes of shared memory of the CTA.
    pub shared: usize,
    /// Bytes of shared memory that are taken.
    pub taken: usize,
}

/// Where a warp's operands of one block and tile of columns are.
#[derive(Clone, Debug)]
enum Kept {
    Registers(Vec<Reg>),
    /// So many bytes into the CTA's memory for weights.
    Shared(usize),
    Nowhere,
}

/// A product whose weight is kept.
#[derive(Debug)]
pub(super) struct UnitProduct<'g> {
    gemm: &'g Gemm,
    math: Math,
    units: Units,
    /// Columns of the CTA in tiles, and blocks of a warp.
    tiles: usize,
    blocks: usize,
    /// By block and tile.
    weights: Vec<Kept>,
    /// Of this thread: its warp, the quarter of its lane and its place in that.
    warp: Reg,
    group: Reg,
    member: Reg,
    /// The weight's columns of this thread, by tile and half of it: where each begins, in elements, and whether there is one.
    columns: Vec<[(Reg, Pred); 2]>,
    /// This thread's address in the memory for weights.
    shared: Option<Reg>,
}

/// Four neighbours in the contraction of one row or column.
type Four = [Reg; 4];

impl<'g> UnitProduct<'g> {
    /// Reads what is kept of the weight. `changes` says that the loop writes it, so that nothing can be kept.
    pub fn new(scope: &mut Scope, gemm: &'g Gemm, units: Units, changes: bool, room: &mut Room) -> Self {
        let math = Math::of(gemm.precision);
        let tiles = (gemm.n / units.count * units.own).div_ceil(TILE[0]);
        let blocks = gemm.k.div_ceil(BLOCK).div_ceil(WARPS);
        let thread = scope.thread;
        let w = &mut scope.w;
        let warp = w.op("shr.u32", [thread.into(), WARP.ilog2().into()]);
        let lane = w.op("and.b32", [thread.into(), (WARP as u32 - 1).into()]);
        let group = w.op("shr.u32", [lane.into(), 2.into()]);
        let member = w.op("and.b32", [lane.into(), 3.into()]);
        let mut new = Self {
            gemm,
            math,
            units,
            tiles,
            blocks,
            weights: vec![],
            warp,
            group,
            member,
            columns: vec![],
            shared: None,
        };
        let halves = |tile: usize| [0, 1].map(|half| tile * TILE[0] + half * TILE[0] / 2);
        new.columns = (0..tiles).map(|tile| halves(tile).map(|start| new.column(scope, start))).collect();
        new.keep(scope, changes, room);
        new
    }

    /// Of the CTA's columns the one of this thread's quarter from `start` on: where it begins in the weight, and whether it is one.
    fn column(&self, scope: &mut Scope, start: usize) -> (Reg, Pred) {
        let w = &mut scope.w;
        let own = w.add(self.group, start as u32);
        let (column, is_one) = self.column_of(w, own);
        (w.mul(column, self.across() as u32), is_one)
    }

    /// The column of C that is number `own` of the CTA's, and whether there is one.
    fn column_of(&self, w: &mut Writer, own: Reg) -> (Reg, Pred) {
        let Units { count, own: units, first } = self.units;
        let group = w.op("div.u32", [own.into(), (units as u32).into()]);
        let unit = w.op("rem.u32", [own.into(), (units as u32).into()]);
        let unit = w.add(unit, first);
        let is_unit = w.compare("setp.lt.u32", unit, count as u32);
        let is_group = w.compare("setp.lt.u32", group, (self.gemm.n / count) as u32);
        let column = w.mad(group, count as u32, unit);
        (column, w.both(is_unit, is_group))
    }

    /// Elements from one column of the weight to the next.
    fn across(&self) -> usize {
        if self.gemm.form == Form::NT { self.gemm.b.stride } else { 1 }
    }

    /// Reads as much of the weight as there is room for.
    fn keep(&mut self, scope: &mut Scope, changes: bool, room: &mut Room) {
        // Registers of the operands of one block and tile; multiply-adds take theirs as they lie in memory.
        let each = match self.math {
            Math::F32 => None,
            Math::Tf32 => Some(8),
            Math::Bf16 => Some(4),
        };
        for block in 0..self.blocks {
            for tile in 0..self.tiles {
                let kept = self.kept(scope, block, tile, each.filter(|_| !changes), room);
                self.weights.push(kept);
            }
        }
    }

    /// Keeps the operands of one block and tile, which take `each` registers, if they may be kept.
    fn kept(
        &mut self,
        scope: &mut Scope,
        block: usize,
        tile: usize,
        each: Option<usize>,
        room: &mut Room,
    ) -> Kept {
        let Some(each) = each else { return Kept::Nowhere };
        if room.registers >= each {
            room.registers -= each;
            return Kept::Registers(self.read(scope, block, tile));
        }
        let bytes = 4 * each * THREADS;
        if room.shared < bytes {
            return Kept::Nowhere;
        }
        let place = room.taken;
        (room.shared, room.taken) = (room.shared - bytes, place + bytes);
        self.put(scope, block, tile, place);
        Kept::Shared(place)
    }

    /// Puts operands into shared memory, 16 bytes of each thread beside those of the next.
    fn put(&mut self, scope: &mut Scope, block: usize, tile: usize, place: usize) {
        let values = self.read(scope, block, tile);
        let thread = scope.thread;
        let at = *self.shared.get_or_insert_with(|| {
            let base = scope.w.dynamic_base();
            scope.w.mad(thread, 16, base)
        });
        for (number, four) in values.chunks(4).enumerate() {
            let offset = place + number * 16 * THREADS;
            scope.w.line(format_args!("st.shared.v4.b32 [{at}+{offset}], {}", list(four)));
        }
    }

    /// Operands of one block and tile, rounded, as they go to the tensor cores.
    fn read(&self, scope: &mut Scope, block: usize, tile: usize) -> Vec<Reg> {
        let k = self.depth(&mut scope.w, block);
        let fours = self.columns_at(scope, block, tile, k);
        let w = &mut scope.w;
        let pairs = [0, 2].map(|first| match self.math {
            Math::Bf16 => fours.map(|four| rounded(w, self.math, &four[first..first + 2])).to_vec(),
            _ => [first, first + 1]
                .into_iter()
                .flat_map(|k| fours.map(|four| rounded(w, self.math, &[four[k]])))
                .collect(),
        });
        pairs.concat()
    }

    /// This thread's first element of the contraction in a block.
    fn depth(&self, w: &mut Writer, block: usize) -> Reg {
        let start = w.mad(self.warp, BLOCK as u32, (block * WARPS * BLOCK) as u32);
        w.mad(self.member, 4, start)
    }

    /// From `k` on four elements of both columns of this thread in a tile.
    fn columns_at(&self, scope: &mut Scope, block: usize, tile: usize, k: Reg) -> [Four; 2] {
        let along = if self.gemm.form == Form::NT { 1 } else { self.gemm.b.stride };
        let from = Vector { at: scope.pointer(&self.gemm.b.at), along, together: self.together(&self.gemm.b, along) };
        self.columns[tile].map(|(start, is_one)| self.four(&mut scope.w, from, (start, is_one), k, block))
    }

    /// Whether four neighbours of the contraction may be read at once: they lie beside each other, at a multiple of 16 bytes.
    fn together(&self, matrix: &Matrix, along: usize) -> bool {
        let strides = matrix.at.terms.iter().map(|&(_, stride)| stride);
        let mut distances = strides.chain([matrix.stride, matrix.at.offset, self.gemm.k]);
        along == 1 && distances.all(|distance| distance.is_multiple_of(4))
    }

    /// Four elements from `k` on of what begins at `start`, zeros where there is nothing.
    fn four(&self, w: &mut Writer, from: Vector, (start, is_one): (Reg, Pred), k: Reg, block: usize) -> Four {
        let Vector { at, along, together } = from;
        let all_inside = (block + 1) * WARPS * BLOCK <= self.gemm.k;
        let depth = self.gemm.k as u32;
        let within = |w: &mut Writer, k: Reg| {
            if all_inside {
                return is_one;
            }
            let inside = w.compare("setp.lt.u32", k, depth);
            w.both(inside, is_one)
        };
        let values = [(); 4].map(|()| w.bits(0));
        if together {
            let inside = within(w, k);
            let element = w.add(start, k);
            let address = address(w, at, element);
            w.line(format_args!("@{inside} ld.global.v4.b32 {}, [{address}]", list(&values)));
            return values;
        }
        for (next, value) in values.iter().enumerate() {
            let k = if next == 0 { k } else { w.add(k, next as u32) };
            let inside = within(w, k);
            let element = w.mad(k, along as u32, start);
            let address = address(w, at, element);
            w.line(format_args!("@{inside} ld.global.b32 {value}, [{address}]"));
        }
        values
    }

    /// C in this round.
    pub fn round(&self, scope: &mut Scope) {
        let idle = idle_round(scope, self.gemm);
        let end = scope.w.label();
        if let (Rounds::BeforeLast, Some(last)) = (self.gemm.rounds, idle) {
            scope.w.go_if(last, end);
        }
        let at_once = self.tiles.min(SUMS / 4 / 2);
        for first in (0..self.tiles).step_by(at_once.max(1)) {
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
        scope.w.place(end);
    }
}

/// What is read by the contraction: its address, elements from one index to the next, and whether four are read at once.
#[derive(Clone, Copy, Debug)]
struct Vector {
    at: Wide,
    along: usize,
    together: bool,
}

/// Some tiles of columns, by as many rows as there are registers and shared memory for.
struct Pass<'p, 'g> {
    product: &'p UnitProduct<'g>,
    /// Tiles of columns.
    first: usize,
    columns: usize,
    /// Tiles of rows.
    rows: usize,
}

impl<'p, 'g> Pass<'p, 'g> {
    fn new(product: &'p UnitProduct<'g>, first: usize, columns: usize) -> Self {
        let of_rows = |rows: usize| Self { product, first, columns, rows };
        let needed = product.gemm.m.div_ceil(TILE[1]).max(1);
        let fits = |rows: &usize| 4 * columns * rows <= SUMS && of_rows(*rows).scratch() <= SCRATCH;
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
        if let (Rounds::AfterFirst, Some(first)) = (self.product.gemm.rounds, idle) {
            scope.w.go_if(first, end);
        }
        match self.product.math {
            Math::F32 => self.multiply(scope, row, &sums),
            Math::Tf32 | Math::Bf16 => self.multiply_tiles(scope, row, &sums),
        }
        scope.w.place(end);
        self.hand_on(scope, &sums);
        scope.w.sync();
        self.add_up(scope, row);
    }

    /// Where row number `number` from `row` on begins in A, and whether there is one.
    fn row(&self, w: &mut Writer, row: Reg, number: impl Into<Operand>) -> (Reg, Pred) {
        let gemm = self.product.gemm;
        let row = w.add(row, number);
        let is_one = w.compare("setp.lt.u32", row, gemm.m as u32);
        let across = if gemm.form == Form::TN { 1 } else { gemm.a.stride };
        (w.mul(row, across as u32), is_one)
    }

    fn left(&self, scope: &mut Scope) -> Vector {
        let gemm = self.product.gemm;
        let along = if gemm.form == Form::TN { gemm.a.stride } else { 1 };
        Vector { at: scope.pointer(&gemm.a.at), along, together: self.product.together(&gemm.a, along) }
    }

    /// By tensor cores. Elements of A for several blocks are asked for before the first are used.
    fn multiply_tiles(&self, scope: &mut Scope, row: Reg, sums: &[Four]) {
        let product = self.product;
        let from = self.left(scope);
        let rows: Vec<(Reg, Pred)> = (0..self.rows)
            .map(|tile| {
                let number = scope.w.add(product.group, (tile * TILE[1]) as u32);
                self.row(&mut scope.w, row, number)
            })
            .collect();
        let at_once = (ON_THEIR_WAY / (4 * self.rows)).max(1);
        let blocks: Vec<usize> = (0..product.blocks).collect();
        for blocks in blocks.chunks(at_once) {
            let read: Vec<Vec<Four>> = blocks
                .iter()
                .map(|&block| {
                    let k = product.depth(&mut scope.w, block);
                    rows.iter().map(|&row| product.four(&mut scope.w, from, row, k, block)).collect()
                })
                .collect();
            for (&block, fours) in blocks.iter().zip(&read) {
                self.block(scope, block, fours, sums);
            }
        }
    }

    /// Adds one block's products to the sums.
    fn block(&self, scope: &mut Scope, block: usize, fours: &[Four], sums: &[Four]) {
        let product = self.product;
        let w = &mut scope.w;
        let (name, right): (&str, Vec<Vec<Reg>>) = match product.math {
            Math::Bf16 => {
                let pair = |w: &mut Writer, pair: &[Reg]| rounded(w, product.math, pair);
                let rounded =
                    fours.iter().map(|four| vec![pair(w, &four[..2]), pair(w, &four[2..])]).collect();
                ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", rounded)
            }
            _ => {
                let each = |four: &Four| four.iter().map(|&x| rounded(w, product.math, &[x])).collect();
                ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", fours.iter().map(each).collect())
            }
        };
        for column in 0..self.columns {
            let left = self.weights(scope, block, self.first + column);
            for (tile, right) in right.iter().enumerate() {
                let sum = list(&sums[column * self.rows + tile]);
                for (left, right) in left.chunks(4).zip(right.chunks(2)) {
                    scope.w.line(format_args!("{name} {sum}, {}, {}, {sum}", list(left), list(right)));
                }
            }
        }
    }

    /// Operands of one block and tile of columns, from where they are kept.
    fn weights(&self, scope: &mut Scope, block: usize, tile: usize) -> Vec<Reg> {
        let product = self.product;
        match &product.weights[block * product.tiles + tile] {
            Kept::Registers(registers) => registers.clone(),
            Kept::Nowhere => product.read(scope, block, tile),
            Kept::Shared(place) => {
                let at = product.shared.expect("an address for what is in shared memory");
                let parts = if product.math == Math::Bf16 { 1 } else { 2 };
                let load = |number: usize| {
                    let four = [(); 4].map(|()| scope.w.reg());
                    let offset = place + number * 16 * THREADS;
                    scope.w.line(format_args!("ld.shared.v4.b32 {}, [{at}+{offset}]", list(&four)));
                    four
                };
                (0..parts).flat_map(load).collect()
            }
        }
    }

    /// By fused multiply-adds: a thread has the sums that tensor cores would give it.
    fn multiply(&self, scope: &mut Scope, row: Reg, sums: &[Four]) {
        let product = self.product;
        let from = self.left(scope);
        let pair = scope.w.mul(product.member, 2);
        let rows: Vec<[(Reg, Pred); 2]> = (0..self.rows)
            .map(|tile| {
                [0, 1].map(|next| {
                    let number = scope.w.add(pair, (tile * TILE[1] + next) as u32);
                    self.row(&mut scope.w, row, number)
                })
            })
            .collect();
        for block in 0..product.blocks {
            let start = scope.w.mad(product.warp, BLOCK as u32, (block * WARPS * BLOCK) as u32);
            for part in (0..BLOCK).step_by(4) {
                let k = scope.w.add(start, part as u32);
                let right: Vec<[Four; 2]> = rows
                    .iter()
                    .map(|pair| pair.map(|row| product.four(&mut scope.w, from, row, k, block)))
                    .collect();
                for column in 0..self.columns {
                    let left = product.columns_at(scope, block, self.first + column, k);
                    for (tile, right) in right.iter().enumerate() {
                        self.multiply_four(&mut scope.w, left, *right, sums[column * self.rows + tile]);
                    }
                }
            }
        }
    }

    fn multiply_four(&self, w: &mut Writer, left: [Four; 2], right: [Four; 2], sums: Four) {
        for k in 0..4 {
            for (place, sum) in sums.into_iter().enumerate() {
                let (x, y) = (left[place / 2][k], right[place % 2][k]);
                w.assign(sum, "fma.rn.f32", [x.into(), y.into(), sum.into()]);
            }
        }
    }

    /// Every warp's sums go to shared memory.
    fn hand_on(&self, scope: &mut Scope, sums: &[Four]) {
        let (columns, pitch) = (TILE[0] * self.columns, self.pitch());
        let base = scope.w.shared_base();
        let product = self.product;
        let w = &mut scope.w;
        let at = w.mad(product.warp, (4 * columns * pitch) as u32, base);
        let at = w.mad(product.group, (4 * pitch) as u32, at);
        let at = w.mad(product.member, 8, at);
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
            let own_row = w.op("div.u32", [at.into(), (columns as u32).into()]);
            let own = w.op("rem.u32", [at.into(), (columns as u32).into()]);
            let place = w.mad(own, pitch as u32, own_row);
            let place = w.mad(place, 4, base);
            let own = w.add(own, (TILE[0] * self.first) as u32);
            let (column, is_column) = self.product.column_of(w, own);
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
            let element = w.mad(own_row, gemm.c.stride as u32, column);
            let address = address(w, c, element);
            let result = if gemm.accumulate {
                let before = w.bits(0);
                w.line(format_args!("@{is_one} ld.global.b32 {before}, [{address}]"));
                w.op("add.rn.f32", [before.into(), sum.into()])
            } else {
                sum
            };
            w.line(format_args!("@{is_one} st.global.b32 [{address}], {result}"));
        });
    }
}

fn address(w: &mut Writer, at: Wide, element: Reg) -> Wide {
    let to = w.wide();
    w.line(format_args!("mad.wide.u32 {to}, {element}, 4, {at}"));
    to
}

/// Registers in braces.
fn list(registers: &[Reg]) -> String {
    format!("{{{}}}", registers.iter().map(Reg::to_string).collect::<Vec<_>>().join(", "))
}

/// Whether the loop around writes the weight of a product, or it is another one in each round.
pub(super) fn changes(gemm: &Gemm, written: bool) -> bool {
    written || gemm.b.at.terms.iter().any(|(index, _)| matches!(index, Index::Time(_)))
}
