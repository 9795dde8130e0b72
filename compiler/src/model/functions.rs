//! The functions that expressions can call, by name.

use crate::scalar::Scalar;

/// A builtin function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Element by element.
    Map(Scalar),
    Relu,
    Linear,
    /// The larger of two, element by element, or a vector's largest element.
    Max,
    /// The smaller of two, element by element, or a vector's smallest element.
    Min,
    Sum,
    Mean,
    Stop,
    Random,
    Number,
    Concat,
    FinalStep,
    Transpose,
}

const FUNCTIONS: [(&str, Function); 18] = [
    ("sigmoid", Function::Map(Scalar::Sigmoid)),
    ("tanh", Function::Map(Scalar::Tanh)),
    ("relu", Function::Relu),
    ("linear", Function::Linear),
    ("exp", Function::Map(Scalar::Exp)),
    ("log", Function::Map(Scalar::Log)),
    ("sqrt", Function::Map(Scalar::Sqrt)),
    ("abs", Function::Map(Scalar::Abs)),
    ("max", Function::Max),
    ("min", Function::Min),
    ("sum", Function::Sum),
    ("mean", Function::Mean),
    ("stop", Function::Stop),
    ("random", Function::Random),
    ("number", Function::Number),
    ("concat", Function::Concat),
    ("final_step", Function::FinalStep),
    ("transpose", Function::Transpose),
];

impl Function {
    pub fn named(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(known, _)| *known == name).map(|&(_, function)| function)
    }

    pub fn names() -> impl Iterator<Item = &'static str> {
        FUNCTIONS.iter().map(|&(name, _)| name)
    }

    pub fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function)| *function == self).map_or("", |&(name, _)| name)
    }

    /// Fewest and most arguments.
    pub fn arity(self) -> (usize, usize) {
        match self {
            Function::Max | Function::Min => (1, 2),
            Function::Concat => (1, usize::MAX),
            Function::Map(op) => (op.arity(), op.arity()),
            Function::Relu | Function::Linear | Function::Sum | Function::Mean | Function::Stop => (1, 1),
            Function::Random | Function::Number | Function::FinalStep | Function::Transpose => (1, 1),
        }
    }

    /// Whether it computes each element from the elements at the same place, given so many arguments.
    pub fn is_elementwise(self, arguments: usize) -> bool {
        match self {
            Function::Map(_) | Function::Relu | Function::Linear | Function::Stop => true,
            Function::Max | Function::Min => arguments == 2,
            Function::Sum | Function::Mean | Function::Random | Function::Number => false,
            Function::Concat | Function::FinalStep | Function::Transpose => false,
        }
    }
}
