//! AVX-512 with products of `bf16` pairs: a lane of a register holds two numbers, and one instruction adds both products
//! to the lane's sum.

use std::arch::x86_64::*;
use std::hint::black_box;

use lstmc_compiler::kernel::PANEL;

use super::avx512::{self, all_tiles, tile_function};
use super::avx512_direct;
use super::avx512_parts::{self, first, zipped};
use super::isa::{AHEAD, CHAINS, Isa, Pairs, Tile};
use super::matrix::MatrixUnit;
use super::thirds::Thirds;

pub static ISA: Isa = isa("avx512, avx512bf16", None);

/// With a matrix unit beside it.
pub const fn isa(name: &'static str, matrix: Option<&'static MatrixUnit>) -> Isa {
    Isa {
        name,
        numbers: avx512::ISA.numbers,
        lanes: 16,
        k_block: avx512::K_BLOCK,
        tiles: avx512::TILES,
        pairs: Some(Pairs {
            name: "avx512bf16",
            tiles: all_tiles!(plain),
            interleave: avx512_parts::interleave::<0>,
            panels: avx512_parts::panels::<0>,
            rows,
            multiply_add,
        }),
        matrix,
        interleave: super::avx2::interleave,
        direct: avx512_direct::direct,
        dots: avx512_direct::dots,
        stream: super::avx512_stream::stream,
        squares: avx512::squares,
    }
}

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
                let pairs = zipped::<0>(
                    _mm512_maskz_loadu_ps(mask, at),
                    _mm512_maskz_loadu_ps(last, at.wrapping_add(apart)),
                );
                _mm512_storeu_ps(to.wrapping_add(start), pairs);
            }
        }
    }
}
