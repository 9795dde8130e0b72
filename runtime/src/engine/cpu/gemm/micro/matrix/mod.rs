//! Matrix units: instructions that multiply two-dimensional registers, here called tiles, as Intel's AMX does.
//!
//! [`Unit`] has such a unit's instructions, `square` the loop that is written in them. There is the hardware (`amx`) and a
//! software model of it (`model`), which tests run everywhere and by which the hardware is checked before it is used. `parts` and
//! `avx512_parts` lay operands out for it.
//!
//! A tile has up to 16 rows of 64 bytes. Of A a row has 16 pairs of `bf16` that follow each other along the contraction, of B 16
//! columns of such pairs: what a panel of [`lstmc_compiler::kernel::Format::Bf16`] has. So 16 rows of a panel are a tile of B as they
//! lie. A step of the contraction is one tile of A and one of B: 32 numbers.
//!
//! **Sums.** A tile's products are added to an element of C in two chains, that of the pairs' first numbers and that of their second
//! ones, each from zero and with one rounding for each product; then the two chains to each other, then that to the element, all
//! in `f32`, to nearest, subnormal numbers taken for zero and made zero (Intel SDM, TDPBF16PS). An element starts as zero or as what
//! is in C, and is stored and loaded as it is: what it becomes depends on no block of the contraction that begins where a step does.
//!
//! **Parts.** An `f32` has 24 bits, a `bf16` 8: the number rounded, what this leaves rounded, and what that leaves are three `bf16`
//! whose sum it is. A product of `f32` is a sum of products of parts; which of them are computed is the driver's choice.

#[cfg(target_arch = "x86_64")]
pub mod amx;
pub mod model;
pub mod parts;
mod square;

use std::hint::black_box;

use super::isa::{InterleaveFn, PairFn};
use crate::engine::cpu::gemm::product::Left;

pub use square::Square;

/// Rows of a tile, words of a row, pairs of rows of B in a step.
pub const SIDE: usize = 16;
/// Words of a whole tile.
pub const TILE: usize = SIDE * SIDE;
/// The most parts that a number is taken in.
pub const PARTS: usize = 3;

/// `to[s * apart + i * 16 + w]` becomes one part of the pair of elements (i, 32 s + 2 w) and (i, 32 s + 2 w + 1) of A, for
/// `i < rows <= 16` and all steps `s` of `k` elements; those that are not there are zero.
pub type LeftFn = unsafe fn(from: Left, rows: usize, k: usize, to: *mut f32, apart: usize);

/// [`Square`] with one or two tiles of rows, and of columns.
pub type SquareFn = unsafe fn(&Square);

/// A matrix unit and the functions that lay operands out for it, each for all parts of a number.
pub struct MatrixUnit {
    pub name: &'static str,
    /// Readies the unit on this thread for tiles of so many rows, each at most [`SIDE`].
    pub configure: unsafe fn(rows: [usize; 2]),
    /// Leaves it as it was found.
    pub release: unsafe fn(),
    /// By tiles of rows less one, then by tiles of columns less one.
    pub squares: [[SquareFn; 2]; 2],
    /// Of an A whose rows lie in one piece each.
    pub by_row: [LeftFn; PARTS],
    /// Of an A whose columns do.
    pub by_column: [LeftFn; PARTS],
    /// As [`super::Pairs::panels`].
    pub panels: [PairFn; PARTS],
    /// As [`super::Pairs::interleave`].
    pub interleave: [InterleaveFn; PARTS],
    /// Multiplies and adds tiles for so many rounds, as fast as the unit can; returns the floating-point operations of that.
    pub multiply_add: unsafe fn(rounds: usize) -> f64,
}

/// The instructions of a matrix unit. Tiles are numbered from 0 to 7.
///
/// # Safety
/// Of all of them: the processor has the unit, and the process may use it; but for `configure`, this thread has configured the tiles.
pub trait Unit {
    /// Gives all tiles their sizes, and makes them zero.
    unsafe fn configure(config: &Config);
    /// Ends the use of tiles.
    unsafe fn release();
    unsafe fn zero<const TILE: usize>();
    /// Rows that lie `apart` bytes from one to the next. They must be there.
    unsafe fn load<const TILE: usize>(at: *const u8, apart: usize);
    unsafe fn store<const TILE: usize>(at: *mut u8, apart: usize);
    /// `C += A @ B` of pairs of `bf16`.
    unsafe fn multiply_add<const C: usize, const A: usize, const B: usize>();
}

/// The sizes of tiles, as LDTILECFG reads them.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

const _: () = assert!(size_of::<Config>() == 64);

/// Which tiles hold what in a [`Square`]: element (i, j) of C's tiles is tile `2 i + j`.
const A: [usize; 2] = [4, 5];
const B: [usize; 2] = [6, 7];

impl Config {
    /// For a [`Square`] of two tiles of so many rows each; the second may have none.
    pub fn of_square(rows: [usize; 2]) -> Self {
        let mut config =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let mut set = |tile: usize, rows: usize| {
            (config.rows[tile], config.row_bytes[tile]) = (rows as u8, if rows == 0 { 0 } else { 64 });
        };
        for (i, &rows) in rows.iter().enumerate() {
            debug_assert!(rows <= SIDE);
            set(A[i], rows);
            (0..2).for_each(|j| set(2 * i + j, rows));
        }
        B.into_iter().for_each(|tile| set(tile, SIDE));
        config
    }
}

/// The functions of [`MatrixUnit`] that run on a unit.
macro_rules! squares {
    ($unit:ty) => {
        [
            [
                $crate::engine::cpu::gemm::micro::matrix::square::run::<$unit, 1, 1>,
                $crate::engine::cpu::gemm::micro::matrix::square::run::<$unit, 1, 2>,
            ],
            [
                $crate::engine::cpu::gemm::micro::matrix::square::run::<$unit, 2, 1>,
                $crate::engine::cpu::gemm::micro::matrix::square::run::<$unit, 2, 2>,
            ],
        ]
    };
}
use squares;

/// [`MatrixUnit::configure`] on a unit.
unsafe fn configure<U: Unit>(rows: [usize; 2]) {
    // SAFETY: as the caller promised.
    unsafe { U::configure(&Config::of_square(rows)) }
}

/// Multiplies and adds tiles that are there, in so many rounds, as fast as the unit can; see [`MatrixUnit::multiply_add`].
unsafe fn multiply_add<U: Unit>(rounds: usize) -> f64 {
    let zeros = black_box([0.0f32; TILE]);
    // SAFETY: the caller's promise; the tiles are configured, and there is what they load.
    unsafe {
        U::configure(&Config::of_square([SIDE; 2]));
        U::load::<4>(zeros.as_ptr().cast(), 64);
        U::load::<5>(zeros.as_ptr().cast(), 64);
        U::load::<6>(zeros.as_ptr().cast(), 64);
        U::load::<7>(zeros.as_ptr().cast(), 64);
        for _ in 0..rounds {
            U::multiply_add::<0, 4, 6>();
            U::multiply_add::<1, 4, 7>();
            U::multiply_add::<2, 5, 6>();
            U::multiply_add::<3, 5, 7>();
        }
        U::release();
    }
    (rounds * 4 * 2 * SIDE * SIDE * 2 * SIDE) as f64
}
