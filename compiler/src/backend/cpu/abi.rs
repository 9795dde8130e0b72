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
//! Code that is compiled with probes also calls `probe(run, worker, number)`: after each task of the schedule that is no
//! loop, with its number in [`crate::plan::Program::leaves`]; after the barrier that ends the schedule, with the number of
//! leaves; and where the schedule begins, with the number after that. So the time since a worker's last probe is the time
//! of what has this number.
//!
//! Library functions never unwind; they report failure through `begin_step`'s result or abort.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use crate::kernel;
use crate::plan::Split;

/// What compiled code needs to know of its run. The runtime owns it; it outlives the call.
#[repr(C)]
pub struct Run {
    /// The arena: [`crate::plan::Program::arena_bytes`] bytes, 64-byte aligned, zeroed before first use.
    pub arena: *mut u8,
    /// Steps to run.
    pub steps: u64,
    /// Set from `begin_step`: non-zero ends the loop on every worker.
    pub halt: u32,
    /// Workers that call the entry.
    pub workers: u32,
    /// Non-zero: an earlier call has run the prologue on the same parameters and left its results in the arena.
    pub prepared: u32,
    /// The runtime's own data, passed through.
    pub host: *mut c_void,
    /// The runtime's own too, passed on to products: [`GemmPlaces::queues`].
    pub queues: *const c_void,
}

/// The compiled function.
pub type Entry = unsafe extern "C" fn(run: *mut Run, worker: u32);

/// An enumeration of `kernel` as a word of a shape.
macro_rules! word {
    ($name:ident { $($variant:ident),* }) => {
        #[doc = concat!("[`kernel::", stringify!($name), "`]")]
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($variant,)*
        }

        impl From<kernel::$name> for $name {
            fn from(value: kernel::$name) -> Self {
                match value {
                    $(kernel::$name::$variant => $name::$variant,)*
                }
            }
        }

        impl From<$name> for kernel::$name {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$variant => kernel::$name::$variant,)*
                }
            }
        }
    };
}

word!(Form { NN, NT, TN });

/// How a product rounds its operands.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
    Bf16x3,
    Bf16x6,
}

impl From<kernel::Precision> for Precision {
    /// A CPU multiplies `tf32` in `f32`.
    fn from(precision: kernel::Precision) -> Self {
        match precision {
            kernel::Precision::F32 | kernel::Precision::Tf32 => Precision::F32,
            kernel::Precision::Bf16 => Precision::Bf16,
            kernel::Precision::Bf16x3 => Precision::Bf16x3,
            kernel::Precision::Bf16x6 => Precision::Bf16x6,
        }
    }
}

impl From<Precision> for kernel::Precision {
    fn from(word: Precision) -> Self {
        match word {
            Precision::F32 => kernel::Precision::F32,
            Precision::Bf16 => kernel::Precision::Bf16,
            Precision::Bf16x3 => kernel::Precision::Bf16x3,
            Precision::Bf16x6 => kernel::Precision::Bf16x6,
        }
    }
}
word!(Format { F32, Bf16, TwoParts, ThreeParts, Int8 });
word!(Gather { Table, Add, Combine });

/// How a library call's work is cut among the workers.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Worker 0 does all.
    Whole,
    /// Rows of C, in the ranges of [`crate::plan::worker_range`].
    Rows,
    /// Columns: of C, of B (pack), of the table (scatter); in the ranges of [`crate::plan::worker_range`].
    Columns,
    /// Columns of C that workers may take from each other.
    AnyColumns,
    /// Parts of a product's contraction.
    Parts,
}

impl From<Split> for Cut {
    fn from(split: Split) -> Self {
        match split {
            Split::Whole => Cut::Whole,
            Split::Rows => Cut::Rows,
            Split::Columns => Cut::Columns,
            Split::AnyColumns => Cut::AnyColumns,
            Split::Parts => Cut::Parts,
            Split::Axis(_) => panic!("internal error: a library call cut along a kernel's axis"),
            Split::Units(_) | Split::Terms(_) | Split::Any => panic!("internal error: a plan for a GPU"),
        }
    }
}

/// How a product's right side lies.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// As a matrix.
    No,
    F32,
    Bf16,
    TwoParts,
    ThreeParts,
    Int8,
}

impl Packed {
    /// The format of its panels, if it lies in panels.
    pub fn format(self) -> Option<kernel::Format> {
        match self {
            Packed::No => None,
            Packed::F32 => Some(kernel::Format::F32),
            Packed::Bf16 => Some(kernel::Format::Bf16),
            Packed::TwoParts => Some(kernel::Format::TwoParts),
            Packed::ThreeParts => Some(kernel::Format::ThreeParts),
            Packed::Int8 => Some(kernel::Format::Int8),
        }
    }
}

impl From<Option<kernel::Format>> for Packed {
    fn from(format: Option<kernel::Format>) -> Self {
        match format {
            None => Packed::No,
            Some(kernel::Format::F32) => Packed::F32,
            Some(kernel::Format::Bf16) => Packed::Bf16,
            Some(kernel::Format::TwoParts) => Packed::TwoParts,
            Some(kernel::Format::ThreeParts) => Packed::ThreeParts,
            Some(kernel::Format::Int8) => Packed::Int8,
        }
    }
}

#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    Off,
    On,
}

impl Flag {
    pub fn is_on(self) -> bool {
        self == Flag::On
    }
}

impl From<bool> for Flag {
    fn from(on: bool) -> Self {
        if on { Flag::On } else { Flag::Off }
    }
}

/// A shape, with the words that it is made of in memory: the writer of compiled code and the library read one list of
/// fields.
macro_rules! shape {
    ($(#[$about:meta])* $name:ident { $($(#[$about_field:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$about_field])* pub $field: $kind,)*
        }

        const _: () = {
            $(assert!(size_of::<$kind>() == 4);)*
        };

        impl $name {
            /// What compiled code holds of it: a word for each field, in their order.
            pub fn words(self) -> Vec<u32> {
                vec![$(self.$field as u32),*]
            }
        }
    };
}

shape! {
    /// The shape of a product, constant in compiled code. Field meanings as in [`crate::kernel::Gemm`].
    GemmShape {
        form: Form,
        /// What A and B are rounded to.
        precision: Precision,
        m: u32,
        n: u32,
        k: u32,
        parts: u32,
        a_stride: u32,
        b_stride: u32,
        c_stride: u32,
        /// On: add to C.
        accumulate: Flag,
        /// On: B is read from its end, see [`crate::kernel::Gemm::from_end`].
        from_end: Flag,
        /// On: each row of C has the bits of a product of few rows, see [`crate::kernel::CpuGemm::as_few`].
        as_few: Flag,
        packed: Packed,
        cut: Cut,
    }
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
    /// Null where they are not wanted. Under a cut by rows the worker that has the first one writes them.
    pub right_sums: *mut f32,
    /// Null where they are not wanted; otherwise the product is not cut by rows.
    pub squares: *mut f32,
    /// [`Run::queues`]: by which workers may take columns of a product from each other where its split allows it. Null:
    /// each computes its own.
    pub queues: *const c_void,
}

impl GemmShape {
    /// Elements of A and of B, as they lie, from one place in the contraction to the next; of a B that is not packed.
    pub fn along(&self) -> [usize; 2] {
        let (a, b) = match self.form {
            Form::NN => (1, self.b_stride),
            Form::NT => (1, 1),
            Form::TN => (self.a_stride, self.b_stride),
        };
        [a as usize, b as usize]
    }
}

impl GemmPlaces {
    /// Of a product of all rows that sums nothing beside.
    pub fn plain(a: *const f32, b: *const f32, c: *mut f32) -> Self {
        Self { a, b, c, prefix: null(), right_sums: null_mut(), squares: null_mut(), queues: null() }
    }
}

shape! {
    /// The shape of a packing, constant in compiled code. Field meanings as in [`crate::kernel::Pack`].
    PackShape {
        /// NN or NT.
        form: Form,
        k: u32,
        n: u32,
        b_stride: u32,
        format: Format,
        /// Whole or by columns.
        cut: Cut,
    }
}

shape! {
    /// The shape of a scatter, constant in compiled code. Field meanings as in [`crate::kernel::Scatter`].
    ScatterShape {
        gather: Gather,
        count: u32,
        rows: u32,
        n: u32,
        g_stride: u32,
        /// Whole or by columns.
        cut: Cut,
    }
}

shape! {
    /// The shape of a search for distinct ids, constant in compiled code. Field meanings as in [`crate::kernel::Distinct`].
    DistinctShape {
        len: u32,
        rows: u32,
    }
}

shape! {
    /// The shape of a tensor that is summed over shards, constant in compiled code: rows of `n` that lie one after the other.
    PartShape {
        rows: u32,
        n: u32,
    }
}

/// The functions that compiled code calls. `worker` and `workers` select the caller's range.
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
    /// Called by worker 0 alone. `ranks` and `present` are null where they are not wanted.
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
    /// The number of the run's shard in this step.
    pub shard: unsafe extern "C" fn(run: *mut Run) -> u32,
    /// Adds to what the next `start_exchange` sums up over the shards: what lies at `from` goes, summed, to `to`. Called by worker
    /// 0 alone, as are the next two.
    pub collect: unsafe extern "C" fn(run: *mut Run, shape: *const PartShape, from: *const f32, to: *mut f32),
    /// Begins an exchange. Until it is finished, `from` is not written, and `to` neither written nor read.
    pub start_exchange: unsafe extern "C" fn(run: *mut Run, number: u32),
    /// Waits for the exchange of this number: `to` is then as [`crate::graph::Op::SumShards`] says, or the run will end with this
    /// step.
    pub finish_exchange: unsafe extern "C" fn(run: *mut Run, number: u32),
    pub probe: unsafe extern "C" fn(run: *mut Run, worker: u32, number: u32),
}
