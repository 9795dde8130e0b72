//! What lstmc calls of cuBLASLt (`cublasLt.h`), over the host's memory: the double of the library in tests.
//!
//! It multiplies as the library's reference says, column after column, in `f32` and without rounding, and stops the process at a
//! call that a real library would answer with wrong numbers. For a contraction of [`UNKNOWN`] it has no algorithm.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicIsize, Ordering};

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 7;

const R_32F: c_int = 0;
const FAST_16BF: c_int = 75;
const FAST_TF32: c_int = 77;

/// A contraction for which there is no algorithm.
pub const UNKNOWN: u64 = 13;

/// What an algorithm of this library begins with.
const ALGORITHM: u64 = 0x6c73_746d_6321;

/// How many objects have been made and not destroyed.
static LIVING: AtomicIsize = AtomicIsize::new(0);

#[repr(C)]
struct Handle;

#[repr(C)]
struct Description {
    transposed: [bool; 2],
}

#[repr(C)]
struct Layout {
    rows: u64,
    columns: u64,
    leading: i64,
}

impl Layout {
    /// The element of `op` of a matrix at a place.
    fn element(&self, transposed: bool, row: u64, column: u64) -> usize {
        let (row, column) = if transposed { (column, row) } else { (row, column) };
        assert!(row < self.rows && column < self.columns, "outside the matrix");
        (row + column * self.leading as u64) as usize
    }

    fn shape(&self, transposed: bool) -> [u64; 2] {
        if transposed { [self.columns, self.rows] } else { [self.rows, self.columns] }
    }
}

/// What is wanted of an algorithm, before anything is set what the library's reference says.
#[repr(C)]
struct Preference {
    workspace: u64,
    reductions: u32,
    /// Of A, B, C and D.
    alignments: [u32; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Algorithm {
    data: [u64; 8],
}

#[repr(C)]
struct Found {
    algorithm: Algorithm,
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

fn make<T>(to: *mut *mut T, value: T) -> c_int {
    LIVING.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller gives a place for a pointer.
    unsafe { to.write(Box::into_raw(Box::new(value))) };
    SUCCESS
}

fn destroy<T>(at: *mut T) -> c_int {
    LIVING.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: the caller gives what `make` has made, once.
    drop(unsafe { Box::from_raw(at) });
    SUCCESS
}

/// A number of an attribute.
fn number<T: Copy>(from: *const c_void, size: usize) -> T {
    assert_eq!(size, size_of::<T>(), "an attribute of another size");
    // SAFETY: the caller gives a number of this size.
    unsafe { from.cast::<T>().read_unaligned() }
}

/// For tests: how many objects have been made and not destroyed.
#[unsafe(no_mangle)]
extern "C" fn stub_living() -> isize {
    LIVING.load(Ordering::Relaxed)
}

/// As old as `STUB_VERSION` says.
#[unsafe(no_mangle)]
extern "C" fn cublasLtGetVersion() -> usize {
    std::env::var("STUB_VERSION").map_or(120_000, |version| version.parse().expect("a version"))
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtCreate(to: *mut *mut Handle) -> c_int {
    make(to, Handle)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtDestroy(at: *mut Handle) -> c_int {
    destroy(at)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulDescCreate(to: *mut *mut Description, compute: c_int, scale: c_int) -> c_int {
    if ![FAST_16BF, FAST_TF32].contains(&compute) || scale != R_32F {
        return INVALID_VALUE;
    }
    make(to, Description { transposed: [false; 2] })
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulDescDestroy(at: *mut Description) -> c_int {
    destroy(at)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulDescSetAttribute(
    at: *mut Description,
    attribute: c_int,
    value: *const c_void,
    size: usize,
) -> c_int {
    let operand = match attribute {
        3 => 0,
        4 => 1,
        _ => return INVALID_VALUE,
    };
    let operation: i32 = number(value, size);
    assert!([0, 1].contains(&operation), "neither as it lies nor transposed");
    // SAFETY: the caller gives a description.
    unsafe { (*at).transposed[operand] = operation == 1 };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatrixLayoutCreate(
    to: *mut *mut Layout,
    element: c_int,
    rows: u64,
    columns: u64,
    leading: i64,
) -> c_int {
    if element != R_32F || leading < rows as i64 {
        return INVALID_VALUE;
    }
    make(to, Layout { rows, columns, leading })
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatrixLayoutDestroy(at: *mut Layout) -> c_int {
    destroy(at)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulPreferenceCreate(to: *mut *mut Preference) -> c_int {
    make(to, Preference { workspace: 0, reductions: 7, alignments: [256; 4] })
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulPreferenceDestroy(at: *mut Preference) -> c_int {
    destroy(at)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulPreferenceSetAttribute(
    at: *mut Preference,
    attribute: c_int,
    value: *const c_void,
    size: usize,
) -> c_int {
    // SAFETY: the caller gives a preference.
    let preference = unsafe { &mut *at };
    match attribute {
        1 => preference.workspace = number(value, size),
        3 => preference.reductions = number(value, size),
        5..=8 => preference.alignments[attribute as usize - 5] = number(value, size),
        _ => return INVALID_VALUE,
    }
    SUCCESS
}

/// Finds the one algorithm that there is. It keeps the alignments that it was found for.
#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    handle: *mut Handle,
    description: *const Description,
    a: *const Layout,
    b: *const Layout,
    c: *const Layout,
    d: *const Layout,
    preference: *const Preference,
    wanted: c_int,
    to: *mut Found,
    count: *mut c_int,
) -> c_int {
    assert!(!handle.is_null() && wanted == 1);
    // SAFETY: the caller gives what was made here, and places for a result and a number.
    let (transposed, a, b, c, d, preference) =
        unsafe { ((*description).transposed, &*a, &*b, &*c, &*d, &*preference) };
    assert!(preference.reductions == 0 && preference.workspace == 0, "sums in some order");
    let ([m, k], [depth, n]) = (a.shape(transposed[0]), b.shape(transposed[1]));
    assert!(k == depth && [m, n] == c.shape(false) && [m, n] == d.shape(false), "shapes do not match");
    let [a, b, c, d] = preference.alignments.map(u64::from);
    let algorithm = Algorithm { data: [ALGORITHM, m, n, k, a, b, c, d] };
    let found = i32::from(k != UNKNOWN);
    // SAFETY: as above.
    unsafe {
        count.write(found);
        if found > 0 {
            to.write(Found { algorithm, workspace: 0, state: SUCCESS, waves: 1.0, reserved: [0; 4] });
        }
    }
    SUCCESS
}

/// `D = alpha op(A) op(B) + beta C`. C is not read if beta is 0.
#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmul(
    handle: *mut Handle,
    description: *const Description,
    alpha: *const f32,
    at_a: *const f32,
    a: *const Layout,
    at_b: *const f32,
    b: *const Layout,
    beta: *const f32,
    at_c: *const f32,
    c: *const Layout,
    at_d: *mut f32,
    d: *const Layout,
    algorithm: *const Algorithm,
    workspace: *mut c_void,
    workspace_size: usize,
    _stream: *mut c_void,
) -> c_int {
    assert!(!handle.is_null() && workspace.is_null() && workspace_size == 0);
    // SAFETY: the caller gives what was made here, and numbers.
    let (transposed, alpha, beta, a, b, c, d, algorithm) =
        unsafe { ((*description).transposed, *alpha, *beta, &*a, &*b, &*c, &*d, (*algorithm).data) };
    let ([m, k], [_, n]) = (a.shape(transposed[0]), b.shape(transposed[1]));
    assert_eq!(algorithm[..4], [ALGORITHM, m, n, k], "an algorithm for something else");
    let addresses = [at_a.addr(), at_b.addr(), at_c.addr(), at_d.addr()];
    for (address, alignment) in addresses.into_iter().zip(&algorithm[4..]) {
        assert!(
            (address as u64).is_multiple_of(*alignment),
            "an algorithm for matrices that begin elsewhere"
        );
    }
    for column in 0..n {
        for row in 0..m {
            let product = |at: u64| {
                let (left, right) = (a.element(transposed[0], row, at), b.element(transposed[1], at, column));
                // SAFETY: the caller's matrices are as large as their layouts say.
                unsafe { *at_a.add(left) * *at_b.add(right) }
            };
            let sum = alpha * (0..k).map(product).sum::<f32>();
            let before = match beta {
                0.0 => 0.0,
                // SAFETY: as above.
                _ => unsafe { beta * *at_c.add(c.element(false, row, column)) },
            };
            // SAFETY: as above.
            unsafe { at_d.add(d.element(false, row, column)).write(sum + before) };
        }
    }
    SUCCESS
}
