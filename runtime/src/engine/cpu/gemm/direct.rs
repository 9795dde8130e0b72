//! Products of few rows of A and B's rows as they lie: B is read once, at the speed of memory, and packing it would cost
//! more than it gains.
//!
//! What is here are plain loops that every instruction set compiles for itself (see [`Isa::direct`]); AVX-512 has its own.
//!
//! [`Isa::direct`]: super::micro::Isa::direct

use super::cache::{LINE, far_enough, prefetch};
use super::product::{Product, in_order, pieces};

/// The most rows of A for which B is streamed.
pub const MAX_ROWS: usize = 4;

/// Columns of C whose sums are kept in the first-level cache, and of all its rows together.
pub const COLUMNS: usize = 2048;
pub const SUMS: usize = 4096;

/// Sums that begin where a cache line does, as the rows of most weights do.
#[repr(align(64))]
struct Sums([f32; SUMS]);

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
    for columns in pieces(0..p.n, columns) {
        let (b, c) = (b.wrapping_add(columns.start), p.c.wrapping_add(columns.start));
        // SAFETY: these columns of B and C start here; the rest is the caller's promise.
        unsafe { sum_rows::<FUSED>(p, columns.len(), b, apart, c) };
    }
}

/// `width` columns of C as sums of rows of B. The order of operations is that of the register tiles, from the first row of B
/// or from the last.
#[inline(always)]
unsafe fn sum_rows<const FUSED: bool>(p: &Product, width: usize, b: *const f32, apart: usize, c: *mut f32) {
    // A row that was just read need not be prefetched.
    let ahead = if p.from_end { 0 } else { far_enough(apart) };
    let mut sums = Sums([0.0; SUMS]);
    let sums = &mut sums.0[..p.m * width];
    for block in pieces(0..p.k, p.k_block) {
        sums.fill(0.0);
        for step in block.clone() {
            let k = in_order(p.from_end, step, p.k);
            let row = b.wrapping_add(k * apart);
            for (i, sums) in sums.chunks_exact_mut(width).enumerate() {
                // SAFETY: A has element (i, k), and B row k.
                unsafe { add_row::<FUSED>(*p.a.at.add(i * p.a.row + k * p.a.step), row, ahead, sums) };
            }
        }
        for (i, sums) in sums.chunks_exact(width).enumerate() {
            // SAFETY: C has `width` columns from here in row i.
            let c = unsafe { std::slice::from_raw_parts_mut(c.add(i * p.c_row), width) };
            let add = p.add || block.start > 0;
            for (c, &sum) in c.iter_mut().zip(sums) {
                *c = if add { *c + sum } else { sum };
            }
        }
    }
}

/// `sums += a * b`, where `b` is a row of B; prefetches what lies `ahead` of it.
///
/// # Safety
/// The row has as many elements here as there are sums.
#[inline(always)]
unsafe fn add_row<const FUSED: bool>(a: f32, b: *const f32, ahead: usize, sums: &mut [f32]) {
    let (lines, rest) = sums.as_chunks_mut::<LINE>();
    for (line, sums) in lines.iter_mut().enumerate() {
        let at = b.wrapping_add(LINE * line);
        prefetch(at.wrapping_add(ahead));
        // SAFETY: as the caller promised.
        let row = unsafe { *at.cast::<[f32; LINE]>() };
        for j in 0..LINE {
            sums[j] = multiply_add::<FUSED>(a, row[j], sums[j]);
        }
    }
    for (j, sum) in rest.iter_mut().enumerate() {
        // SAFETY: as the caller promised.
        *sum = multiply_add::<FUSED>(a, unsafe { *b.add(LINE * lines.len() + j) }, *sum);
    }
}
