//! Numbers in parts of `bf16`, two to a word, laid out by AVX-512; `parts` of [`super::matrix`] says what parts are.

use std::arch::x86_64::*;

use lstmc_compiler::kernel::PANEL;

use super::isa::AHEAD;
use super::matrix::SIDE;
use crate::engine::cpu::gemm::product::Left;

/// What the parts before part `PART` leave of numbers; see [`super::matrix::parts::part`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rest<const PART: usize>(x: __m512) -> __m512 {
    let mut rest = x;
    for _ in 0..PART {
        // SAFETY: both are 256 bits of which every value means something.
        let bits: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(rest)) };
        let value = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)));
        let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(value), _mm512_set1_ps(f32::INFINITY));
        rest = _mm512_maskz_sub_ps(finite, rest, value);
    }
    rest
}

/// One part of two registers of numbers: of `low`, then of `high`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded<const PART: usize>(low: __m512, high: __m512) -> __m512i {
    let (low, high) = (rest::<PART>(low), rest::<PART>(high));
    // SAFETY: both are 512 bits of which every value means something.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The first `count` of sixteen lanes.
pub fn first(count: usize) -> __mmask16 {
    ((1u32 << count.min(PANEL)) - 1) as __mmask16
}

/// Panels that are filled side by side, so that each visit to a row of the source reads several cache lines.
const SIDE_BY_SIDE: usize = 4;

/// Sixteen columns of two rows as pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn zipped<const PART: usize>(first: __m512, second: __m512) -> __m512 {
    let places: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * PANEL) as u16);
    // SAFETY: the array is a register long.
    let places = unsafe { _mm512_loadu_si512(places.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_permutexvar_epi16(places, rounded::<PART>(first, second)))
}

/// See [`super::Pairs::panels`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn panels<const PART: usize>(
    from: *const f32,
    apart: usize,
    width: usize,
    k: usize,
    to: *mut f32,
) {
    let words = k.div_ceil(2);
    for column in (0..width).step_by(PANEL * SIDE_BY_SIDE) {
        let masks: [__mmask16; SIDE_BY_SIDE] =
            std::array::from_fn(|panel| first(width.saturating_sub(column + panel * PANEL)));
        let count = (width - column).div_ceil(PANEL).min(SIDE_BY_SIDE);
        for word in 0..words {
            let at = from.wrapping_add(2 * word * apart + column);
            let whole = 2 * word + 1 < k;
            for (panel, &mask) in masks.iter().enumerate().take(count) {
                let at = at.wrapping_add(panel * PANEL);
                for row in AHEAD..AHEAD + 2 {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(row * apart).cast());
                }
                let last = if whole { mask } else { 0 };
                // SAFETY: the masks let through columns that are there, of rows that are; a panel has PANEL elements for
                // each pair of rows.
                unsafe {
                    let pairs = zipped::<PART>(
                        _mm512_maskz_loadu_ps(mask, at),
                        _mm512_maskz_loadu_ps(last, at.wrapping_add(apart)),
                    );
                    _mm512_storeu_ps(to.add((column + panel * PANEL) * words + word * PANEL), pairs);
                }
            }
        }
    }
}

/// See [`super::Pairs::interleave`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn interleave<const PART: usize>(
    from: *const f32,
    row: usize,
    rows: usize,
    k: usize,
    to: *mut f32,
    apart: usize,
) {
    for p in (0..k).step_by(2 * PANEL) {
        let (low, high) = (first(k - p), first((k - p).saturating_sub(PANEL)));
        let mut words = [_mm512_setzero_ps(); PANEL];
        for (i, words) in words.iter_mut().enumerate().take(rows) {
            let at = from.wrapping_add(i * row + p);
            // SAFETY: the masks let through elements that are there.
            *words = unsafe {
                _mm512_castsi512_ps(rounded::<PART>(
                    _mm512_maskz_loadu_ps(low, at),
                    _mm512_maskz_loadu_ps(high, at.wrapping_add(PANEL)),
                ))
            };
        }
        let count = (k - p).div_ceil(2).min(PANEL);
        for (q, &column) in transposed(words).iter().enumerate().take(count) {
            // SAFETY: a store may spill over into the next row, which is written after it, or past the end, as documented.
            unsafe { _mm512_storeu_ps(to.add((p / 2 + q) * apart), column) };
        }
    }
}

/// [`super::matrix::LeftFn`] of an A whose rows lie in one piece each.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn by_row<const PART: usize>(from: Left, rows: usize, k: usize, to: *mut f32, apart: usize) {
    for step in 0..k.div_ceil(2 * SIDE) {
        let p = step * 2 * SIDE;
        let (low, high) = (first(k - p), first((k - p).saturating_sub(SIDE)));
        for i in 0..rows {
            let at = from.at.wrapping_add(i * from.row + p);
            // SAFETY: the masks let through elements that are there; a tile has SIDE words for each row.
            unsafe {
                let words = rounded::<PART>(
                    _mm512_maskz_loadu_ps(low, at),
                    _mm512_maskz_loadu_ps(high, at.wrapping_add(SIDE)),
                );
                _mm512_storeu_si512(to.add(step * apart + i * SIDE).cast(), words);
            }
        }
    }
}

/// The same of an A whose columns do.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn by_column<const PART: usize>(from: Left, rows: usize, k: usize, to: *mut f32, apart: usize) {
    let there = first(rows);
    for step in 0..k.div_ceil(2 * SIDE) {
        let mut words = [_mm512_setzero_ps(); SIDE];
        for (word, words) in words.iter_mut().enumerate() {
            let p = step * 2 * SIDE + 2 * word;
            let at = from.at.wrapping_add(p * from.step);
            for row in AHEAD..AHEAD + 2 {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(row * from.step).cast());
            }
            let (mask, next) = (if p < k { there } else { 0 }, if p + 1 < k { there } else { 0 });
            // SAFETY: the masks let through elements that are there.
            *words = unsafe {
                zipped::<PART>(
                    _mm512_maskz_loadu_ps(mask, at),
                    _mm512_maskz_loadu_ps(next, at.wrapping_add(from.step)),
                )
            };
        }
        for (i, &row) in transposed(words).iter().enumerate().take(rows) {
            // SAFETY: a tile has SIDE words for each row.
            unsafe { _mm512_storeu_ps(to.add(step * apart + i * SIDE), row) };
        }
    }
}

/// Columns become rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(r: [__m512; PANEL]) -> [__m512; PANEL] {
    // Pairs of rows, then fours, within each quarter of the registers; then the quarters, each in two exchanges.
    let low = |a, b| _mm512_unpacklo_ps(a, b);
    let high = |a, b| _mm512_unpackhi_ps(a, b);
    let pairs: [__m512; PANEL] = std::array::from_fn(|i| {
        let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
        if i % 2 == 0 { low(a, b) } else { high(a, b) }
    });
    // fours[4 * i + j]: element j of each quarter, of rows 4 i to 4 i + 3.
    let fours: [__m512; PANEL] = std::array::from_fn(|i| {
        let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + 2 + i % 4 / 2]);
        match i % 2 {
            0 => _mm512_shuffle_ps::<0x44>(a, b),
            _ => _mm512_shuffle_ps::<0xee>(a, b),
        }
    });
    // halves[8 * i + 2 * j + h]: quarters 2 h and 2 h + 1 of element j, of rows 8 i to 8 i + 7.
    let halves: [__m512; PANEL] = std::array::from_fn(|i| {
        let (a, b) = (fours[i / 8 * 8 + i % 8 / 2], fours[i / 8 * 8 + 4 + i % 8 / 2]);
        match i % 2 {
            0 => _mm512_shuffle_f32x4::<0x44>(a, b),
            _ => _mm512_shuffle_f32x4::<0xee>(a, b),
        }
    });
    std::array::from_fn(|column| {
        let (quarter, j) = (column / 4, column % 4);
        let (a, b) = (halves[2 * j + quarter / 2], halves[8 + 2 * j + quarter / 2]);
        match quarter % 2 {
            0 => _mm512_shuffle_f32x4::<0x88>(a, b),
            _ => _mm512_shuffle_f32x4::<0xdd>(a, b),
        }
    })
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::scalar::random;

    use super::super::matrix::{LeftFn, parts};
    use super::*;
    use crate::engine::cpu::gemm::packing::OVERRUN;

    /// Numbers of all sizes, among them those that parts treat in their own way.
    fn numbers(len: usize) -> Vec<f32> {
        let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 0.0, -0.0, 1e-40, 3e-38, 1e-36];
        let number = |i: usize| match i % 11 {
            0 => special[i / 11 % special.len()],
            1 => f32::from_bits((random(2, i as u32) * 4.2e9) as u32),
            _ => random(1, i as u32) * 4.0 - 2.0,
        };
        (0..len).map(number).collect()
    }

    fn bits(words: &[f32]) -> Vec<u32> {
        words.iter().map(|word| word.to_bits()).collect()
    }

    #[test]
    fn vectors_lay_out_what_plain_code_does() {
        let there = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        if !there {
            eprintln!("skipped: this processor has no AVX512-BF16");
            return;
        }
        check::<0>();
        check::<1>();
        check::<2>();
    }

    fn check<const PART: usize>() {
        let from = numbers(100 * 100);
        for (rows, k) in [(16usize, 96usize), (1, 1), (5, 33), (16, 31), (9, 64), (13, 2)] {
            let by = |f: LeftFn, row: usize, step: usize| {
                let (apart, steps) = (16 * rows + 16, k.div_ceil(32));
                let mut to = vec![7.0; apart * steps];
                // SAFETY: there are so many rows and columns, and room for the tiles.
                unsafe { f(Left { at: from.as_ptr(), row, step }, rows, k, to.as_mut_ptr(), apart) };
                bits(&to)
            };
            let label = format!("part {PART}, {rows} rows of {k}");
            assert_eq!(by(by_row::<PART>, 100, 1), by(parts::left::<PART>, 100, 1), "{label}");
            assert_eq!(by(by_column::<PART>, 1, 100), by(parts::left::<PART>, 1, 100), "{label}, in columns");
            for width in [rows, 3 * rows + 16] {
                let pack = |f: super::super::PairFn| {
                    let mut to = vec![7.0; width.next_multiple_of(PANEL) * k.div_ceil(2)];
                    // SAFETY: there are so many rows and columns, and room for the panels.
                    unsafe { f(from.as_ptr(), 100, width, k, to.as_mut_ptr()) };
                    bits(&to)
                };
                assert_eq!(pack(panels::<PART>), pack(parts::panels::<PART>), "{label}, {width} columns");
            }
            for apart in [rows, PANEL] {
                let pack = |f: super::super::InterleaveFn| {
                    let mut to = vec![7.0; apart * k.div_ceil(2) + OVERRUN];
                    // SAFETY: there are so many rows and columns, and room for the words and the overrun.
                    unsafe { f(from.as_ptr(), 100, rows, k, to.as_mut_ptr(), apart) };
                    to.truncate(apart * k.div_ceil(2));
                    bits(&to)
                };
                let found = pack(interleave::<PART>);
                assert_eq!(found, pack(parts::interleave::<PART>), "{label}, interleaved {apart} apart");
            }
        }
    }
}
