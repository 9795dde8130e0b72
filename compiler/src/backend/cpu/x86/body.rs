//! The body of a vector loop: straight-line operations on vectors, in single-assignment form.
//!
//! Promises: an operation reads constants, parameters and what stands before it. What a vector holds is the same for
//! neighbouring lanes' neighbouring iterations; no operation mixes lanes.

use std::collections::HashMap;

use crate::backend::elementary::{Binary, Condition, Emit, Unary};
use crate::kernel::Reduce;

/// A vector: of the same number in all lanes, or what an operation computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// The bits at an index of [`Body::constants`].
    Constant(u32),
    /// A number that the caller gives, by its index.
    Parameter(u32),
    /// The result of the operation at an index of [`Body::operations`].
    Computed(u32),
}

/// The element of the loop's iteration: `offset` bytes from element `iteration` after a pointer of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub base: usize,
    pub offset: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Load(Place),
    /// The iteration's number, whole.
    Iteration,
    Unary(Unary, Value),
    Binary(Binary, Value, Value),
    /// `a * b + c`, rounded once
    MulAdd(Value, Value, Value),
    /// `yes` where `left condition right`, else `no`
    Choose {
        condition: Condition,
        left: Value,
        right: Value,
        yes: Value,
        no: Value,
    },
    Store(Place, Value),
}

/// A loop's body and what it gathers.
#[derive(Debug, Default)]
pub struct Body {
    pub constants: Vec<u32>,
    pub parameters: usize,
    /// Pointers that the caller gives.
    pub bases: usize,
    pub operations: Vec<Operation>,
    /// Sums and maxima over all iterations.
    pub folds: Vec<(Reduce, Value)>,
    known: HashMap<u32, Value>,
}

impl Body {
    pub fn push(&mut self, operation: Operation) -> Value {
        self.operations.push(operation);
        Value::Computed(self.operations.len() as u32 - 1)
    }
}

impl Operation {
    /// What it reads.
    pub fn operands(&self) -> impl Iterator<Item = Value> {
        let operands = match *self {
            Self::Load(_) | Self::Iteration => [None; 4],
            Self::Unary(_, a) | Self::Store(_, a) => [Some(a), None, None, None],
            Self::Binary(_, a, b) => [Some(a), Some(b), None, None],
            Self::MulAdd(a, b, c) => [Some(a), Some(b), Some(c), None],
            Self::Choose { left, right, yes, no, .. } => [left, right, yes, no].map(Some),
        };
        operands.into_iter().flatten()
    }
}

impl Emit for Body {
    type Value = Value;

    fn whole(&mut self, bits: u32) -> Value {
        *self.known.entry(bits).or_insert_with(|| {
            self.constants.push(bits);
            Value::Constant(self.constants.len() as u32 - 1)
        })
    }

    fn unary(&mut self, op: Unary, a: Value) -> Value {
        self.push(Operation::Unary(op, a))
    }

    fn binary(&mut self, op: Binary, a: Value, b: Value) -> Value {
        self.push(Operation::Binary(op, a, b))
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.push(Operation::MulAdd(a, b, c))
    }

    fn choose(&mut self, condition: Condition, [left, right]: [Value; 2], [yes, no]: [Value; 2]) -> Value {
        self.push(Operation::Choose { condition, left, right, yes, no })
    }
}
