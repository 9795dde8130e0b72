//! NVIDIA GPUs: a program as PTX text, and the launches that make up a step.
//!
//! ```text
//! an item that is no time loop    one launch for each of its parts
//! a time loop                     one cooperative launch: all its items, a barrier of the grid between two of them
//! ```
//!
//! The same code is written for an item in both places: it shares its work out over however many CTAs there are ([`nest`],
//! [`product`], [`rows`]). Which numbers a sum adds up in which order depends on the sizes alone, so that results are the same
//! bits on any grid. No atomic operation touches a real.
//!
//! An entry takes the arena's address and that of the [`Control`] block. Text in, text out: nothing here knows a driver.

mod group;
mod lanes;
mod nest;
mod product;
mod rows;
mod scope;
mod text;
mod time;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::kernel::{Form, Item, Module};
use crate::plan::Program;
use crate::target::Nvidia;
use scope::{PARAMETERS, Scope, THREADS};
use time::GridBarrier;

/// A program for a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Ptx {
    /// A PTX module, with an entry for each launch.
    pub text: String,
    /// What is launched once before the steps of a run, in order.
    pub prologue: Vec<Launch>,
    /// A step.
    pub step: Vec<Launch>,
    pub control_bytes: usize,
}

/// One launch of an entry on a grid of CTAs of [`Launch::threads`].
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub entry: String,
    pub ctas: usize,
    pub threads: usize,
    /// Bytes of shared memory that the entry declares.
    pub shared_bytes: usize,
    /// All CTAs must be resident at once.
    pub cooperative: bool,
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

fn header(module: &Module, nvidia: Nvidia) -> String {
    let (version, target) = version(nvidia);
    format!("// {}\n.version {version}\n.target {target}\n.address_size 64\n", module.name)
}

/// Compiles a program for a GPU. Of its schedule only the order is used: a launch is shared out over the whole machine.
pub fn compile(program: &Program, nvidia: Nvidia) -> Ptx {
    let Program { module, offsets, .. } = program;
    let text = header(module, nvidia);
    let mut compiler = Compiler { module, offsets, nvidia, text, entries: 0, counters: 0 };
    let prologue = compiler.launches(&module.prologue);
    let step = compiler.launches(&module.items);
    let control_bytes = Control::counter(compiler.counters);
    Ptx { text: compiler.text, prologue, step, control_bytes }
}

struct Compiler<'a> {
    module: &'a Module,
    offsets: &'a [usize],
    nvidia: Nvidia,
    text: String,
    entries: usize,
    counters: usize,
}

impl Compiler<'_> {
    fn launches(&mut self, items: &[Item]) -> Vec<Launch> {
        let mut launches = vec![];
        for item in items {
            match item {
                Item::Loop(inner) if inner.steps == 0 => {}
                Item::Loop(_) => launches.push(self.time_loop(item)),
                _ => (0..parts(item)).for_each(|part| launches.push(self.single(item, part))),
            }
        }
        launches
    }

    /// One part of an item that is no loop.
    fn single(&mut self, item: &Item, part: usize) -> Launch {
        let mut scope = Scope::new(self.offsets);
        let work = write_part(&mut scope, item, part, self.module);
        // More CTAs than fit at once only wait.
        let ctas = work.clamp(1, 8 * self.nvidia.multiprocessors);
        self.entry(&scope, &name(item), ctas, false)
    }

    fn time_loop(&mut self, item: &Item) -> Launch {
        let mut scope = Scope::new(self.offsets);
        let barrier = GridBarrier::new(&mut scope, Control::counter(self.counters));
        self.counters += 1;
        let work = self.in_loop(&mut scope, item, barrier);
        let ctas = work.clamp(1, self.nvidia.multiprocessors);
        self.entry(&scope, "time_loop", ctas, true)
    }

    /// The parts of an item, each followed by a barrier; says how many CTAs have something to do in the largest.
    fn in_loop(&mut self, scope: &mut Scope, item: &Item, barrier: GridBarrier) -> usize {
        let mut most = 1;
        match item {
            Item::Loop(inner) => time::rounds(scope, inner, |scope| {
                for item in &inner.items {
                    most = most.max(self.in_loop(scope, item, barrier));
                }
            }),
            _ => {
                for part in 0..parts(item) {
                    most = most.max(write_part(scope, item, part, self.module));
                    barrier.wait(scope);
                }
            }
        }
        most
    }

    fn entry(&mut self, scope: &Scope, name: &str, ctas: usize, cooperative: bool) -> Launch {
        let entry = format!("k{}_{name}", self.entries);
        self.entries += 1;
        let _ = write!(self.text, "\n{}", scope.w.entry(&entry, THREADS, &PARAMETERS));
        Launch { entry, ctas, threads: THREADS, shared_bytes: scope.w.shared_bytes(), cooperative }
    }
}

/// How many parts an item has, between which all CTAs must have finished.
fn parts(item: &Item) -> usize {
    match item {
        Item::Scatter(scatter) => 1 + usize::from(rows::is_cleared(scatter)),
        Item::Distinct(_) => 2,
        _ => 1,
    }
}

/// Writes one part of an item, and says how many CTAs have something to do.
fn write_part(scope: &mut Scope, item: &Item, part: usize, module: &Module) -> usize {
    scope.w.note(name(item));
    match (item, part) {
        (Item::Kernel(kernel), _) => nest::kernel(scope, kernel, module),
        (Item::Gemm(gemm), _) => product::product(scope, gemm),
        (Item::Scatter(scatter), 0) if rows::is_cleared(scatter) => rows::clear(scope, scatter),
        (Item::Scatter(scatter), _) => rows::add_rows(scope, scatter),
        (Item::Distinct(distinct), 0) => rows::first_places(scope, distinct),
        (Item::Distinct(distinct), _) => rows::ranks(scope, distinct),
        (Item::Pack(_) | Item::Loop(_), _) => unreachable!("internal error: no part of a launch"),
    }
}

/// What an item is, as the name of an entry.
fn name(item: &Item) -> String {
    match item {
        Item::Kernel(kernel) => {
            kernel.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        }
        Item::Gemm(gemm) => format!("product_{}_{}x{}x{}", form_name(gemm.form), gemm.m, gemm.n, gemm.k),
        Item::Scatter(_) => "add_rows".into(),
        Item::Distinct(_) => "distinct".into(),
        Item::Pack(_) => "pack".into(),
        Item::Loop(_) => "loop".into(),
    }
}

fn form_name(form: Form) -> &'static str {
    match form {
        Form::NN => "nn",
        Form::NT => "nt",
        Form::TN => "tn",
    }
}
