//! What the back end's tests run programs with: a plain plan, a plain library and real threads.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};

use crate::backend::cpu::abi::{
    Cut, DistinctShape, Form, Format, Gather, GemmPlaces, GemmShape, Library, PackShape, Packed, PartShape,
    Precision, Run, ScatterShape,
};
use crate::backend::cpu::cranelift::{Native, Wanted, build, target};
use crate::kernel::{Axis, BufferKind, Elem, Item, Machine, Module, PANEL, bf16_bits, bf16_value, chunk};
use crate::plan::{Program, Scheduled, Split, Verified, worker_range};
use crate::scalar;
use crate::target::{COLUMN_GRAIN, Target};

/// No two buffers overlap, each item is cut where it can be, and a barrier follows each.
pub fn plan(module: &Module, workers: usize) -> Verified {
    let mut offsets = Vec::new();
    let mut end = 0;
    for buffer in &module.buffers {
        offsets.push(end);
        end = (end + buffer.len() * 4).next_multiple_of(64);
    }
    let (prologue, schedule) = (scheduled(&module.prologue), scheduled(&module.items));
    let program = Program {
        module: module.clone(),
        target: Target::cpu(workers),
        offsets,
        arena_bytes: end,
        constants: 0..0,
        prologue,
        schedule,
    };
    Verified::new(program).unwrap_or_else(|error| panic!("{error}\n{module}"))
}

fn scheduled(items: &[Item]) -> Vec<Scheduled> {
    let item = |(index, item): (usize, &Item)| {
        let split = match item {
            Item::Loop(inner) => return Scheduled::Loop { index, body: scheduled(&inner.items) },
            Item::Kernel(kernel) => {
                let mut axes = (0..kernel.axes.len() as u32).map(Axis);
                axes.find(|&axis| kernel.check_cut(axis).is_ok()).map_or(Split::Whole, Split::Axis)
            }
            Item::Gemm(gemm) if gemm.m > gemm.n && gemm.cpu.squares.is_none() => Split::Rows,
            Item::Gemm(gemm) if gemm.parts > 1 => Split::Parts,
            Item::Gemm(_) | Item::Pack(_) | Item::Scatter(_) => Split::Columns,
            Item::Distinct(_) | Item::Exchange(_) => Split::Whole,
        };
        Scheduled::Item { index, split }
    };
    items.iter().enumerate().flat_map(|each| [item(each), Scheduled::Barrier]).collect()
}

/// Bytes that are aligned as an arena must be.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// The host's side of a run: random numbers are of `seed` and of steps numbered from `first_step`.
pub struct Host {
    barrier: Barrier,
    seed: u64,
    first_step: u64,
    now: AtomicU64,
    /// `begin_step` ends the run here.
    last_step: u64,
    pub finished: AtomicU64,
    /// (worker, number) of each probe.
    pub probes: Mutex<Vec<(u32, u32)>>,
}

impl Host {
    pub fn new(workers: usize, seed: u64, first_step: u64) -> Self {
        Self {
            barrier: Barrier::new(workers),
            seed,
            first_step,
            now: AtomicU64::new(first_step),
            last_step: u64::MAX,
            finished: AtomicU64::new(0),
            probes: Mutex::new(Vec::new()),
        }
    }

    pub fn ending_at(self, last_step: u64) -> Self {
        Self { last_step, ..self }
    }
}

/// Compiles a module for these workers and runs one step, number `step`, on the machine's buffers.
pub fn execute(module: &Module, machine: &mut Machine<f32>, workers: usize, seed: u64, step: u64) {
    execute_without(&[], module, machine, workers, seed, step);
}

/// [`execute`] as on a machine that lacks these features.
pub fn execute_without(
    features: &[&str],
    module: &Module,
    machine: &mut Machine<f32>,
    workers: usize,
    seed: u64,
    step: u64,
) {
    let program = plan(module, workers);
    let isa = target::isa(features).unwrap();
    let native = build(isa, &program, &library(), Wanted::default()).unwrap();
    let host = Host::new(workers, seed, step);
    execute_steps(&native, &program, machine, &host, 1);
}

/// Runs compiled code for `steps` steps on the machine's buffers. The rest of the arena starts as NaN.
pub fn execute_steps(
    native: &Native,
    program: &Program,
    machine: &mut Machine<f32>,
    host: &Host,
    steps: u64,
) {
    let mut arena = vec![Line([0xff; 64]); program.arena_bytes.div_ceil(64) + 1];
    let base = arena.as_mut_ptr().cast::<u8>();
    copy_in(program, machine, base);
    let mut run = Run {
        arena: base,
        steps,
        halt: 0,
        workers: program.target.workers as u32,
        prepared: 0,
        host: std::ptr::from_ref(host).cast_mut().cast::<c_void>(),
        queues: queues(),
    };
    let run = &raw mut run as usize;
    let entry = native.entry();
    std::thread::scope(|scope| {
        for worker in 0..program.target.workers as u32 {
            // SAFETY: run, host, arena and code outlive the scope; the program's own barriers order the workers.
            scope.spawn(move || unsafe { entry(run as *mut Run, worker) });
        }
    });
    copy_out(program, machine, base);
}

fn copy_in(program: &Program, machine: &Machine<f32>, arena: *mut u8) {
    for (buffer, &offset) in program.module.buffers.iter().zip(&program.offsets) {
        if matches!(buffer.kind, BufferKind::Temp | BufferKind::Packed) {
            continue;
        }
        // SAFETY: the plan placed the buffer inside the arena; offsets are multiples of 64.
        unsafe {
            let to = arena.add(offset);
            match buffer.elem {
                Elem::Real => machine.get(&buffer.name).unwrap().as_ptr().copy_to(to.cast(), buffer.len()),
                Elem::Id => machine.ids(&buffer.name).unwrap().as_ptr().copy_to(to.cast(), buffer.len()),
            }
        }
    }
}

fn copy_out(program: &Program, machine: &mut Machine<f32>, arena: *const u8) {
    for (buffer, &offset) in program.module.buffers.iter().zip(&program.offsets) {
        if buffer.elem == Elem::Real && buffer.kind != BufferKind::Packed {
            let to = machine.get_mut(&buffer.name).unwrap();
            // SAFETY: as in `copy_in`.
            unsafe { arena.add(offset).cast::<f32>().copy_to(to.as_mut_ptr(), to.len()) };
        }
    }
}

pub fn library() -> Library {
    Library {
        gemm,
        pack,
        scatter,
        distinct,
        barrier,
        begin_step,
        end_step,
        random_key,
        shard,
        collect,
        start_exchange,
        finish_exchange,
        probe,
    }
}

fn ranges(m: u32, n: u32, cut: Cut, worker: u32, workers: u32) -> (Range<usize>, Range<usize>) {
    let (m, n) = (m as usize, n as usize);
    let (worker, workers) = (worker as usize, workers as usize);
    match cut {
        Cut::Whole | Cut::Parts => (0..m, 0..n),
        Cut::Rows => (worker_range(m, worker, workers, 1), 0..n),
        Cut::Columns | Cut::AnyColumns => (0..m, worker_range(n, worker, workers, COLUMN_GRAIN)),
    }
}

/// Where element (l, j) of a packed operand of `k` rows lies: two rows beside each other. The machine is little-endian.
fn bf16_place(k: usize, l: usize, j: usize) -> usize {
    2 * (j / PANEL * PANEL * k.div_ceil(2) + l / 2 * PANEL + j % PANEL) + l % 2
}

/// What products have to find as their queues.
fn queues() -> *const c_void {
    static QUEUES: u8 = 0;
    (&raw const QUEUES).cast()
}

unsafe extern "C" fn gemm(shape: *const GemmShape, places: *const GemmPlaces, worker: u32, workers: u32) {
    // SAFETY: compiled code passes a constant shape and operands of that shape.
    let (shape, places) = unsafe { (*shape, *places) };
    let (k, parts) = (shape.k as usize, shape.parts as usize);
    let is_cut = shape.cut == Cut::Parts;
    let own = if is_cut { worker_range(parts, worker as usize, workers as usize, 1) } else { 0..parts };
    for part in own {
        let deep = chunk(k, part, parts, PANEL);
        let shape = GemmShape { k: deep.len() as u32, ..shape };
        let [a, b] = shape.along();
        let places = GemmPlaces {
            a: places.a.wrapping_add(deep.start * a),
            b: places.b.wrapping_add(deep.start * b),
            c: places.c.wrapping_add(part * (shape.m * shape.c_stride) as usize),
            ..places
        };
        // SAFETY: a part's operands lie within the whole's.
        unsafe { part_of_gemm(&shape, &places, worker, workers) };
    }
}

unsafe fn part_of_gemm(shape: &GemmShape, places: &GemmPlaces, worker: u32, workers: u32) {
    // SAFETY: as the caller says.
    unsafe {
        let s = *shape;
        let GemmPlaces { a, b, c, prefix, right_sums, squares, queues: passed } = *places;
        assert_eq!(passed, queues());
        let (rows, columns) = ranges(s.m, s.n, s.cut, worker, workers);
        let k = s.k as usize;
        if !right_sums.is_null() && rows.start == 0 && !rows.is_empty() {
            for j in columns.clone() {
                *right_sums.add(j) = (0..k).map(|l| *b.add(l * s.b_stride as usize + j)).sum();
            }
        }
        let first = if prefix.is_null() { usize::MAX } else { *prefix as usize };
        for i in rows.clone() {
            for j in columns.clone() {
                let to = c.add(i * s.c_stride as usize + j);
                let mut sum = if s.accumulate.is_on() { *to } else { 0.0 };
                let round =
                    |x: f32| if s.precision == Precision::Bf16 { bf16_value(bf16_bits(x)) } else { x };
                for l in 0..k {
                    let l = if s.from_end.is_on() { k - 1 - l } else { l };
                    let left = if s.form == Form::TN {
                        l * s.a_stride as usize + i
                    } else {
                        i * s.a_stride as usize + l
                    };
                    let right = match (s.packed, s.form) {
                        (Packed::F32, _) => *b.add(j / PANEL * PANEL * k + l * PANEL + j % PANEL),
                        (Packed::Bf16, _) => bf16_value(*b.cast::<u16>().add(bf16_place(k, l, j))),
                        (Packed::Int8 | Packed::TwoParts | Packed::ThreeParts, _) => {
                            unreachable!("no test has such weights")
                        }
                        (Packed::No, Form::NT) => *b.add(j * s.b_stride as usize + l),
                        (Packed::No, Form::NN | Form::TN) => *b.add(l * s.b_stride as usize + j),
                    };
                    // TN: the row of A is the place in the contraction.
                    if (if s.form == Form::TN { l } else { i }) < first {
                        sum += round(*a.add(left)) * round(right);
                    }
                }
                *to = sum;
            }
        }
        if !squares.is_null() && !rows.is_empty() {
            for j in columns {
                let square =
                    |i: usize| *c.add(i * s.c_stride as usize + j) * *c.add(i * s.c_stride as usize + j);
                *squares.add(j) = rows.clone().map(square).sum();
            }
        }
    }
}

unsafe extern "C" fn pack(shape: *const PackShape, b: *const f32, to: *mut f32, worker: u32, workers: u32) {
    // SAFETY: as for `gemm`.
    unsafe {
        let s = *shape;
        let (k, n) = (s.k as usize, s.n as usize);
        let (_, columns) = ranges(0, n.next_multiple_of(PANEL) as u32, s.cut, worker, workers);
        for j in columns {
            for l in 0..k {
                let from = if s.form == Form::NT {
                    j * s.b_stride as usize + l
                } else {
                    l * s.b_stride as usize + j
                };
                let value = if j < n { *b.add(from) } else { 0.0 };
                match s.format {
                    Format::Bf16 => *to.cast::<u16>().add(bf16_place(k, l, j)) = bf16_bits(value),
                    Format::Int8 | Format::TwoParts | Format::ThreeParts => {
                        unreachable!("no test has such weights")
                    }
                    Format::F32 => *to.add(j / PANEL * PANEL * k + l * PANEL + j % PANEL) = value,
                }
            }
        }
    }
}

unsafe extern "C" fn scatter(
    shape: *const ScatterShape,
    ids: *const u32,
    g: *const f32,
    table: *mut f32,
    worker: u32,
    workers: u32,
) {
    // SAFETY: as for `gemm`.
    unsafe {
        let s = *shape;
        let (_, columns) = ranges(0, s.n, s.cut, worker, workers);
        for column in columns {
            let combine = s.gather == Gather::Combine;
            let rows = if combine { s.count } else { s.rows };
            for row in (0..rows as usize).filter(|_| s.gather != Gather::Add) {
                *table.add(row * s.n as usize + column) = 0.0;
            }
            for i in 0..s.count as usize {
                let first = (0..i).find(|&j| *ids.add(j) == *ids.add(i)).unwrap_or(i);
                let row = if combine { first } else { *ids.add(i) as usize };
                let to = row * s.n as usize + column;
                *table.add(to) += *g.add(i * s.g_stride as usize + column);
            }
        }
    }
}

/// The first of a batch's shards, as in the interpreter.
unsafe extern "C" fn shard(_: *mut Run) -> u32 {
    0
}

/// The only shard's sum is there at once.
unsafe extern "C" fn collect(_: *mut Run, shape: *const PartShape, from: *const f32, to: *mut f32) {
    // SAFETY: as for `gemm`.
    unsafe { to.copy_from_nonoverlapping(from, ((*shape).rows * (*shape).n) as usize) }
}

unsafe extern "C" fn start_exchange(_: *mut Run, _: u32) {}

unsafe extern "C" fn finish_exchange(_: *mut Run, _: u32) {}

unsafe extern "C" fn distinct(
    shape: *const DistinctShape,
    ids: *const u32,
    places: *mut u32,
    distinct: *mut u32,
    count: *mut u32,
    ranks: *mut u32,
    present: *mut f32,
) {
    // SAFETY: as for `gemm`.
    unsafe {
        let s = *shape;
        *count = 0;
        for row in (0..s.rows as usize).filter(|_| !ranks.is_null()) {
            *ranks.add(row) = 0;
            *present.add(row) = 0.0;
        }
        (0..s.len.min(s.rows) as usize).for_each(|at| *distinct.add(at) = 0);
        for i in 0..s.len as usize {
            let id = *ids.add(i);
            let known = (0..*count).find(|&at| *distinct.add(at as usize) == id);
            *places.add(i) = known.unwrap_or(*count);
            if known.is_none() {
                *distinct.add(*count as usize) = id;
                if !ranks.is_null() {
                    *ranks.add(id as usize) = *count;
                    *present.add(id as usize) = 1.0;
                }
                *count += 1;
            }
        }
    }
}

/// The test's host behind a run.
///
/// # Safety
/// `run` comes from [`execute_steps`].
unsafe fn host<'a>(run: *mut Run) -> &'a Host {
    // SAFETY: `execute_steps` keeps the host alive while compiled code runs.
    unsafe { &*(*run).host.cast::<Host>() }
}

unsafe extern "C" fn barrier(run: *mut Run, _worker: u32) {
    // SAFETY: called by compiled code with its run.
    unsafe { host(run) }.barrier.wait();
}

unsafe extern "C" fn begin_step(run: *mut Run, step: u64) -> u32 {
    // SAFETY: called by compiled code with its run.
    let host = unsafe { host(run) };
    host.now.store(host.first_step + step, Ordering::SeqCst);
    u32::from(host.first_step + step == host.last_step)
}

unsafe extern "C" fn end_step(run: *mut Run, _step: u64) {
    // SAFETY: called by compiled code with its run.
    unsafe { host(run) }.finished.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn random_key(run: *mut Run, stream: u32) -> u32 {
    // SAFETY: called by compiled code with its run.
    let host = unsafe { host(run) };
    scalar::random_key(host.seed, host.now.load(Ordering::SeqCst), stream)
}

unsafe extern "C" fn probe(run: *mut Run, worker: u32, number: u32) {
    // SAFETY: called by compiled code with its run.
    unsafe { host(run) }.probes.lock().unwrap().push((worker, number));
}
