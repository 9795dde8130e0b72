//! Rounding: to tf32, bf16 and f16, and the fused multiply-add, all exact.

/// The one NaN that arithmetic of `f32` gives.
pub(crate) const NAN: u32 = 0x7fff_ffff;

/// To 10 bits of fraction, ties away from zero, as `cvt.rna.tf32.f32`.
pub(crate) fn to_tf32(x: f32) -> u32 {
    if x.is_nan() {
        return NAN;
    }
    if x.is_infinite() {
        return x.to_bits();
    }
    x.to_bits().wrapping_add(0x1000) & !0x1fff
}

/// What the tensor cores see of a word: the bits below tf32's fraction are dropped.
pub(crate) fn as_tf32(bits: u32) -> f32 {
    f32::from_bits(bits & !0x1fff)
}

/// To the nearest bf16, ties to even.
pub(crate) fn to_bf16(x: f32) -> u16 {
    if x.is_nan() {
        return 0x7fff;
    }
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Toward zero.
pub(crate) fn to_bf16_rz(x: f32) -> u16 {
    if x.is_nan() { 0x7fff } else { (x.to_bits() >> 16) as u16 }
}

pub(crate) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To the nearest f16, ties to even.
pub(crate) fn to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let x = x.abs();
    if x.is_nan() {
        return 0x7fff;
    }
    if x >= 65520.0 {
        return sign | 0x7c00;
    }
    if x < f32::from_bits(0x3880_0000) {
        // Subnormal: in units of 2^-24, which this product is exact in.
        return sign | (f64::from(x) * f64::from(1 << 24)).round_ties_even() as u16;
    }
    let bits = x.to_bits();
    let rounded = (bits + 0xfff + (bits >> 13 & 1)) >> 13;
    sign | (rounded - (112 << 10)) as u16
}

pub(crate) fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// `a * b + c` rounded once. The product is exact in `f64`; the sum is rounded to odd there, after which rounding to
/// `f32` is as if there had been one rounding.
#[inline]
pub(crate) fn fused(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let back = sum - product;
    let error = (product - (sum - back)) + (c - back);
    let bits = sum.to_bits();
    let outward = (error > 0.0) == (sum > 0.0);
    let odd = if outward { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    let inexact = (error < 0.0) | (error > 0.0);
    f64::from_bits(if inexact & (bits & 1 == 0) { odd } else { bits }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn fused_is_rounded_once() {
        let mut rng = Rng::new(7);
        for _ in 0..200_000 {
            let exponents = [rng.below(40), rng.below(40), rng.below(40)];
            let [a, b, c] = exponents.map(|exponent| {
                let bits = rng.next() as u32;
                f32::from_bits(bits & 0x807f_ffff | (107 + exponent as u32) << 23)
            });
            assert_eq!(fused(a, b, c).to_bits(), a.mul_add(b, c).to_bits(), "{a:e} * {b:e} + {c:e}");
        }
        for (a, b, c) in [(1e-30, 1e-15, 1e-44), (3e38, 3e38, 1.0), (1e-40, 3.0, -1e-39), (0.0, -1.0, 0.0)] {
            assert_eq!(fused(a, b, c).to_bits(), f32::mul_add(a, b, c).to_bits(), "{a:e} * {b:e} + {c:e}");
        }
    }

    #[test]
    fn a_sum_just_below_the_middle_is_not_rounded_twice() {
        // 2^24 + 3 - 2^-46, which f64 rounds to the middle of two reals.
        let found = fused(1.0 + f32::EPSILON, 1.0 - f32::EPSILON, 16_777_218.0);
        assert_eq!(found, 16_777_218.0);
        assert_eq!(
            (f64::from(1.0 + f32::EPSILON) * f64::from(1.0 - f32::EPSILON) + 16_777_218.0) as f32,
            16_777_220.0
        );
    }

    #[test]
    fn halves_go_there_and_back() {
        for bits in 0..=u16::MAX {
            let there = from_f16(bits);
            if !there.is_nan() {
                assert_eq!(to_f16(there), bits);
            }
            let there = from_bf16(bits);
            if !there.is_nan() {
                assert_eq!(to_bf16(there), bits);
            }
        }
        assert_eq!(to_f16(1.0 + 1.0 / 2048.0), 0x3c00);
        assert_eq!(to_f16(1.0 + 3.0 / 2048.0), 0x3c02);
        assert_eq!(to_f16(65519.0), 0x7bff);
        assert_eq!(to_bf16(1.0 + 1.0 / 256.0), 0x3f80);
        assert_eq!(to_bf16(1.0 + 3.0 / 256.0), 0x3f82);
        assert_eq!(to_tf32(1.0 + 1.0 / 2048.0), 0x3f80_2000);
        assert_eq!(to_tf32(1.0 + 0.9 / 2048.0), 0x3f80_0000);
    }
}
