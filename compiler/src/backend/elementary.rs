//! How scalar operations and random numbers are computed, for all code generators: sequences of operations on vectors,
//! written once, so that a result does not depend on the width of the vector that it lies in.
//!
//! Accuracy of `exp`, `sigmoid` and `tanh`: within 3 units in the last place where the result is a normal number; NaN
//! stays NaN. The other operations round as IEEE 754 says.
//!
//! `e^x = (1 + q) * 2^n` with `n = round(x * log2(e))`, `r = x - n * ln(2)` and `q = r + r^2 * EXP(r)`.

use crate::scalar::Scalar;

/// A comparison of reals. With NaN all are false but `NotEqual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
}

/// Of two operands; those on whole numbers wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// `a` where `a > b`, else `b`.
    Max,
    /// `a` where `a < b`, else `b`.
    Min,
    WholeAdd,
    WholeSub,
    WholeMul,
    Xor,
    And,
}

/// Of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Sqrt,
    /// A whole number below 2^31 as a real.
    ToReal,
    ShiftLeft(u8),
    /// Zeros come in.
    ShiftRight(u8),
}

/// A code generator's operations on the lanes of a vector; a value is a real or a whole number of 32 bits in each lane.
pub trait Lanes {
    type Value: Copy;

    /// The bits in every lane.
    fn whole(&mut self, bits: u32) -> Self::Value;
    fn unary(&mut self, op: Unary, a: Self::Value) -> Self::Value;
    fn binary(&mut self, op: Binary, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a * b + c`, with one rounding where the machine can.
    fn mul_add(&mut self, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value;
    /// The first of the answers where `left condition right`, else the second one.
    fn choose(
        &mut self,
        condition: Condition,
        operands: [Self::Value; 2],
        answers: [Self::Value; 2],
    ) -> Self::Value;

    /// The number in every lane.
    fn real(&mut self, value: f32) -> Self::Value {
        self.whole(value.to_bits())
    }

    fn add(&mut self, a: Self::Value, b: Self::Value) -> Self::Value {
        self.binary(Binary::Add, a, b)
    }

    fn sub(&mut self, a: Self::Value, b: Self::Value) -> Self::Value {
        self.binary(Binary::Sub, a, b)
    }

    fn mul(&mut self, a: Self::Value, b: Self::Value) -> Self::Value {
        self.binary(Binary::Mul, a, b)
    }

    fn div(&mut self, a: Self::Value, b: Self::Value) -> Self::Value {
        self.binary(Binary::Div, a, b)
    }
}

/// The meaning of `op` in each lane; none for those that are functions of the platform's library, `log` and `pow`. Falsehood
/// is 0 and truth is 1.
pub fn map<L: Lanes>(l: &mut L, op: Scalar, args: &[L::Value]) -> Option<L::Value> {
    let truth = |l: &mut L, condition, a, b| {
        let answers = [l.real(1.0), l.real(0.0)];
        l.choose(condition, [a, b], answers)
    };
    Some(match (op, args) {
        (Scalar::Neg, &[a]) => {
            let sign = l.whole(1 << 31);
            l.binary(Binary::Xor, a, sign)
        }
        (Scalar::Abs, &[a]) => {
            let rest = l.whole(u32::MAX >> 1);
            l.binary(Binary::And, a, rest)
        }
        (Scalar::Exp, &[a]) => exp(l, a),
        (Scalar::Sqrt, &[a]) => l.unary(Unary::Sqrt, a),
        (Scalar::Tanh, &[a]) => tanh(l, a),
        (Scalar::Sigmoid, &[a]) => sigmoid(l, a),
        (Scalar::Add, &[a, b]) => l.add(a, b),
        (Scalar::Sub, &[a, b]) => l.sub(a, b),
        (Scalar::Mul, &[a, b]) => l.mul(a, b),
        (Scalar::Div, &[a, b]) => l.div(a, b),
        (Scalar::Max, &[a, b]) => l.binary(Binary::Max, a, b),
        (Scalar::Min, &[a, b]) => l.binary(Binary::Min, a, b),
        (Scalar::Lt, &[a, b]) => truth(l, Condition::Less, a, b),
        (Scalar::Le, &[a, b]) => truth(l, Condition::LessOrEqual, a, b),
        (Scalar::Gt, &[a, b]) => truth(l, Condition::Less, b, a),
        (Scalar::Ge, &[a, b]) => truth(l, Condition::LessOrEqual, b, a),
        (Scalar::Eq, &[a, b]) => truth(l, Condition::Equal, a, b),
        (Scalar::Ne, &[a, b]) => truth(l, Condition::NotEqual, a, b),
        (Scalar::Select, &[c, a, b]) => {
            let zero = l.real(0.0);
            l.choose(Condition::NotEqual, [c, zero], [a, b])
        }
        (Scalar::Log | Scalar::Pow, _) => return None,
        _ => panic!("internal error: {op} of {} operands", args.len()),
    })
}

/// `e^r = 1 + r + r^2 * (..)` for `|r| <= ln(2) / 2`, by rising powers: minimax, 3.1e-9 relative to `e^r`.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_39, 0.008_368_745, 0.001_381_453_8];

/// ln(2) in two parts; a whole number below 2^9 times the first one is exact (Cody and Waite).
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// 1.5 * 2^23: adding it rounds to a whole number, which then stands in the sum's low bits.
const ROUND: f32 = 12_582_912.0;

/// The exponent of 1.0 as it is stored.
const BIAS: f32 = 127.0;

/// Beyond these `exp` is 0 and infinity.
const EXP_RANGE: [f32; 2] = [-104.0, 89.0];
/// `2^n` stays in range; at the ends `sigmoid` is 0 and 1.
const SIGMOID_RANGE: [f32; 2] = [-88.0, 88.0];
/// Of `2 * x`; beyond it `tanh` is -1 and 1.
const TANH_RANGE: [f32; 2] = [-18.2, 18.2];

/// `x` between two bounds; NaN stays NaN.
fn clamp<L: Lanes>(l: &mut L, x: L::Value, [low, high]: [f32; 2]) -> L::Value {
    let low = l.real(low);
    let high = l.real(high);
    let x = l.binary(Binary::Max, low, x);
    l.binary(Binary::Min, high, x)
}

/// `(q, t)` with `e^x = (1 + q) * 2^n`, where the low bits of `t` hold `n + bias`.
fn exp_parts<L: Lanes>(l: &mut L, x: L::Value, bias: f32) -> (L::Value, L::Value) {
    let log2_e = l.real(std::f32::consts::LOG2_E);
    let round = l.real(ROUND + bias);
    let t = l.mul_add(x, log2_e, round);
    let n = l.sub(t, round);
    let high = l.real(-LN2_HIGH);
    let low = l.real(-LN2_LOW);
    let r = l.mul_add(n, high, x);
    let r = l.mul_add(n, low, r);
    let mut sum = l.real(EXP[4]);
    for &coefficient in EXP[..4].iter().rev() {
        let coefficient = l.real(coefficient);
        sum = l.mul_add(sum, r, coefficient);
    }
    let square = l.mul(r, r);
    (l.mul_add(square, sum, r), t)
}

/// `2^(t - BIAS)` for the whole number in `t`'s low bits, from 1 to 254; 0 for 0. The bits move into the exponent's place.
fn power_of_two<L: Lanes>(l: &mut L, t: L::Value) -> L::Value {
    l.unary(Unary::ShiftLeft(23), t)
}

/// In two factors, because `2^n` itself can be out of range where the result is a denormal or nearly the maximum.
fn exp<L: Lanes>(l: &mut L, x: L::Value) -> L::Value {
    let x = clamp(l, x, EXP_RANGE);
    let (q, whole) = exp_parts(l, x, 2.0 * BIAS);
    let half = l.unary(Unary::ShiftRight(1), whole);
    let rest = l.binary(Binary::WholeSub, whole, half);
    let first = power_of_two(l, half);
    let second = power_of_two(l, rest);
    let scaled = l.mul_add(q, first, first);
    l.mul(scaled, second)
}

/// `e / (1 + e)` with `e = e^x`. The clamp keeps `2^n` in range; at its ends the result is 0 and 1.
fn sigmoid<L: Lanes>(l: &mut L, x: L::Value) -> L::Value {
    let x = clamp(l, x, SIGMOID_RANGE);
    let (q, t) = exp_parts(l, x, BIAS);
    let scale = power_of_two(l, t);
    let power = l.mul_add(q, scale, scale);
    let one = l.real(1.0);
    let sum = l.add(one, power);
    l.div(power, sum)
}

/// `e / (e + 2)` with `e = e^2x - 1`, which keeps its precision where `x` is small. Beyond 9.1 the result is 1.
fn tanh<L: Lanes>(l: &mut L, x: L::Value) -> L::Value {
    let double = l.add(x, x);
    let double = clamp(l, double, TANH_RANGE);
    let (q, t) = exp_parts(l, double, BIAS);
    let scale = power_of_two(l, t);
    let one = l.real(1.0);
    let less = l.sub(scale, one);
    let e = l.mul_add(q, scale, less);
    let two = l.real(2.0);
    let below = l.add(e, two);
    l.div(e, below)
}

/// [`crate::scalar::random`] for a key and flat indices.
pub fn random<L: Lanes>(l: &mut L, key: L::Value, index: L::Value) -> L::Value {
    let x = times(l, index, 0x9e37_79b9);
    let x = l.binary(Binary::Xor, x, key);
    let x = fold(l, x, 16);
    let x = times(l, x, 0x7feb_352d);
    let x = fold(l, x, 15);
    let x = times(l, x, 0x846c_a68b);
    let x = fold(l, x, 16);
    // 24 bits: exact.
    let fraction = l.unary(Unary::ShiftRight(8), x);
    let number = l.unary(Unary::ToReal, fraction);
    let scale = l.real(1.0 / 16_777_216.0);
    l.mul(number, scale)
}

fn times<L: Lanes>(l: &mut L, x: L::Value, factor: u32) -> L::Value {
    let factor = l.whole(factor);
    l.binary(Binary::WholeMul, x, factor)
}

/// `x ^ (x >> places)`
fn fold<L: Lanes>(l: &mut L, x: L::Value, places: u8) -> L::Value {
    let high = l.unary(Unary::ShiftRight(places), x);
    l.binary(Binary::Xor, x, high)
}
