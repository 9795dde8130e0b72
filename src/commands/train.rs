//! `lstmc train`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lstmc_compiler::model::{Length, Model};
use lstmc_runtime::batches::Batcher;
use lstmc_runtime::checkpoint::Checkpoint;
use lstmc_runtime::error::Error;
use lstmc_runtime::memory;
use lstmc_runtime::run_dir::{RunDir, Settings};
use lstmc_runtime::session::Session;
use lstmc_runtime::text::Corpus;
use lstmc_runtime::train::{Inputs, Outcome, Recipe, Trainer, initialise};

use crate::args::{Split, Train};
use crate::commands::check::parameters;
use crate::compile::Threads;
use crate::progress::{Facts, Output, Plan, watch};
use crate::project::{self, Project};
use crate::{compile, terminal};

pub fn run(args: &Train) -> Result<ExitCode> {
    let resumed = args.resume.as_deref().map(RunDir::open).transpose()?;
    let settings = resumed.as_ref().map(RunDir::settings).transpose()?;
    let (project, name) = read_project(args, resumed.as_ref(), settings.as_ref())?;
    let corpus = project.corpus()?;
    let model = with_length(project.source.model(corpus.vocabulary.len())?, args)?;
    let seed = settings.as_ref().map_or(args.seed.unwrap_or(0), |settings| settings.seed);
    let recipe = Recipe { limit: args.steps, ..Recipe::of(&model, seed) };
    // Found out before anything is compiled or written.
    Batcher::new(&model.data.batches, corpus.train.len(), seed)?;
    if let Some(valid) = &corpus.valid
        && let Err(short) = project::reading(&model, Split::Valid, valid)
    {
        writeln!(std::io::stderr(), "warning: {short}; training goes on without")?;
    }

    let threads = project::threads(args.threads);
    let built = build(&model, seed, threads)?;
    let run = match resumed {
        Some(run) => run,
        None => create(args, &name, &project, &corpus, seed)?,
    };
    let monitor = terminal::interruptible()?;
    let vocabulary = corpus.vocabulary.fingerprint();
    let inputs = Inputs {
        train: &corpus.train,
        valid: corpus.valid.as_deref(),
        run: &run,
        source: &project.text,
        vocabulary: &vocabulary,
        monitor: &monitor,
    };
    let mut trainer = Trainer::new(recipe, inputs, built.train, built.evaluate)?;
    if args.resume.is_some() {
        let path = run.latest()?;
        trainer.resume(&path, &Checkpoint::read(&path)?)?;
    }

    let output = Output::new(args.json, Plan::of(&model, &trainer), &project, &corpus.vocabulary);
    let facts = Facts {
        run: run.path(),
        parameters: parameters(&model),
        memory: built.memory,
        compile: built.time,
        threads: built.threads,
        train_tokens: corpus.train.len(),
        valid_tokens: corpus.valid.as_ref().map(Vec::len),
        words: corpus.vocabulary.len(),
        step: trainer.position().step,
    };
    run.log(&format!("{} seed {seed}", facts.line()))?;
    output.start(&facts)?;
    let outcome = watch(&output, &monitor, &run, |report| trainer.run(report));
    finish(outcome, &output, &run)
}

/// The model file that is named, or the run's own.
fn read_project(
    args: &Train,
    run: Option<&RunDir>,
    settings: Option<&Settings>,
) -> Result<(Project, String)> {
    let data = args.data.as_deref().or(settings.map(|settings| settings.data.as_path()));
    let (Some(run), named) = (run, args.model.as_deref()) else {
        let path = args.model.as_deref().context("name a model file")?;
        let name = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
        return Ok((Project::read(path, data)?, name));
    };
    let project = Project::read(&run.model_path(), data)?;
    if let Some(path) = named
        && Project::read(path, data)?.text != project.text
    {
        bail!(
            "{} is not the model that {} was begun with; leave it out to go on with the run's own, or begin a new run",
            path.display(),
            run.path().display()
        );
    }
    Ok((project, String::new()))
}

/// `--epochs` in place of the model's own number.
fn with_length(mut model: Model, args: &Train) -> Result<Model> {
    if let Some(epochs) = args.epochs {
        match &mut model.train.length {
            Length::Epochs(own) => *own = epochs as usize,
            Length::Iterations { .. } => bail!("this model counts iterations, not epochs: use --steps"),
        }
    }
    Ok(model)
}

struct Built {
    train: Session,
    evaluate: Session,
    memory: u64,
    threads: usize,
    time: Duration,
}

/// The programs of a training run, with initial parameters.
fn build(model: &Model, seed: u64, threads: Threads) -> Result<Built> {
    let training = compile::training(model, threads)?;
    let memory = memory::own() + training.memory();
    let time = training.time();
    let threads = training.train.threads;
    if let Some(available) = memory::available()
        && memory > available
    {
        return Err(Error::Memory { program: "train".into(), needed: memory, available }.into());
    }
    let (mut train, evaluate) = training.sessions()?;
    initialise(model, seed, train.arena_mut())?;
    Ok(Built { train, evaluate, memory, threads, time })
}

/// The folder of a new run.
fn create(args: &Train, name: &str, project: &Project, corpus: &Corpus, seed: u64) -> Result<RunDir> {
    let path = args.out.clone().unwrap_or_else(|| free_folder(Path::new("runs"), name));
    let data = std::path::absolute(&project.folder).context("cannot tell where the texts are")?;
    Ok(RunDir::create(&path, &project.text, &corpus.vocabulary, &Settings { data, seed })?)
}

/// `runs/name`, or the first of `runs/name-2`, `runs/name-3`, ... that holds no run.
fn free_folder(parent: &Path, name: &str) -> PathBuf {
    let numbered = (2u32..).map(|n| parent.join(format!("{name}-{n}")));
    let mut folders = std::iter::once(parent.join(name)).chain(numbered);
    folders.find(|folder| !RunDir::holds_run(folder)).unwrap_or_else(|| parent.join(name))
}

fn finish(outcome: Result<Outcome>, output: &Output<'_>, run: &RunDir) -> Result<ExitCode> {
    match outcome {
        Ok(outcome) => {
            let stopped = outcome == Outcome::Interrupted;
            run.log(if stopped { "stopped; go on with --resume" } else { "finished" })?;
            output.end(run.path(), stopped)?;
            Ok(if stopped { ExitCode::from(terminal::INTERRUPTED) } else { ExitCode::SUCCESS })
        }
        Err(error) => {
            // The log may be what failed; the error itself is what matters.
            let _ = run.log(&format!("error: {error:#}"));
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_folders_are_counted_on() {
        let dir = tempfile::tempdir().unwrap();
        let take = |name: &str| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("model.lstm"), "").unwrap();
        };
        assert_eq!(free_folder(dir.path(), "a"), dir.path().join("a"));
        take("a");
        take("a-2");
        assert_eq!(free_folder(dir.path(), "a"), dir.path().join("a-3"));
    }
}
