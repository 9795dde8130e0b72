//! Products of few rows of A and packed panels of B, of any format: B is read once, from one end to the other, at the
//! speed of the memory that it lies in, and widened in registers.
//!
//! The order of operations is that of the register tiles. What is here are plain loops that every instruction set compiles
//! for itself (see [`super::micro::Isa::stream`]); AVX-512 has its own.

use std::ops::Range;

use lstmc_compiler::kernel::{Format, PANEL, bf16_value, int8_value};

use super::product::{Panel, Panels, Product, pieces};

/// The most rows of A for which panels are streamed.
pub const MAX_ROWS: usize = 4;

/// Bytes of a row, or of a pair of rows of a format that has pairs.
const LINE: usize = 4 * PANEL;

/// Row `p` of a panel, widened.
///
/// # Safety
/// The panel is of this format and has such a row.
#[inline(always)]
pub unsafe fn row(format: Format, panel: Panel, p: usize) -> [f32; PANEL] {
    let at = |bytes: usize| panel.rows.wrapping_add(bytes);
    // SAFETY: the row has PANEL weights, and a panel of int8 as many scales; packing aligns them.
    unsafe {
        match format {
            Format::F32 => *at(p * LINE).cast::<[f32; PANEL]>(),
            Format::Bf16 => {
                let pairs = *at(p / 2 * LINE).cast::<[u32; PANEL]>();
                if p.is_multiple_of(2) {
                    pairs.map(|pair| bf16_value(pair as u16))
                } else {
                    pairs.map(|pair| bf16_value((pair >> 16) as u16))
                }
            }
            Format::TwoParts | Format::ThreeParts => {
                unreachable!("only products in parts read panels in parts")
            }
            Format::Int8 => {
                let bits = *at(p * PANEL).cast::<[i8; PANEL]>();
                let scales = *panel.scales.cast::<[f32; PANEL]>();
                std::array::from_fn(|j| int8_value(bits[j], scales[j]))
            }
        }
    }
}

/// The body of [`super::micro::Isa::stream`]: computes `p`, of at most [`MAX_ROWS`] rows and `k > 0`. `FUSED` says that
/// the instruction set multiplies and adds with one rounding.
///
/// # Safety
/// As [`super::driver::product`], where B is `b`.
#[inline(always)]
pub unsafe fn run<const FUSED: bool>(p: &Product, b: Panels) {
    for column in (0..p.n).step_by(PANEL) {
        let panel = b.panel(column / PANEL);
        for block in pieces(0..p.k, p.k_block) {
            // SAFETY: the panel has the block's rows; the rest is the caller's promise.
            unsafe {
                match b.format {
                    Format::F32 => columns::<FUSED>(p, column, block, |q| row(Format::F32, panel, q)),
                    Format::Bf16 => columns::<FUSED>(p, column, block, |q| row(Format::Bf16, panel, q)),
                    Format::TwoParts | Format::ThreeParts => {
                        unreachable!("only products in parts read panels in parts")
                    }
                    Format::Int8 => columns::<FUSED>(p, column, block, |q| row(Format::Int8, panel, q)),
                }
            }
        }
    }
}

/// One panel's columns of C, for one block of the contraction.
#[inline(always)]
unsafe fn columns<const FUSED: bool>(
    p: &Product,
    column: usize,
    block: Range<usize>,
    row: impl Fn(usize) -> [f32; PANEL],
) {
    let mut sums = [[0.0f32; PANEL]; MAX_ROWS];
    for q in block.clone() {
        let weights = row(q);
        for (i, sums) in sums[..p.m].iter_mut().enumerate() {
            // SAFETY: A has element (i, q).
            let a = unsafe { *p.a.at.add(i * p.a.row + q * p.a.step) };
            for (sum, &weight) in sums.iter_mut().zip(&weights) {
                *sum = if FUSED { a.mul_add(weight, *sum) } else { a * weight + *sum };
            }
        }
    }
    let add = p.add || block.start > 0;
    for (i, sums) in sums[..p.m].iter().enumerate() {
        let width = PANEL.min(p.n - column);
        // SAFETY: C has `width` columns from here in row i.
        let c = unsafe { std::slice::from_raw_parts_mut(p.c.add(i * p.c_row + column), width) };
        for (c, &sum) in c.iter_mut().zip(sums) {
            *c = if add { *c + sum } else { sum };
        }
    }
}
