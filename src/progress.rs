//! How training shows: a bar on a terminal, lines elsewhere, JSON where asked for.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lstmc_compiler::model::{Length, Model};
use lstmc_runtime::error::bytes;
use lstmc_runtime::evaluate::Prediction;
use lstmc_runtime::monitor::{Monitor, Snapshot};
use lstmc_runtime::run_dir::{Row, RunDir};
use lstmc_runtime::text::{Tokenizer, Vocabulary};
use lstmc_runtime::train::{Outcome, Report, Trainer};
use serde_json::{Value, json};

use crate::project::Project;
use crate::{show, terminal};

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    length: Length,
    total_steps: u64,
    per_epoch: u64,
}

impl Plan {
    pub fn of(model: &Model, trainer: &Trainer<'_>) -> Self {
        let (total_steps, per_epoch) = (trainer.total_steps(), trainer.batches_per_epoch());
        Self { length: model.train.length, total_steps, per_epoch }
    }

    fn iterations(&self) -> bool {
        matches!(self.length, Length::Iterations { .. })
    }

    /// `epoch  3/13` or `step 5,000/50,000` after an update.
    fn place(&self, step: u64) -> String {
        match self.length {
            Length::Epochs(epochs) => {
                let epochs = epochs.to_string();
                let epoch = step.saturating_sub(1) / self.per_epoch + 1;
                format!("epoch {epoch:>width$}/{epochs}", width = epochs.len())
            }
            Length::Iterations { count, .. } => {
                let count = show::count(count as u64);
                format!("step {:>width$}/{count}", show::count(step), width = count.len())
            }
        }
    }
}

/// What is known before training starts.
pub struct Facts<'a> {
    pub run: &'a Path,
    pub parameters: u64,
    pub memory: u64,
    pub compile: Duration,
    pub threads: usize,
    pub train_tokens: usize,
    pub valid_tokens: Option<usize>,
    pub words: usize,
    /// Updates made before, by the run that goes on.
    pub step: u64,
}

impl Facts<'_> {
    /// Everything in one line, for the log.
    pub fn line(&self) -> String {
        let begun = if self.step > 0 { format!("resumed at step {}", self.step) } else { "started".into() };
        format!(
            "{begun}: {} parameters, {} of memory, compiled in {}, {}",
            show::count(self.parameters),
            bytes(self.memory),
            show::duration(self.compile.as_secs_f64()),
            show::threads(self.threads)
        )
    }
}

enum Mode {
    Json,
    Lines,
    Bar(ProgressBar),
}

/// Where training shows.
pub struct Output<'a> {
    mode: Mode,
    plan: Plan,
    tokenizer: Tokenizer,
    vocabulary: &'a Vocabulary,
}

impl<'a> Output<'a> {
    pub fn new(json: bool, plan: Plan, project: &Project, vocabulary: &'a Vocabulary) -> Self {
        let mode = if json {
            Mode::Json
        } else if terminal::interactive() {
            Mode::Bar(bar())
        } else {
            Mode::Lines
        };
        Self { mode, plan, tokenizer: project.tokenizer(), vocabulary }
    }

    /// What the run is, before it starts.
    ///
    /// # Errors
    /// The output is closed.
    pub fn start(&self, facts: &Facts<'_>) -> Result<()> {
        if let Mode::Json = self.mode {
            return self.line(&start_event(facts).to_string());
        }
        let count = |number: usize| show::count(number as u64);
        let valid = facts.valid_tokens.map(|n| format!(", {} validation", count(n))).unwrap_or_default();
        let time = show::duration(facts.compile.as_secs_f64());
        self.line(&format!(
            "text        {} training{valid} tokens, {} words",
            count(facts.train_tokens),
            count(facts.words)
        ))?;
        self.line(&format!("parameters  {}", show::count(facts.parameters)))?;
        self.line(&format!("memory      {} at the peak", bytes(facts.memory)))?;
        self.line(&format!("compiled    in {time} for {}", show::threads(facts.threads)))?;
        self.line(&format!("run         {}", facts.run.display()))?;
        if facts.step > 0 {
            self.line(&format!("resumed     at step {}", show::count(facts.step)))?;
        }
        Ok(())
    }

    /// The end of an epoch or of a report interval.
    fn report(&self, report: &Report) -> Result<()> {
        if let Mode::Json = self.mode {
            return self.line(&self.report_event(report).to_string());
        }
        self.line(&self.summary(&report.row))?;
        match &report.sample {
            Some(sample) => self.line(&self.sample(sample)),
            None => Ok(()),
        }
    }

    /// Training is over.
    ///
    /// # Errors
    /// The output is closed.
    pub fn end(&self, run: &Path, stopped: bool) -> Result<()> {
        match (&self.mode, stopped) {
            (Mode::Json, _) => {
                let outcome = if stopped { "stopped" } else { "finished" };
                self.line(&json!({ "event": "end", "outcome": outcome, "run": run }).to_string())
            }
            (_, true) => {
                self.line(&format!("stopped and saved: go on with  lstmc train --resume {}", run.display()))
            }
            (_, false) => self.line(&format!("finished: {}", run.display())),
        }
    }

    fn summary(&self, row: &Row) -> String {
        let mut parts = vec![self.plan.place(row.step)];
        let mut add = |text: String| parts.push(text);
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        if self.plan.iterations() {
            add(format!("loss {:.4}", number(row.train_loss)));
            add(format!("accuracy {:5.2} %", 100.0 * number(row.train_accuracy)));
        } else {
            add(format!("loss {:.3}", number(row.train_loss)));
            add(format!("perplexity {:.2}", number(row.train_perplexity)));
            add(format!("accuracy {:.2} %", 100.0 * number(row.train_accuracy)));
        }
        if let (Some(perplexity), Some(accuracy)) = (row.valid_perplexity, row.valid_accuracy) {
            add(format!("valid perplexity {perplexity:.2}"));
            add(format!("accuracy {:.2} %", 100.0 * accuracy));
        }
        add(format!("rate {:.4}", number(row.learning_rate)));
        add(format!("{} words/s", show::count(number(row.words_per_second) as u64)));
        add(show::duration(number(row.seconds)));
        parts.join("  ")
    }

    /// `[long ago ,] -> the vs mice`
    fn sample(&self, sample: &Prediction) -> String {
        let words: Vec<String> = sample.context.iter().map(|&id| self.vocabulary.show(id)).collect();
        let (actual, predicted) =
            (self.vocabulary.show(sample.actual), self.vocabulary.show(sample.predicted));
        let context = words.join(if self.joins() { "" } else { " " });
        format!("  [{context}] -> {actual} vs {predicted}").replace('\n', "\\n")
    }

    /// Whether tokens stand side by side without a space, as characters do.
    fn joins(&self) -> bool {
        self.tokenizer.join(["a", "b"]) == "ab"
    }

    fn report_event(&self, report: &Report) -> Value {
        let mut event = json!({ "event": "report", "checkpoint": report.checkpoint });
        if let (Some(event), Ok(Value::Object(row))) =
            (event.as_object_mut(), serde_json::to_value(&report.row))
        {
            event.extend(row);
            if let Some(sample) = &report.sample {
                let words: Vec<String> = sample.context.iter().map(|&id| self.vocabulary.show(id)).collect();
                event.insert("context".into(), json!(words));
                event.insert("actual".into(), json!(self.vocabulary.show(sample.actual)));
                event.insert("predicted".into(), json!(self.vocabulary.show(sample.predicted)));
            }
        }
        event
    }

    /// Shows where the loop is. `tenth` remembers how much of the epoch the last line told of.
    fn tick(&self, look: &Snapshot, tenth: &mut u64) {
        if look.total == 0 {
            return;
        }
        let now = (look.step / self.plan.per_epoch.max(1), look.done * 10 / look.total);
        let due = now.0 * 10 + now.1;
        match &self.mode {
            Mode::Bar(bar) => self.draw(bar, look),
            // Iterations have their reports; an epoch can be long.
            _ if self.plan.iterations() || look.validating || now.1 == 0 || now.1 == 10 || due == *tenth => {}
            // Progress that nobody can see any more is no reason to end a training run.
            Mode::Lines => drop(self.line(&format!("  {}", self.now(look)))),
            Mode::Json => drop(self.line(&progress_event(look).to_string())),
        }
        *tenth = due;
    }

    fn draw(&self, bar: &ProgressBar, look: &Snapshot) {
        bar.set_length(look.total);
        bar.set_position(look.done);
        if look.validating {
            bar.set_prefix("validating");
            bar.set_message("");
        } else {
            bar.set_prefix(self.plan.place(look.step + 1));
            bar.set_message(self.now(look));
        }
    }

    /// Loss, perplexity or accuracy, speed, and the time that training will still take.
    fn now(&self, look: &Snapshot) -> String {
        let totals = &look.totals;
        if totals.batches == 0 {
            return String::new();
        }
        let quality = if self.plan.iterations() {
            format!("accuracy {:.1} %", 100.0 * totals.accuracy())
        } else {
            format!("perplexity {:.1}", totals.perplexity())
        };
        let each = totals.seconds / totals.batches as f64;
        let left = self.plan.total_steps.saturating_sub(look.step) as f64 * each;
        let place = match &self.mode {
            Mode::Bar(_) => String::new(),
            _ => format!("{} {:>3} %  ", self.plan.place(look.step), look.done * 100 / look.total.max(1)),
        };
        let speed = show::count(totals.per_second() as u64);
        format!(
            "{place}loss {:.3}  {quality}  {speed} words/s  {} left",
            totals.mean_loss(),
            show::duration(left)
        )
    }

    fn line(&self, text: &str) -> Result<()> {
        let write = || writeln!(std::io::stdout().lock(), "{text}");
        match &self.mode {
            Mode::Bar(bar) => bar.suspend(write)?,
            _ => write()?,
        }
        Ok(())
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix} {bar:24.cyan/blue} {pos}/{len}  {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"))
}

fn start_event(facts: &Facts<'_>) -> Value {
    json!({
        "event": "start",
        "run": facts.run,
        "parameters": facts.parameters,
        "memory_bytes": facts.memory,
        "compile_seconds": facts.compile.as_secs_f64(),
        "threads": facts.threads,
        "train_tokens": facts.train_tokens,
        "valid_tokens": facts.valid_tokens,
        "vocabulary": facts.words,
        "step": facts.step,
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

/// Runs `train` on this thread and shows where it is from another.
///
/// # Errors
/// What `train` returns; a closed output or a log that cannot be written, for which training is stopped and saved.
pub fn watch(
    output: &Output<'_>,
    monitor: &Monitor,
    run: &RunDir,
    train: impl FnOnce(&mut dyn FnMut(&Report)) -> lstmc_runtime::Result<Outcome>,
) -> Result<Outcome> {
    let over = AtomicBool::new(false);
    let mut unseen = None;
    let outcome = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut tenth = 0;
            while !over.load(Ordering::Relaxed) {
                output.tick(&monitor.look(), &mut tenth);
                thread::park_timeout(TICK);
            }
        });
        let outcome = train(&mut |report| {
            let logged = run.log(&output.summary(&report.row)).map_err(anyhow::Error::from);
            if let Err(error) = output.report(report).and(logged) {
                unseen.get_or_insert(error);
                monitor.stop();
            }
        });
        over.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        outcome
    });
    if let Mode::Bar(bar) = &output.mode {
        bar.finish_and_clear();
    }
    match unseen {
        Some(error) => Err(error),
        None => Ok(outcome?),
    }
}
