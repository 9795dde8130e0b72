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

/// A code generator as what emits scalar operations. A value is a real or a whole number of 32 bits, or a vector of them, of
/// which each lane is computed by itself.
pub trait Emit {
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

/// Emits `op`; none for those that are functions of the platform's library, `log` and `pow`. Falsehood is 0 and truth is 1.
pub fn map<E: Emit>(emit: &mut E, op: Scalar, args: &[E::Value]) -> Option<E::Value> {
    let truth = |emit: &mut E, condition, a, b| {
        let answers = [emit.real(1.0), emit.real(0.0)];
        emit.choose(condition, [a, b], answers)
    };
    Some(match (op, args) {
        (Scalar::Neg, &[a]) => {
            let sign = emit.whole(1 << 31);
            emit.binary(Binary::Xor, a, sign)
        }
        (Scalar::Abs, &[a]) => {
            let rest = emit.whole(u32::MAX >> 1);
            emit.binary(Binary::And, a, rest)
        }
        (Scalar::Exp, &[a]) => exp(emit, a),
        (Scalar::Sqrt, &[a]) => emit.unary(Unary::Sqrt, a),
        (Scalar::Tanh, &[a]) => tanh(emit, a),
        (Scalar::Sigmoid, &[a]) => sigmoid(emit, a),
        (Scalar::Add, &[a, b]) => emit.add(a, b),
        (Scalar::Sub, &[a, b]) => emit.sub(a, b),
        (Scalar::Mul, &[a, b]) => emit.mul(a, b),
        (Scalar::Div, &[a, b]) => emit.div(a, b),
        (Scalar::Max, &[a, b]) => emit.binary(Binary::Max, a, b),
        (Scalar::Min, &[a, b]) => emit.binary(Binary::Min, a, b),
        (Scalar::Lt, &[a, b]) => truth(emit, Condition::Less, a, b),
        (Scalar::Le, &[a, b]) => truth(emit, Condition::LessOrEqual, a, b),
        (Scalar::Gt, &[a, b]) => truth(emit, Condition::Less, b, a),
        (Scalar::Ge, &[a, b]) => truth(emit, Condition::LessOrEqual, b, a),
        (Scalar::Eq, &[a, b]) => truth(emit, Condition::Equal, a, b),
        (Scalar::Ne, &[a, b]) => truth(emit, Condition::NotEqual, a, b),
        (Scalar::Select, &[c, a, b]) => {
            let zero = emit.real(0.0);
            emit.choose(Condition::NotEqual, [c, zero], [a, b])
        }
        (Scalar::Log | Scalar::Pow, _) => return None,
        (Scalar::Neg | Scalar::Abs | Scalar::Exp | Scalar::Sqrt | Scalar::Tanh | Scalar::Sigmoid, _)
        | (Scalar::Add | Scalar::Sub | Scalar::Mul | Scalar::Div | Scalar::Max | Scalar::Min, _)
        | (Scalar::Lt | Scalar::Le | Scalar::Gt | Scalar::Ge | Scalar::Eq | Scalar::Ne, _)
        | (Scalar::Select, _) => panic!("internal error: {op} of {} operands", args.len()),
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
fn clamp<E: Emit>(emit: &mut E, x: E::Value, [low, high]: [f32; 2]) -> E::Value {
    let low = emit.real(low);
    let high = emit.real(high);
    let x = emit.binary(Binary::Max, low, x);
    emit.binary(Binary::Min, high, x)
}

/// `(q, t)` with `e^x = (1 + q) * 2^n`, where the low bits of `t` hold `n + bias`.
fn exp_parts<E: Emit>(emit: &mut E, x: E::Value, bias: f32) -> (E::Value, E::Value) {
    let log2_e = emit.real(std::f32::consts::LOG2_E);
    let round = emit.real(ROUND + bias);
    let t = emit.mul_add(x, log2_e, round);
    let n = emit.sub(t, round);
    let high = emit.real(-LN2_HIGH);
    let low = emit.real(-LN2_LOW);
    let r = emit.mul_add(n, high, x);
    let r = emit.mul_add(n, low, r);
    let mut sum = emit.real(EXP[4]);
    for &coefficient in EXP[..4].iter().rev() {
        let coefficient = emit.real(coefficient);
        sum = emit.mul_add(sum, r, coefficient);
    }
    let square = emit.mul(r, r);
    (emit.mul_add(square, sum, r), t)
}

/// `2^(t - BIAS)` for the whole number in `t`'s low bits, from 1 to 254; 0 for 0. The bits move into the exponent's place.
fn power_of_two<E: Emit>(emit: &mut E, t: E::Value) -> E::Value {
    emit.unary(Unary::ShiftLeft(23), t)
}

/// In two factors, because `2^n` itself can be out of range where the result is a denormal or nearly the maximum.
fn exp<E: Emit>(emit: &mut E, x: E::Value) -> E::Value {
    let x = clamp(emit, x, EXP_RANGE);
    let (q, whole) = exp_parts(emit, x, 2.0 * BIAS);
    let half = emit.unary(Unary::ShiftRight(1), whole);
    let rest = emit.binary(Binary::WholeSub, whole, half);
    let first = power_of_two(emit, half);
    let second = power_of_two(emit, rest);
    let scaled = emit.mul_add(q, first, first);
    emit.mul(scaled, second)
}

/// `e / (1 + e)` with `e = e^x`. The clamp keeps `2^n` in range; at its ends the result is 0 and 1.
fn sigmoid<E: Emit>(emit: &mut E, x: E::Value) -> E::Value {
    let x = clamp(emit, x, SIGMOID_RANGE);
    let (q, t) = exp_parts(emit, x, BIAS);
    let scale = power_of_two(emit, t);
    let power = emit.mul_add(q, scale, scale);
    let one = emit.real(1.0);
    let sum = emit.add(one, power);
    emit.div(power, sum)
}

/// `e / (e + 2)` with `e = e^2x - 1`, which keeps its precision where `x` is small. Beyond 9.1 the result is 1.
fn tanh<E: Emit>(emit: &mut E, x: E::Value) -> E::Value {
    let double = emit.add(x, x);
    let double = clamp(emit, double, TANH_RANGE);
    let (q, t) = exp_parts(emit, double, BIAS);
    let scale = power_of_two(emit, t);
    let one = emit.real(1.0);
    let less = emit.sub(scale, one);
    let e = emit.mul_add(q, scale, less);
    let two = emit.real(2.0);
    let below = emit.add(e, two);
    emit.div(e, below)
}

/// [`crate::scalar::random`] for a key and flat indices.
pub fn random<E: Emit>(emit: &mut E, key: E::Value, index: E::Value) -> E::Value {
    let x = times(emit, index, 0x9e37_79b9);
    let x = emit.binary(Binary::Xor, x, key);
    let x = fold(emit, x, 16);
    let x = times(emit, x, 0x7feb_352d);
    let x = fold(emit, x, 15);
    let x = times(emit, x, 0x846c_a68b);
    let x = fold(emit, x, 16);
    // 24 bits: exact.
    let fraction = emit.unary(Unary::ShiftRight(8), x);
    let number = emit.unary(Unary::ToReal, fraction);
    let scale = emit.real(1.0 / 16_777_216.0);
    emit.mul(number, scale)
}

fn times<E: Emit>(emit: &mut E, x: E::Value, factor: u32) -> E::Value {
    let factor = emit.whole(factor);
    emit.binary(Binary::WholeMul, x, factor)
}

/// `x ^ (x >> places)`
fn fold<E: Emit>(emit: &mut E, x: E::Value, places: u8) -> E::Value {
    let high = emit.unary(Unary::ShiftRight(places), x);
    emit.binary(Binary::Xor, x, high)
}
