//! The kernel form: fused loop nests and library calls over flat buffers, in execution order.
//!
//! Promises (checked by `verify`): every variable is defined once, before its uses, in the same or an enclosing loop;
//! every address stays inside its buffer; a `vector` loop's addresses have stride 0 or 1 in its axis; a temporary is
//! written before it is read. Items run in order, and each sees all that earlier items wrote. Iterations of a loop
//! marked `parallel` are independent: no iteration reads what another one writes.
//!
//! All sizes, strides and offsets count elements (4 bytes each: `f32` or `u32`).

mod interp;
mod lower;
mod parse;
mod print;
mod verify;

#[cfg(test)]
mod tests;

pub use interp::{Machine, run};
pub use lower::lower;
pub use parse::{ParseError, parse};
pub use verify::verify;

use std::collections::HashSet;

pub use crate::graph::{Elem, Form, InputRole, OutputRole, Part, Reduce};
use crate::scalar::Scalar;

/// One function over buffers, such as a whole training step.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    pub name: String,
    pub buffers: Vec<Buffer>,
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
    /// A temporary in the layout of the GEMM library (see [`Pack`]), `packed_len(k, n)` elements.
    Packed,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Kernel(Kernel),
    Gemm(Gemm),
    Pack(Pack),
    Scatter(Scatter),
    Loop(TimeLoop),
}

/// The loop over time: `time` runs from 0 to `steps - 1`, or down if `reverse`.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeLoop {
    pub time: Time,
    pub steps: usize,
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
    /// Iterations are independent and may be shared out among workers.
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
    /// [`crate::scalar::random`] at the flat index `offset + sum of index * stride`.
    Random {
        stream: u32,
        offset: usize,
        terms: Vec<(Index, usize)>,
    },
}

/// `C = op(A) @ op(B)`, or `C += ..`: `C` is `[m, n]`, and the contraction has length `k`.
///
/// As they lie in memory: NN has A `[m, k]` and B `[k, n]`; NT has A `[m, k]` and B `[n, k]`; TN has A `[k, m]` and
/// B `[k, n]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    pub form: Form,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix,
    /// With `packed`, the buffer that a [`Pack`] of the same `form`, `k` and `n` wrote (its stride is then unused).
    pub b: Matrix,
    pub packed: bool,
    pub c: Matrix,
    pub accumulate: bool,
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
}

/// The gradient of a table lookup: `table = 0`, then `table[ids[i]] += g[i]` for each `i < count` in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// `count` ids that lie one after the other.
    pub ids: Address,
    pub count: usize,
    /// `[count, n]`
    pub g: Matrix,
    /// `[rows, n]`, rows one after the other.
    pub table: BufferId,
    pub rows: usize,
    pub n: usize,
}

/// Columns of a packed panel; the same on every machine so that memory plans are too.
pub const PANEL: usize = 16;

/// Elements of the packed form of a `[k, n]` operand: panels of [`PANEL`] columns, the last one padded with zeros,
/// each `k` rows of [`PANEL`] elements.
pub fn packed_len(k: usize, n: usize) -> usize {
    n.div_ceil(PANEL) * PANEL * k
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
    /// The buffers that it writes.
    pub fn stored(&self) -> HashSet<BufferId> {
        fn collect(stmts: &[Stmt], found: &mut HashSet<BufferId>) {
            for stmt in stmts {
                match stmt {
                    Stmt::Store { to, .. } => {
                        found.insert(to.buffer);
                    }
                    Stmt::For(inner) => collect(&inner.body, found),
                    Stmt::Let { .. } => {}
                }
            }
        }
        let mut found = HashSet::new();
        collect(&self.body, &mut found);
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

impl Module {
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }
}
