//! [`super::super::direct`] and [`super::super::dots`] with AVX-512, by hand: a weight that lies in the second-level cache
//! arrives faster than the compiler's loops, whose sums go through memory or cross cache lines, can take it.

use std::arch::x86_64::*;

use crate::engine::cpu::gemm::cache::{far_enough, prefetch};
use crate::engine::cpu::gemm::direct::{COLUMNS, SUMS};
use crate::engine::cpu::gemm::dots::PARTIAL_SUMS;
use crate::engine::cpu::gemm::product::{Product, in_order, pieces};

/// Numbers of a vector.
const WIDTH: usize = 16;
/// Vectors of a row that are added in one round: so few rounds that the processor knows when the last one comes.
const SIDE_BY_SIDE: usize = 8;
/// Vectors of the partial sums of a scalar product.
const VECTORS: usize = PARTIAL_SUMS / WIDTH;
/// The most elements of a column of B that are prefetched: two such runs are in the first-level cache at a time.
const AHEAD: usize = 2048;

/// The lanes of the first `count` numbers of a vector.
fn first(count: usize) -> __mmask16 {
    ((1u32 << count.min(WIDTH)) - 1) as __mmask16
}

/// The body of [`super::Isa::direct`].
#[target_feature(enable = "avx512f")]
pub unsafe fn direct(p: &Product, b: *const f32, apart: usize) {
    // SAFETY: as the caller promised.
    unsafe {
        match p.m {
            1 => sum_rows::<1>(p, b, apart),
            2 => sum_rows::<2>(p, b, apart),
            3 => sum_rows::<3>(p, b, apart),
            _ => sum_rows::<4>(p, b, apart),
        }
    }
}

/// C as sums of rows of B, so many columns at a time that their sums stay in the first-level cache.
#[target_feature(enable = "avx512f")]
unsafe fn sum_rows<const ROWS: usize>(p: &Product, b: *const f32, apart: usize) {
    // Vectors begin where cache lines do, as the rows of most weights do.
    let mut sums = [_mm512_setzero_ps(); SUMS / WIDTH];
    let sums = sums.as_chunks_mut::<ROWS>().0;
    // A row that was just read need not be prefetched.
    let ahead = if p.from_end { None } else { Some(far_enough(apart)) };
    for columns in pieces(0..p.n, COLUMNS.min(WIDTH * sums.len())) {
        let b = b.wrapping_add(columns.start);
        let sums = &mut sums[..columns.len().div_ceil(WIDTH)];
        for block in pieces(0..p.k, p.k_block) {
            sums.fill([_mm512_setzero_ps(); ROWS]);
            let rows = Rows::of(p, b, apart, block.start);
            // SAFETY: A and B have these rows, of so many columns.
            unsafe { add_rows(p, rows, block.len(), columns.len(), ahead, sums) };
            for (vector, sums) in sums.iter().enumerate() {
                let column = columns.start + WIDTH * vector;
                // SAFETY: C has the columns that are left.
                unsafe { hand_over(p, column, first(columns.end - column), sums, block.start > 0) };
            }
        }
    }
}

/// The steps of a contraction from one of them on, in the order in which they are added up.
#[derive(Clone, Copy)]
struct Rows {
    /// The element of the first row of A, and the row of B.
    a: *const f32,
    b: *const f32,
    /// To the next ones.
    a_step: isize,
    b_step: isize,
}

impl Rows {
    /// From step number `step` on.
    fn of(p: &Product, b: *const f32, apart: usize, step: usize) -> Rows {
        let k = in_order(p.from_end, step, p.k);
        let sign = if p.from_end { -1 } else { 1 };
        Rows {
            a: p.a.at.wrapping_add(k * p.a.step),
            b: b.wrapping_add(k * apart),
            a_step: sign * p.a.step as isize,
            b_step: sign * apart as isize,
        }
    }
}

/// `sums += a * b` for `count` rows of B, of which they are `width` columns, and each row of A.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_rows<const ROWS: usize>(
    p: &Product,
    mut rows: Rows,
    count: usize,
    width: usize,
    ahead: Option<usize>,
    sums: &mut [[__m512; ROWS]],
) {
    for _ in 0..count {
        let mut a = [_mm512_setzero_ps(); ROWS];
        for (i, a) in a.iter_mut().enumerate() {
            // SAFETY: A has this element.
            *a = _mm512_set1_ps(unsafe { *rows.a.add(i * p.a.row) });
        }
        // SAFETY: B has these columns.
        unsafe { add_row(&a, rows.b, width, ahead, sums) };
        rows.a = rows.a.wrapping_offset(rows.a_step);
        rows.b = rows.b.wrapping_offset(rows.b_step);
    }
}

/// One row of [`add_rows`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_row<const ROWS: usize>(
    a: &[__m512; ROWS],
    b: *const f32,
    width: usize,
    ahead: Option<usize>,
    sums: &mut [[__m512; ROWS]],
) {
    let whole = width / WIDTH;
    let (groups, rest) = sums[..whole].as_chunks_mut::<SIDE_BY_SIDE>();
    for (group, sums) in groups.iter_mut().enumerate() {
        for (vector, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the row has these columns.
            unsafe { add_vector(a, b.wrapping_add(WIDTH * (SIDE_BY_SIDE * group + vector)), ahead, sums) };
        }
    }
    for (vector, sums) in rest.iter_mut().enumerate() {
        // SAFETY: as above.
        unsafe { add_vector(a, b.wrapping_add(WIDTH * (SIDE_BY_SIDE * groups.len() + vector)), ahead, sums) };
    }
    if let Some(sums) = sums.get_mut(whole) {
        // SAFETY: the mask lets through the columns that are left.
        let b = unsafe { _mm512_maskz_loadu_ps(first(width - WIDTH * whole), b.wrapping_add(WIDTH * whole)) };
        for (sum, &a) in sums.iter_mut().zip(a) {
            *sum = _mm512_fmadd_ps(a, b, *sum);
        }
    }
}

/// A vector of [`add_row`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_vector<const ROWS: usize>(
    a: &[__m512; ROWS],
    b: *const f32,
    ahead: Option<usize>,
    sums: &mut [__m512; ROWS],
) {
    if let Some(ahead) = ahead {
        prefetch(b.wrapping_add(ahead));
    }
    // SAFETY: as the caller promised.
    let b = unsafe { _mm512_loadu_ps(b) };
    for (sum, &a) in sums.iter_mut().zip(a) {
        *sum = _mm512_fmadd_ps(a, b, *sum);
    }
}

/// Writes a vector of each row of C from `column` on, or adds it.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn hand_over<const ROWS: usize>(
    p: &Product,
    column: usize,
    mask: __mmask16,
    sums: &[__m512; ROWS],
    add: bool,
) {
    for (i, &sum) in sums.iter().enumerate() {
        let c = p.c.wrapping_add(i * p.c_row + column);
        // SAFETY: the mask lets through columns of C.
        unsafe {
            let after = if p.add || add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), sum) } else { sum };
            _mm512_mask_storeu_ps(c, mask, after);
        }
    }
}

/// The body of [`super::Isa::dots`].
#[target_feature(enable = "avx512f")]
pub unsafe fn dots(p: &Product, b: *const f32, apart: usize) {
    // SAFETY: as the caller promised.
    unsafe {
        match p.m {
            1 => columns::<1>(p, b, apart),
            2 => columns::<2>(p, b, apart),
            3 => columns::<3>(p, b, apart),
            _ => columns::<4>(p, b, apart),
        }
    }
}

/// C column by column.
#[target_feature(enable = "avx512f")]
unsafe fn columns<const ROWS: usize>(p: &Product, b: *const f32, apart: usize) {
    let ahead = if p.from_end { None } else { Some(far_enough(apart).min(AHEAD)) };
    for step in 0..p.n {
        let column = in_order(p.from_end, step, p.n);
        // SAFETY: A has ROWS rows of `k` elements, B such a column, and C an element in it for each.
        unsafe {
            let sums = products::<ROWS>(p, b.wrapping_add(column * apart), ahead);
            for (i, sums) in sums.iter().enumerate() {
                let sum = total(sums);
                let c = p.c.add(i * p.c_row + column);
                *c = if p.add { *c + sum } else { sum };
            }
        }
    }
}

/// The partial sums of the scalar products of a column of B with each row of A.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn products<const ROWS: usize>(
    p: &Product,
    b: *const f32,
    ahead: Option<usize>,
) -> [[__m512; VECTORS]; ROWS] {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    let mut k = 0;
    while k + PARTIAL_SUMS <= p.k {
        for vector in 0..VECTORS {
            let k = k + WIDTH * vector;
            if let Some(ahead) = ahead {
                prefetch(b.wrapping_add(k + ahead));
            }
            // SAFETY: the rows and the column have these elements.
            unsafe {
                let b = _mm512_loadu_ps(b.add(k));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = _mm512_loadu_ps(p.a.at.add(i * p.a.row + k));
                    sums[vector] = _mm512_fmadd_ps(a, b, sums[vector]);
                }
            }
        }
        k += PARTIAL_SUMS;
    }
    if k < p.k {
        for vector in 0..VECTORS {
            let k = k + WIDTH * vector;
            let mask = first(p.k.saturating_sub(k));
            // SAFETY: the mask lets through the elements that are left.
            unsafe {
                let b = _mm512_maskz_loadu_ps(mask, b.wrapping_add(k));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = _mm512_maskz_loadu_ps(mask, p.a.at.wrapping_add(i * p.a.row + k));
                    sums[vector] = _mm512_mask3_fmadd_ps(a, b, sums[vector], mask);
                }
            }
        }
    }
    sums
}

/// The sum of the partial sums, by halves.
#[inline]
#[target_feature(enable = "avx512f")]
fn total(&[a, b, c, d]: &[__m512; VECTORS]) -> f32 {
    let sixteen = _mm512_add_ps(_mm512_add_ps(a, c), _mm512_add_ps(b, d));
    let upper = _mm512_castpd_ps(_mm512_shuffle_f64x2::<0b11_10>(
        _mm512_castps_pd(sixteen),
        _mm512_castps_pd(sixteen),
    ));
    let eight = _mm256_add_ps(_mm512_castps512_ps256(sixteen), _mm512_castps512_ps256(upper));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
