//! Matrix products at the shapes of recurrent models: the library calls of compiled code.
//!
//! [`gemm`], [`pack`] and [`scatter`] have the signatures of [`lstmc_compiler::backend::cpu::abi::Library`]; every worker
//! calls them and computes only its own rows or columns, so that they need no synchronisation of their own. In large
//! products a worker that is done takes columns from the others: [`WorkQueues`]. [`distinct`] is done by one worker alone.
//!
//! The form is that of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): a register
//! tile over panels of [`PANEL`] columns of B, blocked so that a panel stays in the first cache and rows of A in the
//! second. `driver` does the blocking, `micro` holds the register tiles of each instruction set, `packing` the
//! layouts, and `direct`, `dots` and `stream` the products of so few rows that B is better streamed, as it lies or packed.
//!
//! How large blocks are follows from the caches of the machine (`limits`). What does not, whether A is packed above all, is
//! found out by trying in the first calls of each large product (`ways`).
//!
//! **Determinism.** An element of C is computed by the same operations in the same order whatever the number of workers,
//! the split and the element's place in a tile: the contraction is divided into blocks that depend on `k` alone
//! and the instruction set (`driver::k_block`), and not on caches or on the way that is gone; within a block the products are
//! added in order of `k`, starting from zero; the blocks' sums are added in order. An NN that reads B from its end goes
//! through all this backwards. Nor does packing B change a bit, except in the form NT of up to [`dots::MAX_ROWS`] rows,
//! whose sums by an unpacked B are in partial sums.
//!
//! **Precision.** Products in `bf16` ([`Precision`]) have their operands rounded as they are packed. An instruction set
//! that multiplies pairs of `bf16` ([`micro::Pairs`]) has them packed two to a word, and the same blocking goes over
//! words; the pair's products are added to a sum in an order and with a treatment of subnormal numbers of its own. Every
//! other one has them packed as rounded `f32`. Results are the same bits for any cut on one instruction set, and not
//! across them.
//!
//! A matrix unit ([`micro::matrix`]) computes products in `bf16` and in parts, and those by weights in `bf16` and `int8` of more than
//! a few rows, in an order of sums of its own, which depends on `k` alone too: [`matrix`].

mod cache;
mod direct;
mod distinct;
mod dots;
mod driver;
mod fused_sums;
mod limits;
mod matrix;
mod micro;
mod packing;
mod product;
mod right_block;
mod scatter;
mod scratch;
mod stream;
#[cfg(test)]
mod tests;
mod ways;
mod work_stealing;

use std::ops::Range;
use std::ptr::null_mut;

use lstmc_compiler::backend::cpu::abi::{self, Cut, GemmPlaces, GemmShape, PackShape};
use lstmc_compiler::kernel::{Form, Format, Gemm, PANEL, Precision, chunk};
use lstmc_compiler::plan::{Program, Schedule, Split, Task, worker_range};
use lstmc_compiler::target::{COLUMN_GRAIN, FEW_ROWS};

pub use distinct::distinct;
pub use scatter::scatter;
pub use scratch::Scratch;
pub use ways::still_trying;

use driver::Lies;
use limits::Limits;
use matrix::Parts;
pub use micro::{CHAINS, VARIABLE as MATRIX_UNIT_VARIABLE, unknown_unit};
use micro::{Isa, Operands};
use product::{Layout, Left, Panels, Product, Right};
use ways::{LEAST_WORK, Way, work};
pub use work_stealing::WorkQueues;

// Ranges of columns are whole panels, which only one worker writes.
const _: () = assert!(COLUMN_GRAIN.is_multiple_of(PANEL));

// What passes leave as it lies because a product has few rows is multiplied by code that reads it as it lies.
const _: () =
    assert!(stream::MAX_ROWS == FEW_ROWS && dots::MAX_ROWS == FEW_ROWS && direct::MAX_ROWS == FEW_ROWS);

/// The worker's range of `extent` under `cut`, where `by` is the cut that divides this extent.
fn range(extent: usize, cut: Cut, by: Cut, worker: u32, workers: u32) -> Range<usize> {
    let grain = if by == Cut::Columns { COLUMN_GRAIN } else { 1 };
    match (cut, by) {
        (Cut::Whole, _) if worker == 0 => 0..extent,
        (Cut::Whole, _) => 0..0,
        (Cut::AnyColumns, Cut::Columns) => worker_range(extent, worker as usize, workers as usize, grain),
        _ if cut == by => worker_range(extent, worker as usize, workers as usize, grain),
        (Cut::Rows | Cut::Columns | Cut::AnyColumns | Cut::Parts, _) => 0..extent,
    }
}

/// Computes the worker's range of `C = op(A) @ op(B)` or `C += op(A) @ op(B)`; see [`lstmc_compiler::kernel::Gemm`].
///
/// # Safety
/// The places must be valid for the elements that `shape` says, or null where they may be; C and the sums must overlap
/// neither each other nor A or B; and nothing else may write what is read or touch what is written here until the call
/// returns, or on all workers has returned if there are queues. `worker < workers`.
///
/// The queues must be null or [`WorkQueues`] for so many workers, each of which calls this once for each product of a run, in
/// the same order and with the same shapes, places and counts in the prefix.
pub unsafe extern "C" fn gemm(shape: *const GemmShape, places: *const GemmPlaces, worker: u32, workers: u32) {
    // SAFETY: the caller passes a valid shape and places, and a valid prefix if any.
    let (mut shape, places, prefix) = unsafe { (*shape, &*places, (*places).prefix.as_ref()) };
    // SAFETY: the caller's promises are the callees': a shorter product has fewer elements.
    unsafe {
        if let Some(&count) = prefix {
            shape = first_rows(&shape, count, places.c, worker, workers);
        }
        parts_on(micro::best(), &shape, places, worker, workers);
    }
}

/// Computes the worker's parts of a contraction, or its range of all parts; each part is a product of its own.
///
/// # Safety
/// As [`gemm`].
unsafe fn parts_on(isa: &'static Isa, shape: &GemmShape, places: &GemmPlaces, worker: u32, workers: u32) {
    let parts = range(shape.parts as usize, shape.cut, Cut::Parts, worker, workers);
    for done in 0..parts.len() {
        let part = parts.start + product::in_order(shape.from_end.is_on(), done, parts.len());
        let deep = chunk(shape.k as usize, part, shape.parts as usize, PANEL);
        let [a, b] = shape.along();
        let places = GemmPlaces {
            a: places.a.wrapping_add(deep.start * a),
            b: places.b.wrapping_add(deep.start * b),
            c: places.c.wrapping_add(part * (shape.m * shape.c_stride) as usize),
            ..*places
        };
        let shape = GemmShape { k: deep.len() as u32, parts: 1, ..*shape };
        // SAFETY: a part's operands are rows and columns of the whole's, and its result is its own.
        unsafe { gemm_on(isa, &shape, &places, worker, workers) };
    }
}

/// The product of the first `count` rows of A; clears the worker's range of the rows of C that it leaves out.
///
/// # Safety
/// As [`gemm`].
unsafe fn first_rows(shape: &GemmShape, count: u32, c: *mut f32, worker: u32, workers: u32) -> GemmShape {
    if shape.form == abi::Form::TN {
        return GemmShape { k: count.min(shape.k), ..*shape };
    }
    let m = count.min(shape.m);
    let columns = range(shape.n as usize, shape.cut, Cut::Columns, worker, workers);
    if !shape.accumulate.is_on() {
        for row in range((shape.m - m) as usize, shape.cut, Cut::Rows, worker, workers) {
            let at = (m as usize + row) * shape.c_stride as usize + columns.start;
            // SAFETY: the columns lie within the row, which no other worker writes there.
            unsafe { std::slice::from_raw_parts_mut(c.add(at), columns.len()).fill(0.0) };
        }
    }
    GemmShape { m, ..*shape }
}

/// Which parts are multiplied in a product of so many rows, if a matrix unit computes it; `as_few` as in [`lstmc_compiler::kernel::CpuGemm`].
fn parts(
    isa: &Isa,
    precision: Precision,
    packed: Option<Format>,
    (m, as_few): (usize, bool),
) -> Option<Parts> {
    // By all rows, as below.
    let few = precision == Precision::F32 && (m <= stream::MAX_ROWS || as_few);
    isa.matrix.filter(|_| !few).and_then(|_| Parts::of(precision, packed))
}

/// The format whose panels tiles of these operands read as they lie.
fn words_of(operands: Operands) -> Format {
    if matches!(operands, Operands::Pairs(_)) { Format::Bf16 } else { Format::F32 }
}

/// Whether a product of `all` rows, of which a worker has `m`, reads B once, from one end to the other, and not in blocks;
/// `nt` is its form, and `fused_sums` says whether it makes sums beside.
fn streams(
    precision: Precision,
    packed: Option<Format>,
    nt: bool,
    fused_sums: bool,
    (all, m): (usize, usize),
) -> bool {
    match packed {
        // Sums come with tiles, of however few rows.
        _ if precision != Precision::F32 || fused_sums => false,
        Some(_) => m <= stream::MAX_ROWS,
        // By all rows, not the worker's: the order of the sums must not depend on the cut.
        None if nt => all <= dots::MAX_ROWS,
        None => m <= direct::MAX_ROWS,
    }
}

/// Bytes of a weight that stays in this machine's caches beside the rest.
pub fn cached_weight() -> usize {
    Limits::here().cached_weight
}

/// What a product does with its right side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightSide {
    /// Reads it once, from one end to the other, as it lies or packed beforehand.
    Streamed,
    /// Goes over panels that were packed beforehand.
    Packed,
    /// Packs it block by block, each time.
    Blocks,
}

/// What the library does with the right side of a product that is cut like this.
pub fn right_side(gemm: &Gemm, split: Split, workers: usize) -> RightSide {
    let m = if split == Split::Rows { gemm.m.div_ceil(workers) } else { gemm.m };
    match gemm.cpu.packed {
        _ if parts_here(gemm).is_none() && streams_here(gemm, m) => RightSide::Streamed,
        Some(_) => RightSide::Packed,
        None => RightSide::Blocks,
    }
}

/// [`parts`] of a product in the kernel form, on this CPU.
fn parts_here(gemm: &Gemm) -> Option<Parts> {
    parts(micro::best(), gemm.precision, gemm.cpu.packed, (gemm.m, gemm.cpu.as_few))
}

/// [`streams`] of a product in the kernel form, of which a worker has `m` rows.
fn streams_here(gemm: &Gemm, m: usize) -> bool {
    streams(gemm.precision, gemm.cpu.packed, gemm.form == Form::NT, gemm.has_fused_sums(), (gemm.m, m))
}

/// What the products of this machine run on.
#[derive(Clone, Copy, Debug)]
pub struct Instructions {
    /// For numbers in f32.
    pub name: &'static str,
    /// For numbers that are rounded to bf16, if they are multiplied as such and not widened.
    pub pairs: Option<&'static str>,
    /// The widest vectors that there are kernels for, if this machine has narrower ones.
    pub lacks: Option<&'static str>,
}

/// The best instruction set of this CPU.
pub fn instructions() -> Instructions {
    let isa = micro::best();
    let lacks = (isa.lanes < micro::WIDEST.lanes).then_some(micro::WIDEST.name);
    let pairs = isa.matrix.map(|unit| unit.name).or(isa.pairs.as_ref().map(|pairs| pairs.name));
    Instructions { name: isa.numbers, pairs, lacks }
}

/// Whether products in parts are computed on a unit that multiplies `bf16` much faster than `f32`.
pub fn has_matrix_unit() -> bool {
    micro::best().matrix.is_some()
}

/// Has this processor multiply and add pairs of bf16 as fast as it can, and returns the floating-point operations of that; none if it
/// has no instructions for them.
pub fn multiply_add_pairs(rounds: usize) -> Option<f64> {
    let isa = micro::best();
    if let Some(unit) = isa.matrix {
        // SAFETY: the CPU has the unit, and this process may use it.
        return Some(unsafe { (unit.multiply_add)(rounds) });
    }
    let pairs = isa.pairs.as_ref()?;
    // SAFETY: the instructions are those of an instruction set that the CPU has.
    unsafe { (pairs.multiply_add)(rounds) };
    Some((rounds * micro::CHAINS * isa.lanes * 4) as f64)
}

/// Bytes of scratch that the products of `program` need on each worker.
pub fn scratch_bytes(program: &Program) -> u64 {
    let isa = micro::best();
    let whole = |gemm: &Gemm, split: Split| {
        let m = if split == Split::Rows { gemm.m.div_ceil(program.target.workers) } else { gemm.m };
        let n = if matches!(split, Split::Columns | Split::AnyColumns) {
            gemm.n.div_ceil(program.target.workers)
        } else {
            gemm.n
        };
        if let Some(parts) = parts_here(gemm) {
            let lies = gemm.cpu.packed.is_some() && gemm.cpu.packed == parts.lying();
            return matrix::scratch(parts, (m, gemm.k), lies);
        }
        let left_step = if gemm.form == Form::TN { gemm.a.stride } else { 1 };
        let operands = Operands::of(isa, gemm.precision);
        let right = match gemm.cpu.packed {
            Some(format) if format == words_of(operands) => Layout::Panels,
            None if gemm.form == Form::NT => Layout::Columns,
            _ => Layout::Rows,
        };
        match gemm.form != Form::TN && streams_here(gemm, m) {
            true => 0,
            false => {
                let sizes = [gemm.m, gemm.n, gemm.k].map(|size| size as u32);
                let any_way = ways::are_tried(sizes);
                driver::scratch(isa, operands, (m, n, gemm.k), Lies { left_step, right }, any_way)
            }
        }
    };
    // Fewer rows may be in fewer and larger blocks.
    let of = |gemm: &Gemm, split: Split| {
        let rows = if gemm.form == Form::TN { gemm.k } else { gemm.m };
        let least = if gemm.prefix.is_some() { 1 } else { rows };
        let first = |rows: usize| match gemm.form {
            Form::TN => Gemm { k: rows, ..gemm.clone() },
            _ => Gemm { m: rows, ..gemm.clone() },
        };
        (least..=rows).map(|rows| whole(&first(rows), split)).max().unwrap_or(0)
    };
    fn largest(isa: &Isa, schedule: Schedule<'_>, of: &impl Fn(&Gemm, Split) -> usize) -> usize {
        let each = schedule.tasks().map(|task| match task {
            Task::Gemm(gemm, split) => of(gemm, split),
            Task::Pack(pack, _) => packing::scratch(isa, pack.format, pack.k),
            Task::Scatter(scatter, _) => scatter::scratch(scatter),
            Task::Distinct(distinct) => distinct.rows,
            Task::Loop(_, body) => largest(isa, body, of),
            _ => 0,
        });
        each.max().unwrap_or(0)
    }
    let most = largest(isa, program.prologue_schedule(), &of).max(largest(isa, program.step_schedule(), &of));
    scratch::taken(most) as u64
}

/// Whether workers take columns of such a product from each other; the same for all of them.
fn steals(shape: &GemmShape, workers: u32) -> bool {
    // Everything has to be done in one pass over the columns, and nothing beforehand that all of a worker's columns need but
    // packing A once: not reading a long one once for B's transposed columns.
    let one_pass = shape.packed == abi::Packed::No
        && shape.precision == abi::Precision::F32
        && match shape.form {
            abi::Form::NT => false,
            abi::Form::TN => {
                driver::reads_as_it_lies(shape.a_stride as usize)
                    || driver::packs_at_once(Limits::here(), shape.m as usize, shape.k as usize)
            }
            abi::Form::NN => true,
        };
    let panels = (shape.n as usize).div_ceil(PANEL);
    // Fewer rows are streamed or go over narrow blocks.
    let rows = shape.m as usize > driver::NARROW;
    // Smaller ones are done before anyone is late.
    let large = work([shape.m, shape.n, shape.k]) >= LEAST_WORK && panels <= usize::from(u16::MAX);
    shape.cut == Cut::AnyColumns && workers > 1 && one_pass && rows && large
}

/// How blocks of a product are chosen: this decides times and no bit.
#[derive(Clone, Copy, Debug)]
struct Blocking<'a> {
    limits: &'a Limits,
    /// None: the fastest, as far as is known.
    way: Option<Way>,
}

/// [`gemm`] on the given instruction set.
///
/// # Safety
/// As [`gemm`], and the CPU must have `isa`.
unsafe fn gemm_on(isa: &'static Isa, shape: &GemmShape, places: &GemmPlaces, worker: u32, workers: u32) {
    let blocking = Blocking { limits: Limits::here(), way: None };
    // SAFETY: as the caller promised.
    unsafe { gemm_in(isa, blocking, shape, places, worker, workers) };
}

/// [`gemm_on`] in given blocks.
///
/// # Safety
/// As [`gemm_on`].
unsafe fn gemm_in(
    isa: &'static Isa,
    blocking: Blocking<'_>,
    shape: &GemmShape,
    &GemmPlaces { a, b, c, right_sums, squares, queues, prefix }: &GemmPlaces,
    worker: u32,
    workers: u32,
) {
    let rows = range(shape.m as usize, shape.cut, Cut::Rows, worker, workers);
    // SAFETY: null or queues, as the caller promised.
    let queues = unsafe { queues.cast::<WorkQueues>().as_ref() }.filter(|_| steals(shape, workers));
    let columns = match queues {
        Some(_) => 0..shape.n as usize,
        None => range(shape.n as usize, shape.cut, Cut::Columns, worker, workers),
    };
    if rows.is_empty() || columns.is_empty() {
        return;
    }
    let fused_sums = !right_sums.is_null() || !squares.is_null();
    let (k, first) = (shape.k as usize, columns.start);
    let precision = Precision::from(shape.precision);
    let operands = Operands::of(isa, precision);
    let parts = parts(isa, precision, shape.packed.format(), (shape.m as usize, shape.as_few.is_on()));
    let (a_stride, c_stride) = (shape.a_stride as usize, shape.c_stride as usize);
    let (row, step) = if shape.form == abi::Form::TN { (1, a_stride) } else { (a_stride, 1) };
    // SAFETY: all offsets stay inside the matrices, since the ranges stay inside their extents; a range of columns
    // starts at a multiple of COLUMN_GRAIN, which is PANEL.
    let product = unsafe {
        Product {
            m: rows.len(),
            n: columns.len(),
            k,
            k_block: driver::k_block(isa, operands.words(k)),
            a: Left { at: a.wrapping_add(rows.start * row), row, step },
            b: right(shape, parts.map_or(Some(words_of(operands)), Parts::lying), b, first),
            c: c.add(rows.start * c_stride + first),
            c_row: c_stride,
            add: shape.accumulate.is_on(),
            from_end: shape.from_end.is_on(),
            sums: if rows.start == 0 { from(right_sums, first) } else { null_mut() },
            squares: from(squares, first),
        }
    };
    let rows = (shape.m as usize, product.m);
    let streams =
        k > 0 && streams(precision, shape.packed.format(), shape.form == abi::Form::NT, fused_sums, rows);
    // SAFETY: the product's pointers are valid for its extents by the caller's promise.
    unsafe {
        if let (Some(parts), Some(unit)) = (parts, isa.matrix) {
            return matrix::product(isa, unit, parts, &product);
        }
        match product.b {
            Right::Columns { at, apart } if streams => (isa.dots)(&product, at, apart),
            Right::Rows { at, apart } if streams => (isa.direct)(&product, at, apart),
            Right::Panels { at, apart } if streams => {
                (isa.stream)(&product, Panels { at, apart, format: Format::F32 });
            }
            Right::Reduced(panels) if streams => (isa.stream)(&product, panels),
            _ => {
                let taking = queues.map(|queues| queues.enter(worker as usize, product.n));
                let Blocking { limits, way } = blocking;
                let go = |way| driver::product(isa, limits, operands, &product, taking.as_ref(), way);
                let lies = Lies { left_step: step, right: product.b.layout() };
                let sizes = (product.m, product.n, k);
                match way {
                    Some(way) => _ = go(way),
                    None if !ways::are_tried([shape.m, shape.n, shape.k]) => {
                        go(driver::likely(limits, (product.n, operands.words(k)), lies));
                    }
                    None => ways::go(
                        shape,
                        !prefix.is_null(),
                        || driver::ways(isa, limits, operands, sizes, lies),
                        go,
                    ),
                }
            }
        }
    }
}

/// B from column `first` on, as it lies at `b`; `words`: the format of panels that are read as they lie.
fn right(shape: &GemmShape, words: Option<Format>, b: *const f32, first: usize) -> Right {
    let stride = shape.b_stride as usize;
    match (shape.packed.format(), shape.form) {
        (Some(format), _) => {
            let apart = format.panel_len(shape.k as usize);
            let at = b.wrapping_add(first / PANEL * apart);
            match words == Some(format) {
                true => Right::Panels { at, apart },
                false => Right::Reduced(Panels { at, apart, format }),
            }
        }
        (None, abi::Form::NT) => Right::Columns { at: b.wrapping_add(first * stride), apart: stride },
        (None, abi::Form::NN | abi::Form::TN) => Right::Rows { at: b.wrapping_add(first), apart: stride },
    }
}

/// A place and those after it, if there is one.
fn from(at: *mut f32, first: usize) -> *mut f32 {
    if at.is_null() { at } else { at.wrapping_add(first) }
}

/// Lays the worker's columns of `op(B)` out in panels; see [`lstmc_compiler::kernel::Pack`].
///
/// # Safety
/// `b` must be valid for the elements that `shape` says and `to` for what
/// [`Format::packed_len`] says; otherwise as [`gemm`].
pub unsafe extern "C" fn pack(
    shape: *const PackShape,
    b: *const f32,
    to: *mut f32,
    worker: u32,
    workers: u32,
) {
    // SAFETY: the caller passes a valid shape.
    let shape = unsafe { &*shape };
    // SAFETY: the caller's promises are the callee's.
    unsafe { pack_on(micro::best(), shape, b, to, worker, workers) };
}

/// [`pack`] on the given instruction set.
///
/// # Safety
/// As [`pack`], and the CPU must have `isa`.
unsafe fn pack_on(isa: &Isa, shape: &PackShape, b: *const f32, to: *mut f32, worker: u32, workers: u32) {
    let (k, n, stride) = (shape.k as usize, shape.n as usize, shape.b_stride as usize);
    let columns = range(n, shape.cut, Cut::Columns, worker, workers);
    let at = columns.start;
    let source = if shape.form == abi::Form::NT {
        Right::Columns { at: b.wrapping_add(at * stride), apart: stride }
    } else {
        Right::Rows { at: b.wrapping_add(at), apart: stride }
    };
    let format = Format::from(shape.format);
    let to = to.wrapping_add(at / PANEL * format.panel_len(k));
    // SAFETY: a worker's range starts at a panel.
    unsafe { packing::packed(isa, source, columns.len(), k, format, to) };
}
