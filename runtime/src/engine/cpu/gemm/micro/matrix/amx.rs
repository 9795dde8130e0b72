//! Intel's AMX: eight tiles, configured and multiplied by instructions that are assembled here, as the standard library's functions for
//! them are not stable.
//!
//! Nothing that the compiler generates uses tiles, so what one `asm!` leaves in them is there in the next one, as with other state
//! of the processor that the compiler does not know.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use super::super::isa::Isa;
use super::super::{avx512_bf16, avx512_parts as vectors};

use super::{Config, MatrixUnit, Square, TILE, Unit, configure, model, multiply_add, squares};

/// The instructions.
struct Amx;

static UNIT: MatrixUnit = AMX;

const AMX: MatrixUnit = MatrixUnit {
    name: "amx-bf16",
    configure: configure::<Amx>,
    release: Amx::release,
    squares: squares!(Amx),
    by_row: [vectors::by_row::<0>, vectors::by_row::<1>, vectors::by_row::<2>],
    by_column: [vectors::by_column::<0>, vectors::by_column::<1>, vectors::by_column::<2>],
    panels: [vectors::panels::<0>, vectors::panels::<1>, vectors::panels::<2>],
    interleave: [vectors::interleave::<0>, vectors::interleave::<1>, vectors::interleave::<2>],
    multiply_add: multiply_add::<Amx>,
};

/// The model's tiles, for which operands are laid out as for the unit's.
static MODEL_IN_VECTORS: MatrixUnit = MatrixUnit {
    by_row: AMX.by_row,
    by_column: AMX.by_column,
    panels: AMX.panels,
    interleave: AMX.interleave,
    ..model::PLAIN
};

impl Unit for Amx {
    #[inline(always)]
    unsafe fn configure(config: &Config) {
        // SAFETY: the unit is there, and the palette is one that it has.
        unsafe { asm!("ldtilecfg [{}]", in(reg) config, options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn release() {
        // SAFETY: the unit is there.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn zero<const T: usize>() {
        // SAFETY: the tile is configured.
        unsafe { asm!("tilezero tmm{}", const T, options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn load<const T: usize>(at: *const u8, apart: usize) {
        // SAFETY: the tile is configured, and its rows are there.
        unsafe {
            asm!("tileloadd tmm{}, [{} + {} * 1]", const T, in(reg) at, in(reg) apart,
                options(nostack, preserves_flags, readonly));
        }
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(at: *mut u8, apart: usize) {
        // SAFETY: the tile is configured, and its rows are there.
        unsafe {
            asm!("tilestored [{} + {} * 1], tmm{}", in(reg) at, in(reg) apart, const T,
                options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn multiply_add<const C: usize, const A: usize, const B: usize>() {
        // SAFETY: the tiles are configured and fit each other.
        unsafe {
            asm!("tdpbf16ps tmm{}, tmm{}, tmm{}", const C, const A, const B,
                options(nostack, preserves_flags));
        }
    }
}

static ISA: Isa = avx512_bf16::isa("avx512, amx-bf16", Some(&UNIT));

/// The same instruction set with the model in the place of the unit.
pub static WITH_MODEL: Isa = avx512_bf16::isa("avx512, a model of AMX", Some(&MODEL_IN_VECTORS));

/// The vectors and the unit, if this processor has it, the system lets this process use it, and it computes what the model says.
pub fn isa() -> Option<&'static Isa> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: the processor has the unit, and the process may use it.
    FOUND.get_or_init(|| has_amx() && is_permitted() && unsafe { agrees_with_model() }).then_some(&ISA)
}

/// Whether the processor has tiles, their products of `bf16`, and the vectors that lay out operands.
fn has_amx() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let features = __cpuid_count(7, 0).edx;
    features & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE && has_vectors()
}

/// Whether it has these vectors.
pub fn has_vectors() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// Asks the system to keep the tiles of this process's threads, which are 8 KB more than it keeps otherwise.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

/// Other systems have other ways, which are not known here.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Whether the unit computes what the model does, but for what sums may differ by that are taken in another order: an emulated processor
/// may claim what it does not do.
///
/// # Safety
/// The processor has the unit, and the process may use it.
unsafe fn agrees_with_model() -> bool {
    const ROWS: [usize; 2] = [16, 5];
    const STEPS: usize = 3;
    const COLUMNS: usize = 27;
    // Small whole numbers and eighths: sums are exact in any order, so the results are the same.
    let word = |at: usize| {
        let number = |at: usize| ((at * 37 % 31) as f32 - 15.0) / 8.0;
        f32::from_bits(number(at).to_bits() >> 16 | number(at + 11).to_bits())
    };
    let numbers: Vec<f32> = (0..4 * STEPS * TILE).map(word).collect();
    let (left, right) = numbers.split_at(2 * STEPS * TILE);
    let of = |unit: &MatrixUnit| {
        let mut c = vec![1.0f32; 21 * COLUMNS];
        let square = Square {
            a: [left.as_ptr(), left[STEPS * TILE..].as_ptr()],
            a_parts: 1,
            rows: ROWS,
            b: [right.as_ptr(), right[STEPS * TILE..].as_ptr()],
            b_part: 0,
            steps: STEPS,
            tail: std::ptr::null(),
            products: &[(0, 0)],
            c: c.as_mut_ptr(),
            c_row: COLUMNS,
            columns: COLUMNS,
            add: true,
        };
        // SAFETY: the operands and C are as large as said; the caller's promise is the rest.
        unsafe {
            (unit.configure)(ROWS);
            (unit.squares[1][1])(&square);
            (unit.release)();
        }
        c
    };
    of(&UNIT) == of(&model::UNIT)
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::scalar::random;

    use super::super::SIDE;
    use super::*;

    /// The same products on the unit and on the model, whatever their sizes.
    #[test]
    fn the_unit_does_as_the_model() {
        if isa().is_none() {
            eprintln!("skipped: this processor has no AMX, or the system does not let it be used");
            return;
        }
        const STEPS: usize = 5;
        let words = |key| -> Vec<f32> {
            let half =
                |i| ((random(key, i) * 2.0 - 1.0).to_bits() >> 16, (random(key + 1, i) - 0.5).to_bits());
            let word = |(low, high): (u32, u32)| f32::from_bits(low | high & 0xffff_0000);
            (0..2 * STEPS * TILE).map(|i| word(half(i as u32))).collect()
        };
        let (left, right) = (words(1), words(3));
        for (rows, columns) in [([16, 16], 32), ([16, 1], 17), ([7, 0], 16), ([3, 0], 32), ([10, 10], 9)] {
            let of = |unit: &MatrixUnit| {
                let count = (rows[0] + rows[1]) * columns;
                let mut c: Vec<f32> = (0..count).map(|i| random(5, i as u32)).collect();
                let square = Square {
                    a: [left.as_ptr(), left[STEPS * TILE..].as_ptr()],
                    a_parts: 1,
                    rows,
                    b: [right.as_ptr(), right[STEPS * TILE..].as_ptr()],
                    b_part: 0,
                    steps: STEPS,
                    tail: right[TILE..].as_ptr(),
                    products: &[(0, 0)],
                    c: c.as_mut_ptr(),
                    c_row: columns,
                    columns,
                    add: true,
                };
                let kernel = unit.squares[usize::from(rows[1] > 0)][usize::from(columns > SIDE)];
                // SAFETY: the operands and C are as large as said, and the unit is there.
                unsafe {
                    (unit.configure)(rows);
                    kernel(&square);
                    (unit.release)();
                }
                c
            };
            // Each of the sums of 160 products below 1 rounds by at most 2^-24 of 160.
            let bound = 2.0 * 161.0 * 160.0 * f64::powi(2.0, -24);
            for (at, (found, expected)) in of(&UNIT).into_iter().zip(of(&model::UNIT)).enumerate() {
                let apart = (f64::from(found) - f64::from(expected)).abs();
                assert!(apart <= bound, "{rows:?} {columns}: {found} at {at}, not {expected}");
            }
        }
    }
}
