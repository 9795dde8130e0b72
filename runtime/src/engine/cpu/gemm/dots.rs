//! Products of few rows of A and B's columns as they lie, one after the other: each element of C is the scalar product of
//! two runs of memory. B is read once, from one end to the other, and neither packed nor transposed.
//!
//! The order of a sum is a function of `k` alone: element `i` is added to partial sum `i % PARTIAL_SUMS`, and these by halves. What
//! is here are plain loops that every instruction set compiles for itself (see [`super::micro::Isa::dots`]); AVX-512 has its
//! own.

use super::cache::{LINE, prefetch};
use super::product::{Product, in_order};

/// The most rows of A for which B is read as it lies.
pub const MAX_ROWS: usize = 4;

/// Partial sums of a sum: four of the widest vectors, so that no addition waits for the one before.
pub const PARTIAL_SUMS: usize = 64;

/// How many elements ahead B is prefetched.
const AHEAD: usize = 512;

/// The body of [`super::micro::Isa::dots`]: computes `p`, of at most [`MAX_ROWS`] rows that lie dense, where column `j` of
/// B is at `b[j * apart]`. `FUSED` says that the instruction set multiplies and adds with one rounding.
///
/// # Safety
/// As [`super::driver::product`].
#[inline(always)]
pub unsafe fn run<const FUSED: bool>(p: &Product, b: *const f32, apart: usize) {
    // SAFETY: as the caller promised.
    unsafe {
        match p.m {
            1 => rows::<FUSED, 1>(p, b, apart),
            2 => rows::<FUSED, 2>(p, b, apart),
            3 => rows::<FUSED, 3>(p, b, apart),
            _ => rows::<FUSED, 4>(p, b, apart),
        }
    }
}

#[inline(always)]
unsafe fn rows<const FUSED: bool, const ROWS: usize>(p: &Product, b: *const f32, apart: usize) {
    for step in 0..p.n {
        let column = in_order(p.from_end, step, p.n);
        // SAFETY: A has ROWS rows of `k` elements, and B such a column.
        let (a, b): ([&[f32]; ROWS], &[f32]) = unsafe {
            (
                std::array::from_fn(|i| std::slice::from_raw_parts(p.a.at.add(i * p.a.row), p.k)),
                std::slice::from_raw_parts(b.add(column * apart), p.k),
            )
        };
        for (i, sum) in dots::<FUSED, ROWS>(a, b).into_iter().enumerate() {
            // SAFETY: C has element (i, column).
            unsafe {
                let c = p.c.add(i * p.c_row + column);
                *c = if p.add { *c + sum } else { sum };
            }
        }
    }
}

/// The scalar products of `b` with each of `a`, all of one length.
#[inline(always)]
fn dots<const FUSED: bool, const ROWS: usize>(a: [&[f32]; ROWS], b: &[f32]) -> [f32; ROWS] {
    let mut sums = [[0.0f32; PARTIAL_SUMS]; ROWS];
    let whole = b.len() / PARTIAL_SUMS * PARTIAL_SUMS;
    for start in (0..whole).step_by(PARTIAL_SUMS) {
        for line in (0..PARTIAL_SUMS).step_by(LINE) {
            prefetch(b.as_ptr().wrapping_add(start + line + AHEAD));
        }
        let b: &[f32; PARTIAL_SUMS] = chunk(b, start);
        for (sums, a) in sums.iter_mut().zip(a) {
            let a: &[f32; PARTIAL_SUMS] = chunk(a, start);
            for lane in 0..PARTIAL_SUMS {
                sums[lane] = multiply_add::<FUSED>(a[lane], b[lane], sums[lane]);
            }
        }
    }
    let rest = &b[whole..];
    for (sums, a) in sums.iter_mut().zip(a) {
        let a = &a[whole..];
        for line in 0..PARTIAL_SUMS / LINE {
            // Lines one by one, so that the sums stay in registers.
            if let (Some(a), Some(b)) = (line_of(a, line), line_of(rest, line)) {
                for lane in 0..LINE {
                    let sum = &mut sums[LINE * line + lane];
                    *sum = multiply_add::<FUSED>(a[lane], b[lane], *sum);
                }
            }
        }
        let lines = rest.len() / LINE * LINE;
        if lines < rest.len() {
            let mut ended = *sums;
            for (sum, (&a, &b)) in ended[lines..].iter_mut().zip(a[lines..].iter().zip(&rest[lines..])) {
                *sum = multiply_add::<FUSED>(a, b, *sum);
            }
            *sums = ended;
        }
    }
    sums.map(total)
}

#[inline(always)]
fn line_of(values: &[f32], line: usize) -> Option<&[f32; LINE]> {
    values.get(LINE * line..)?.first_chunk()
}

#[inline(always)]
fn chunk(values: &[f32], start: usize) -> &[f32; PARTIAL_SUMS] {
    values[start..start + PARTIAL_SUMS].try_into().unwrap_or(&[0.0; PARTIAL_SUMS])
}

/// The sum of the partial sums, by halves.
#[inline(always)]
fn total(mut sums: [f32; PARTIAL_SUMS]) -> f32 {
    let mut half = PARTIAL_SUMS / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
