//! The binary interface between compiled code and the runtime that it runs in.
//!
//! Compiled code is one function, [`Entry`], which every worker calls with its own number. It does:
//!
//! ```text
//! if run.prepared == 0 {                                  // if the program has a prologue
//!     the program's prologue
//!     barrier(run, worker)
//! }
//! for s in 0..run.steps {
//!     if worker == 0 { run.halt = begin_step(run, s) }    // the host fills the input buffers
//!     barrier(run, worker)
//!     if run.halt != 0 { return }
//!     the program's schedule
//!     barrier(run, worker)
//!     if worker == 0 { end_step(run, s) }                 // the host reads the output buffers
//! }
//! ```
//!
//! Code that is compiled with marks also calls `mark(run, worker, number)`: after each step of the schedule that is no
//! loop, with its number in [`crate::plan::Program::leaves`]; after the barrier that ends the schedule, with the number of
//! leaves; and where the schedule begins, with the number after that. So the time since a worker's last mark is the time
//! of what is marked.
//!
//! Library functions never unwind; they report failure through `begin_step`'s result or abort.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use crate::kernel::Format;

/// What compiled code needs to know of its run. The runtime owns it; it outlives the call.
#[repr(C)]
pub struct Run {
    /// The arena: [`crate::plan::Program::arena_bytes`] bytes, 64-byte aligned, zeroed before first use.
    pub arena: *mut u8,
    /// Rounds of the outer loop.
    pub steps: u64,
    /// Set from `begin_step`: non-zero ends the loop on every worker.
    pub halt: u32,
    /// Workers that call the entry.
    pub workers: u32,
    /// Non-zero: an earlier call has run the prologue on the same parameters and left its results in the arena.
    pub prepared: u32,
    /// The runtime's own data, passed through.
    pub host: *mut c_void,
    /// The runtime's own too, passed on to products: [`GemmPlaces::claims`].
    pub claims: *const c_void,
}

/// The compiled function.
pub type Entry = unsafe extern "C" fn(run: *mut Run, worker: u32);

/// The shape of a product, constant in compiled code. Field meanings as in [`crate::kernel::Gemm`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmShape {
    /// 0 NN, 1 NT, 2 TN.
    pub form: u32,
    /// [`format_word`] of the format that A and B are rounded to.
    pub precision: u32,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub parts: u32,
    pub a_stride: u32,
    pub b_stride: u32,
    pub c_stride: u32,
    /// 1: add to C.
    pub accumulate: u32,
    /// 1: B is read from its end, see [`crate::kernel::Gemm::from_end`].
    pub from_end: u32,
    /// 0: B was not packed; otherwise [`format_word`] of its format.
    pub packed: u32,
    /// 0 all by worker 0, 1 rows of C, 2 columns of C: the ranges of [`crate::plan::share`]; 3 columns of C that workers may
    /// take from each other; 4 parts.
    pub split: u32,
}

/// Where a product's operands and results lie.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GemmPlaces {
    pub a: *const f32,
    pub b: *const f32,
    pub c: *mut f32,
    /// Null where all rows are to be multiplied.
    pub prefix: *const u32,
    /// Null where nobody wants them. Under a cut by rows the worker that has the first one writes them.
    pub right_sums: *mut f32,
    /// Null where nobody wants them; otherwise the product is not cut by rows.
    pub squares: *mut f32,
    /// [`Run::claims`]: by which workers may take columns of a product from each other where its split allows it. Null:
    /// each computes its own.
    pub claims: *const c_void,
}

impl GemmPlaces {
    /// Of a product of all rows that sums nothing beside.
    pub fn plain(a: *const f32, b: *const f32, c: *mut f32) -> Self {
        Self { a, b, c, prefix: null(), right_sums: null_mut(), squares: null_mut(), claims: null() }
    }
}

/// The shape of a packing, constant in compiled code. Field meanings as in [`crate::kernel::Pack`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackShape {
    /// 0 NN, 1 NT.
    pub form: u32,
    pub k: u32,
    pub n: u32,
    pub b_stride: u32,
    /// [`format_word`] of the format.
    pub format: u32,
    /// 0 all by worker 0, 2 columns.
    pub split: u32,
}

/// A format in a shape: 1 f32, 2 bf16, 3 int8.
pub fn format_word(format: Format) -> u32 {
    match format {
        Format::F32 => 1,
        Format::Bf16 => 2,
        Format::Int8 => 3,
    }
}

/// The shape of a scatter, constant in compiled code. Field meanings as in [`crate::kernel::Scatter`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterShape {
    /// 0 into a table of zeros, 1 into the table as it is, 2 combined: see [`crate::kernel::Gather`].
    pub gather: u32,
    pub count: u32,
    pub rows: u32,
    pub n: u32,
    pub g_stride: u32,
    /// 0 all by worker 0, 2 columns.
    pub split: u32,
}

/// The shape of a search for distinct ids, constant in compiled code. Field meanings as in [`crate::kernel::Distinct`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DistinctShape {
    pub len: u32,
    pub rows: u32,
}

/// The functions that compiled code calls. `worker` and `workers` select the caller's share.
#[derive(Clone, Copy)]
pub struct Library {
    pub gemm:
        unsafe extern "C" fn(shape: *const GemmShape, places: *const GemmPlaces, worker: u32, workers: u32),
    pub pack:
        unsafe extern "C" fn(shape: *const PackShape, b: *const f32, to: *mut f32, worker: u32, workers: u32),
    pub scatter: unsafe extern "C" fn(
        shape: *const ScatterShape,
        ids: *const u32,
        g: *const f32,
        table: *mut f32,
        worker: u32,
        workers: u32,
    ),
    /// Called by worker 0 alone. `ranks` and `present` are null where nobody wants them.
    pub distinct: unsafe extern "C" fn(
        shape: *const DistinctShape,
        ids: *const u32,
        places: *mut u32,
        distinct: *mut u32,
        count: *mut u32,
        ranks: *mut u32,
        present: *mut f32,
    ),
    pub barrier: unsafe extern "C" fn(run: *mut Run, worker: u32),
    /// Non-zero: stop before this step.
    pub begin_step: unsafe extern "C" fn(run: *mut Run, step: u64) -> u32,
    pub end_step: unsafe extern "C" fn(run: *mut Run, step: u64),
    /// [`crate::scalar::random_key`] of the run's seed, the current update's number and this stream.
    pub random_key: unsafe extern "C" fn(run: *mut Run, stream: u32) -> u32,
    pub mark: unsafe extern "C" fn(run: *mut Run, worker: u32, number: u32),
}
