//! Products with few rows and B as it lies: B is read once, at the speed of memory, so packing it would only cost.
//!
//! Plain loops that every instruction set compiles for itself (see [`Isa::direct`]).

use super::driver::{Left, Product, Right, k_block};
use super::micro::Isa;

/// The most rows of A for which B is streamed.
pub const MAX_ROWS: usize = 4;

/// Columns of C whose sums are kept in the first-level cache: 16 KB for [`MAX_ROWS`] rows.
const COLUMNS: usize = 1024;
/// Rows of B that are added at once.
const ROWS: usize = 4;
/// Partial sums of a dot product.
const LANES: usize = 8;
/// Columns of B whose dot products are computed at once.
const DOTS: usize = 4;

/// Computes `p`.
///
/// # Safety
/// As [`super::driver::product`]; `p` has at most [`MAX_ROWS`] rows and B is not packed.
pub unsafe fn product(isa: &Isa, p: &Product) {
    // SAFETY: the CPU has the instruction set; the rest is the caller's promise.
    unsafe { (isa.direct)(p) };
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The body of [`Isa::direct`]. `FUSED` says that the instruction set multiplies and adds with one rounding.
///
/// # Safety
/// As [`product`].
#[inline(always)]
pub unsafe fn run<const FUSED: bool>(p: &Product) {
    // SAFETY: as the caller promised.
    unsafe {
        match p.b {
            Right::Rows { at, apart } => {
                for column in (0..p.n).step_by(COLUMNS) {
                    let width = COLUMNS.min(p.n - column);
                    let (b, c) = (at.wrapping_add(column), p.c.wrapping_add(column));
                    sum_rows::<FUSED>(p, width, b, apart, c);
                }
            }
            Right::Columns { at, apart } => {
                for i in 0..p.m {
                    let a = p.a.at.wrapping_add(i * p.a.row);
                    dot_rows::<FUSED>(p, a, at, apart, p.c.wrapping_add(i * p.c_row));
                }
            }
            Right::Panels { .. } => unreachable!("packed panels have register tiles"),
        }
    }
}

/// `width` columns of C as sums of rows of B. The order of operations is that of the register tiles.
#[inline(always)]
unsafe fn sum_rows<const FUSED: bool>(p: &Product, width: usize, b: *const f32, apart: usize, c: *mut f32) {
    let mut sums = [[0.0f32; COLUMNS]; MAX_ROWS];
    let block = k_block(p.k);
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
    for (j, sum) in sums.iter_mut().enumerate() {
        for q in 0..N {
            *sum = multiply_add::<FUSED>(a[q], b[q][j], *sum);
        }
    }
}

/// One row of C as dot products of a row of A, whose elements lie side by side, and columns of B.
#[inline(always)]
unsafe fn dot_rows<const FUSED: bool>(p: &Product, a: *const f32, b: *const f32, apart: usize, c: *mut f32) {
    let mut j = 0;
    while j < p.n {
        let count = if j + DOTS <= p.n { DOTS } else { 1 };
        // SAFETY: A has a row of k elements, B has `count` columns of k elements from j, C as many elements.
        unsafe {
            let b = b.wrapping_add(j * apart);
            let sums: [f32; DOTS] = if count == DOTS {
                dots::<FUSED, DOTS>(p.k, a, b, apart)
            } else {
                [dots::<FUSED, 1>(p.k, a, b, apart)[0]; DOTS]
            };
            for (q, &sum) in sums[..count].iter().enumerate() {
                let c = c.add(j + q);
                *c = if p.add { *c + sum } else { sum };
            }
        }
        j += count;
    }
}

/// `N` dot products, each in the same order of operations: [`LANES`] sums of every [`LANES`]th product, their sum, then
/// what is left.
#[inline(always)]
unsafe fn dots<const FUSED: bool, const N: usize>(
    k: usize,
    a: *const f32,
    b: *const f32,
    apart: usize,
) -> [f32; N] {
    // SAFETY: the caller's A and B hold these elements.
    let (a, b): (&[f32], [&[f32]; N]) = unsafe {
        (
            std::slice::from_raw_parts(a, k),
            std::array::from_fn(|q| std::slice::from_raw_parts(b.wrapping_add(q * apart), k)),
        )
    };
    let mut sums = [[0.0f32; LANES]; N];
    let whole = k / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let a: &[f32; LANES] = a[at..].first_chunk().unwrap_or(&[0.0; LANES]);
        for q in 0..N {
            let b: &[f32; LANES] = b[q][at..].first_chunk().unwrap_or(&[0.0; LANES]);
            for lane in 0..LANES {
                sums[q][lane] = multiply_add::<FUSED>(a[lane], b[lane], sums[q][lane]);
            }
        }
    }
    std::array::from_fn(|q| {
        let [a0, a1, a2, a3, a4, a5, a6, a7] = sums[q];
        let sum = ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7));
        (whole..k).fold(sum, |sum, at| multiply_add::<FUSED>(a[at], b[q][at], sum))
    })
}
