//! NVIDIA GPUs: a program as PTX text, and the launches that make up a step.
//!
//! ```text
//! an item that is no time loop    one launch for each of its parts
//! a time loop                     one cooperative launch: all its rounds, with barriers of the grid where the plan has them
//! ```
//!
//! An item's work is shared out over however many CTAs there are ([`nest`], [`product`], [`rows`]), but where the plan cuts it by
//! unit, in a time loop ([`units`]). Which numbers a sum adds up in which order depends on the sizes alone, so that results are the same
//! bits on any grid. No atomic operation touches a real.
//!
//! An entry takes the arena's address and that of the [`Control`] block. Text in, text out: nothing here knows a driver.

mod group;
mod lanes;
mod library;
mod math;
mod nest;
mod product;
mod report;
mod rows;
mod scope;
mod task;
mod text;
mod time;
mod units;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::kernel::{Module, TimeLoop};
use crate::plan::{Program, Schedule, Task, Verified};
use crate::target::{LibraryProducts, Nvidia, Processor};
use scope::{PARAMETERS, Scope, THREADS};
use task::{name, parts, write_part};
use text::DYNAMIC;
use time::GridBarrier;

pub use library::{Placed, Product};
pub use report::{LoopReport, TaskReport, WeightReport};

/// A program for a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Ptx {
    /// A PTX module, with an entry for each launch.
    pub text: String,
    /// What is launched once before the steps of a run, in order.
    pub prologue: Vec<Launch>,
    /// A step.
    pub step: Vec<Launch>,
    /// Bytes of the arena: the program's, and behind them what partial sums travel through.
    pub arena_bytes: usize,
    pub control_bytes: usize,
}

/// One launch of an entry on a grid of CTAs of [`Launch::threads`].
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub entry: String,
    pub ctas: usize,
    pub threads: usize,
    /// Bytes of shared memory that each CTA is given beside what the entry declares.
    pub shared_bytes: usize,
    /// What was chosen for a time loop, whose CTAs must all be resident at once.
    pub time_loop: Option<LoopReport>,
    /// What a library may compute in place of the launch.
    pub product: Option<Product>,
}

impl Launch {
    /// Whether all CTAs must be resident at once.
    pub fn is_cooperative(&self) -> bool {
        self.time_loop.is_some()
    }
}

/// The control block: what the host writes before each step. It begins with the run's seed and the number of the update,
/// 8 bytes each; then come the counters of barriers, 4 bytes each at [`Control::LINE`] bytes from each other, which are 0
/// when a step begins.
#[derive(Clone, Copy, Debug)]
pub struct Control;

impl Control {
    /// Where the run's seed and the update's number lie, in bytes.
    pub const SEED: usize = 0;
    pub const STEP: usize = 8;

    /// Every counter has a line of its own.
    pub const LINE: usize = 128;

    fn counter(index: usize) -> usize {
        Self::LINE * (index + 1)
    }
}

/// The lowest version of PTX that has what is written, and its target: what that is assembled for runs on later ones too.
fn version(nvidia: Nvidia) -> (&'static str, &'static str) {
    if nvidia.sm >= 90 { ("8.0", "sm_90") } else { ("7.1", "sm_80") }
}

/// Compiles a program that is planned for a GPU. Outside time loops only the order of its schedule is used: a launch is shared out
/// over the whole machine, and waits for the one before.
pub fn compile(program: &Verified) -> Ptx {
    let Processor::Nvidia(nvidia) = program.target.processor else {
        panic!("internal error: a plan for a processor")
    };
    let mut compiler = Compiler::new(program, nvidia);
    let prologue = compiler.launches(program.prologue_schedule());
    let step = compiler.launches(program.step_schedule());
    compiler.finished(prologue, step)
}

/// What stands before the entries. `dynamic` says that one has shared memory that its launch gives.
fn head(name: &str, nvidia: Nvidia, dynamic: bool) -> String {
    let (version, target) = version(nvidia);
    let mut text = format!("// {name}\n.version {version}\n.target {target}\n.address_size 64\n");
    if dynamic {
        let _ = writeln!(text, ".extern .shared .align 16 .b8 {DYNAMIC}[];");
    }
    text
}

struct Compiler<'a> {
    module: &'a Module,
    offsets: &'a [usize],
    nvidia: Nvidia,
    library: Option<&'a LibraryProducts>,
    text: String,
    entries: usize,
    counters: usize,
    /// Where what partial sums travel through begins in the arena, and the most that a loop needs of it.
    exchange: usize,
    exchange_bytes: usize,
}

impl<'a> Compiler<'a> {
    fn new(program: &'a Program, nvidia: Nvidia) -> Self {
        let exchange = program.arena_bytes.next_multiple_of(256);
        Self {
            module: &program.module,
            offsets: &program.offsets,
            nvidia,
            library: program.target.library.as_ref(),
            text: String::new(),
            entries: 0,
            counters: 0,
            exchange,
            exchange_bytes: 0,
        }
    }

    /// The entries that have been written, and their launches.
    fn finished(self, prologue: Vec<Launch>, step: Vec<Launch>) -> Ptx {
        let control_bytes = Control::counter(self.counters);
        let dynamic = prologue.iter().chain(&step).any(|launch| launch.shared_bytes > 0);
        let text = head(&self.module.name, self.nvidia, dynamic) + &self.text;
        Ptx { text, prologue, step, arena_bytes: self.exchange + self.exchange_bytes, control_bytes }
    }

    fn launches(&mut self, schedule: Schedule<'_>) -> Vec<Launch> {
        let mut launches = vec![];
        for task in schedule.tasks() {
            match task {
                Task::Loop(inner, _) if inner.rounds == 0 => {}
                Task::Loop(inner, body) => launches.push(self.time_loop(inner, body)),
                Task::Barrier => {}
                _ => (0..parts(task)).for_each(|part| launches.push(self.single(task, part))),
            }
        }
        launches
    }

    /// One part of a task that is no loop.
    fn single(&mut self, task: Task<'_>, part: usize) -> Launch {
        let mut scope = Scope::new(self.offsets);
        let work = write_part(&mut scope, task, part, self.module);
        // More CTAs than fit at once only wait.
        let ctas = work.clamp(1, 8 * self.nvidia.multiprocessors);
        let product = match (task, self.library) {
            (Task::Gemm(gemm, _), Some(library)) => Product::of(gemm, self.offsets, library),
            _ => None,
        };
        Launch { product, ..self.entry(&scope, &name(task), ctas, 0, None) }
    }

    /// All rounds of a time loop.
    fn time_loop(&mut self, inner: &TimeLoop, body: Schedule<'_>) -> Launch {
        let mut scope = Scope::new(self.offsets);
        let barrier = GridBarrier::new(&mut scope, Control::counter(self.counters));
        self.counters += 1;
        let written = time::write(&mut scope, inner, body, barrier, self.module, self.nvidia, self.exchange);
        self.exchange_bytes = self.exchange_bytes.max(written.exchange_bytes);
        let ctas = written.work.clamp(1, self.nvidia.multiprocessors);
        self.entry(&scope, "time_loop", ctas, written.shared_bytes, Some(written.report))
    }

    /// The launch of an entry, whose CTAs are given so many bytes of shared memory.
    fn entry(
        &mut self,
        scope: &Scope,
        name: &str,
        ctas: usize,
        shared_bytes: usize,
        time_loop: Option<LoopReport>,
    ) -> Launch {
        let entry = format!("k{}_{name}", self.entries);
        self.entries += 1;
        let _ = write!(self.text, "\n{}", scope.w.entry(&entry, THREADS, &PARAMETERS));
        Launch { entry, ctas, threads: THREADS, shared_bytes, time_loop, product: None }
    }
}
