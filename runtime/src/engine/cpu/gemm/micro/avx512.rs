//! AVX-512: thirty-two registers of sixteen lanes, a panel is one of them wide.

use std::arch::x86_64::*;

use lstmc_compiler::kernel::PANEL;

use super::avx512_direct;
use super::isa::{Isa, Tile, Tiles};
use super::thirds::Thirds;
use crate::engine::cpu::gemm::fused_sums;

/// The tiles of all sizes, `copying` among them or `plain`: `tile::<rows, panels, by_column, copies, sums>` must be in scope.
macro_rules! all_tiles {
    ($copying:ident) => {
        crate::engine::cpu::gemm::micro::Tiles {
            heights: crate::engine::cpu::gemm::micro::isa::heights![$copying:
                1 x 12, 2 x 6, 3 x 4, 4 x 2, 5 x 2, 6 x 2, 7 x 2, 8 x 2, 9 x 2, 10 x 2, 11 x 2, 12 x 2,
            ],
            tall: &[
                tile::<13, 1, true, false, false>,
                tile::<14, 1, true, false, false>,
                tile::<15, 1, true, false, false>,
                tile::<16, 1, true, false, false>,
                tile::<17, 1, true, false, false>,
                tile::<18, 1, true, false, false>,
                tile::<19, 1, true, false, false>,
                tile::<20, 1, true, false, false>,
                tile::<21, 1, true, false, false>,
                tile::<22, 1, true, false, false>,
                tile::<23, 1, true, false, false>,
                tile::<24, 1, true, false, false>,
            ],
        }
    };
}
pub(super) use all_tiles;

/// So many rounds, two in each round of a loop: what a loop takes beside its work keeps the units from it that multiply.
macro_rules! unrolled {
    ($rounds:expr, $round:expr) => {
        for _ in 0..$rounds / 2 {
            $round;
            $round;
        }
        for _ in 0..$rounds % 2 {
            $round;
        }
    };
}
pub(super) use unrolled;

/// The function `tile`, for instructions that multiply and add 512 bits of A, B and sums.
macro_rules! tile_function {
    ($features:literal, $multiply_add:expr) => {
        #[target_feature(enable = $features)]
        unsafe fn tile<
            const ROWS: usize,
            const PANELS: usize,
            const BY_COLUMN: bool,
            const COPIES: bool,
            const SUMS: bool,
        >(
            t: &Tile,
        ) {
            let mut rows = Thirds::<4>::new(t.a, t.a_apart);
            let mut sums = [[_mm512_setzero_ps(); ROWS]; PANELS];
            let mut totals = [_mm512_setzero_ps(); PANELS];
            let (mut a, mut b) = (t.a, t.b);
            for i in 0..ROWS {
                // C is wanted at the end; asking for it now hides the wait. A prefetch cannot fault.
                for panel in 0..PANELS {
                    _mm_prefetch::<_MM_HINT_T0>(t.c.wrapping_add(i * t.c_row + panel * PANEL).cast());
                }
            }
            let (mut ahead, mut copy) = (t.ahead, t.copy);
            let (b_row, b_panel) = if COPIES { (t.b_row, PANEL) } else { (PANEL, t.b_panel) };
            crate::engine::cpu::gemm::micro::avx512::unrolled!(t.k, {
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(t.ahead_row);
                // SAFETY: A has ROWS rows and B PANELS panels of k elements; a and b stay within them, and copy within
                // as many.
                unsafe {
                    // The columns first, so that a row's element lives for its own multiply-adds only: with the loops the other
                    // way round all rows are kept for the second panel, and sums are spilled to make room for them.
                    let columns: [__m512; PANELS] =
                        std::array::from_fn(|panel| _mm512_loadu_ps(b.add(panel * b_panel)));
                    if COPIES {
                        for (panel, &columns) in columns.iter().enumerate() {
                            _mm512_storeu_ps(copy.add(panel * t.k * PANEL), columns);
                        }
                    }
                    if SUMS {
                        for (total, &columns) in totals.iter_mut().zip(&columns) {
                            *total = _mm512_add_ps(*total, columns);
                        }
                    }
                    for i in 0..ROWS {
                        let at = if BY_COLUMN { a.add(i) } else { rows.row(i % 12, t.a_apart) };
                        let row = _mm512_set1_ps(*at);
                        for (sums, &columns) in sums.iter_mut().zip(&columns) {
                            sums[i] = ($multiply_add)(row, columns, sums[i]);
                        }
                    }
                }
                a = a.wrapping_add(t.a_apart);
                if !BY_COLUMN {
                    rows.advance();
                }
                b = b.wrapping_add(b_row);
                copy = copy.wrapping_add(PANEL);
            });
            for (panel, &total) in totals.iter().enumerate().filter(|_| SUMS) {
                let to = t.sums.wrapping_add(panel * PANEL);
                // SAFETY: there is a sum for each column of these panels.
                unsafe {
                    let total = if t.add_sums { _mm512_add_ps(_mm512_loadu_ps(to), total) } else { total };
                    _mm512_storeu_ps(to, total);
                }
            }
            for (panel, sums) in sums.iter().enumerate() {
                let left = t.columns.saturating_sub(panel * PANEL).min(PANEL);
                let mask = ((1u32 << left) - 1) as __mmask16;
                for (i, &sum) in sums.iter().enumerate() {
                    let c = t.c.wrapping_add(i * t.c_row + panel * PANEL);
                    // SAFETY: the mask lets through the `left` columns of C that start here.
                    unsafe {
                        let before = if t.add { _mm512_maskz_loadu_ps(mask, c) } else { _mm512_setzero_ps() };
                        let after = if t.add { _mm512_add_ps(before, sum) } else { sum };
                        _mm512_mask_storeu_ps(c, mask, after);
                    }
                }
            }
        }
    };
}
pub(super) use tile_function;

tile_function!("avx512f", _mm512_fmadd_ps);

pub static ISA: Isa = Isa {
    name: "avx512",
    numbers: "avx512",
    lanes: 16,
    k_block: K_BLOCK,
    tiles: TILES,
    pairs: None,
    matrix: None,
    interleave: super::avx2::interleave,
    direct: avx512_direct::direct,
    dots: avx512_direct::dots,
    stream: super::avx512_stream::stream,
    squares,
};

pub const K_BLOCK: usize = 704;
pub const TILES: Tiles = all_tiles!(copying);

#[target_feature(enable = "avx512f")]
pub unsafe fn squares(c: *const f32, c_row: usize, rows: usize, width: usize, to: *mut f32, add: bool) {
    // SAFETY: as the caller promised.
    unsafe { fused_sums::squares::<true>(c, c_row, rows, width, to, add) };
}
