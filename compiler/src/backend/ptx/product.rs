//! Products by tiles: a CTA computes a tile of C at a time, from tiles of A and B in shared memory.
//!
//! ```text
//! for each tile of C of this CTA        tile number, then + CTAs
//!   for k0 in 0, DEPTH, .. k            all threads: global memory -> registers -> shared memory, rounded on the way
//!     multiply the tiles                mma.sync of warps, or fused multiply-adds of threads
//!   C = sums, or C += sums
//! ```
//!
//! The order of sums depends on the sizes alone. A tile of A lies in shared memory by columns, `[k][m]`, one of B by rows,
//! `[k][n]`, each row [`PAD`] words longer than the tile: then neither the stores nor the fragments' loads meet in a bank.
//! With `bf16` a word holds two neighbours in k.

use super::scope::{Scope, THREADS, WARP};
use super::text::{Operand, Pred, Reg, Wide, Writer};
use crate::kernel::{Form, Gemm, Precision, Rounds};

/// Elements of the contraction in shared memory at a time.
const DEPTH: usize = 16;

/// Words between the rows of a tile in shared memory beyond its width: with 8, four rows start in four groups of 8 banks.
const PAD: usize = 8;

/// How elements are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Math {
    /// Fused multiply-adds.
    F32,
    /// Tensor cores on operands rounded to 10 bits of fraction.
    Tf32,
    /// Tensor cores on operands rounded to 7 bits of fraction.
    Bf16,
}

impl Math {
    fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Math::F32,
            Precision::Tf32 => Math::Tf32,
            Precision::Bf16 => Math::Bf16,
        }
    }

    /// Elements of the contraction in a word of shared memory.
    fn packed(self) -> usize {
        if self == Math::Bf16 { 2 } else { 1 }
    }
}

/// The sizes of a tile of C.
#[derive(Clone, Copy, Debug)]
struct Tile {
    rows: usize,
    columns: usize,
}

impl Tile {
    /// Few rows are not worth a large tile, and neither is a small C: it would leave most of the machine idle.
    fn of(gemm: &Gemm) -> Self {
        const LARGE: usize = 64;
        const SMALL: usize = 32;
        let tiles = gemm.m.div_ceil(LARGE) * gemm.n.div_ceil(LARGE);
        if gemm.m <= SMALL || tiles < 64 {
            Self { rows: SMALL, columns: SMALL }
        } else {
            Self { rows: LARGE, columns: LARGE }
        }
    }
}

/// Writes a product, and says how many CTAs have something to do.
pub(super) fn product(scope: &mut Scope, gemm: &Gemm) -> usize {
    let tile = Tile::of(gemm);
    let tiles = gemm.m.div_ceil(tile.rows) * gemm.n.div_ceil(tile.columns);
    let idle = idle_round(scope, gemm);
    match (gemm.rounds, idle) {
        (Rounds::BeforeLast, Some(last)) => {
            let end = scope.w.label();
            scope.w.go_if(last, end);
            Product::new(scope, gemm, tile).tiles();
            scope.w.place(end);
        }
        _ => Product::new(scope, gemm, tile).tiles(),
    }
    tiles
}

/// Whether this is the round in which there is nothing to multiply.
fn idle_round(scope: &mut Scope, gemm: &Gemm) -> Option<Pred> {
    let round = scope.round()?;
    match gemm.rounds {
        Rounds::All => None,
        Rounds::AfterFirst => Some(scope.w.compare("setp.eq.u32", round.now, round.first)),
        Rounds::BeforeLast => Some(scope.w.compare("setp.eq.u32", round.now, round.last)),
    }
}

/// An operand while its tiles are read.
#[derive(Clone, Copy, Debug)]
struct Source {
    at: Wide,
    /// Elements from one of its rows (A) or columns (B) to the next, and from one index of the contraction to the next.
    across: usize,
    along: usize,
    /// How many rows or columns of it a tile has, and there are.
    width: usize,
    count: Operand,
    /// Where its tile begins in shared memory, in bytes.
    shared: usize,
}

struct Product<'s, 'a, 'g> {
    scope: &'s mut Scope<'a>,
    gemm: &'g Gemm,
    math: Math,
    tile: Tile,
    a: Source,
    b: Source,
    /// How far the contraction goes.
    k: Operand,
    base: Reg,
}

impl<'s, 'a, 'g> Product<'s, 'a, 'g> {
    fn new(scope: &'s mut Scope<'a>, gemm: &'g Gemm, tile: Tile) -> Self {
        let math = Math::of(gemm.precision);
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
        let rows = DEPTH / math.packed();
        let (a_row, b_row) = (tile.rows + PAD, tile.columns + PAD);
        let (a_across, a_along) = if gemm.form == Form::TN { (1, gemm.a.stride) } else { (gemm.a.stride, 1) };
        let (b_across, b_along) = if gemm.form == Form::NT { (gemm.b.stride, 1) } else { (1, gemm.b.stride) };
        let (a_at, b_at) = (scope.pointer(&gemm.a.at), scope.pointer(&gemm.b.at));
        let a = Source { at: a_at, across: a_across, along: a_along, width: tile.rows, count: m, shared: 0 };
        let n = (gemm.n as u32).into();
        let shared = 4 * rows * a_row;
        let b = Source { at: b_at, across: b_across, along: b_along, width: tile.columns, count: n, shared };
        scope.w.shared(shared + 4 * rows * b_row);
        let base = scope.w.shared_base();
        Self { scope, gemm, math, tile, a, b, k, base }
    }

    fn tiles(&mut self) {
        let across = self.gemm.n.div_ceil(self.tile.columns) as u32;
        let tiles = self.gemm.m.div_ceil(self.tile.rows) as u32 * across;
        let (cta, ctas) = (self.scope.cta, self.scope.ctas);
        let number = self.scope.w.op("mov.b32", [cta.into()]);
        let all = self.scope.w.begin();
        let over = self.scope.w.compare("setp.ge.u32", number, tiles);
        self.scope.w.go_if(over, all.done);
        let row = self.scope.w.op("div.u32", [number.into(), across.into()]);
        let column = self.scope.w.op("rem.u32", [number.into(), across.into()]);
        let row = self.scope.w.mul(row, self.tile.rows as u32);
        let column = self.scope.w.mul(column, self.tile.columns as u32);
        let sums = self.contract(row, column);
        self.store(row, column, &sums);
        self.scope.w.assign(number, "add.u32", [number.into(), ctas.into()]);
        self.scope.w.end(all);
    }

    /// The sums of this thread, by fragment and place in it.
    fn contract(&mut self, row: Reg, column: Reg) -> Vec<Vec<Reg>> {
        let fragments = Fragments::of(self.math, self.tile);
        let sums: Vec<Vec<Reg>> = (0..fragments.down * fragments.across)
            .map(|_| (0..fragments.sums()).map(|_| self.scope.w.real(0.0)).collect())
            .collect();
        let w = &mut self.scope.w;
        let k0 = w.bits(0);
        let along = w.begin();
        let over = w.compare("setp.ge.u32", k0, self.k);
        w.go_if(over, along.done);
        let (a, b) = (self.a, self.b);
        let a_words = self.read(a, row, k0);
        let b_words = self.read(b, column, k0);
        // The tiles before have been multiplied by all.
        self.scope.w.sync();
        self.write(a, &a_words);
        self.write(b, &b_words);
        self.scope.w.sync();
        let places = fragments.places(self.scope);
        let shared = [self.a.shared, self.b.shared];
        fragments.multiply(&mut self.scope.w, self.base, shared, &places, &sums);
        self.scope.w.assign(k0, "add.u32", [k0.into(), (DEPTH as u32).into()]);
        self.scope.w.end(along);
        sums
    }

    /// Where word number `number` of this thread lies in the tile: its row or column there, and its place in k. Neighbouring
    /// threads read neighbouring elements of memory.
    fn word(&mut self, source: Source, number: usize) -> (Reg, Reg) {
        let packed = self.math.packed();
        let rows = DEPTH / packed;
        let thread = self.scope.thread;
        let w = &mut self.scope.w;
        let at = w.add(thread, (number * THREADS) as u32);
        let by_depth = source.along == 1;
        let inner = if by_depth { rows } else { source.width } as u32;
        let fast = w.op("rem.u32", [at.into(), inner.into()]);
        let slow = w.op("div.u32", [at.into(), inner.into()]);
        if by_depth { (slow, fast) } else { (fast, slow) }
    }

    fn words(&self, source: Source) -> usize {
        (source.width * DEPTH / self.math.packed()).div_ceil(THREADS)
    }

    /// This thread's words of the tile that begins at row or column `start` and `k0`: zeros beyond the matrix.
    fn read(&mut self, source: Source, start: Reg, k0: Reg) -> Vec<Reg> {
        let packed = self.math.packed();
        let mut words = vec![];
        for number in 0..self.words(source) {
            let (across, along) = self.word(source, number);
            let k = self.k;
            let w = &mut self.scope.w;
            let across = w.add(start, across);
            let along = w.mad(along, packed as u32, k0);
            let inside = w.compare("setp.lt.u32", across, source.count);
            let across = w.mul(across, source.across as u32);
            let elements: Vec<Reg> = (0..packed)
                .map(|next| {
                    let along = w.add(along, next as u32);
                    let within = w.compare("setp.lt.u32", along, k);
                    let both = w.both(inside, within);
                    let element = w.mad(along, source.along as u32, across);
                    let address = w.wide();
                    w.line(format_args!("mad.wide.u32 {address}, {element}, 4, {}", source.at));
                    let value = w.bits(0);
                    w.line(format_args!("@{both} ld.global.b32 {value}, [{address}]"));
                    value
                })
                .collect();
            words.push(rounded(w, self.math, &elements));
        }
        words
    }

    fn write(&mut self, source: Source, words: &[Reg]) {
        let rows = (DEPTH / self.math.packed()) as u32;
        for (number, &value) in words.iter().enumerate() {
            let (across, along) = self.word(source, number);
            let base = self.base;
            let w = &mut self.scope.w;
            let place = w.mad(along, (source.width + PAD) as u32, across);
            let address = w.mad(place, 4, base);
            let line = format!("st.shared.b32 [{address}+{}], {value}", source.shared);
            // The last word of some threads may lie beyond the tile.
            if (source.width * rows as usize).is_multiple_of(THREADS) {
                w.line(line);
            } else {
                let (count, limit) = (
                    if source.along == 1 { across } else { along },
                    if source.along == 1 { source.width as u32 } else { rows },
                );
                let inside = w.compare("setp.lt.u32", count, limit);
                w.line(format_args!("@{inside} {line}"));
            }
        }
    }

    fn store(&mut self, row: Reg, column: Reg, sums: &[Vec<Reg>]) {
        let fragments = Fragments::of(self.math, self.tile);
        let places = fragments.places(self.scope);
        let c = self.scope.pointer(&self.gemm.c.at);
        let (m, n) = (self.gemm.m as u32, self.gemm.n as u32);
        let (stride, accumulate) = (self.gemm.c.stride as u32, self.gemm.accumulate);
        for (fragment, values) in sums.iter().enumerate() {
            for (place, &value) in values.iter().enumerate() {
                let w = &mut self.scope.w;
                let (down, across) = fragments.result(w, &places, fragment, place);
                let own_row = w.add(row, down);
                let own_column = w.add(column, across);
                let inside = w.compare("setp.lt.u32", own_row, m);
                let within = w.compare("setp.lt.u32", own_column, n);
                let both = w.both(inside, within);
                let element = w.mad(own_row, stride, own_column);
                let address = w.wide();
                w.line(format_args!("mad.wide.u32 {address}, {element}, 4, {c}"));
                let result = if accumulate {
                    let before = w.bits(0);
                    w.line(format_args!("@{both} ld.global.b32 {before}, [{address}]"));
                    w.op("add.rn.f32", [before.into(), value.into()])
                } else {
                    value
                };
                w.line(format_args!("@{both} st.global.b32 [{address}], {result}"));
            }
        }
    }
}

/// A word of shared memory: an element, rounded as the tensor cores want it, or two.
fn rounded(w: &mut Writer, math: Math, elements: &[Reg]) -> Reg {
    match (math, elements) {
        (Math::F32, &[element]) => element,
        (Math::Tf32, &[element]) => w.op("cvt.rna.tf32.f32", [element.into()]),
        // The first operand goes to the upper half.
        (Math::Bf16, &[low, high]) => w.op("cvt.rn.bf16x2.f32", [high.into(), low.into()]),
        _ => unreachable!("internal error: {} elements in a word of {math:?}", elements.len()),
    }
}

/// How a tile is shared out among threads: `down` by `across` fragments for each.
#[derive(Clone, Copy, Debug)]
struct Fragments {
    math: Math,
    tile: Tile,
    down: usize,
    across: usize,
}

/// Where a thread's fragments lie in the tile.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// The first row and column of the thread's (`F32`) or its warp's fragments.
    row: Reg,
    column: Reg,
    /// The lane's quarter and its place in it: the row of A and the column of B that it holds, and its place in k.
    group: Reg,
    member: Reg,
}

/// Warps of a tile: so many above each other, and so many beside each other.
const WARPS_DOWN: usize = 2;
const WARPS_ACROSS: usize = THREADS / WARP / WARPS_DOWN;

/// Threads of a tile that multiply by themselves, along each side.
const SIDE: usize = 16;

impl Fragments {
    fn of(math: Math, tile: Tile) -> Self {
        let (down, across) = match math {
            Math::F32 => (tile.rows / SIDE, tile.columns / SIDE),
            Math::Tf32 | Math::Bf16 => (tile.rows / (16 * WARPS_DOWN), tile.columns / (8 * WARPS_ACROSS)),
        };
        Self { math, tile, down, across }
    }

    /// Sums of one fragment in each thread.
    fn sums(self) -> usize {
        if self.math == Math::F32 { 1 } else { 4 }
    }

    fn places(self, scope: &mut Scope) -> Places {
        let thread = scope.thread;
        let w = &mut scope.w;
        match self.math {
            Math::F32 => {
                let row = w.op("div.u32", [thread.into(), (SIDE as u32).into()]);
                let column = w.op("rem.u32", [thread.into(), (SIDE as u32).into()]);
                let row = w.mul(row, self.down as u32);
                let column = w.mul(column, self.across as u32);
                Places { row, column, group: row, member: column }
            }
            Math::Tf32 | Math::Bf16 => {
                let warp = w.op("shr.u32", [thread.into(), WARP.ilog2().into()]);
                let lane = w.op("and.b32", [thread.into(), (WARP as u32 - 1).into()]);
                let row = w.op("div.u32", [warp.into(), (WARPS_ACROSS as u32).into()]);
                let column = w.op("rem.u32", [warp.into(), (WARPS_ACROSS as u32).into()]);
                let row = w.mul(row, (16 * self.down) as u32);
                let column = w.mul(column, (8 * self.across) as u32);
                let group = w.op("shr.u32", [lane.into(), 2.into()]);
                let member = w.op("and.b32", [lane.into(), 3.into()]);
                Places { row, column, group, member }
            }
        }
    }

    /// Row and column in the tile of a sum.
    fn result(self, w: &mut Writer, places: &Places, fragment: usize, place: usize) -> (Reg, Reg) {
        let (down, across) = (fragment / self.across, fragment % self.across);
        match self.math {
            Math::F32 => (w.add(places.row, down as u32), w.add(places.column, across as u32)),
            Math::Tf32 | Math::Bf16 => {
                // Rows `group` and `group + 8`, columns `2 * member` and the next.
                let row = w.add(places.row, places.group);
                let row = w.add(row, (16 * down + 8 * (place / 2)) as u32);
                let column = w.mad(places.member, 2, places.column);
                (row, w.add(column, (8 * across + place % 2) as u32))
            }
        }
    }

    /// Adds the products of the tiles in shared memory to the sums.
    fn multiply(self, w: &mut Writer, base: Reg, [a, b]: [usize; 2], places: &Places, sums: &[Vec<Reg>]) {
        let (a_row, b_row) = (4 * (self.tile.rows + PAD), 4 * (self.tile.columns + PAD));
        if self.math == Math::F32 {
            let a_at = w.mad(places.row, 4, base);
            let b_at = w.mad(places.column, 4, base);
            for k in 0..DEPTH {
                let left: Vec<Reg> =
                    (0..self.down).map(|i| w.load_shared(a_at, a + a_row * k + 4 * i)).collect();
                let right: Vec<Reg> =
                    (0..self.across).map(|j| w.load_shared(b_at, b + b_row * k + 4 * j)).collect();
                for (fragment, sum) in sums.iter().enumerate() {
                    let (x, y) = (left[fragment / self.across], right[fragment % self.across]);
                    w.assign(sum[0], "fma.rn.f32", [x.into(), y.into(), sum[0].into()]);
                }
            }
            return;
        }
        let in_quarter = |w: &mut Writer, start: Reg, row: usize| {
            let across = w.add(start, places.group);
            let along = w.mad(places.member, row as u32, base);
            w.mad(across, 4, along)
        };
        let a_at = in_quarter(w, places.row, a_row);
        let b_at = in_quarter(w, places.column, b_row);
        // A fragment holds 8 words of the contraction.
        for k in (0..DEPTH / self.math.packed()).step_by(8) {
            let left: Vec<[Reg; 4]> = (0..self.down)
                .map(|i| {
                    [(0, 0), (8, 0), (0, 4), (8, 4)]
                        .map(|(row, depth)| w.load_shared(a_at, a + a_row * (k + depth) + 4 * (16 * i + row)))
                })
                .collect();
            let right: Vec<[Reg; 2]> = (0..self.across)
                .map(|j| [0, 4].map(|depth| w.load_shared(b_at, b + b_row * (k + depth) + 4 * 8 * j)))
                .collect();
            let name = match self.math {
                Math::Bf16 => "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
                _ => "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
            };
            for (fragment, sum) in sums.iter().enumerate() {
                let (x, y) = (&left[fragment / self.across], &right[fragment % self.across]);
                let list =
                    |registers: &[Reg]| registers.iter().map(Reg::to_string).collect::<Vec<_>>().join(", ");
                let sum = list(sum);
                w.line(format_args!("{name} {{{sum}}}, {{{}}}, {{{}}}, {{{sum}}}", list(x), list(y)));
            }
        }
    }
}
