//! How `exp`, `sigmoid` and `tanh` are computed, by whoever computes them: compiled code in its four lanes, and the
//! functions of [`super::abi::VectorMath`] on whole vectors, which are loops over the functions below. Both do the same
//! operations in the same order, so that a result does not depend on who gave it. `FUSED` says whether the machine
//! multiplies and adds in one operation.
//!
//! Accuracy: within 3 units in the last place where the result is a normal number; NaN stays NaN.
//!
//! `e^x = (1 + q) * 2^n` with `n = round(x * log2(e))`, `r = x - n * ln(2)` and `q = r + r^2 * EXP(r)`.

/// `e^r = 1 + r + r^2 * (..)` for `|r| <= ln(2) / 2`, by rising powers: minimax, 3.1e-9 relative to `e^r`.
pub const EXP: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_39, 0.008_368_745, 0.001_381_453_8];

/// ln(2) in two parts; a whole number below 2^9 times the first one is exact (Cody and Waite).
pub const LN2_HIGH: f32 = 355.0 / 512.0;
pub const LN2_LOW: f32 = -2.121_944_4e-4;

/// 1.5 * 2^23: adding it rounds to a whole number, which then stands in the sum's low bits.
pub const ROUND: f32 = 12_582_912.0;

/// The exponent of 1.0 as it is stored.
pub const BIAS: f32 = 127.0;

/// Beyond these `exp` is 0 and infinity.
pub const EXP_RANGE: [f32; 2] = [-104.0, 89.0];
/// `2^n` stays in range; at the ends `sigmoid` is 0 and 1.
pub const SIGMOID_RANGE: [f32; 2] = [-88.0, 88.0];
/// Of `2 * x`; beyond it `tanh` is -1 and 1.
pub const TANH_RANGE: [f32; 2] = [-18.2, 18.2];

#[inline(always)]
fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `x` between two bounds; NaN stays NaN.
#[inline(always)]
fn clamp(x: f32, [low, high]: [f32; 2]) -> f32 {
    let x = if low > x { low } else { x };
    if high < x { high } else { x }
}

/// `(q, t)` with `e^x = (1 + q) * 2^n`, where the low bits of `t` hold `n + bias`.
#[inline(always)]
fn exp_parts<const FUSED: bool>(x: f32, bias: f32) -> (f32, f32) {
    let t = mul_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND + bias);
    let n = t - (ROUND + bias);
    let r = mul_add::<FUSED>(n, -LN2_HIGH, x);
    let r = mul_add::<FUSED>(n, -LN2_LOW, r);
    let mut sum = EXP[4];
    for &coefficient in EXP[..4].iter().rev() {
        sum = mul_add::<FUSED>(sum, r, coefficient);
    }
    (mul_add::<FUSED>(r * r, sum, r), t)
}

/// `2^(whole - BIAS)` for a whole number from 1 to 254; 0 for 0. The bits move into the exponent's place.
#[inline(always)]
fn power_of_two(whole: u32) -> f32 {
    f32::from_bits(whole << 23)
}

/// In two factors, because `2^n` itself can be out of range where the result is a denormal or nearly the maximum.
#[inline(always)]
pub fn exp<const FUSED: bool>(x: f32) -> f32 {
    let (q, t) = exp_parts::<FUSED>(clamp(x, EXP_RANGE), 2.0 * BIAS);
    let whole = t.to_bits();
    let half = whole >> 1;
    let (first, second) = (power_of_two(half), power_of_two(whole.wrapping_sub(half)));
    mul_add::<FUSED>(q, first, first) * second
}

/// `e / (1 + e)` with `e = e^x`. The clamp keeps `2^n` in range; at its ends the result is 0 and 1.
#[inline(always)]
pub fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    let (q, t) = exp_parts::<FUSED>(clamp(x, SIGMOID_RANGE), BIAS);
    let scale = power_of_two(t.to_bits());
    let power = mul_add::<FUSED>(q, scale, scale);
    power / (1.0 + power)
}

/// `e / (e + 2)` with `e = e^2x - 1`, which keeps its precision where `x` is small. Beyond 9.1 the result is 1.
#[inline(always)]
pub fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let (q, t) = exp_parts::<FUSED>(clamp(x + x, TANH_RANGE), BIAS);
    let scale = power_of_two(t.to_bits());
    let e = mul_add::<FUSED>(q, scale, scale - 1.0);
    e / (e + 2.0)
}
