//! Products of few rows of A and B's rows as they lie: B is read once, at the speed of memory, and packing it would cost
//! more than it gains.
//!
//! Plain loops that every instruction set compiles for itself (see [`Isa::direct`]).

use super::cache::{LINE, prefetch};
use super::driver::{Left, Product};

/// The most rows of A for which B is streamed.
pub const MAX_ROWS: usize = 4;

/// Columns of C whose sums are kept in the first-level cache, and of all its rows together.
const COLUMNS: usize = 2048;
const SUMS: usize = 4096;
/// Rows of B that are added at once.
const ROWS: usize = 4;
/// Elements of each of these rows that are asked for before they are read.
const AHEAD: usize = 256;

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
    let columns = COLUMNS.min(SUMS / p.m / LINE * LINE);
    for column in (0..p.n).step_by(columns) {
        let width = columns.min(p.n - column);
        // SAFETY: `width` columns of B and C start here; the rest is the caller's promise.
        unsafe { sum_rows::<FUSED>(p, width, b.wrapping_add(column), apart, p.c.wrapping_add(column)) };
    }
}

/// `width` columns of C as sums of rows of B. The order of operations is that of the register tiles.
#[inline(always)]
unsafe fn sum_rows<const FUSED: bool>(p: &Product, width: usize, b: *const f32, apart: usize, c: *mut f32) {
    let mut sums = [0.0f32; SUMS];
    let sums = &mut sums[..p.m * width];
    let block = p.k_block;
    let mut start = 0;
    loop {
        let end = (start + block).min(p.k);
        sums.fill(0.0);
        let mut k = start;
        while k < end {
            let count = ROWS.min(end - k);
            for (i, sums) in sums.chunks_exact_mut(width).enumerate() {
                // SAFETY: A has element (i, k + q) and B row k + q for q < count.
                unsafe {
                    let a = Left { at: p.a.at.add(i * p.a.row + k * p.a.step), ..p.a };
                    let b = b.add(k * apart);
                    match count {
                        4 => add_rows::<FUSED, 4>(a, b, apart, sums),
                        3 => add_rows::<FUSED, 3>(a, b, apart, sums),
                        2 => add_rows::<FUSED, 2>(a, b, apart, sums),
                        _ => add_rows::<FUSED, 1>(a, b, apart, sums),
                    }
                }
            }
            k += count;
        }
        for (i, sums) in sums.chunks_exact(width).enumerate() {
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
    let mut factors = [0.0; N];
    for (q, factor) in factors.iter_mut().enumerate() {
        // SAFETY: the caller's A has this element.
        *factor = unsafe { *a.at.add(q * a.step) };
    }
    let (lines, rest) = sums.as_chunks_mut::<LINE>();
    for (line, sums) in lines.iter_mut().enumerate() {
        let mut sum = *sums;
        for (q, &factor) in factors.iter().enumerate() {
            let at = b.wrapping_add(q * apart + LINE * line);
            // Without this the compiler also turns the loops inside out, and the product takes eight times as long.
            prefetch(at.wrapping_add(AHEAD));
            // SAFETY: the caller's B has these elements.
            let row = unsafe { *at.cast::<[f32; LINE]>() };
            for j in 0..LINE {
                sum[j] = multiply_add::<FUSED>(factor, row[j], sum[j]);
            }
        }
        *sums = sum;
    }
    let first = LINE * lines.len();
    for (j, sum) in rest.iter_mut().enumerate() {
        for (q, &factor) in factors.iter().enumerate() {
            // SAFETY: as above.
            *sum = multiply_add::<FUSED>(factor, unsafe { *b.add(q * apart + first + j) }, *sum);
        }
    }
}
