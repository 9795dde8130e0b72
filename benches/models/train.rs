//! Training steps: words a second, and the share of the machine's arithmetic or, for one sequence at a time, memory.

use std::time::Instant;

use anyhow::Result;
use lstmc_compiler::backend::ptx;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::Program;
use lstmc_compiler::target::{Nvidia, Target};
use lstmc_runtime::engine::Engine;
use lstmc_runtime::engine::cpu;
use lstmc_runtime::engine::cpu::machine::{self, Reading};
use lstmc_runtime::engine::cuda::{self, Gpu};
use lstmc_runtime::feed::{Feed, random_ids};
use lstmc_runtime::train::initialise;

use crate::work::{self, Work};
use crate::{Case, THREADS, compile, median};

/// Seconds of training per round and number of threads; at least one step.
const ROUND_SECONDS: f64 = 0.4;
/// Rounds of 5 ms in which the machine is measured each time.
const MACHINE_ROUNDS: usize = 7;
const SEED: u64 = 0;
/// Steps whose tokens are looked at to know how much there is to multiply.
const COUNTED_STEPS: u64 = 64;
/// The length of the random text.
const TOKENS: usize = 200_000;

/// Prints the medians.
///
/// # Errors
/// A model that does not compile or whose loss is not a number any more.
pub fn report(cases: &[&Case]) -> Result<()> {
    println!(
        "train: whole steps with clipping and update; the floor is the products' FLOP at the f32 peak of the same"
    );
    println!(
        "number of cores or, where rows = 1, weights and optimizer state read and written once at the bandwidth"
    );
    println!("of reading as much again and again (from caches, if it fits)");
    println!(
        "{:12} {:>7} {:>10} {:>10}  {:>22}  {:>10} {:>6}  {:>13}",
        "", "threads", "words/s", "ms/step", "floor", "floor, ms", "share", "2 threads : 1"
    );
    cases.iter().try_for_each(|case| {
        let model = compile::front_end(&compile::source(case.model)?, case.vocabulary)?;
        let program = pipeline::program_of(&model, Purpose::Train, &cpu::target(1));
        let work = Work::of(&program);
        let trainings = trainings(&model)?;
        let bound = if model.data.batches.rows == 1 {
            Bound::Memory { bytes: 2 * work.state_bytes, reading: Reading::new(work.state_bytes)? }
        } else {
            Bound::Arithmetic { flop: trainings[0].flop(&program) }
        };
        print(case, &bound, &measure(case.rounds, &bound, trainings)?);
        Ok(())
    })
}

/// What a step cannot be faster than.
enum Bound {
    Arithmetic { flop: f64 },
    Memory { bytes: usize, reading: Reading },
}

impl Bound {
    /// Operations or bytes of a step.
    fn work(&self) -> f64 {
        match self {
            Self::Arithmetic { flop } => *flop,
            Self::Memory { bytes, .. } => *bytes as f64,
        }
    }

    /// How many of them `threads` cores can do in a second, measured now.
    fn machine(&self, threads: u32) -> lstmc_runtime::Result<f64> {
        match self {
            Self::Arithmetic { .. } => machine::peak(threads, MACHINE_ROUNDS),
            Self::Memory { reading, .. } => reading.bandwidth(threads, MACHINE_ROUNDS),
        }
    }

    fn unit(&self) -> &'static str {
        match self {
            Self::Arithmetic { .. } => "GFLOP",
            Self::Memory { .. } => "GB",
        }
    }
}

/// Of one round and number of threads.
struct Sample {
    words_per_second: f64,
    /// Per step.
    seconds: f64,
    /// Operations or bytes a second that the machine can do.
    machine: f64,
    floor: f64,
}

fn measure(rounds: usize, bound: &Bound, mut trainings: Vec<Training>) -> Result<Vec<Vec<Sample>>> {
    for training in &mut trainings {
        training.warm_up()?;
    }
    let mut samples: Vec<Vec<Sample>> = trainings.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (training, samples) in trainings.iter_mut().zip(&mut samples) {
            let machine = bound.machine(training.threads)?;
            let seconds = training.run(training.steps)?;
            let words_per_second = training.words() / seconds;
            samples.push(Sample { words_per_second, seconds, machine, floor: bound.work() / machine });
        }
    }
    Ok(samples)
}

fn print(case: &Case, bound: &Bound, samples: &[Vec<Sample>]) {
    for (threads, own) in THREADS.iter().zip(samples) {
        let middle = |part: fn(&Sample) -> f64| median(own.iter().map(part));
        let ratio = median(own.iter().zip(&samples[0]).map(|(own, one)| one.seconds / own.seconds));
        let floor = format!(
            "{:.3} {} at {:.0}/s",
            1e-9 * bound.work(),
            bound.unit(),
            1e-9 * middle(|sample| sample.machine)
        );
        println!(
            "{:12} {threads:7} {:10.0} {:10.3}  {floor:>22}  {:10.3} {:4.0} %  {}",
            case.model,
            middle(|sample| sample.words_per_second),
            1e3 * middle(|sample| sample.seconds),
            1e3 * middle(|sample| sample.floor),
            100.0 * middle(|sample| sample.floor / sample.seconds),
            if *threads == 1 { String::new() } else { format!("{ratio:13.2}") }
        );
    }
}

/// One training for each of [`THREADS`], all from the same parameters.
pub fn trainings(model: &Model) -> Result<Vec<Training>> {
    let mut trainings: Vec<Training> = Vec::new();
    for threads in THREADS {
        let text = random_ids(model.vocab, TOKENS, SEED);
        let training = match trainings.first() {
            Some(first) => Training::with_parameters_of(first, model, threads, text)?,
            None => Training::new(model, threads, text)?,
        };
        trainings.push(training);
    }
    Ok(trainings)
}

pub struct Training {
    threads: u32,
    /// Steps of a round.
    pub steps: u64,
    engine: Box<dyn Engine>,
    feed: Feed,
}

impl Training {
    /// On a text of these ids, from the model's own start.
    pub fn new(model: &Model, threads: u32, ids: Vec<u32>) -> Result<Self> {
        let session = compile::session(model, Purpose::Train, Format::F32, threads)?;
        Self::started(Box::new(session), model, threads, ids)
    }

    /// As [`Training::new`], on the first GPU that the driver shows.
    pub fn on_gpu(model: &Model, ids: Vec<u32>) -> Result<Self> {
        let gpu = Gpu::open(0)?;
        let nvidia = Nvidia { sm: gpu.capability, multiprocessors: gpu.multiprocessors };
        let program = pipeline::program_of(model, Purpose::Train, &Target::nvidia(nvidia));
        let session = cuda::Session::new(Box::new(gpu), &program, &ptx::compile(&program))?;
        Self::started(Box::new(session), model, 1, ids)
    }

    fn started(mut engine: Box<dyn Engine>, model: &Model, threads: u32, ids: Vec<u32>) -> Result<Self> {
        initialise(model, SEED, &mut *engine)?;
        Self::of(engine, model, threads, ids)
    }

    fn of(engine: Box<dyn Engine>, model: &Model, threads: u32, ids: Vec<u32>) -> Result<Self> {
        Ok(Self { threads, steps: 1, engine, feed: Feed::new(model, ids, SEED)? })
    }

    fn with_parameters_of(first: &Self, model: &Model, threads: u32, ids: Vec<u32>) -> Result<Self> {
        let mut session = compile::session(model, Purpose::Train, Format::F32, threads)?;
        session.copy_params_from(&*first.engine)?;
        Self::of(Box::new(session), model, threads, ids)
    }

    /// The sum of the steps' mean losses since it was last asked for.
    pub fn take_loss(&mut self) -> f64 {
        self.feed.take_loss()
    }

    /// Of a step of `program`, which trains the same model, on average over the first steps.
    pub fn flop(&self, program: &Program) -> f64 {
        work::flop(program, self.feed.distinct_tokens(COUNTED_STEPS))
    }

    /// Words of a step.
    pub fn words(&self) -> f64 {
        self.feed.predictions() as f64
    }

    /// Seconds per step of `steps` steps.
    pub fn run(&mut self, steps: u64) -> Result<f64> {
        let started = Instant::now();
        self.engine.run(steps, SEED, &mut self.feed)?;
        Ok(started.elapsed().as_secs_f64() / steps as f64)
    }

    /// Touches all memory and finds out how many steps make a round.
    pub fn warm_up(&mut self) -> Result<()> {
        self.run(1)?;
        let once = self.run(1)?;
        self.steps = (ROUND_SECONDS / once).ceil().max(1.0) as u64;
        Ok(())
    }
}
