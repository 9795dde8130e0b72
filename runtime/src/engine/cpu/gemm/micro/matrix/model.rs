//! A software model of Intel's AMX, as far as products of `bf16` use it: every machine can run it, and the hardware is compared with
//! it. What the hardware would refuse with a fault, the model refuses with a panic.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBF16PS.

use std::cell::RefCell;

use lstmc_compiler::kernel::bf16_value;

use crate::engine::cpu::workers::FlushToZero;

use super::{Config, MatrixUnit, SIDE, TILE, Unit, configure, multiply_add, parts, squares};

const TILES: usize = 8;

/// The model's instructions.
pub struct Model;

pub static UNIT: MatrixUnit = PLAIN;

/// With operands laid out by plain code.
pub const PLAIN: MatrixUnit = MatrixUnit {
    name: "a model of AMX",
    configure: configure::<Model>,
    release: Model::release,
    squares: squares!(Model),
    by_row: [parts::left::<0>, parts::left::<1>, parts::left::<2>],
    by_column: [parts::left::<0>, parts::left::<1>, parts::left::<2>],
    panels: [parts::panels::<0>, parts::panels::<1>, parts::panels::<2>],
    interleave: [parts::interleave::<0>, parts::interleave::<1>, parts::interleave::<2>],
    multiply_add: multiply_add::<Model>,
};

/// A thread's tiles.
struct State {
    /// Rows and bytes of a row; none before they are configured.
    sizes: Option<[(usize, usize); TILES]>,
    words: [[u32; TILE]; TILES],
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State { sizes: None, words: [[0; TILE]; TILES] }) };
}

impl State {
    /// Rows and words of a row.
    fn size(&self, tile: usize) -> (usize, usize) {
        let sizes = self.sizes.expect("tiles are used that were not configured");
        let (rows, bytes) = sizes[tile];
        assert!(rows > 0, "tile {tile} has no rows");
        (rows, bytes / 4)
    }

    fn each_row(&mut self, tile: usize, mut f: impl FnMut(usize, &mut [u32])) {
        let (rows, words) = self.size(tile);
        for (row, of_row) in self.words[tile].chunks_exact_mut(SIDE).enumerate().take(rows) {
            f(row, &mut of_row[..words]);
        }
    }
}

/// With subnormal numbers made zero.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

/// The lower and the upper halves of a tile's words as numbers.
#[inline(always)]
fn halves(words: &[u32; TILE], flushed: impl Fn(f32) -> f32) -> [[f32; TILE]; 2] {
    let mut halves = [[0.0; TILE]; 2];
    for (half, shift) in halves.iter_mut().zip([0, 16]) {
        for (half, word) in half.iter_mut().zip(words) {
            *half = flushed(bf16_value((word >> shift) as u16));
        }
    }
    halves
}

fn row(tile: &[f32; TILE], row: usize) -> &[f32; SIDE] {
    tile[row * SIDE..].first_chunk().expect("a row of the tile")
}

/// Rows of A that are multiplied side by side, so that their sums need not wait for each other.
const ROWS: usize = 8;

/// Adds the product of A's first `m` rows, of so many pairs, and B to C: in each element two chains of sums, then the sum of both.
/// `flushed` is done to every number. What the tiles hold beyond their sizes does no harm.
#[inline(always)]
fn add_product(
    c: &mut [u32; TILE],
    (a, b): (&[u32; TILE], &[u32; TILE]),
    m: usize,
    pairs: usize,
    flushed: impl Copy + Fn(f32) -> f32,
) {
    let (a, b) = (halves(a, flushed), halves(b, flushed));
    for first in (0..m).step_by(ROWS) {
        let mut chains = [[[0.0f32; SIDE]; ROWS]; 2];
        for ((sums, a), b) in chains.iter_mut().zip(&a).zip(&b) {
            let rows: [&[f32; SIDE]; ROWS] = std::array::from_fn(|i| row(a, first + i));
            for p in 0..pairs.min(SIDE) {
                let b = row(b, p);
                for (sums, a) in sums.iter_mut().zip(rows) {
                    *sums = std::array::from_fn(|j| flushed(a[p].mul_add(b[j], sums[j])));
                }
            }
        }
        let [lower, upper] = chains;
        for (i, c) in c[first * SIDE..].chunks_exact_mut(SIDE).enumerate().take(ROWS) {
            for (j, c) in c.iter_mut().enumerate() {
                let sum = flushed(lower[i][j] + upper[i][j]);
                *c = flushed(flushed(f32::from_bits(*c)) + sum).to_bits();
            }
        }
    }
}

/// [`add_product`]. Where the processor's vectors multiply and add, they do it here, and it flushes.
#[cfg(target_arch = "x86_64")]
fn add(c: &mut [u32; TILE], operands: (&[u32; TILE], &[u32; TILE]), m: usize, pairs: usize) {
    // Not inlined: all of it has to be between the two changes of how the processor treats subnormal numbers.
    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    fn wide(c: &mut [u32; TILE], operands: (&[u32; TILE], &[u32; TILE]), m: usize, pairs: usize) {
        add_product(c, operands, m, pairs, |x| x);
    }
    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    fn narrow(c: &mut [u32; TILE], operands: (&[u32; TILE], &[u32; TILE]), m: usize, pairs: usize) {
        add_product(c, operands, m, pairs, |x| x);
    }
    let _flushing = FlushToZero::set();
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the instructions.
        unsafe { wide(c, operands, m, pairs) }
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the instructions.
        unsafe { narrow(c, operands, m, pairs) }
    } else {
        add_product(c, operands, m, pairs, flushed);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn add(c: &mut [u32; TILE], operands: (&[u32; TILE], &[u32; TILE]), m: usize, pairs: usize) {
    add_product(c, operands, m, pairs, flushed);
}

impl Unit for Model {
    unsafe fn configure(config: &Config) {
        assert_eq!((config.palette, config.start_row), (1, 0), "palette");
        assert!(config.reserved.iter().all(|&byte| byte == 0), "reserved bytes");
        let sizes = std::array::from_fn(|tile| {
            let (rows, bytes) = (config.rows[tile].into(), config.row_bytes[tile].into());
            assert!(rows <= SIDE && bytes <= 4 * SIDE && (rows == 0) == (bytes == 0), "tile {tile}");
            (rows, bytes)
        });
        assert!(config.rows[TILES..].iter().all(|&rows| rows == 0), "there are {TILES} tiles");
        STATE.set(State { sizes: Some(sizes), words: [[0; TILE]; TILES] });
    }

    unsafe fn release() {
        STATE.with_borrow_mut(|state| state.sizes = None);
    }

    unsafe fn zero<const T: usize>() {
        STATE.with_borrow_mut(|state| {
            state.size(T);
            state.words[T] = [0; TILE];
        });
    }

    unsafe fn load<const T: usize>(at: *const u8, apart: usize) {
        STATE.with_borrow_mut(|state| {
            state.each_row(T, |row, to| {
                let from = at.wrapping_add(row * apart);
                // SAFETY: the caller has these rows.
                unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr().cast(), 4 * to.len()) };
            });
        });
    }

    unsafe fn store<const T: usize>(at: *mut u8, apart: usize) {
        STATE.with_borrow_mut(|state| {
            state.each_row(T, |row, from| {
                let to = at.wrapping_add(row * apart);
                // SAFETY: the caller has these rows.
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr().cast(), to, 4 * from.len()) };
            });
        });
    }

    unsafe fn multiply_add<const C: usize, const A: usize, const B: usize>() {
        STATE.with_borrow_mut(|state| {
            let ((m, n), (height, k), (pairs, columns)) = (state.size(C), state.size(A), state.size(B));
            assert!(height == m && pairs == k && columns == n, "tiles that do not fit each other");
            let mut c = state.words[C];
            add(&mut c, (&state.words[A], &state.words[B]), m, k);
            state.each_row(C, |row, to| to.copy_from_slice(&c[row * SIDE..][..to.len()]));
        });
    }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::kernel::bf16_bits;

    use super::*;

    /// Rows and pairs of A, and columns of B, which is a tile as tall as A is wide.
    struct Sizes {
        rows: u8,
        pairs: u16,
        columns: u16,
    }

    fn configure(Sizes { rows, pairs, columns }: Sizes) {
        let mut config = Config::of_square([0; 2]);
        (config.rows, config.row_bytes) = ([0; 16], [0; 16]);
        for (tile, rows, words) in [(0, rows, columns), (4, rows, pairs), (6, pairs as u8, columns)] {
            (config.rows[tile], config.row_bytes[tile]) = (rows, 4 * words);
        }
        // SAFETY: the model is there.
        unsafe { Model::configure(&config) };
    }

    fn word(first: f32, second: f32) -> u32 {
        u32::from(bf16_bits(first)) | u32::from(bf16_bits(second)) << 16
    }

    /// One element of C after products of pairs.
    fn element(c: f32, pairs: &[[[f32; 2]; 2]]) -> f32 {
        configure(Sizes { rows: 1, pairs: pairs.len() as u16, columns: 1 });
        let [a, b] = [0, 1]
            .map(|side| pairs.iter().map(|pair| word(pair[side][0], pair[side][1])).collect::<Vec<_>>());
        let mut c = c;
        // SAFETY: each tile has as many rows and words as there are.
        unsafe {
            Model::load::<0>((&raw const c).cast(), 4);
            Model::load::<4>(a.as_ptr().cast(), 4 * a.len());
            Model::load::<6>(b.as_ptr().cast(), 4);
            Model::multiply_add::<0, 4, 6>();
            Model::store::<0>((&raw mut c).cast(), 4);
        }
        c
    }

    #[test]
    fn sums_go_down_two_chains_that_meet_at_the_end() {
        let big = f32::powi(2.0, 30);
        // Down one chain the one is lost beside the large number; in the other it waits for the end.
        assert_eq!(
            element(0.0, &[[[big, 0.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], [[-big, 0.0], [1.0, 0.0]]]),
            0.0
        );
        assert_eq!(
            element(0.0, &[[[big, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]], [[-big, 0.0], [1.0, 0.0]]]),
            1.0
        );
        // What was in C is added last.
        assert_eq!(element(1.0, &[[[big, 0.0], [1.0, 0.0]], [[-big, 0.0], [1.0, 0.0]]]), 1.0);
        assert_eq!(element(2.0, &[[[3.0, 5.0], [7.0, 11.0]]]), 2.0 + 21.0 + 55.0);
    }

    #[test]
    fn subnormal_numbers_are_zero() {
        let (least, tiny) = (f32::MIN_POSITIVE, f32::MIN_POSITIVE / 2.0);
        assert_eq!(element(tiny, &[[[0.0; 2]; 2]]), 0.0, "C");
        // As bits: rounding to bf16 would make it zero already.
        assert_eq!(halves(&[0x0040; TILE], flushed)[0][0], 0.0, "A");
        assert_eq!(element(0.0, &[[[least, 0.0], [0.5, 0.0]]]), 0.0, "the sum");
        assert_eq!(element(0.0, &[[[least, 0.0], [1.0, 0.0]]]), least);
    }

    #[test]
    fn tiles_are_loaded_and_stored_by_rows_that_lie_apart() {
        configure(Sizes { rows: 3, pairs: 2, columns: 5 });
        let from: Vec<u32> = (0..40).collect();
        let mut to = vec![99u32; 40];
        // SAFETY: three rows of five words lie within both.
        unsafe {
            Model::load::<0>(from.as_ptr().cast(), 4 * 9);
            Model::store::<0>(to.as_mut_ptr().cast(), 4 * 7);
        }
        for (at, &word) in to.iter().enumerate() {
            let expected = if at / 7 < 3 && at % 7 < 5 { at / 7 * 9 + at % 7 } else { 99 };
            assert_eq!(word, expected as u32, "word {at}");
        }
    }

    #[test]
    fn configuring_makes_tiles_zero() {
        configure(Sizes { rows: 1, pairs: 1, columns: 1 });
        let mut word = 7u32;
        // SAFETY: the tile is a word.
        unsafe { Model::load::<0>((&raw const word).cast(), 4) };
        configure(Sizes { rows: 1, pairs: 1, columns: 1 });
        // SAFETY: as above.
        unsafe { Model::store::<0>((&raw mut word).cast(), 4) };
        assert_eq!(word, 0);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn tiles_that_do_not_fit_each_other_are_refused() {
        configure(Sizes { rows: 2, pairs: 3, columns: 4 });
        // SAFETY: the model is there.
        unsafe { Model::multiply_add::<0, 6, 4>() };
    }

    #[test]
    #[should_panic(expected = "not configured")]
    fn a_unit_that_was_released_is_refused() {
        // SAFETY: the model is there.
        unsafe {
            Model::release();
            Model::zero::<0>();
        }
    }
}
