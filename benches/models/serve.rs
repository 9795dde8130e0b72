//! A process that answers commands, for `benches/peers` and `benches/gpu` to run in turn with those of other frameworks:
//!
//! ```text
//! serve ids MODEL.lstm DATA OUT                     writes the training text's ids, u32 in native order
//! serve train MODEL.lstm DATA THREADS               `run N`: N training steps; `peak`: the machine's; `barrier`: of
//!                                                   the first two threads
//! serve train MODEL.lstm DATA cuda                  `run N`: N training steps on a GPU
//! serve generate MODEL.lstm VOCAB THREADS WEIGHTS   `run N`: N words, each the most likely
//! serve compile MODEL.lstm VOCAB THREADS            `run N`: N times from source text to the step's machine code
//! ```
//!
//! It says one JSON object when it is ready, and then one for each line of standard input, until `quit`.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_runtime::engine::cpu::{self, machine};
use lstmc_runtime::text::{Corpus, Texts};
use serde_json::{Value, json};

use crate::train::Training;
use crate::{compile, generate, median};

/// Rounds of 5 ms in which the machine is measured each time.
const MACHINE_ROUNDS: usize = 7;

/// # Errors
/// Arguments or commands other than those above; a model that does not compile; texts that cannot be read.
pub fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [what, path, rest @ ..] = &arguments[..] else { bail!("serve what?") };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    match (*what, rest) {
        ("ids", [data, out]) => {
            let (model, ids) = corpus(&text, Path::new(data))?;
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
            std::fs::write(out, bytes).with_context(|| format!("cannot write {out}"))?;
            say(&json!({ "vocabulary": model.vocab }))
        }
        ("train", [data, "cuda"]) => training_on_gpu(&text, Path::new(data)),
        ("train", [data, threads]) => training(&text, Path::new(data), threads.parse()?),
        ("generate", [vocabulary, threads, weights]) => {
            let format: Option<Format> = weights.parse().ok();
            let format = format.with_context(|| format!("no weights are {weights}"))?;
            generation(&text, vocabulary.parse()?, threads.parse()?, format)
        }
        ("compile", [vocabulary, threads]) => compilation(&text, vocabulary.parse()?, threads.parse()?),
        _ => bail!("serve does not know {arguments:?}"),
    }
}

/// The model with the training text's vocabulary, and that text.
fn corpus(text: &str, data: &Path) -> Result<(Model, Vec<u32>)> {
    // What the text is made of does not depend on the vocabulary's size.
    let block = compile::front_end(text, 2)?.data;
    let corpus = Corpus::read(&block.tokens, &block.selection, &Texts::of(&block, data), &[])?;
    Ok((compile::front_end(text, corpus.vocabulary.len())?, corpus.train))
}

fn training(text: &str, data: &Path, threads: u32) -> Result<()> {
    let (model, ids) = corpus(text, data)?;
    let mut training = Training::new(&model, threads, ids)?;
    let flop = training.flop(&pipeline::program_of(&model, Purpose::Train, &cpu::target(1)));
    answer(&json!({ "flop": flop }), |command, number| {
        Ok(match command {
            "run" => steps(&mut training, number)?,
            "peak" => json!({ "flops": machine::peak(threads, MACHINE_ROUNDS)? }),
            "barrier" => json!({ "seconds": machine::barrier(threads.min(2), MACHINE_ROUNDS)? }),
            _ => bail!("training cannot {command}"),
        })
    })
}

fn training_on_gpu(text: &str, data: &Path) -> Result<()> {
    let (model, ids) = corpus(text, data)?;
    let mut training = Training::on_gpu(&model, ids)?;
    answer(&json!({}), |command, number| match command {
        "run" => steps(&mut training, number),
        _ => bail!("training on a GPU cannot {command}"),
    })
}

fn steps(training: &mut Training, count: u64) -> Result<Value> {
    let seconds = training.run(count)? * count as f64;
    Ok(json!({ "seconds": seconds, "loss": training.take_loss() / count as f64 }))
}

fn generation(text: &str, vocabulary: usize, threads: u32, format: Format) -> Result<()> {
    let model = compile::front_end(text, vocabulary)?;
    let mut session = generate::untrained(&model, format, threads)?;
    answer(&json!({}), |command, number| match command {
        "run" => Ok(json!({ "seconds": generate::write(&mut session, number as usize)? * number as f64 })),
        _ => bail!("generation cannot {command}"),
    })
}

fn compilation(text: &str, vocabulary: usize, threads: usize) -> Result<()> {
    answer(&json!({}), |command, number| match command {
        "run" => {
            let times: Result<Vec<f64>> =
                (0..number).map(|_| Ok(compile::measure(text, vocabulary, threads)?.training())).collect();
            let times = times?;
            Ok(json!({ "seconds": median(times.iter().copied()) * number as f64 }))
        }
        _ => bail!("compilation cannot {command}"),
    })
}

/// Says that it is ready, and does what it is told until `quit` or the end of the input.
fn answer(about: &Value, mut act: impl FnMut(&str, u64) -> Result<Value>) -> Result<()> {
    say(about)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or("quit");
        if command == "quit" {
            break;
        }
        let number = words.next().map_or(Ok(1), str::parse)?;
        say(&act(command, number)?)?;
    }
    Ok(())
}

fn say(words: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{words}")?;
    Ok(out.flush()?)
}
