//! AVX-512 with products of `bf16` pairs: a lane of a register holds two numbers, and one instruction adds both products
//! to the lane's sum.

use std::arch::x86_64::*;
use std::hint::black_box;

use lstmc_compiler::kernel::PANEL;

use super::avx512::{self, all_tiles, tile_function};
use super::avx512_direct;
use super::isa::{AHEAD, CHAINS, Isa, Pairs, Tile, thirds};

pub static ISA: Isa = Isa {
    name: "avx512, avx512bf16",
    numbers: avx512::ISA.numbers,
    lanes: 16,
    k_block: avx512::K_BLOCK,
    tiles: avx512::TILES,
    pairs: Some(Pairs {
        name: "avx512bf16",
        tiles: all_tiles!(plain),
        interleave,
        panels,
        rows,
        multiply_add,
    }),
    interleave: super::avx2::interleave,
    direct: avx512_direct::direct,
    dots: avx512_direct::dots,
    stream: super::avx512_stream::stream,
    squares: avx512::squares,
};

tile_function!("avx512f,avx512bf16", |row: __m512, columns: __m512, sum| _mm512_dpbf16_ps(
    sum,
    pairs(row),
    pairs(columns)
));

/// See [`Pairs::multiply_add`].
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_add(rounds: usize) {
    let x = pairs(_mm512_set1_ps(black_box(0.5)));
    let mut sums = [_mm512_set1_ps(0.5); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, x, x);
        }
    }
    black_box(sums);
}

/// The bits of a register as pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn pairs(bits: __m512) -> __m512bh {
    // SAFETY: both are 512 bits of which every value means something.
    unsafe { std::mem::transmute(bits) }
}

/// Two registers of numbers, rounded: `low`, then `high`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both are 512 bits of which every value means something.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The first `count` of sixteen lanes.
fn first(count: usize) -> __mmask16 {
    ((1u32 << count.min(PANEL)) - 1) as __mmask16
}

/// Panels that are filled side by side, so that each visit to a row of the source reads several cache lines.
const SIDE_BY_SIDE: usize = 4;

/// Sixteen columns of two rows as pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn zipped(first: __m512, second: __m512) -> __m512 {
    let places: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * PANEL) as u16);
    // SAFETY: the array is a register long.
    let places = unsafe { _mm512_loadu_si512(places.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_permutexvar_epi16(places, rounded(first, second)))
}

/// See [`Pairs::panels`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn panels(from: *const f32, apart: usize, width: usize, k: usize, to: *mut f32) {
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
                    let pairs = zipped(
                        _mm512_maskz_loadu_ps(mask, at),
                        _mm512_maskz_loadu_ps(last, at.wrapping_add(apart)),
                    );
                    _mm512_storeu_ps(to.add((column + panel * PANEL) * words + word * PANEL), pairs);
                }
            }
        }
    }
}

/// See [`Pairs::rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn rows(from: *const f32, apart: usize, width: usize, k: usize, to: *mut f32) {
    let (left, right) = (first(width), first(width.saturating_sub(PANEL)));
    for word in 0..k.div_ceil(2) {
        let at = from.wrapping_add(2 * word * apart);
        let whole = 2 * word + 1 < k;
        for row in AHEAD..AHEAD + 2 {
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(row * apart).cast());
        }
        let to = to.wrapping_add(word * width);
        for (start, mask) in [(0, left), (PANEL, right)] {
            if mask == 0 {
                continue;
            }
            let at = at.wrapping_add(start);
            let last = if whole { mask } else { 0 };
            // SAFETY: the masks let through columns that are there, of rows that are. What is written beyond a row is
            // written again with the next one, or the overrun.
            unsafe {
                let pairs = zipped(
                    _mm512_maskz_loadu_ps(mask, at),
                    _mm512_maskz_loadu_ps(last, at.wrapping_add(apart)),
                );
                _mm512_storeu_ps(to.wrapping_add(start), pairs);
            }
        }
    }
}

/// See [`Pairs::interleave`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn interleave(from: *const f32, row: usize, rows: usize, k: usize, to: *mut f32, apart: usize) {
    for p in (0..k).step_by(2 * PANEL) {
        let (low, high) = (first(k - p), first((k - p).saturating_sub(PANEL)));
        let mut words = [_mm512_setzero_ps(); PANEL];
        for (i, words) in words.iter_mut().enumerate().take(rows) {
            let at = from.wrapping_add(i * row + p);
            // SAFETY: the masks let through elements that are there.
            *words = unsafe {
                _mm512_castsi512_ps(rounded(
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
