//! How training shows: a bar on a terminal, lines elsewhere, JSON where asked for.

mod bar;
mod end;
mod plan;
mod watcher;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lstmc_compiler::diag::{visible, visible_json};
use lstmc_runtime::error::{bytes, unwritable};
use lstmc_runtime::monitor::{Monitor, Snapshot};
use lstmc_runtime::run_dir::{Events, Place, RunDir, in_words};
use lstmc_runtime::text::{Tokenizer, Vocabulary};
use lstmc_runtime::train::{Outcome, Report, Sample};
use serde_json::{Value, json};

use self::bar::Bar;
pub use self::end::End;
pub use self::plan::Plan;
use crate::project::{self, Project};
use crate::{show, terminal};

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// How long lines stand before one of an unfinished epoch follows.
const QUIET: Duration = Duration::from_secs(2);

/// How much of what a model has read a sample shows, in characters.
const CONTEXT: usize = 40;

/// What is known before training starts.
pub struct Facts<'a> {
    pub run: &'a Path,
    pub parameters: u64,
    pub memory: u64,
    pub compile: Duration,
    pub threads: usize,
    /// The processes that train together, if there are several, and the shards of a batch.
    pub ranks: Option<(usize, usize)>,
    pub train_tokens: usize,
    pub valid_tokens: Option<usize>,
    pub words: usize,
    /// How many tokens of the texts count as unknown, and as what.
    pub unknown: Option<String>,
    /// Updates made before, by a run that goes on.
    pub resumed: Option<u64>,
    /// What was taken over from another run, in lines.
    pub taken: &'a [String],
    /// The checkpoints after the one that it goes on from.
    pub left: &'a [Place],
    /// What is not as it was.
    pub changes: &'a [String],
}

impl Facts<'_> {
    /// Everything in one line, for the log.
    pub fn line(&self) -> String {
        let ranks = self.ranks_in_words().map(|ranks| format!(", {ranks}")).unwrap_or_default();
        let begun = self.resumed.map_or("started".into(), |step| format!("resumed at step {step}"));
        format!(
            "{begun} by lstmc {}: {}, {} of memory, compiled in {}, {}{ranks}",
            env!("CARGO_PKG_VERSION"),
            show::many(self.parameters, "parameter"),
            bytes(self.memory),
            show::duration(self.compile.as_secs_f64()),
            show::threads(self.threads)
        )
    }

    /// `2 processes with 2 shards of a batch each`.
    fn ranks_in_words(&self) -> Option<String> {
        let (ranks, shards) = self.ranks?;
        let each = show::many((shards / ranks) as u64, "shard");
        Some(format!("{} with {each} of a batch each", show::many(ranks as u64, "process")))
    }
}

enum Mode {
    Json,
    Lines,
    Bar(Bar),
}

/// Where training shows.
pub struct Output<'a> {
    mode: Mode,
    plan: Plan,
    /// When something was last said.
    said: Mutex<Option<Instant>>,
    /// Whether the output can no longer be written.
    closed: AtomicBool,
    tokenizer: Tokenizer,
    vocabulary: &'a Vocabulary,
}

impl<'a> Output<'a> {
    pub fn new(json: bool, plan: Plan, project: &Project, vocabulary: &'a Vocabulary) -> Self {
        let mode = if json {
            Mode::Json
        } else if terminal::interactive() {
            Mode::Bar(Bar::default())
        } else {
            Mode::Lines
        };
        let (said, closed) = (Mutex::default(), AtomicBool::new(false));
        Self { mode, plan, said, closed, tokenizer: project.tokenizer(vocabulary), vocabulary }
    }

    /// What the run is, before it starts.
    pub fn start(&self, facts: &Facts<'_>) {
        if let Mode::Json = self.mode {
            return self.line(&start_event(facts).to_string());
        }
        let count = |number: usize| show::count(number as u64);
        let valid = facts.valid_tokens.map(|n| format!(", {} validation", count(n))).unwrap_or_default();
        let time = show::duration(facts.compile.as_secs_f64());
        self.line(&format!(
            "text        {} training{valid} tokens, {}",
            count(facts.train_tokens),
            show::many(facts.words as u64, &format!("distinct {}", self.plan.unit()))
        ));
        if let Some(unknown) = &facts.unknown {
            self.line(&format!("unknown     {unknown}"));
        }
        self.line(&format!("parameters  {}", show::count(facts.parameters)));
        self.line(&format!("memory      {} at the peak", bytes(facts.memory)));
        self.line(&format!("compiled    in {time} for {}", show::threads(facts.threads)));
        if let Some(ranks) = facts.ranks_in_words() {
            self.line(&format!("ranks       {ranks}"));
        }
        self.line(&format!("run         {}", facts.run.display()));
        facts.taken.iter().for_each(|line| self.line(line));
        if let Some(step) = facts.resumed {
            self.line(&format!("resumed     at step {}", show::count(step)));
        }
        if !facts.left.is_empty() {
            let left = in_words(facts.left);
            self.line(&format!("left behind {left}, whose checkpoints are named left-... from now on"));
        }
        facts.changes.iter().for_each(|change| self.line(&format!("changed     {change}")));
    }

    /// The end of an epoch or of a report interval.
    fn report(&self, report: &Report, (run, events): (&RunDir, Option<&Events>)) -> Result<()> {
        let lines = self.plan.summary(&report.row);
        run.log(&lines.join("; "))?;
        if let (Some(events), Some(sample)) = (events, &report.sample) {
            events.text(report.row.step, "prediction", visible(&self.sample(sample)).trim())?;
        }
        if let Mode::Json = self.mode {
            self.line(&self.report_event(report).to_string());
            return Ok(());
        }
        let sample = report.sample.as_ref().filter(|_| self.plan.iterations());
        let sample = sample.map(|sample| self.sample(sample));
        self.line(&lines.into_iter().chain(sample).collect::<Vec<_>>().join("\n"));
        Ok(())
    }

    /// Says something that is no error.
    pub fn note(&self, text: &str) {
        match self.mode {
            Mode::Json => self.line(&json!({ "event": "note", "text": text }).to_string()),
            _ => self.line(text),
        }
    }

    /// Training is over.
    pub fn end(&self, end: &End<'_>, outcome: Outcome) {
        match self.mode {
            Mode::Json => self.line(&end.event(outcome).to_string()),
            _ => end.lines(outcome, &self.plan).iter().for_each(|line| self.line(line)),
        }
    }

    /// `  [long ago ,] -> the vs mice`: the words read, the one that follows, and the predicted one.
    fn sample(&self, sample: &Sample) -> String {
        let show = |id: u32| self.vocabulary.show(id);
        let words: Vec<String> = sample.context.iter().map(|&id| show::word(&show(id))).collect();
        let context = show::tail(&words, project::between(&self.tokenizer), CONTEXT);
        let [actual, predicted] = [sample.actual, sample.predicted].map(|id| show::token(&show(id)));
        format!("  [{context}] -> {actual} vs {predicted}")
    }

    fn report_event(&self, report: &Report) -> Value {
        let mut event = json!({ "event": "report", "checkpoint": report.checkpoint, "best": report.best });
        if let (Some(event), Ok(Value::Object(row))) =
            (event.as_object_mut(), serde_json::to_value(&report.row))
        {
            event.extend(row);
            if let Some(sample) = report.sample.as_ref().filter(|_| self.plan.iterations()) {
                let words: Vec<String> = sample.context.iter().map(|&id| self.vocabulary.show(id)).collect();
                event.insert("context".into(), json!(words));
                event.insert("actual".into(), json!(self.vocabulary.show(sample.actual)));
                event.insert("predicted".into(), json!(self.vocabulary.show(sample.predicted)));
            }
        }
        event
    }

    /// Shows where the loop is. `tenth` remembers of how much the last look told.
    fn tick(&self, look: &Snapshot, tenth: &mut Option<u64>) {
        if look.total == 0 {
            return;
        }
        let now = self.plan.tenth(look);
        let new = now.is_some() && now != *tenth;
        *tenth = now;
        match &self.mode {
            // Before the first update there is nothing to say.
            Mode::Bar(_) if !look.validating && look.totals.batches == 0 => {}
            Mode::Bar(bar) => {
                bar.show(self.plan.progress(look), &self.plan.before_bar(look), self.plan.behind_bar(look));
            }
            // Iterations have their reports; an epoch can be long.
            _ if !new || self.plan.iterations() || look.validating || !self.quiet() => {}
            Mode::Lines => self.line(&self.plan.line(look)),
            Mode::Json => self.line(&progress_event(look).to_string()),
        }
    }

    /// Whether nothing was said for a while.
    fn quiet(&self) -> bool {
        let said = *self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.is_none_or(|then| then.elapsed() >= QUIET)
    }

    /// A reader that has gone, or a full disk, does not end a training; the output is silent from then on.
    fn line(&self, text: &str) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let text = match self.mode {
            Mode::Json => visible_json(text),
            _ => visible(text),
        };
        let text = terminal::status(&text, matches!(self.mode, Mode::Bar(_)) && terminal::colour());
        let write = || writeln!(std::io::stdout().lock(), "{text}");
        let written = match &self.mode {
            Mode::Bar(bar) => bar.suspend(write),
            _ => write(),
        };
        if let Err(error) = written {
            let said = self.closed.swap(true, Ordering::Relaxed);
            if !said && error.kind() != ErrorKind::BrokenPipe {
                let why = unwritable(&error);
                terminal::say(&format!(
                    "warning: cannot write to standard output: {why}; training goes on, and the run's log.txt has its lines"
                ));
            }
        }
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

fn start_event(facts: &Facts<'_>) -> Value {
    json!({
        "event": "start",
        "run": facts.run,
        "parameters": facts.parameters,
        "memory_bytes": facts.memory,
        "compile_seconds": facts.compile.as_secs_f64(),
        "threads": facts.threads,
        "ranks": facts.ranks.map(|(ranks, _)| ranks),
        "train_tokens": facts.train_tokens,
        "valid_tokens": facts.valid_tokens,
        "vocabulary": facts.words,
        "unknown": facts.unknown,
        "step": facts.resumed.unwrap_or(0),
        "taken": facts.taken,
        "left_behind": facts.left.iter().map(|place| place.name()).collect::<Vec<_>>(),
        "changes": facts.changes,
    })
}

fn progress_event(look: &Snapshot) -> Value {
    json!({
        "event": "progress",
        "step": look.step,
        "done": look.done,
        "total": look.total,
        "train_loss": look.totals.mean_loss(),
        "train_perplexity": look.totals.perplexity(),
        "train_accuracy": look.totals.accuracy(),
        "words_per_second": look.totals.per_second(),
    })
}

/// Runs `train` on this thread and shows where it is from another. What it reports is written into the run's log, and what it shows of
/// predictions for TensorBoard.
///
/// # Errors
/// What `train` returns; a log that cannot be written, for which training is stopped and saved. No thread to show from.
pub fn watch(
    output: &Output<'_>,
    monitor: &Monitor,
    files: (&RunDir, Option<&Events>),
    train: impl FnOnce(&mut dyn FnMut(&Report)) -> lstmc_runtime::Result<Outcome>,
) -> Result<Outcome> {
    let (mut tenth, mut unseen) = (None, None);
    let look = || output.tick(&monitor.look(), &mut tenth);
    let outcome = watcher::beside(TICK, look, || {
        train(&mut |report| {
            if let Err(error) = output.report(report, files) {
                unseen.get_or_insert(error);
                monitor.stop();
            }
        })
    });
    let outcome = outcome.context("cannot start a thread that shows the progress")?;
    if let Mode::Bar(bar) = &output.mode {
        bar.clear();
    }
    match unseen {
        Some(error) => Err(error),
        None => Ok(outcome?),
    }
}
