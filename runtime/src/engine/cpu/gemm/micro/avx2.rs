//! AVX2 with FMA: sixteen registers of eight lanes, a panel is two of them wide.

use std::arch::x86_64::*;

use lstmc_compiler::kernel::PANEL;

use super::isa::{Isa, Tile, Tiles, heights};
use super::thirds::Thirds;
use crate::engine::cpu::gemm::product::Panels;
use crate::engine::cpu::gemm::product::Product;
use crate::engine::cpu::gemm::stream;
use crate::engine::cpu::gemm::{direct, dots, fused_sums};

pub static ISA: Isa = Isa {
    name: "avx2",
    numbers: "avx2",
    lanes: 8,
    k_block: 384,
    tiles: Tiles { heights: heights![copying: 1 x 6, 2 x 3, 3 x 2, 4 x 1, 5 x 1, 6 x 1], tall: &[] },
    pairs: None,
    matrix: None,
    interleave,
    direct,
    dots,
    stream,
    squares,
};

const LANES: usize = 8;

#[target_feature(enable = "avx2,fma")]
unsafe fn tile<
    const ROWS: usize,
    const PANELS: usize,
    const BY_COLUMN: bool,
    const COPIES: bool,
    const SUMS: bool,
>(
    t: &Tile,
) {
    let mut rows = Thirds::<2>::new(t.a, t.a_apart);
    let mut sums = [[[_mm256_setzero_ps(); 2]; ROWS]; PANELS];
    let mut totals = [[_mm256_setzero_ps(); 2]; PANELS];
    let (mut a, mut b) = (t.a, t.b);
    for i in 0..ROWS {
        // C is wanted at the end; asking for it now hides the wait. A prefetch cannot fault.
        _mm_prefetch::<_MM_HINT_T0>(t.c.wrapping_add(i * t.c_row).cast());
        _mm_prefetch::<_MM_HINT_T0>(t.c.wrapping_add(i * t.c_row + PANEL - 1).cast());
    }
    let (mut ahead, mut copy) = (t.ahead, t.copy);
    let (b_row, b_panel) = if COPIES { (t.b_row, PANEL) } else { (PANEL, t.b_panel) };
    for _ in 0..t.k {
        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
        ahead = ahead.wrapping_add(t.ahead_row);
        for (panel, (sums, totals)) in sums.iter_mut().zip(&mut totals).enumerate() {
            // SAFETY: A has ROWS rows and B PANELS panels of k elements; a and b stay within them, and copy within as many.
            unsafe {
                let from = b.add(panel * b_panel);
                let columns = [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(LANES))];
                if COPIES {
                    let to = copy.add(panel * t.k * PANEL);
                    _mm256_storeu_ps(to, columns[0]);
                    _mm256_storeu_ps(to.add(LANES), columns[1]);
                }
                if SUMS {
                    for (total, &columns) in totals.iter_mut().zip(&columns) {
                        *total = _mm256_add_ps(*total, columns);
                    }
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let at = if BY_COLUMN { a.add(i) } else { rows.row(i, t.a_apart) };
                    let row = _mm256_broadcast_ss(&*at);
                    for (sum, &columns) in sums.iter_mut().zip(&columns) {
                        *sum = _mm256_fmadd_ps(row, columns, *sum);
                    }
                }
            }
        }
        a = a.wrapping_add(t.a_apart);
        if !BY_COLUMN {
            rows.advance();
        }
        b = b.wrapping_add(b_row);
        copy = copy.wrapping_add(PANEL);
    }
    for (panel, &total) in totals.iter().enumerate().filter(|_| SUMS) {
        // SAFETY: there is a sum for each column of these panels.
        unsafe { store(t.sums.wrapping_add(panel * PANEL), total, t.add_sums) };
    }
    for (panel, sums) in sums.iter().enumerate() {
        let left = t.columns.saturating_sub(panel * PANEL);
        for (i, &sum) in sums.iter().enumerate() {
            let c = t.c.wrapping_add(i * t.c_row + panel * PANEL);
            // SAFETY: `left` columns of C start here.
            unsafe { if left >= PANEL { store(c, sum, t.add) } else { store_some(c, left, sum, t.add) } };
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(c: *mut f32, sum: [__m256; 2], add: bool) {
    for (half, &sum) in sum.iter().enumerate() {
        // SAFETY: the caller says that C has a whole panel here.
        unsafe {
            let c = c.add(half * LANES);
            _mm256_storeu_ps(c, if add { _mm256_add_ps(_mm256_loadu_ps(c), sum) } else { sum });
        }
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_some(c: *mut f32, columns: usize, sum: [__m256; 2], add: bool) {
    let mut row = [0.0f32; PANEL];
    // SAFETY: `row` holds two registers, and the caller says that C has `columns` elements here.
    let c = unsafe {
        _mm256_storeu_ps(row.as_mut_ptr(), sum[0]);
        _mm256_storeu_ps(row.as_mut_ptr().add(LANES), sum[1]);
        std::slice::from_raw_parts_mut(c, columns)
    };
    for (c, sum) in c.iter_mut().zip(row) {
        *c = if add { *c + sum } else { sum };
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn direct(p: &Product, b: *const f32, apart: usize) {
    // SAFETY: as the caller promised.
    unsafe { direct::run::<true>(p, b, apart) };
}

#[target_feature(enable = "avx2,fma")]
unsafe fn dots(p: &Product, b: *const f32, apart: usize) {
    // SAFETY: as the caller promised.
    unsafe { dots::run::<true>(p, b, apart) };
}

#[target_feature(enable = "avx2,fma")]
unsafe fn squares(c: *const f32, c_row: usize, rows: usize, width: usize, to: *mut f32, add: bool) {
    // SAFETY: as the caller promised.
    unsafe { fused_sums::squares::<true>(c, c_row, rows, width, to, add) };
}

#[target_feature(enable = "avx2,fma")]
unsafe fn stream(p: &Product, b: Panels) {
    // SAFETY: as the caller promised.
    unsafe { stream::run::<true>(p, b) };
}

#[target_feature(enable = "avx2,fma")]
pub unsafe fn interleave(from: *const f32, row: usize, rows: usize, k: usize, to: *mut f32, apart: usize) {
    let mut p = 0;
    while p + LANES <= k {
        // SAFETY: `rows` rows have eight elements from p on. A store may spill over into the next row, which is written
        // after it, or past the end, as documented.
        unsafe {
            let low = transpose(from.add(p), row, rows.min(LANES));
            if rows <= LANES && apart < PANEL {
                for (q, &column) in low.iter().enumerate() {
                    _mm256_storeu_ps(to.add((p + q) * apart), column);
                }
            } else {
                let high = transpose(from.wrapping_add(p + LANES * row), row, rows.saturating_sub(LANES));
                for q in 0..LANES {
                    _mm256_storeu_ps(to.add((p + q) * apart), low[q]);
                    _mm256_storeu_ps(to.add((p + q) * apart + LANES), high[q]);
                }
            }
        }
        p += LANES;
    }
    // SAFETY: as the caller promised, for the elements from p on.
    unsafe { super::portable::interleave(from.add(p), row, rows, k - p, to.add(p * apart), apart) };
}

/// Eight columns of eight rows, of which those from `rows` on are zero.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose(from: *const f32, row: usize, rows: usize) -> [__m256; LANES] {
    let mut r = [_mm256_setzero_ps(); LANES];
    if rows == LANES {
        for (i, r) in r.iter_mut().enumerate() {
            // SAFETY: the caller says that each row has eight elements.
            *r = unsafe { _mm256_loadu_ps(from.add(i * row)) };
        }
    } else {
        for (i, r) in r.iter_mut().enumerate().take(rows) {
            // SAFETY: as above.
            *r = unsafe { _mm256_loadu_ps(from.add(i * row)) };
        }
    }
    // Pairs of rows, then fours, then the two halves of the registers.
    let pair = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let ((a0, a1), (a2, a3)) = (pair(r[0], r[1]), pair(r[2], r[3]));
    let ((a4, a5), (a6, a7)) = (pair(r[4], r[5]), pair(r[6], r[7]));
    let four = |a, b| (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
    let ((b0, b1), (b2, b3)) = (four(a0, a2), four(a1, a3));
    let ((b4, b5), (b6, b7)) = (four(a4, a6), four(a5, a7));
    let low = |a, b| _mm256_permute2f128_ps::<0x20>(a, b);
    let high = |a, b| _mm256_permute2f128_ps::<0x31>(a, b);
    [
        low(b0, b4),
        low(b1, b5),
        low(b2, b6),
        low(b3, b7),
        high(b0, b4),
        high(b1, b5),
        high(b2, b6),
        high(b3, b7),
    ]
}
