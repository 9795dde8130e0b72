//! The body of a vector loop: straight-line operations on vectors, in single-assignment form.
//!
//! Promises: an operation reads constants, parameters and what stands before it. What a vector holds is the same for
//! neighbouring lanes' neighbouring iterations; no operation mixes lanes.

use std::collections::HashMap;

use crate::backend::elementary::{Condition, Lanes};
use crate::kernel::Reduce;

/// A vector: of the same number in all lanes, or what an operation computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// `a` where `a > b`, else `b`
    Max,
    /// `a` where `a < b`, else `b`
    Min,
    WholeAdd,
    WholeSub,
    WholeMul,
    Xor,
    And,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Sqrt,
    ToReal,
    ShiftLeft(u8),
    ShiftRight(u8),
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

    pub fn binary(&mut self, op: Binary, a: Value, b: Value) -> Value {
        self.push(Operation::Binary(op, a, b))
    }

    pub fn parameter(&mut self) -> Value {
        self.parameters += 1;
        Value::Parameter(self.parameters as u32 - 1)
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

impl Lanes for Body {
    type Value = Value;

    fn real(&mut self, value: f32) -> Value {
        self.whole(value.to_bits())
    }

    fn whole(&mut self, bits: u32) -> Value {
        *self.known.entry(bits).or_insert_with(|| {
            self.constants.push(bits);
            Value::Constant(self.constants.len() as u32 - 1)
        })
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::Add, a, b)
    }

    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::Sub, a, b)
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::Mul, a, b)
    }

    fn div(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::Div, a, b)
    }

    fn max(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::Max, a, b)
    }

    fn min(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::Min, a, b)
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.push(Operation::MulAdd(a, b, c))
    }

    fn sqrt(&mut self, a: Value) -> Value {
        self.push(Operation::Unary(Unary::Sqrt, a))
    }

    fn choose(&mut self, condition: Condition, [left, right]: [Value; 2], [yes, no]: [Value; 2]) -> Value {
        self.push(Operation::Choose { condition, left, right, yes, no })
    }

    fn whole_sub(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::WholeSub, a, b)
    }

    fn whole_mul(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::WholeMul, a, b)
    }

    fn and(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::And, a, b)
    }

    fn xor(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::Xor, a, b)
    }

    fn shift_left(&mut self, a: Value, places: u8) -> Value {
        self.push(Operation::Unary(Unary::ShiftLeft(places), a))
    }

    fn shift_right(&mut self, a: Value, places: u8) -> Value {
        self.push(Operation::Unary(Unary::ShiftRight(places), a))
    }

    fn to_real(&mut self, a: Value) -> Value {
        self.push(Operation::Unary(Unary::ToReal, a))
    }
}
