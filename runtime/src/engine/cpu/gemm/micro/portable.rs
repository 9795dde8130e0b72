//! Plain loops over arrays, which the compiler turns into the baseline's vectors.

use lstmc_compiler::kernel::PANEL;

use super::isa::{Isa, Tile, Tiles, heights};
use super::matrix::MatrixUnit;
use crate::engine::cpu::gemm::product::Panels;
use crate::engine::cpu::gemm::product::Product;
use crate::engine::cpu::gemm::stream;
use crate::engine::cpu::gemm::{direct, dots, fused_sums};

/// Whether the baseline multiplies and adds in one instruction; elsewhere `mul_add` is a call.
const FUSED: bool = cfg!(target_arch = "aarch64");

/// Every 64-bit ARM has NEON, and compilers use it for plain loops.
const NAME: &str = if cfg!(target_arch = "aarch64") { "neon" } else { "portable" };

pub static ISA: Isa = isa(NAME, None);

/// With a model of a matrix unit: what can be run everywhere in the place of a processor that has one.
pub static WITH_MODEL: Isa = isa(super::matrix::model::UNIT.name, Some(&super::matrix::model::UNIT));

const fn isa(name: &'static str, matrix: Option<&'static MatrixUnit>) -> Isa {
    Isa {
        name,
        numbers: NAME,
        lanes: 4,
        k_block: 384,
        tiles: Tiles {
            // Sixteen registers of four lanes hold two rows of a panel, thirty-two six.
            #[cfg(not(target_arch = "aarch64"))]
            heights: heights![copying: 1 x 2, 2 x 1],
            #[cfg(target_arch = "aarch64")]
            heights: heights![copying: 1 x 4, 2 x 2, 3 x 2, 4 x 1, 5 x 1, 6 x 1],
            tall: &[],
        },
        pairs: None,
        matrix,
        interleave,
        direct,
        dots,
        stream,
        squares,
    }
}

unsafe fn tile<
    const ROWS: usize,
    const PANELS: usize,
    const BY_COLUMN: bool,
    const COPIES: bool,
    const SUMS: bool,
>(
    t: &Tile,
) {
    let (a_row, a_step) = if BY_COLUMN { (1, t.a_apart) } else { (t.a_apart, 1) };
    let mut sums = [[[0.0f32; PANEL]; PANELS]; ROWS];
    let mut totals = [[0.0f32; PANEL]; PANELS];
    let (mut a, mut b, mut copy) = (t.a, t.b, t.copy);
    let (b_row, b_panel) = if COPIES { (t.b_row, PANEL) } else { (PANEL, t.b_panel) };
    for _ in 0..t.k {
        for panel in 0..PANELS {
            // SAFETY: B has PANELS panels of k rows of PANEL elements.
            let columns: &[f32; PANEL] = unsafe { &*b.add(panel * b_panel).cast() };
            if COPIES {
                // SAFETY: and there is room for as many.
                unsafe { *copy.add(panel * t.k * PANEL).cast() = *columns };
            }
            if SUMS {
                totals[panel].iter_mut().zip(columns).for_each(|(total, value)| *total += value);
            }
            for i in 0..ROWS {
                // SAFETY: A has ROWS rows of k elements.
                let row = unsafe { *a.add(i * a_row) };
                let sums = &mut sums[i][panel];
                for j in 0..PANEL {
                    sums[j] =
                        if FUSED { row.mul_add(columns[j], sums[j]) } else { row * columns[j] + sums[j] };
                }
            }
        }
        a = a.wrapping_add(a_step);
        b = b.wrapping_add(b_row);
        copy = copy.wrapping_add(PANEL);
    }
    if SUMS {
        // SAFETY: there is a sum for each column of these panels.
        let to = unsafe { std::slice::from_raw_parts_mut(t.sums, PANELS * PANEL) };
        for (to, &total) in to.iter_mut().zip(totals.as_flattened()) {
            *to = if t.add_sums { *to + total } else { total };
        }
    }
    for (i, row) in sums.iter().enumerate() {
        // SAFETY: C has `columns` columns in each row.
        let c = unsafe { std::slice::from_raw_parts_mut(t.c.add(i * t.c_row), t.columns) };
        for (c, &sum) in c.iter_mut().zip(row.as_flattened()) {
            *c = if t.add { *c + sum } else { sum };
        }
    }
}

unsafe fn direct(p: &Product, b: *const f32, apart: usize) {
    // SAFETY: as the caller promised.
    unsafe { direct::run::<FUSED>(p, b, apart) };
}

unsafe fn dots(p: &Product, b: *const f32, apart: usize) {
    // SAFETY: as the caller promised.
    unsafe { dots::run::<FUSED>(p, b, apart) };
}

unsafe fn squares(c: *const f32, c_row: usize, rows: usize, width: usize, to: *mut f32, add: bool) {
    // SAFETY: as the caller promised.
    unsafe { fused_sums::squares::<FUSED>(c, c_row, rows, width, to, add) };
}

unsafe fn stream(p: &Product, b: Panels) {
    // SAFETY: as the caller promised.
    unsafe { stream::run::<FUSED>(p, b) };
}

pub unsafe fn interleave(from: *const f32, row: usize, rows: usize, k: usize, to: *mut f32, apart: usize) {
    for p in 0..k {
        for i in 0..rows {
            // SAFETY: `from` holds `rows` rows of k elements, and `to` as many columns.
            unsafe { *to.add(p * apart + i) = *from.add(i * row + p) };
        }
        if apart == PANEL {
            for i in rows..PANEL {
                // SAFETY: a row of a panel has PANEL elements.
                unsafe { *to.add(p * apart + i) = 0.0 };
            }
        }
    }
}
