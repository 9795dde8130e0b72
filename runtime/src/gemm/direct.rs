//! Products of few rows of A and B's rows as they lie: B is read once, at the speed of memory, and packing it would cost
//! more than it gains.
//!
//! Plain loops that every instruction set compiles for itself (see [`Isa::direct`]).

use super::cache::{LINE, prefetch};
use super::driver::{Left, Product};

/// The most rows of A for which B is streamed.
pub const MAX_ROWS: usize = 4;

/// Columns of C whose sums are kept in the first-level cache: 16 KB for [`MAX_ROWS`] rows.
const COLUMNS: usize = 1024;
/// Rows of B that are added at once.
const ROWS: usize = 4;

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The body of [`Isa::direct`]: computes `p`, of at most [`MAX_ROWS`] rows, where row `i` of B is at `b[i * apart]`.
/// `FUSED` says that the instruction set multiplies and adds with one rounding.
///
/// # Safety
/// As [`super::driver::product`].
#[inline(always)]
pub unsafe fn run<const FUSED: bool>(p: &Product, b: *const f32, apart: usize) {
    for column in (0..p.n).step_by(COLUMNS) {
        let width = COLUMNS.min(p.n - column);
        // SAFETY: `width` columns of B and C start here; the rest is the caller's promise.
        unsafe { sum_rows::<FUSED>(p, width, b.wrapping_add(column), apart, p.c.wrapping_add(column)) };
    }
}

/// `width` columns of C as sums of rows of B. The order of operations is that of the register tiles.
#[inline(always)]
unsafe fn sum_rows<const FUSED: bool>(p: &Product, width: usize, b: *const f32, apart: usize, c: *mut f32) {
    let mut sums = [[0.0f32; COLUMNS]; MAX_ROWS];
    let block = p.k_block;
    let mut start = 0;
    loop {
        let end = (start + block).min(p.k);
        for row in &mut sums[..p.m] {
            row[..width].fill(0.0);
        }
        let mut k = start;
        while k < end {
            let count = ROWS.min(end - k);
            for (i, sums) in sums[..p.m].iter_mut().enumerate() {
                // SAFETY: A has element (i, k + q) and B row k + q for q < count.
                unsafe {
                    let a = Left { at: p.a.at.add(i * p.a.row + k * p.a.step), ..p.a };
                    let b = b.add(k * apart);
                    match count {
                        4 => add_rows::<FUSED, 4>(a, b, apart, &mut sums[..width]),
                        3 => add_rows::<FUSED, 3>(a, b, apart, &mut sums[..width]),
                        2 => add_rows::<FUSED, 2>(a, b, apart, &mut sums[..width]),
                        _ => add_rows::<FUSED, 1>(a, b, apart, &mut sums[..width]),
                    }
                }
            }
            k += count;
        }
        for (i, sums) in sums[..p.m].iter().enumerate() {
            // SAFETY: C has `width` columns from here in row i.
            let c = unsafe { std::slice::from_raw_parts_mut(c.add(i * p.c_row), width) };
            let add = p.add || start > 0;
            for (c, &sum) in c.iter_mut().zip(sums) {
                *c = if add { *c + sum } else { sum };
            }
        }
        start = end;
        if start >= p.k {
            break;
        }
    }
}

/// `sums += a[0] * b[0] + .. + a[N - 1] * b[N - 1]` in this order, where `b[q]` is a row of B.
#[inline(always)]
unsafe fn add_rows<const FUSED: bool, const N: usize>(
    a: Left,
    b: *const f32,
    apart: usize,
    sums: &mut [f32],
) {
    // SAFETY: the caller's A and B hold these elements.
    let (a, b): ([f32; N], [&[f32]; N]) = unsafe {
        (
            std::array::from_fn(|q| *a.at.add(q * a.step)),
            std::array::from_fn(|q| std::slice::from_raw_parts(b.add(q * apart), sums.len())),
        )
    };
    let (lines, rest) = sums.as_chunks_mut::<LINE>();
    for (line, sums) in lines.iter_mut().enumerate() {
        for q in 0..N {
            // The same columns of the rows that are added next: where a row's share ends, the processor asks no further.
            prefetch(b[q].as_ptr().wrapping_add(N * apart + LINE * line));
            let row: &[f32; LINE] = b[q][LINE * line..].first_chunk().unwrap_or(&[0.0; LINE]);
            for j in 0..LINE {
                sums[j] = multiply_add::<FUSED>(a[q], row[j], sums[j]);
            }
        }
    }
    let first = LINE * lines.len();
    for (j, sum) in rest.iter_mut().enumerate() {
        for q in 0..N {
            *sum = multiply_add::<FUSED>(a[q], b[q][first + j], *sum);
        }
    }
}
