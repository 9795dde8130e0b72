//! Operands in parts of `bf16`, laid out by plain code: for machines without vector instructions for it, and to test those by.

use lstmc_compiler::kernel::{PANEL, bf16_bits, bf16_value};

use super::SIDE;
use crate::engine::cpu::gemm::product::Left;

/// Part `PART` of a number: it rounded to `bf16`, or what the parts before leave of it. What is not finite is its own first part.
#[inline(always)]
pub fn part<const PART: usize>(x: f32) -> u16 {
    let mut rest = x;
    for _ in 0..PART {
        let value = bf16_value(bf16_bits(rest));
        rest = if value.is_finite() { rest - value } else { 0.0 };
    }
    bf16_bits(rest)
}

/// Two numbers' parts as a word, the first one in the lower half.
#[inline(always)]
fn pair<const PART: usize>(first: f32, second: f32) -> f32 {
    f32::from_bits(u32::from(part::<PART>(first)) | u32::from(part::<PART>(second)) << 16)
}

/// The pair of elements `2 * word` and `2 * word + 1` of `k` that lie `step` apart from `at` on; what is not there is zero.
///
/// # Safety
/// Those that are there can be read.
#[inline(always)]
unsafe fn pair_at<const PART: usize>(at: *const f32, step: usize, word: usize, k: usize) -> f32 {
    // SAFETY: as the caller promised.
    let element = |p: usize| if p < k { unsafe { *at.add(p * step) } } else { 0.0 };
    pair::<PART>(element(2 * word), element(2 * word + 1))
}

/// [`super::LeftFn`] of an A that lies in any way.
pub unsafe fn left<const PART: usize>(from: Left, rows: usize, k: usize, to: *mut f32, apart: usize) {
    for step in 0..k.div_ceil(2 * SIDE) {
        for i in 0..rows {
            for word in 0..SIDE {
                // SAFETY: the element is one of `k` in this row, and the tile has the word.
                unsafe {
                    let pair = pair_at::<PART>(from.at.add(i * from.row), from.step, step * SIDE + word, k);
                    *to.add(step * apart + i * SIDE + word) = pair;
                }
            }
        }
    }
}

/// [`super::super::isa::PairFn`] of panels.
pub unsafe fn panels<const PART: usize>(
    from: *const f32,
    apart: usize,
    width: usize,
    k: usize,
    to: *mut f32,
) {
    let words = k.div_ceil(2);
    for column in 0..width.next_multiple_of(PANEL) {
        let panel = to.wrapping_add(column / PANEL * PANEL * words + column % PANEL);
        for word in 0..words {
            // SAFETY: the column is there, or zero is written; the panel has the word.
            unsafe {
                let pair =
                    if column < width { pair_at::<PART>(from.add(column), apart, word, k) } else { 0.0 };
                *panel.add(word * PANEL) = pair;
            }
        }
    }
}

/// [`super::super::isa::InterleaveFn`] of pairs.
pub unsafe fn interleave<const PART: usize>(
    from: *const f32,
    row: usize,
    rows: usize,
    k: usize,
    to: *mut f32,
    apart: usize,
) {
    let filled = if apart == PANEL { PANEL } else { rows };
    for word in 0..k.div_ceil(2) {
        for i in 0..filled {
            // SAFETY: the row is there, or zero is written; there is room for `filled` words.
            unsafe {
                let pair = if i < rows { pair_at::<PART>(from.add(i * row), 1, word, k) } else { 0.0 };
                *to.add(word * apart + i) = pair;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::scalar::random;

    use super::*;

    fn value<const PART: usize>(x: f32) -> f32 {
        bf16_value(part::<PART>(x))
    }

    #[test]
    fn three_parts_are_the_number_and_two_leave_little() {
        let near_one = (0..10_000).map(|i| random(1, i) * 4.0 - 2.0);
        let any = (0..10_000).map(|i| f32::from_bits((random(2, i) * 4.0e9) as u32));
        for x in near_one.chain(any).filter(|x| x.abs() > 1e-25 && x.abs() < 3e38) {
            let [high, middle, low] = [value::<0>(x), value::<1>(x), value::<2>(x)];
            assert_eq!(high + (middle + low), x);
            // Each part rounds by at most half of the last of 8 bits.
            assert!((f64::from(x) - f64::from(high)).abs() <= f64::from(x.abs()) * f64::powi(2.0, -8));
            let two = f64::from(high) + f64::from(middle);
            assert!((f64::from(x) - two).abs() <= f64::from(x.abs()) * f64::powi(2.0, -16));
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for x in [f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!([value::<0>(x), value::<1>(x), value::<2>(x)], [x, 0.0, 0.0]);
        }
        assert!(value::<0>(f32::NAN).is_nan());
        assert_eq!([value::<1>(f32::NAN), value::<2>(f32::NAN)], [0.0, 0.0]);
        // It is nearest to what is no longer finite.
        assert_eq!([value::<0>(f32::MAX), value::<1>(f32::MAX)], [f32::INFINITY, 0.0]);
    }
}
