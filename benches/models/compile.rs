//! From source text to machine code, and how long each stage takes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use lstmc_compiler::diag::{Diagnostics, SourceMap};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::{self, Model};
use lstmc_compiler::{pipeline, syntax};
use lstmc_runtime::engine::cpu::{self, Executable, Session, workers};

use crate::{Case, median};

const ROUNDS: usize = 7;

/// Where the shipped models are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// The text of a shipped model.
pub fn source(model: &str) -> Result<String> {
    let path = folder().join(format!("{model}.lstm"));
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The checked model of a source text.
pub fn front_end(text: &str, vocabulary: usize) -> Result<Model> {
    let mut sources = SourceMap::default();
    check(&mut sources, text, vocabulary).map_err(|errors| anyhow!(sources.render(&errors, false)))
}

fn check(sources: &mut SourceMap, text: &str, vocabulary: usize) -> Result<Model, Diagnostics> {
    let id = sources.add("model.lstm", text);
    let file = syntax::parse(sources, id)?;
    let mut prelude = Vec::new();
    for (name, text) in model::prelude() {
        let id = sources.add(name, text);
        prelude.push(syntax::parse(sources, id)?);
    }
    model::check(&file, &prelude, vocabulary)
}

/// A program with its memory and its work, ready to run; `weights` as for [`pipeline::program_in`].
pub fn session(model: &Model, purpose: Purpose, weights: Format, threads: u32) -> Result<Session> {
    let program = pipeline::program_in(model, purpose, weights, &cpu::target(threads as usize));
    Ok(Session::new(Executable::compile(program)?)?)
}

/// Seconds of each stage of compiling the training program.
#[derive(Default)]
pub struct Times {
    front_end: f64,
    passes: f64,
    plan: f64,
    machine_code: f64,
    /// All of the evaluation program but the front end.
    evaluation: f64,
}

impl Times {
    /// From the source text to the training program's machine code.
    pub fn training(&self) -> f64 {
        self.front_end + self.passes + self.plan + self.machine_code
    }
}

/// Compiles both programs of a model once.
pub fn measure(text: &str, vocabulary: usize, workers: usize) -> Result<Times> {
    let mut times = Times::default();
    let model = timed(&mut times.front_end, || front_end(text, vocabulary))?;
    let graph = timed(&mut times.passes, || {
        pipeline::graph_of(&model, Purpose::Train, &cpu::target(1), &mut |_, _| {})
    });
    let numbers = pipeline::numbers_of(&model, Purpose::Train, Format::F32, &cpu::target(1));
    let program = timed(&mut times.plan, || {
        pipeline::plan_of(
            pipeline::kernels_of(&graph, numbers, &cpu::target(1), &mut |_, _| {}),
            &cpu::target(workers),
        )
    });
    timed(&mut times.machine_code, || Executable::compile(program))?;
    timed(&mut times.evaluation, || {
        Executable::compile(pipeline::program_of(&model, Purpose::Evaluate, &cpu::target(workers)))
    })?;
    Ok(times)
}

fn timed<T>(seconds: &mut f64, f: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = f();
    *seconds = started.elapsed().as_secs_f64();
    result
}

/// Prints the medians.
///
/// # Errors
/// A model that does not compile.
pub fn report(cases: &[&Case]) -> Result<()> {
    let workers = workers::default_workers();
    println!(
        "compile: source text to machine code for {workers} threads; ms (share of the training program's)"
    );
    println!(
        "{:12} {:>8}  {:>14} {:>14} {:>14} {:>14}  {:>12}",
        "", "training", "front end", "graph passes", "kernels, plan", "machine code", "+ evaluation"
    );
    for case in cases {
        let text = source(case.model)?;
        let rounds: Vec<Times> =
            (0..ROUNDS).map(|_| measure(&text, case.vocabulary, workers)).collect::<Result<_>>()?;
        let middle = |part: fn(&Times) -> f64| 1e3 * median(rounds.iter().map(part));
        let total = middle(Times::training);
        let part = |part| format!("{:.2} ({:2.0} %)", middle(part), 100.0 * middle(part) / total);
        println!(
            "{:12} {total:8.1}  {:>14} {:>14} {:>14} {:>14}  {:12.1}",
            case.model,
            part(|times| times.front_end),
            part(|times| times.passes),
            part(|times| times.plan),
            part(|times| times.machine_code),
            middle(|times| times.evaluation)
        );
    }
    Ok(())
}
