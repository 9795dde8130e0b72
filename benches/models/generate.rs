//! Writing words one by one: time per word, beside one pass over the weights at the bandwidth of reading.

use std::time::Instant;

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_runtime::engine::Engine;
use lstmc_runtime::engine::cpu::machine::{self, Reading};
use lstmc_runtime::engine::cpu::{self, Session};
use lstmc_runtime::generate::{Request, generate};
use lstmc_runtime::monitor::Monitor;
use lstmc_runtime::sample::Sampler;
use lstmc_runtime::train::initialise;

use crate::work::Work;
use crate::{Case, THREADS, compile, median};

const ROUNDS: usize = 7;
const MACHINE_ROUNDS: usize = 3;
/// Bytes of weights to read in a round.
const ROUND_BYTES: usize = 1_000_000_000;
const SEED: u64 = 0;

/// A text of some thousand words, of which a round is a part.
const WRITING: Purpose = Purpose::Generate { tokens: 10_000 };

/// Prints the medians.
///
/// # Errors
/// A model that does not compile.
pub fn report(cases: &[&Case]) -> Result<()> {
    println!(
        "generate: greedy; beside the bandwidth of reading memory, and of reading a buffer as large as the"
    );
    println!("weights again and again (from caches, if it fits)");
    println!(
        "{:12} {:>7} {:>7} {:>9} {:>11} {:>8}  {:>18}  {:>18}  {:>13}",
        "",
        "weights",
        "threads",
        "us/word",
        "weights, MB",
        "GB/s",
        "of memory",
        "of such a buffer",
        "2 threads : 1"
    );
    let memory = Reading::new(machine::MEMORY)?;
    for case in cases {
        let model = compile::front_end(&compile::source(case.model)?, case.vocabulary)?;
        for format in Format::OF_WEIGHTS {
            let program = pipeline::program_in(&model, WRITING, format, &cpu::target(1));
            let weights = Work::of(&program).weight_bytes;
            print(case, format, weights, &measure(&model, format, weights, &memory)?);
        }
    }
    Ok(())
}

/// Of one round and number of threads.
struct Sample {
    /// Per word.
    seconds: f64,
    /// Bytes a second of reading memory, and of reading as much as the weights.
    memory: f64,
    buffer: f64,
}

fn measure(model: &Model, format: Format, weights: usize, memory: &Reading) -> Result<Vec<Vec<Sample>>> {
    let length = (ROUND_BYTES / weights).max(1);
    let buffer = Reading::new(weights)?;
    let mut sessions = sessions(model, format)?;
    let mut samples: Vec<Vec<Sample>> = sessions.iter().map(|_| Vec::new()).collect();
    for session in &mut sessions {
        write(session, 2)?;
    }
    for _ in 0..ROUNDS {
        for ((session, samples), threads) in sessions.iter_mut().zip(&mut samples).zip(THREADS) {
            samples.push(Sample {
                memory: memory.bandwidth(threads, MACHINE_ROUNDS)?,
                buffer: buffer.bandwidth(threads, MACHINE_ROUNDS)?,
                seconds: write(session, length)?,
            });
        }
    }
    Ok(samples)
}

fn print(case: &Case, format: Format, weights: usize, samples: &[Vec<Sample>]) {
    for (threads, own) in THREADS.iter().zip(samples) {
        let seconds = median(own.iter().map(|sample| sample.seconds));
        let beside = |part: fn(&Sample) -> f64| {
            let share = median(own.iter().map(|sample| weights as f64 / sample.seconds / part(sample)));
            format!("{:.1} GB/s: {:3.0} %", 1e-9 * median(own.iter().map(part)), 100.0 * share)
        };
        let ratio = median(own.iter().zip(&samples[0]).map(|(own, one)| one.seconds / own.seconds));
        println!(
            "{:12} {:>7} {threads:7} {:9.0} {:11.1} {:8.1}  {:>18}  {:>18}  {}",
            case.model,
            format.name(),
            1e6 * seconds,
            1e-6 * weights as f64,
            1e-9 * weights as f64 / seconds,
            beside(|sample| sample.memory),
            beside(|sample| sample.buffer),
            if *threads == 1 { String::new() } else { format!("{ratio:13.2}") }
        );
    }
}

/// One session for each of [`THREADS`], all with the same parameters.
fn sessions(model: &Model, format: Format) -> Result<Vec<Session>> {
    let mut sessions: Vec<Session> = Vec::new();
    for threads in THREADS {
        sessions.push(match sessions.first() {
            Some(first) => {
                let mut session = compile::session(model, WRITING, format, threads)?;
                session.copy_params_from(first)?;
                session
            }
            None => untrained(model, format, threads)?,
        });
    }
    Ok(sessions)
}

/// A session from the model's own start.
pub fn untrained(model: &Model, format: Format, threads: u32) -> Result<Session> {
    let mut session = compile::session(model, WRITING, format, threads)?;
    initialise(model, SEED, &mut session)?;
    Ok(session)
}

/// Seconds per word of writing `length` words.
pub fn write(session: &mut Session, length: usize) -> Result<f64> {
    let request = Request { prompt: &[1], length, sampler: Sampler::greedy(), reserve: 0 };
    let started = Instant::now();
    generate(session, request, &Monitor::default(), &mut |_| Ok(true))?;
    Ok(started.elapsed().as_secs_f64() / length as f64)
}
