//! Where a training step's time goes: the step's parts, how long each takes, and what was chosen for it.
//!
//! A step runs as it is and with probes: the same schedule, cuts and barriers, and a probe after each of its parts, barriers
//! included, so that what a worker's parts take adds up to the step. Why a part is cut as it is is asked of `plan`, and what a
//! product does with its right side of `gemm`: the functions that decide, so that a profile cannot say otherwise.

mod print;
mod rows;
mod work;

use std::time::Instant;

use anyhow::Result;
use lstmc_compiler::model::{Model, Precision};
use lstmc_compiler::plan::Verified;
use lstmc_runtime::engine::Engine;
use lstmc_runtime::engine::cpu::caches::Caches;
use lstmc_runtime::engine::cpu::gemm::{self, Instructions};
use lstmc_runtime::engine::cpu::machine::{self, Reading};
use lstmc_runtime::engine::cpu::probes::Spent;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::feed::{Feed, random_ids};
use lstmc_runtime::train::initialise;
use serde::Serialize;

pub use print::{Line, Order, chosen, facts, json, lines, missed, text};
use rows::Row;

const SEED: u64 = 0;
/// Seconds that steps are measured for, with probes and without, unless a number of steps is given.
const SECONDS: f64 = 1.0;
/// Steps with probes and without take turns, so that other work on the machine hits both.
const TURNS: u64 = 5;
/// Seconds that products may take to find their fastest ways before steps are measured: of a training those are the first.
const FINDING: f64 = 10.0;
/// Rounds of 5 ms in which the machine is measured.
const MACHINE_ROUNDS: usize = 21;

/// A profile of training steps. Times are seconds per step, of each worker where there are several.
#[derive(Debug, Serialize)]
pub struct Profile {
    pub threads: usize,
    /// Threads that the plan could have had.
    pub available: usize,
    /// The instruction set of the products.
    pub instructions: &'static str,
    /// The widest vectors that there are kernels for, if this machine has narrower ones.
    pub lacks: Option<&'static str>,
    /// The instructions for operands in bf16, if they are multiplied as such.
    pub pairs: Option<&'static str>,
    pub caches: Caches,
    /// Bytes of a weight that all workers may read over and over as fast as they multiply.
    pub cached_weight: usize,
    /// f32 multiply-adds of all threads, in floating-point operations a second.
    pub peak: f64,
    /// The same of operands in bf16, where the model asks for them and there are instructions.
    pub peak_of_pairs: Option<f64>,
    /// What the model says of products.
    #[serde(skip)]
    pub precision: Option<Precision>,
    /// Bytes a second that all threads read from memory.
    pub bandwidth: f64,
    /// Seconds that a barrier takes if no thread is late.
    pub barrier: f64,
    pub steps: u64,
    /// Tokens that one step predicts.
    pub predictions: u64,
    /// A step of the program that is trained with.
    pub step: f64,
    /// A step of the same program with probes, which is what the rest are parts of.
    pub step_with_probes: f64,
    pub rows: Vec<Row>,
    /// Barriers that a step passes, those around the schedule included.
    pub barriers: usize,
    pub waiting: Vec<f64>,
    /// From the end of one schedule to the start of the next: the batch, and what is read of the results.
    pub host: Vec<f64>,
}

/// Random tokens, where there is no text.
const TOKENS: usize = 1_000_000;

/// Tokens for [`measure`], where there is no text.
pub fn random_tokens(model: &Model) -> Vec<u32> {
    let batches = &model.data.batches;
    random_ids(model.vocab, TOKENS.max(20 * batches.rows * (batches.steps + 1)), SEED)
}

/// Runs `steps` steps of the program as it is and with probes, or as many as take [`SECONDS`], once the
/// products have found their fastest ways.
///
/// # Errors
/// Too little memory; ids that fill no batch; a loss that is not a number.
pub fn measure(
    model: &Model,
    program: &Verified,
    ids: Vec<u32>,
    available: usize,
    steps: Option<u64>,
) -> Result<Profile> {
    let threads = program.target.workers as u32;
    let peak = machine::peak(threads, MACHINE_ROUNDS)?;
    let peak_of_pairs = match model.train.precision.and_then(Precision::products_of_bf16) {
        Some(_) => machine::peak_of_pairs(threads, MACHINE_ROUNDS)?,
        None => None,
    };
    let bandwidth = Reading::new(machine::MEMORY)?.bandwidth(threads, MACHINE_ROUNDS)?;
    let barrier = machine::barrier(threads, MACHINE_ROUNDS)?;
    let mut plain = Run::new(model, Executable::compile(program.clone())?, ids.clone())?;
    let mut probed = Run::new(model, Executable::compile_with_probes(program.clone())?, ids)?;
    find_ways(&mut plain)?;
    let once = plain.run(1)?.max(probed.run(1)?);
    probed.session.take_spent();
    let steps = steps.unwrap_or((SECONDS / once).ceil() as u64).max(1);
    let (mut step, mut step_with_probes) = (0.0, 0.0);
    for turn in 0..TURNS {
        let count = steps * (turn + 1) / TURNS - steps * turn / TURNS;
        if count > 0 {
            step += plain.run(count)? / steps as f64;
            step_with_probes += probed.run(count)? / steps as f64;
        }
    }
    let spent = probed.session.take_spent().map(|spent| per_step(spent, steps));
    let spent = spent.unwrap_or(Spent { leaves: vec![], end: vec![], host: vec![] });
    let distinct = plain.feed.distinct_tokens(steps);
    let Instructions { name: instructions, pairs, lacks } = gemm::instructions();
    Ok(Profile {
        threads: program.target.workers,
        available,
        instructions,
        lacks,
        pairs,
        caches: *Caches::here(),
        cached_weight: gemm::cached_weight(),
        peak,
        peak_of_pairs,
        precision: model.train.precision,
        bandwidth,
        barrier,
        steps,
        predictions: plain.feed.predictions(),
        step,
        step_with_probes,
        rows: rows::rows(program, &spent, distinct),
        barriers: rows::barriers(program),
        waiting: rows::waiting(program, &spent),
        host: spent.host,
    })
}

/// Runs steps until all products have found the fastest way, or for [`FINDING`] seconds. What one run has found the next, with
/// probes or without, goes on with.
fn find_ways(run: &mut Run) -> Result<()> {
    let started = Instant::now();
    while gemm::still_trying() && started.elapsed().as_secs_f64() < FINDING {
        run.run(1)?;
    }
    Ok(())
}

fn per_step(mut spent: Spent, steps: u64) -> Spent {
    let all = spent.leaves.iter_mut().chain([&mut spent.end, &mut spent.host]);
    all.flatten().for_each(|seconds| *seconds /= steps as f64);
    spent
}

/// A training that is measured.
struct Run {
    session: Session,
    feed: Feed,
}

impl Run {
    fn new(model: &Model, executable: Executable, ids: Vec<u32>) -> Result<Self> {
        let mut session = Session::new(executable)?;
        initialise(model, SEED, &mut session)?;
        let mut run = Self { session, feed: Feed::new(model, ids, SEED)? };
        // The first step touches all memory for the first time.
        run.run(1)?;
        Ok(run)
    }

    /// Seconds that `steps` steps take.
    fn run(&mut self, steps: u64) -> Result<f64> {
        let started = Instant::now();
        self.session.run(steps, SEED, &mut self.feed)?;
        Ok(started.elapsed().as_secs_f64())
    }
}
