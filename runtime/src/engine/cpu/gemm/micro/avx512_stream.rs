//! [`super::super::stream`] with AVX-512: a panel's row is one register.

use std::arch::x86_64::*;
use std::ops::Range;

use lstmc_compiler::kernel::{Format, PANEL};

use crate::engine::cpu::gemm::product::Panels;
use crate::engine::cpu::gemm::product::{Product, pieces};

const F32: u32 = 0;
const BF16: u32 = 1;
const INT8: u32 = 2;

/// How many bytes ahead a panel is prefetched.
const AHEAD: usize = 2048;
const LINE: usize = 64;

/// Panels that are read side by side: the sums of one alone would wait for each other.
const SIDE_BY_SIDE: usize = 4;

/// The body of [`super::Isa::stream`].
#[target_feature(enable = "avx512f")]
pub unsafe fn stream(p: &Product, b: Panels) {
    // SAFETY: as the caller promised.
    unsafe {
        match b.format {
            Format::F32 => of_format::<F32>(p, b),
            Format::Bf16 => of_format::<BF16>(p, b),
            Format::TwoParts | Format::ThreeParts => {
                unreachable!("only products in parts read panels in parts")
            }
            Format::Int8 => of_format::<INT8>(p, b),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn of_format<const FORMAT: u32>(p: &Product, b: Panels) {
    // SAFETY: as the caller promised.
    unsafe {
        match p.m {
            1 => of_rows::<1, FORMAT>(p, b),
            2 => of_rows::<2, FORMAT>(p, b),
            3 => of_rows::<3, FORMAT>(p, b),
            _ => of_rows::<4, FORMAT>(p, b),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn of_rows<const ROWS: usize, const FORMAT: u32>(p: &Product, b: Panels) {
    let count = p.n.div_ceil(PANEL);
    let mut panel = 0;
    while panel < count {
        // SAFETY: there are as many panels.
        unsafe {
            if count - panel >= SIDE_BY_SIDE {
                group::<ROWS, SIDE_BY_SIDE, FORMAT>(p, b, panel);
                panel += SIDE_BY_SIDE;
            } else {
                group::<ROWS, 1, FORMAT>(p, b, panel);
                panel += 1;
            }
        }
    }
}

/// The columns of C of some panels side by side.
#[target_feature(enable = "avx512f")]
unsafe fn group<const ROWS: usize, const PANELS: usize, const FORMAT: u32>(
    p: &Product,
    b: Panels,
    first: usize,
) {
    let mut scales = [_mm512_setzero_ps(); PANELS];
    if FORMAT == INT8 {
        for (i, scales) in scales.iter_mut().enumerate() {
            // SAFETY: a panel of this format begins with PANEL scales.
            *scales = unsafe { _mm512_loadu_ps(b.panel(first + i).scales) };
        }
    }
    for block in pieces(0..p.k, p.k_block) {
        // SAFETY: as the caller promised.
        unsafe { columns::<ROWS, PANELS, FORMAT>(p, b, first, block, &scales) };
    }
}

/// As [`group`], for one block of the contraction.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn columns<const ROWS: usize, const PANELS: usize, const FORMAT: u32>(
    p: &Product,
    b: Panels,
    first: usize,
    block: Range<usize>,
    scales: &[__m512; PANELS],
) {
    let per_line = const { rows_per_line(FORMAT) };
    let apart = 4 * b.apart;
    // Blocks start at whole lines.
    let mut at = b.panel(first).rows.wrapping_add(block.start / per_line * LINE);
    let mut a = p.a.at.wrapping_add(block.start * p.a.step);
    let mut sums = [[_mm512_setzero_ps(); ROWS]; PANELS];
    let mut left = block.len();
    while left > 0 {
        for panel in 0..PANELS {
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(panel * apart + AHEAD).cast());
        }
        let count = per_line.min(left);
        for row in 0..count {
            for (panel, (sums, scale)) in sums.iter_mut().zip(scales).enumerate() {
                // SAFETY: the panel has this row, and A has ROWS rows.
                unsafe {
                    let weights = widen::<FORMAT>(at.wrapping_add(panel * apart), row, *scale);
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm512_fmadd_ps(_mm512_set1_ps(*a.wrapping_add(i * p.a.row)), weights, *sum);
                    }
                }
            }
            a = a.wrapping_add(p.a.step);
        }
        at = at.wrapping_add(LINE);
        left -= count;
    }
    let add = p.add || block.start > 0;
    for (panel, sums) in sums.iter().enumerate() {
        let column = (first + panel) * PANEL;
        let mask = ((1u32 << (p.n - column).min(PANEL)) - 1) as __mmask16;
        for (i, &sum) in sums.iter().enumerate() {
            let c = p.c.wrapping_add(i * p.c_row + column);
            // SAFETY: the mask lets through the columns of C that start here.
            unsafe {
                let after = if add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), sum) } else { sum };
                _mm512_mask_storeu_ps(c, mask, after);
            }
        }
    }
}

const fn rows_per_line(format: u32) -> usize {
    match format {
        BF16 => 2,
        INT8 => LINE / PANEL,
        _ => 1,
    }
}

/// A row of the line of a panel that lies here.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn widen<const FORMAT: u32>(line: *const u8, row: usize, scales: __m512) -> __m512 {
    // SAFETY: the caller says that a row of this format lies here.
    unsafe {
        match FORMAT {
            BF16 => {
                let pairs = _mm512_loadu_si512(line.cast());
                let upper = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                _mm512_castsi512_ps(if row == 0 { _mm512_slli_epi32::<16>(pairs) } else { upper })
            }
            INT8 => {
                let whole = _mm512_cvtepi8_epi32(_mm_loadu_si128(line.wrapping_add(row * PANEL).cast()));
                _mm512_mul_ps(_mm512_cvtepi32_ps(whole), scales)
            }
            _ => _mm512_loadu_ps(line.cast()),
        }
    }
}
