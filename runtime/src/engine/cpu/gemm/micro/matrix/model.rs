//! A software model of Intel's AMX, as far as products of `bf16` use it: every machine can run it, and the hardware is compared with
//! it. What the hardware would refuse with a fault, the model refuses with a panic.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBF16PS.

use std::cell::RefCell;

use lstmc_compiler::kernel::bf16_value;

use super::{Config, MatrixUnit, SIDE, TILE, Unit, configure, parts, squares};

const TILES: usize = 8;

/// The model's instructions.
pub struct Model;

pub static UNIT: MatrixUnit = MatrixUnit {
    name: "a model of AMX",
    configure: configure::<Model>,
    release: Model::release,
    squares: squares!(Model),
    by_row: [parts::left::<0>, parts::left::<1>, parts::left::<2>],
    by_column: [parts::left::<0>, parts::left::<1>, parts::left::<2>],
    panels: [parts::panels::<0>, parts::panels::<1>, parts::panels::<2>],
    interleave: [parts::interleave::<0>, parts::interleave::<1>, parts::interleave::<2>],
    multiply_add: |_| 0.0,
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

    fn each_word(&mut self, tile: usize, mut f: impl FnMut(usize, usize, &mut u32)) {
        let (rows, words) = self.size(tile);
        for row in 0..rows {
            for word in 0..words {
                f(row, word, &mut self.words[tile][row * SIDE + word]);
            }
        }
    }
}

/// With subnormal numbers made zero.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

/// The lower or upper half of a word as a number.
#[inline(always)]
fn half(word: u32, upper: usize) -> f32 {
    flushed(bf16_value((word >> (16 * upper)) as u16))
}

/// A row of A times B: in each column two chains of sums, and the sum of both.
#[inline(always)]
fn row_of(a: &[u32], b: &[u32; TILE]) -> [f32; SIDE] {
    let mut chains = [[0.0f32; SIDE]; 2];
    for (&a, b) in a.iter().zip(b.chunks_exact(SIDE)) {
        for (upper, sums) in chains.iter_mut().enumerate() {
            let a = half(a, upper);
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = flushed(a.mul_add(half(b, upper), *sum));
            }
        }
    }
    std::array::from_fn(|j| flushed(chains[0][j] + chains[1][j]))
}

/// [`row_of`], in which a multiply-add is a call of a function where the processor's baseline has no instruction for it.
#[cfg(target_arch = "x86_64")]
fn row(a: &[u32], b: &[u32; TILE]) -> [f32; SIDE] {
    #[target_feature(enable = "avx2,fma")]
    fn in_vectors(a: &[u32], b: &[u32; TILE]) -> [f32; SIDE] {
        row_of(a, b)
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the instructions.
        return unsafe { in_vectors(a, b) };
    }
    row_of(a, b)
}

#[cfg(not(target_arch = "x86_64"))]
fn row(a: &[u32], b: &[u32; TILE]) -> [f32; SIDE] {
    row_of(a, b)
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
            // SAFETY: the caller has these rows.
            state.each_word(T, |row, word, to| unsafe {
                *to = at.add(row * apart + 4 * word).cast::<u32>().read_unaligned();
            });
        });
    }

    unsafe fn store<const T: usize>(at: *mut u8, apart: usize) {
        STATE.with_borrow_mut(|state| {
            // SAFETY: the caller has these rows.
            state.each_word(T, |row, word, from| unsafe {
                at.add(row * apart + 4 * word).cast::<u32>().write_unaligned(*from);
            });
        });
    }

    unsafe fn multiply_add<const C: usize, const A: usize, const B: usize>() {
        STATE.with_borrow_mut(|state| {
            let ((m, n), (rows, k), (pairs, columns)) = (state.size(C), state.size(A), state.size(B));
            assert!(rows == m && pairs == k && columns == n, "tiles that do not fit each other");
            for i in 0..m {
                let a: [u32; SIDE] = std::array::from_fn(|p| state.words[A][i * SIDE + p]);
                let sums = row(&a[..k], &state.words[B]);
                for (c, sum) in state.words[C][i * SIDE..][..n].iter_mut().zip(sums) {
                    *c = flushed(flushed(f32::from_bits(*c)) + sum).to_bits();
                }
            }
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
        assert_eq!(half(0x0040, 0), 0.0, "A");
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
