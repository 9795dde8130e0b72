//! `lstmc train`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use lstmc_compiler::diag::visible;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::{Length, Model};
use lstmc_runtime::Error as Runtime;
use lstmc_runtime::batches::Batcher;
use lstmc_runtime::engine::Trainee;
use lstmc_runtime::engine::cuda;
use lstmc_runtime::exchange::Group;
use lstmc_runtime::monitor::Monitor;
use lstmc_runtime::run_dir::{Events, RunDir};
use lstmc_runtime::text::{Corpus, Role, Unknown};
use lstmc_runtime::train::{Inputs, Outcome, Recipe, Trainer, initialise};

use crate::about::{self, parameters};
use crate::args::{Device, Gradients, Split, Train};
use crate::compile::Threads;
use crate::progress::{End, Facts, Output, Plan, watch};
use crate::project::Project;
use crate::start::Start;
use crate::transfer::Old;
use crate::{advice, cause, compile, gain, next, project, ranks, show, terminal};

/// `say` says an error, and the exit code.
pub fn run(args: &Train, say: &dyn Fn(&Error) -> ExitCode) -> Result<ExitCode> {
    let Some(group) = ranks::join(&args.ranks)? else { return lead(args, None) };
    let outcome = match group.rank() {
        0 => lead(args, Some(&group)),
        _ => follow(args, &group),
    };
    ranks::end(group, outcome, say)
}

/// What a training begins with, before anything is compiled or written.
struct Ready {
    start: Start,
    model: Model,
    recipe: Recipe,
    old: Option<Old>,
}

impl Ready {
    /// On a process that `writes`, or on one that only reads.
    fn read(args: &Train, writes: bool) -> Result<Self> {
        let start = Start::read(args, writes)?;
        let Start { project, corpus, seed, .. } = &start;
        let model = with_length(project.source.model(corpus.vocabulary.len())?, args)?;
        let recipe = Recipe { limit: args.steps, ..Recipe::of(&model, *seed) };
        Batcher::new(&model.data.batches, corpus.train.len(), *seed)?;
        if let Some(valid) = &corpus.valid
            && let Err(short) = project::reading(&model, Split::Valid, valid)
        {
            if model.train.keep_best || model.train.patience.is_some() {
                bail!("{short}, and the model's `checkpoint: best` or `patience` goes by it");
            }
            if writes {
                terminal::say(&format!("warning: {short}; training goes on without"));
            }
        }
        if model.train.shards == 1 && args.ranks.gradients != Gradients::F32 {
            bail!(
                "--gradients is for batches in shards, which are added up: the train block has no `shards`"
            );
        }
        let old = args.from.as_deref().map(|from| {
            let which = args.checkpoint.clone().unwrap_or_default();
            Old::open(from, &which, project::accept(args.accept_unverified))
        });
        let old = old.transpose()?;
        Ok(Self { start, model, recipe, old })
    }

    /// [`Ready::read`], and that all ranks have read the same.
    fn with(args: &Train, group: Option<&Arc<Group>>) -> Result<Self> {
        let Some(group) = group else { return Self::read(args, true) };
        ranks::agree(group, Self::read(args, group.rank() == 0), |ready| {
            let length = ready.recipe.limit.map_or("its own".into(), |steps| steps.to_string());
            let own = [("a model of", format!("{:?}", ready.model.train.length)), ("updates", length)];
            ranks::facts(&ready.start, &args.ranks, &own)
        })
    }

    /// The programs of the training, and what the old run has given them.
    fn build(&self, args: &Train, group: Option<&Arc<Group>>) -> Result<(Built, Vec<String>)> {
        let (model, seed) = (&self.model, self.start.seed);
        let mut built = match args.on.device {
            Device::Cpu => build(model, seed, project::threads(args.on.threads), args, group)?,
            Device::Cuda(number) => build_on_gpu(model, seed, number)?,
        };
        let Start { project, corpus, .. } = &self.start;
        let given = self.old.as_ref().map(|old| {
            let given = old.give(&project.source, &corpus.vocabulary, built.programs.train());
            given.map(|given| old.lines(&given))
        });
        let taken = given.transpose()?.unwrap_or_default();
        Ok((built, taken))
    }

    /// What a trainer reads, and where it writes.
    fn inputs<'a>(
        &'a self,
        run: Option<&'a RunDir>,
        vocabulary: &'a str,
        monitor: &'a Monitor,
        group: Option<&'a Arc<Group>>,
    ) -> Inputs<'a> {
        let Start { project, corpus, .. } = &self.start;
        Inputs {
            train: &corpus.train,
            valid: corpus.valid.as_deref(),
            valid_extent: corpus.valid_extent,
            run,
            source: &project.text,
            vocabulary,
            monitor,
            group: group.map(Arc::as_ref),
        }
    }
}

/// A rank that neither prints nor writes.
fn follow(args: &Train, group: &Arc<Group>) -> Result<ExitCode> {
    let ready = Ready::with(args, Some(group))?;
    let (built, _) = ready.build(args, Some(group))?;
    let monitor = terminal::interruptible()?;
    let vocabulary = ready.start.corpus.vocabulary.fingerprint();
    let inputs = ready.inputs(None, &vocabulary, &monitor, Some(group));
    let mut trainer = Trainer::new(ready.recipe.clone(), inputs, built.programs)?;
    if let (Some(run), Some(which)) = (&ready.start.run, &ready.start.checkpoint) {
        trainer.resume(&run.chosen(which, project::accept(args.accept_unverified))?)?;
    }
    let outcome = trainer.run(&mut |_| {})?;
    let stopped = outcome == Outcome::Interrupted;
    Ok(if stopped { ExitCode::from(terminal::INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// The rank that prints and writes, or the only process.
fn lead(args: &Train, group: Option<&Arc<Group>>) -> Result<ExitCode> {
    let mut ready = Ready::with(args, group)?;
    let run = ready.start.run.take();
    let (built, taken) = ready.build(args, group)?;
    let monitor = terminal::interruptible()?;
    let run = match run {
        Some(run) => run,
        None => ready.start.create(args)?,
    };
    let vocabulary = ready.start.corpus.vocabulary.fingerprint();
    let inputs = ready.inputs(Some(&run), &vocabulary, &monitor, group);
    let Ready { start, model, recipe, .. } = &ready;
    let Start { project, corpus, seed, .. } = start;
    let events;
    let mut trainer = Trainer::new(recipe.clone(), inputs, built.programs)?;
    let mut left = Vec::new();
    if args.resume.is_some() {
        match &start.checkpoint {
            Some(which) => {
                let checkpoint = run.chosen(which, project::accept(args.accept_unverified))?;
                left = trainer.resume(&checkpoint)?;
            }
            None => run.forget_after(0)?,
        }
        start.remember(&run)?;
    }
    events = begin_events(args, &run, trainer.position().step, project)?;
    events.iter().for_each(|events| trainer.write_events(events));

    let output = Output::new(args.json, Plan::of(model, &trainer), project, &corpus.vocabulary);
    let facts = Facts {
        run: run.path(),
        parameters: parameters(model),
        memory: built.memory,
        compile: built.time,
        threads: built.threads,
        ranks: group.map(|group| (group.size(), model.train.shards)),
        train_tokens: corpus.train.len(),
        valid_tokens: corpus.valid.as_ref().map(Vec::len),
        words: corpus.vocabulary.len(),
        unknown: unknown(corpus),
        resumed: args.resume.is_some().then(|| trainer.position().step),
        taken: &taken,
        left: &left,
        changes: &start.changes,
    };
    run.log(&format!("{} seed {seed}", facts.line()))?;
    for line in &taken {
        run.log(line)?;
    }
    for change in &start.changes {
        run.log(&format!("changed: {change}"))?;
    }
    output.start(&facts);
    if args.on.device == Device::Cpu {
        gain::of_precision(model, built.threads)?.iter().for_each(|line| output.note(line));
    }
    if args.resume.is_some() && trainer.position().step >= trainer.total_steps() {
        output.note(&beyond_the_end(&trainer, model, run.path()));
    }
    let (begun, before) = (Instant::now(), group.map(|group| group.costs()).unwrap_or_default());
    let outcome = watch(&output, &monitor, (&run, events.as_ref()), |report| trainer.run(report));
    let summary = trainer.summary();
    let outcome = outcome.map_err(|error| explained(error, &output, &mut trainer, model, project));
    let end = End {
        run: run.path(),
        patience: model.train.patience,
        next: next::command(run.path(), model, corpus, &project.tokenizer(&corpus.vocabulary)),
        best: if outcome.is_ok() { summary? } else { None },
    };
    if let Some(group) = group.filter(|group| group.size() > 1) {
        let costs = ranks::costs(group, before, begun.elapsed());
        run.log(&costs)?;
        output.note(&costs);
    }
    finish(outcome, &output, &run, &end)
}

/// A training that has failed, with the place in the model where its numbers stopped being finite, if that is found.
fn explained(
    error: Error,
    output: &Output<'_>,
    trainer: &mut Trainer<'_>,
    model: &Model,
    project: &Project,
) -> Error {
    let failed = match error.downcast_ref() {
        Some(&(Runtime::Diverged { step, .. } | Runtime::BadUpdate { step, .. })) => step,
        _ => return error,
    };
    output.note("looking for where this begins: the updates since the last checkpoint are made again; Ctrl-C leaves it out");
    let found = trainer.before_failure(failed).map_err(Error::from).and_then(|before| {
        before.map(|before| cause::of(&error.to_string(), model, &before, trainer.seed())).transpose()
    });
    match found {
        Ok(Some(found)) => project.source.pointed(found),
        Ok(None) => error,
        Err(other) => {
            terminal::say(&format!("where it begins was not found: {other:#}"));
            error
        }
    }
}

/// Where the run's figures are written for TensorBoard, if that is asked for, or was when the run was begun.
fn begin_events(args: &Train, run: &RunDir, step: u64, project: &Project) -> Result<Option<Events>> {
    if !args.tensorboard && !run.has_events()? {
        return Ok(None);
    }
    let events = run.begin_events(step)?;
    events.text(step, "model", &visible(&project.text))?;
    Ok(Some(events))
}

/// How a run goes on that has done all that it is asked for.
fn beyond_the_end(trainer: &Trainer<'_>, model: &Model, run: &Path) -> String {
    let run = show::path(run);
    match model.train.length {
        Length::Epochs(_) => {
            let done = trainer.position().epoch;
            let more = done + 1;
            format!(
                "at its end  {} are done: `lstmc train --resume {run} --epochs {more}` makes one more",
                show::many(done, "epoch")
            )
        }
        Length::Iterations { .. } => {
            let done = show::many(trainer.position().step, "iteration");
            format!("at its end  {done} are done: write a larger number into {run}/model.lstm, and resume it")
        }
    }
}

/// `--epochs` in place of the model's own number.
fn with_length(mut model: Model, args: &Train) -> Result<Model> {
    if let Some(epochs) = args.epochs {
        match &mut model.train.length {
            Length::Epochs(own) => *own = epochs as usize,
            Length::Iterations { .. } if args.steps.is_some() => {
                bail!("this model counts iterations, not epochs: leave --epochs out")
            }
            Length::Iterations { .. } => bail!("this model counts iterations, not epochs: use --steps"),
        }
    }
    Ok(model)
}

/// `1,204 of 929,589 training tokens (0.13 %), 73 of 73,760 validation tokens (0.10 %) count as <unk>`.
fn unknown(corpus: &Corpus) -> Option<String> {
    let word = corpus.vocabulary.show(corpus.vocabulary.unknown()?);
    let share = |(role, unknown): &(Role, Unknown)| {
        let (name, all) = match role {
            Role::Train => ("training", corpus.train.len()),
            Role::Valid => ("validation", corpus.valid.as_ref().map_or(0, Vec::len)),
            Role::Test => ("test", corpus.test.as_ref().map_or(0, Vec::len)),
        };
        let (total, percent) = (unknown.total(), 100.0 * unknown.total() as f64 / all.max(1) as f64);
        format!("{} of {} {name} tokens ({percent:.2} %)", show::count(total as u64), show::count(all as u64))
    };
    let shares: Vec<String> = corpus.unknown.iter().map(share).collect();
    (!shares.is_empty()).then(|| format!("{} count as {word}", shares.join(", ")))
}

struct Built {
    programs: Box<dyn Trainee>,
    memory: u64,
    threads: usize,
    time: Duration,
}

/// The programs of a training run, with initial parameters.
fn build(
    model: &Model,
    seed: u64,
    threads: Threads,
    args: &Train,
    group: Option<&Arc<Group>>,
) -> Result<Built> {
    let training = compile::training(model, threads)?;
    let (memory, _) = about::peak(&training);
    let time = training.time();
    let threads = training.train.threads;
    advice::has_room(memory, model)?;
    let mut programs = training.programs()?;
    if model.train.shards > 1 {
        let alone = || Group::alone(args.ranks.gradients.into()).map(Arc::new);
        programs = programs.exchanging(&group.map_or_else(alone, |group| Ok(Arc::clone(group)))?);
    }
    initialise(model, seed, programs.train())?;
    Ok(Built { programs: Box::new(programs), memory, threads, time })
}

/// The same on a GPU; `memory` is the GPU's.
fn build_on_gpu(model: &Model, seed: u64, number: usize) -> Result<Built> {
    let train = compile::on_gpu(model, Purpose::Train, Format::F32, number)?;
    let evaluate = compile::on_gpu(model, Purpose::Evaluate, Format::F32, number)?;
    let (memory, time) = (train.memory + evaluate.memory, train.time + evaluate.time);
    let mut programs = cuda::Pair { train: train.session, evaluate: evaluate.session };
    initialise(model, seed, programs.train())?;
    Ok(Built { programs: Box::new(programs), memory, threads: 1, time })
}

fn finish(outcome: Result<Outcome>, output: &Output<'_>, run: &RunDir, end: &End<'_>) -> Result<ExitCode> {
    match outcome {
        Ok(outcome) => {
            run.log(match outcome {
                Outcome::Interrupted => "stopped; go on with --resume",
                Outcome::Finished => "finished",
                Outcome::Settled => "stopped early",
            })?;
            output.end(end, outcome);
            let stopped = outcome == Outcome::Interrupted;
            Ok(if stopped { ExitCode::from(terminal::INTERRUPTED) } else { ExitCode::SUCCESS })
        }
        Err(error) => {
            // The log may be what failed; the error itself is what matters.
            let _ = run.log(&format!("error: {error:#}"));
            Err(error)
        }
    }
}
