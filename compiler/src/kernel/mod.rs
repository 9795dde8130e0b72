//! The kernel form: fused loop nests and library calls over flat buffers, in execution order.
//!
//! Promises (checked by `verify`): every variable is defined once, before its uses, in the same or an enclosing loop;
//! every address stays inside its buffer, as long as the ids that the host puts in are below [`id_limits`]; a `vector` loop's addresses have stride 0 or 1 in its axis; a temporary is
//! written before it is read. Items run in order, and each sees all that earlier items wrote. Iterations of a loop
//! marked `parallel` are independent: no iteration reads what another one writes.
//!
//! A module is run many times over the same buffers. Its prologue runs once before, and depends only on parameters that
//! nothing in the module writes: between two steps of a run these are the same.
//!
//! All sizes, strides and offsets count elements (4 bytes each: `f32` or `u32`).

pub mod access;
mod format;
mod ids;
mod interp;
mod lower;
mod parse;
pub mod passes;
mod print;
mod quoted;
mod rounded;
mod verify;

#[cfg(test)]
mod tests;

pub use format::{Format, Numbers, bf16_bits, bf16_value, int8_bits, int8_scale, int8_value, larger};
pub use ids::id_limits;
pub use interp::{Machine, run};
pub use lower::lower;
pub use parse::{ParseError, parse};
pub use rounded::RoundedWeight;
pub use verify::verify;

use std::collections::HashSet;
use std::ops::Range;

pub use crate::graph::{Elem, Form, InputRole, OutputRole, Part, Reduce};
pub use crate::model::Precision;
use crate::scalar::Scalar;
pub use crate::target::PANEL;

/// One function over buffers, such as a whole training step.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    pub name: String,
    pub buffers: Vec<Buffer>,
    /// What is done once before the steps of a run. It reads parameters that no item writes and what it has written
    /// itself, holds no time loop and no random number, and writes temporaries that no item writes.
    pub prologue: Vec<Item>,
    /// A step.
    pub items: Vec<Item>,
}

/// An index into [`Module::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Unique in the module.
    pub name: String,
    pub elem: Elem,
    /// Row-major sizes, for people and for the host; items address the buffer flat.
    pub shape: Vec<usize>,
    pub kind: BufferKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BufferKind {
    /// Owned by the run and alive between steps. An updated input is written in place.
    Input(InputRole),
    /// Read by the host after each step.
    Output(OutputRole),
    /// Alive from its first write to its last read.
    Temp,
    /// A temporary in the layout of the GEMM library (see [`Pack`]), [`Format::packed_len`] elements.
    Packed,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Kernel(Kernel),
    Gemm(Gemm),
    Pack(Pack),
    Scatter(Scatter),
    Distinct(Distinct),
    Exchange(Exchange),
    Loop(TimeLoop),
}

/// The loop over time: `time` runs from 0 to `rounds - 1`, or down if `reverse`.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeLoop {
    pub time: Time,
    pub rounds: usize,
    pub reverse: bool,
    pub items: Vec<Item>,
}

/// The variable of a time loop; unique in the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub u32);

/// An element of a buffer: `offset` plus each index times its stride.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub buffer: BufferId,
    pub offset: usize,
    pub terms: Vec<(Index, usize)>,
}

/// Elements from one value of an index to the next, of an address with these terms.
pub fn stride_of(terms: &[(Index, usize)], index: Index) -> usize {
    terms.iter().filter(|(own, _)| *own == index).map(|(_, stride)| stride).sum()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Index {
    /// The position in an enclosing loop of the same kernel.
    Axis(Axis),
    /// The round of an enclosing time loop.
    Time(Time),
    /// A token id that the kernel has loaded.
    Id(Var),
}

/// An axis of a kernel: an index into [`Kernel::axes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axis(pub u32);

/// A variable of a kernel: a real, or a token id where it comes from [`Expr::LoadId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub u32);

/// One loop nest, compiled to one function.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Unique in the module; says what was fused.
    pub name: String,
    /// The extent of each axis. Several loops may run over the same axis, one after the other.
    pub axes: Vec<usize>,
    pub body: Vec<Stmt>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    Let { var: Var, expr: Expr },
    Store { to: Address, value: Var },
    For(For),
}

/// A loop over an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct For {
    pub axis: Axis,
    /// Iterations are independent and may be divided among workers.
    pub parallel: bool,
    /// Several iterations may be computed at once in vector lanes: every address has stride 0 or 1 in the axis, and
    /// all loops inside, if any, are not vector loops.
    pub vector: bool,
    /// Values gathered over the iterations; visible after the loop.
    pub folds: Vec<Fold>,
    pub body: Vec<Stmt>,
}

/// `var` becomes the sum or maximum over all iterations of `value`, a variable of the loop's body. A maximum passes over
/// NaN, so that it does not depend on the order; of no iterations, the sum is 0 and the maximum negative infinity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fold {
    pub var: Var,
    pub kind: Reduce,
    pub value: Var,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Const(f64),
    Load(Address),
    /// A token id, usable in [`Index::Id`] and [`Expr::Number`].
    LoadId(Address),
    Map(Scalar, Vec<Var>),
    /// The position in an axis, as a real.
    Position(Axis),
    /// A token id as a real.
    Number(Var),
    /// [`crate::scalar::random`] at the flat index `offset + sum of index * stride`, plus the number of the run's shard times
    /// `shard`.
    Random {
        stream: u32,
        offset: usize,
        terms: Vec<(Index, usize)>,
        shard: usize,
    },
}

/// `C = op(A) @ op(B)`, or `C += ..`: `C` is `[m, n]`, and the contraction has length `k`.
///
/// As they lie in memory: NN has A `[m, k]` and B `[k, n]`; NT has A `[m, k]` and B `[n, k]`; TN has A `[k, m]` and
/// B `[k, n]`.
///
/// With [`Precision::Tf32`] the machine may round the elements of A and B to 10 bits of fraction; the interpreter does not.
/// With [`Precision::Bf16`] the elements of A and B are rounded to [`Format::Bf16`] first. A product of two such numbers
/// is an `f32`, and sums are `f32`. The order in which they are added up, and whether subnormal sums are kept,
/// differ between machines, and so do results, by no more than the rounding of `f32` sums.
/// With [`Precision::Bf16x3`] an element is the two parts `x + y` of [`Format::TwoParts`], and a product of two elements is `x x' + x y' + y x'`;
/// with [`Precision::Bf16x6`] it is the three parts `x + y + z` of [`Format::ThreeParts`], and a product is `x x' + x y' + y x' + y y' + x z' + z x'`.
/// The interpreter does not round.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    pub form: Form,
    pub precision: Precision,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    pub accumulate: bool,
    /// 1, or into how many parts the contraction is cut, with a C for each: `C[p] = A[.., part(p)] @ B[part(p), ..]`. They
    /// lie one after the other, as the rows of one matrix. What reads them adds them up. Only where B is not packed, and
    /// nothing is added to C, and without `prefix` and sums beside C.
    pub parts: usize,
    /// Where the number lies of how many rows of A, as they lie in memory, are multiplied: all `m` (NN, NT) or `k` (TN) if
    /// there are no more, or if this is none. The rows after them count as zeros, whatever they hold, and those of B too
    /// where they are summed over.
    pub prefix: Option<Address>,
    /// [`Rounds::All`] outside time loops, and of a product with `prefix` or sums beside C.
    pub rounds: Rounds,
    /// What the passes for a CPU make of it; nothing, for other targets.
    pub cpu: CpuGemm,
}

/// How a CPU computes a product, and what it computes beside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuGemm {
    /// If there is one, B is the buffer that a [`Pack`] of the same `form`, `k`, `n` and this format wrote (its stride is then
    /// unused). The format of a product in [`Precision::Bf16`] is [`Format::Bf16`], in [`Precision::Bf16x3`] and
    /// [`Precision::Bf16x6`] it is [`Format::TwoParts`] and [`Format::ThreeParts`].
    pub packed: Option<Format>,
    /// Where the sums of B's columns go, `n` numbers one after the other: what the product of a row of ones and B would
    /// be. Only where B lies in rows as it is, is not rounded, and is read to its last row: in NN and TN, not packed, in
    /// [`Precision::F32`], without `prefix`.
    pub right_sums: Option<Address>,
    /// Where the sums of squares of C's columns go, `n` numbers one after the other; not with `prefix`.
    pub squares: Option<Address>,
    /// Alternating traversal: whether it reads B from its end to its beginning in every second round of the time loop around
    /// it, see [`Gemm::from_end`]: what a cache keeps of the round before is what was read last. Only in a loop, of a product
    /// that [`Gemm::can_alternate`].
    pub alternating: bool,
    /// Whether each row of C has the bits that it would have in a product of few rows, which it stands for: a unit that adds up in
    /// another order does not compute it. Only of a packed B, in [`Precision::F32`].
    pub as_few: bool,
}

/// In which rounds of the time loop around it there is something to multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounds {
    #[default]
    All,
    /// All but the first, in which A is zero: without looking at A or B, C becomes zero, or stays as it is if it is added to.
    AfterFirst,
    /// All but the last, after which C is not read: it stays as it is.
    BeforeLast,
}

impl Gemm {
    /// `C = op(A) @ op(B)` of these `m`, `n` and `k`, in `f32` and as it lies.
    pub fn plain(form: Form, [m, n, k]: [usize; 3], a: Matrix, b: Matrix, c: Matrix) -> Self {
        let (precision, rounds, cpu) = (Precision::F32, Rounds::All, CpuGemm::default());
        Self { form, precision, m, n, k, a, b, c, accumulate: false, parts: 1, prefix: None, rounds, cpu }
    }

    /// Whether it just reads B, once, as it lies, and can do so from either end: an NN or NT in
    /// [`Precision::F32`], not packed, and without `prefix`, `right_sums` and `squares`.
    pub fn can_alternate(&self) -> bool {
        let as_it_lies = self.cpu.packed.is_none() && self.precision == Precision::F32;
        let plain = self.prefix.is_none() && !self.has_fused_sums();
        self.form != Form::TN && as_it_lies && plain
    }

    /// Whether B is read from its end where the time loop around is at `time`. The last row of B is then the first whose
    /// products an NN adds up, and the last column of C the first that an NT computes. A product by a weight and that by its
    /// transpose begin at different ends, so that a backward loop begins where the forward loop has ended.
    pub fn from_end(&self, time: usize) -> bool {
        self.cpu.alternating && time % 2 == usize::from(self.form == Form::NN)
    }

    /// How far it is from one element to the next as A and B lie: in A from row to row and along the contraction, in B along the
    /// contraction and from column to column.
    pub fn steps(&self) -> [usize; 4] {
        let (a, b) = (self.a.stride, self.b.stride);
        match self.form {
            Form::NN => [a, 1, b, 1],
            Form::NT => [a, 1, 1, b],
            Form::TN => [1, a, b, 1],
        }
    }

    /// What it writes beside C.
    pub fn fused_sums(&self) -> impl Iterator<Item = &Address> {
        self.cpu.right_sums.iter().chain(&self.cpu.squares)
    }

    /// Whether it writes anything beside C.
    pub fn has_fused_sums(&self) -> bool {
        self.fused_sums().next().is_some()
    }

    /// `m` and `k` of what is multiplied where [`Gemm::prefix`], if there is one, says `count`, or that on average.
    pub fn multiplied(&self, count: f64) -> (f64, f64) {
        let (m, k) = (self.m as f64, self.k as f64);
        match (&self.prefix, self.form) {
            (None, _) => (m, k),
            (Some(_), Form::TN) => (m, k.min(count)),
            (Some(_), Form::NN | Form::NT) => (m.min(count), k),
        }
    }

    /// The range of the contraction that a part sums over.
    pub fn part(&self, part: usize) -> Range<usize> {
        chunk(self.k, part, self.parts, PANEL)
    }

    /// Floating-point operations of what is multiplied, a multiply-add counted as two.
    pub fn flop(&self, count: f64) -> f64 {
        let (m, k) = self.multiplied(count);
        2.0 * m * self.n as f64 * k
    }
}

/// Range number `index` of `count` into which `extent` is cut at multiples of `grain`. A function of its arguments alone.
pub fn chunk(extent: usize, index: usize, count: usize, grain: usize) -> Range<usize> {
    let units = extent.div_ceil(grain);
    let cut = |index: usize| (units * index / count * grain).min(extent);
    cut(index)..cut(index + 1)
}

/// A matrix in a buffer: the address of its first element (terms in `Time` only) and the distance between its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub at: Address,
    pub stride: usize,
}

/// Lays `op(B)`, `[k, n]`, out as the GEMM library's inner loop reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// NN or NT.
    pub form: Form,
    pub k: usize,
    pub n: usize,
    pub b: Matrix,
    pub to: BufferId,
    pub format: Format,
}

/// Rows that go to a table by id, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// The gradient of a table lookup: `table = 0`, then `table[ids[i]] += g[i]`.
    Table,
    /// `table[ids[i]] += g[i]`.
    Add,
    /// As many rows as there are ids: at the first place of each id the sum of its `g`, at its other places zero.
    Combine,
}

/// For each `i < count` in order row `g[i]` is added to a row of `table`; see [`Gather`].
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    pub gather: Gather,
    /// `count` ids that lie one after the other.
    pub ids: Address,
    pub count: usize,
    /// `[count, n]`
    pub g: Matrix,
    /// `[rows, n]`, rows one after the other; `[count, n]` where rows are combined.
    pub table: BufferId,
    /// Ids are below this.
    pub rows: usize,
    pub n: usize,
}

/// Sums over a batch's shards, which may be in other processes: see [`crate::graph::Op::SumShards`]. It is started, goes on beside the
/// items that follow, and is finished. Both are items of a step, outside time loops, of the same number and sums, one each
/// and in this order. Between the two no item writes what is summed, or touches a sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    pub number: u32,
    pub phase: Phase,
    pub sums: Vec<ShardSum>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Start,
    Finish,
}

/// `to` becomes the sum of what every shard has from an address on.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardSum {
    pub from: Address,
    /// All of it.
    pub to: BufferId,
    /// Both are `rows` rows of `n`, one after the other. Rows that are zero, as in the gradient of a table of which few rows were read, need not be
    /// sent.
    pub rows: usize,
    pub n: usize,
}

/// Which ids there are among `len`, in the order in which each occurs first; see [`crate::graph::Op::Distinct`].
#[derive(Clone, Debug, PartialEq)]
pub struct Distinct {
    /// `len` ids below `rows` that lie one after the other.
    pub ids: Address,
    pub len: usize,
    pub rows: usize,
    /// `[len]`: the place of each id among the distinct ones.
    pub places: BufferId,
    /// As many as there can be: the distinct ids, then zeros.
    pub distinct: BufferId,
    /// `[]`: how many distinct ids there are.
    pub count: BufferId,
    /// `[rows]` each: the place of each row's id among the distinct ones, and whether it is there, if these are wanted.
    pub inverse: Option<[BufferId; 2]>,
}

impl Distinct {
    /// The buffers that it writes, and how much of each.
    pub fn results(&self) -> Vec<(BufferId, usize)> {
        let inverse = self.inverse.into_iter().flatten().map(|buffer| (buffer, self.rows));
        let ids = [(self.places, self.len), (self.distinct, self.most()), (self.count, 1)];
        ids.into_iter().chain(inverse).collect()
    }

    /// How many distinct ids there can be.
    pub fn most(&self) -> usize {
        self.len.min(self.rows)
    }
}

impl Scatter {
    /// Rows of the table.
    pub fn table_rows(&self) -> usize {
        if self.gather == Gather::Combine { self.count } else { self.rows }
    }
}

impl Buffer {
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Kernel {
    /// Whether it draws random numbers, which differ from step to step.
    pub fn is_random(&self) -> bool {
        let mut found = false;
        each_stmt(&self.body, &mut |stmt| {
            found |= matches!(stmt, Stmt::Let { expr: Expr::Random { .. }, .. });
        });
        found
    }

    /// Whether it draws random numbers that are those of a shard.
    pub fn has_shards(&self) -> bool {
        let mut found = false;
        each_stmt(&self.body, &mut |stmt| {
            found |= matches!(stmt, Stmt::Let { expr: Expr::Random { shard: 1.., .. }, .. });
        });
        found
    }

    /// Whether some loop over this axis is a vector loop, so that cuts must keep to whole vectors.
    pub fn is_vector_axis(&self, axis: Axis) -> bool {
        fn any(stmts: &[Stmt], axis: Axis) -> bool {
            stmts.iter().any(|stmt| match stmt {
                Stmt::For(inner) => (inner.axis == axis && inner.vector) || any(&inner.body, axis),
                _ => false,
            })
        }
        any(&self.body, axis)
    }
}

/// Calls `see` with every statement, those of inner loops included.
pub fn each_stmt<'k>(stmts: &'k [Stmt], see: &mut impl FnMut(&'k Stmt)) {
    for stmt in stmts {
        see(stmt);
        if let Stmt::For(inner) = stmt {
            each_stmt(&inner.body, see);
        }
    }
}

impl Module {
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// The parameters that no step changes.
    pub fn constants(&self) -> HashSet<BufferId> {
        let written: HashSet<BufferId> = self.items.iter().flat_map(Item::stored).collect();
        let is_param =
            |id: &BufferId| matches!(self.buffer(*id).kind, BufferKind::Input(InputRole::Param { .. }));
        let ids = (0..self.buffers.len() as u32).map(BufferId);
        ids.filter(|id| is_param(id) && !written.contains(id)).collect()
    }
}
