//! What each scalar operation means. Constant folding and both interpreters call [`eval`]; back ends are tested
//! against it.

use std::fmt;
use std::str::FromStr;

/// A scalar function of one to three reals. Comparisons yield 1 or 0; `Select(c, a, b)` is `a` where `c != 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scalar {
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    Tanh,
    Sigmoid,
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Max,
    Min,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    Select,
}

impl Scalar {
    pub const ALL: [Scalar; 21] = [
        Self::Neg,
        Self::Abs,
        Self::Exp,
        Self::Log,
        Self::Sqrt,
        Self::Tanh,
        Self::Sigmoid,
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Pow,
        Self::Max,
        Self::Min,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::Eq,
        Self::Ne,
        Self::Select,
    ];

    pub fn arity(self) -> usize {
        match self {
            Self::Neg | Self::Abs | Self::Exp | Self::Log | Self::Sqrt | Self::Tanh | Self::Sigmoid => 1,
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Pow | Self::Max | Self::Min => 2,
            Self::Lt | Self::Le | Self::Gt | Self::Ge | Self::Eq | Self::Ne => 2,
            Self::Select => 3,
        }
    }

    /// Whether it takes no longer than an addition.
    pub fn is_cheap(self) -> bool {
        match self {
            Self::Exp | Self::Log | Self::Sqrt | Self::Tanh | Self::Sigmoid | Self::Div | Self::Pow => false,
            Self::Neg
            | Self::Abs
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Max
            | Self::Min
            | Self::Select => true,
            Self::Lt | Self::Le | Self::Gt | Self::Ge | Self::Eq | Self::Ne => true,
        }
    }

    /// The name in graph and kernel text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neg => "neg",
            Self::Abs => "abs",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sqrt => "sqrt",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Pow => "pow",
            Self::Max => "max",
            Self::Min => "min",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Select => "select",
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scalar {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|op| op.name() == name).ok_or(())
    }
}

/// What the operands of matrix products are rounded to while training. All else is `f32`: parameters, the sums
/// inside products, and every other operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    /// An `f32` with 10 bits of fraction, on machines that multiply these faster; `f32` on others.
    Tf32,
    /// The upper half of an `f32`.
    Bf16,
    /// Three products of an `f32`'s upper half and of what it leaves, rounded to as much: some 16 bits, on machines that do
    /// that faster than a product of `f32`; `f32` on others.
    Bf16x3,
    /// Six products of three such parts, which are all of an `f32`: as exact as `f32`, on machines that do that faster than one of
    /// `f32`; `f32` on others.
    Bf16x6,
}

impl Precision {
    pub const ALL: [Self; 5] = [Self::F32, Self::Tf32, Self::Bf16, Self::Bf16x3, Self::Bf16x6];

    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
            Precision::Bf16x3 => "bf16x3",
            Precision::Bf16x6 => "bf16x6",
        }
    }

    /// How many products of `bf16` make up one of two numbers; none if numbers are multiplied as they are.
    pub fn products_of_bf16(self) -> Option<u32> {
        match self {
            Precision::F32 | Precision::Tf32 => None,
            Precision::Bf16 => Some(1),
            Precision::Bf16x3 => Some(3),
            Precision::Bf16x6 => Some(6),
        }
    }
}

/// The two precisions that the interpreters run in.
pub trait Real: Copy + PartialOrd + std::fmt::Debug + Send + Sync + 'static + ndarray::NdFloat {
    fn of(value: f64) -> Self;
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// The meaning of `op`. `args` holds exactly [`Scalar::arity`] values.
pub fn eval<R: Real>(op: Scalar, args: &[R]) -> R {
    let truth = |holds: bool| if holds { R::one() } else { R::zero() };
    match (op, args) {
        (Scalar::Neg, &[a]) => -a,
        (Scalar::Abs, &[a]) => a.abs(),
        (Scalar::Exp, &[a]) => a.exp(),
        (Scalar::Log, &[a]) => a.ln(),
        (Scalar::Sqrt, &[a]) => a.sqrt(),
        (Scalar::Tanh, &[a]) => a.tanh(),
        (Scalar::Sigmoid, &[a]) => R::one() / (R::one() + (-a).exp()),
        (Scalar::Add, &[a, b]) => a + b,
        (Scalar::Sub, &[a, b]) => a - b,
        (Scalar::Mul, &[a, b]) => a * b,
        (Scalar::Div, &[a, b]) => a / b,
        (Scalar::Pow, &[a, b]) => a.powf(b),
        // `b` unless `a` is greater: one comparison, and a NaN in `b` goes through.
        (Scalar::Max, &[a, b]) => {
            if a > b {
                a
            } else {
                b
            }
        }
        (Scalar::Min, &[a, b]) => {
            if a < b {
                a
            } else {
                b
            }
        }
        (Scalar::Lt, &[a, b]) => truth(a < b),
        (Scalar::Le, &[a, b]) => truth(a <= b),
        (Scalar::Gt, &[a, b]) => truth(a > b),
        (Scalar::Ge, &[a, b]) => truth(a >= b),
        (Scalar::Eq, &[a, b]) => truth(a == b),
        (Scalar::Ne, &[a, b]) => truth(a != b),
        (Scalar::Select, &[c, a, b]) => {
            if c != R::zero() {
                a
            } else {
                b
            }
        }
        _ => unreachable!("{op} takes {} arguments, not {}", op.arity(), args.len()),
    }
}

/// A uniform number in [0, 1) that depends only on its arguments: the same bits on any number of threads.
///
/// `key` comes from [`random_key`]; `index` is the element's flat index. The mixer is the 32-bit finaliser `lowbias32`
/// of Chris Wellons' hash-prospector, short enough for a vector loop; 24 bits of it become the fraction.
pub fn random(key: u32, index: u32) -> f32 {
    let mut x = index.wrapping_mul(0x9e37_79b9) ^ key;
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^= x >> 16;
    (x >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The key of one random tensor: a function of the run's seed, the step and the stream (which `random` in the model).
pub fn random_key(seed: u64, step: u64, stream: u32) -> u32 {
    // splitmix64's finaliser over the three, so that neighbouring steps share no pattern.
    let mut x = seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(stream) << 32);
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) as u32
}
