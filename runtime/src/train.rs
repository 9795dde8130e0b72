//! The training run: epochs or iterations, validation, metrics, checkpoints; stopped and taken up at any step.

mod curve;
mod failure;
mod mean;
mod recipe;
mod shards;
mod step;

use std::path::PathBuf;
use std::time::Instant;

use lstmc_compiler::model::{Course, Length, Model};

use crate::batches::Batcher;
use crate::checkpoint::{Checkpoint, Meta, Position, Take, Totals};
use crate::engine::{Engine, Trainee};
use crate::error::{Error, Result};
use crate::evaluate::{evaluate, loss_at, predict_at};
use crate::exchange::Group;
use crate::init::initial;
use crate::monitor::Monitor;
use crate::patience::{Best, Validations};
use crate::reading::Reading;
use crate::run_dir::{Events, Keep, Place, Row, RunDir};
use crate::text::Extent;

use self::curve::{Curve, Sink};
pub use self::failure::Before;
pub use self::recipe::{Moment, Recipe};
use self::shards::Shards;
use self::step::Training;

/// Sets every parameter of `model` to its initial value.
///
/// # Errors
/// The program is not one of this model's.
pub fn initialise(model: &Model, seed: u64, engine: &mut dyn Engine) -> Result<()> {
    for param in &model.params {
        engine.fill(&param.name, &mut initial(param.init, &param.shape, seed, &param.name))?;
    }
    Ok(())
}

/// Beyond this many times the perplexity of guessing, a finished training has diverged and not merely learned little:
/// parameters drawn too large begin at a million times at most.
const ABSURD: f64 = 1e12;

/// What training reads and where it writes.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub train: &'a [u32],
    pub valid: Option<&'a [u32]>,
    /// How much text that is, if it is known.
    pub valid_extent: Option<Extent>,
    /// None on a rank that does not write.
    pub run: Option<&'a RunDir>,
    /// The model's source text.
    pub source: &'a str,
    /// The vocabulary's fingerprint.
    pub vocabulary: &'a str,
    pub monitor: &'a Monitor,
    /// The processes that train together, of several.
    pub group: Option<&'a Group>,
}

/// The end of an epoch or of a report interval.
#[derive(Clone, Debug)]
pub struct Report {
    pub row: Row,
    /// For models that count iterations, and for TensorBoard.
    pub sample: Option<Sample>,
    /// None on a rank that does not write.
    pub checkpoint: Option<PathBuf>,
    /// Whether no validation before had a loss as low.
    pub best: bool,
}

/// The best validation of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub row: Row,
    /// Its checkpoint, if that stayed.
    pub checkpoint: Option<PathBuf>,
}

/// The first row of the last batch, and what the model makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What it has read.
    pub context: Vec<u32>,
    pub actual: u32,
    pub predicted: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Finished,
    /// Stopped by the monitor, with a checkpoint to go on from.
    Interrupted,
    /// Ended before its time: the last validations, as many as its model has patience for, were not better than one before.
    Settled,
}

/// A run of training.
#[derive(Debug)]
pub struct Trainer<'a> {
    recipe: Recipe,
    inputs: Inputs<'a>,
    programs: Box<dyn Trainee>,
    batches: Batcher,
    shards: Shards<'a>,
    valid: Option<Reading>,
    position: Position,
    /// The larger one of the last report's perplexities, if there was one.
    last_perplexity: Option<f64>,
    /// Whether points of the curves are written down.
    records: bool,
    /// Where they are written for TensorBoard too, if they are.
    events: Option<&'a Events>,
}

impl<'a> Trainer<'a> {
    /// A run from the start; the programs' parameters are to be set by then. A validation text in which nothing is
    /// predicted is not looked at.
    ///
    /// # Errors
    /// [`Error::ShortCorpus`], [`Error::Ranks`].
    pub fn new(recipe: Recipe, inputs: Inputs<'a>, programs: Box<dyn Trainee>) -> Result<Self> {
        let batches = Batcher::new(&recipe.batches, inputs.train.len(), recipe.seed)?;
        let shards = Shards::new(recipe.shards, inputs.group)?;
        let valid = inputs.valid.map(|ids| Reading::new(&recipe.batches, ids.len()));
        let valid = valid.filter(|reading| reading.batches() > 0);
        Ok(Self {
            recipe,
            inputs,
            programs,
            batches,
            shards,
            valid,
            position: Position::default(),
            last_perplexity: None,
            records: true,
            events: None,
        })
    }

    /// Goes on from a checkpoint: the run's metrics after it are dropped. If it is not the newest one, it is from now on, and
    /// those after it are left behind under other names; says which these are.
    ///
    /// # Errors
    /// A checkpoint of another model or vocabulary; files that cannot be rewritten.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<Vec<Place>> {
        checkpoint.check_vocabulary(self.inputs.vocabulary)?;
        self.go_back_to(checkpoint)?;
        let left = self.inputs.run.map_or(Ok(vec![]), |run| self.take_up(run, checkpoint))?;
        self.position = self.shards.told(self.position)?;
        Ok(left)
    }

    /// Makes the files of a run those of the time of a checkpoint.
    fn take_up(&mut self, run: &RunDir, checkpoint: &Checkpoint) -> Result<Vec<Place>> {
        let step = self.position.step;
        let newest = run.latest()?;
        let own = run.own_name(checkpoint);
        let mut left = Vec::new();
        if own.as_ref() != Some(&newest) {
            match &own {
                Some(name) => run.set_latest(name)?,
                None => _ = self.write(&Place::Step(step).name())?,
            }
            left = run.leave_behind(step, self.batches.per_epoch())?;
        }
        run.forget_after(step)?;
        self.find_best()?;
        run.prune(&own.unwrap_or_else(|| Place::Step(step).name()), &self.keep())?;
        Ok(left)
    }

    /// All tensors and the position as a checkpoint has them.
    fn go_back_to(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.restore(&mut self.shards.taking(self.programs.train()), Take::Everything)?;
        self.position = checkpoint.meta.position;
        Ok(())
    }

    /// Where the best checkpoint is gone, which later ones had made useless, the best of those that are there takes its place.
    fn find_best(&mut self) -> Result<()> {
        let Some(best) = self.best_place().filter(|_| self.recipe.keep_best) else { return Ok(()) };
        let Some(run) = self.inputs.run else { return Ok(()) };
        if run.has_place(best)? {
            return Ok(());
        }
        let Validations { waited, cuts, .. } = self.position.validations;
        self.position.validations = Validations { waited, cuts, ..Validations::default() };
        let places = run.places()?;
        for row in run.metrics()? {
            let (epoch, step) = (row.epoch, row.step);
            if let Some(loss) = row.valid_loss
                && places.contains(&self.place(epoch, step))
            {
                self.position.validations.add(Best { epoch, step, loss }, Course::Constant);
            }
        }
        Ok(())
    }

    /// Writes what is written down for TensorBoard too, from here on.
    pub fn write_events(&mut self, events: &'a Events) {
        self.events = Some(events);
    }

    pub fn position(&self) -> &Position {
        &self.position
    }

    pub fn batches_per_epoch(&self) -> u64 {
        self.batches.per_epoch()
    }

    /// Updates after which the run ends.
    pub fn total_steps(&self) -> u64 {
        let whole = self.recipe.whole(self.batches.per_epoch());
        self.recipe.limit.map_or(whole, |limit| limit.min(whole))
    }

    /// Updates between two reports.
    pub fn interval(&self) -> u64 {
        self.recipe.interval(self.batches.per_epoch())
    }

    pub fn seed(&self) -> u64 {
        self.recipe.seed
    }

    /// The program with the trained parameters.
    pub fn trained(&self) -> &dyn Engine {
        self.programs.trained()
    }

    /// Trains to the end, or until the monitor says stop; `report` hears of every epoch or interval.
    ///
    /// # Errors
    /// [`Error::Diverged`], [`Error::BadUpdate`], [`Error::BadEvaluation`]; [`Error::Write`]. The last checkpoint of
    /// finite parameters then still stands. [`Error::WorseThanGuessing`] after a training to the end.
    pub fn run(&mut self, report: &mut dyn FnMut(&Report)) -> Result<Outcome> {
        let (interval, total) = (self.interval(), self.total_steps());
        // There is something to go on from at every moment.
        if self.position.step == 0 {
            self.write(&Place::Step(0).name())?;
        }
        loop {
            let step = self.position.step;
            let due = step.is_multiple_of(interval) || step >= total;
            if due && step > self.position.reported {
                match self.report()? {
                    Some(found) => report(&found),
                    None => return self.interrupted(),
                }
            }
            if step >= total {
                return self.finished();
            }
            if self.recipe.patience.is_some_and(|patience| self.position.validations.since >= patience) {
                return self.finished().map(|_| Outcome::Settled);
            }
            let until = (step / interval + 1).saturating_mul(interval).min(total);
            self.advance(until, interval)?;
            if self.position.step < until {
                return self.interrupted();
            }
        }
    }

    /// Runs the compiled loop up to update `until`, or until stopped.
    fn advance(&mut self, until: u64, interval: u64) -> Result<()> {
        let started = Instant::now();
        let first = self.position.step;
        self.inputs.monitor.begin(false, first % interval, interval.min(until - first / interval * interval));
        let run = self.inputs.run.filter(|_| self.records);
        let sink = run.map(|run| Sink { run, events: self.events });
        let curve = Curve::new(&self.recipe, self.batches.per_epoch(), &self.position, sink);
        let mut driver = Training::new(
            &self.recipe,
            self.inputs,
            &mut self.batches,
            &mut self.shards,
            &self.position,
            curve,
        );
        let rounds = driver.rounds();
        let done = self.programs.train().run((until - first) * rounds, self.recipe.seed, &mut driver);
        // What led to a failure is part of the curves.
        let written = driver.curve.write();
        let done = done? / rounds;
        written?;
        self.position.totals = driver.totals;
        self.position.curve = driver.curve.sums;
        self.position.averaged = driver.averaged;
        self.position.step = first + done;
        self.position.epoch = self.position.step.saturating_sub(1) / self.batches.per_epoch() + 1;
        self.position.seconds += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// Validates, writes the row and a checkpoint, and begins new sums. `None` if stopped meanwhile.
    fn report(&mut self) -> Result<Option<Report>> {
        let started = Instant::now();
        let boundary = self.position.step.is_multiple_of(self.interval());
        let samples = matches!(self.recipe.length, Length::Iterations { .. }) || self.events.is_some();
        let valid = match (&self.valid, self.inputs.valid) {
            (Some(reading), Some(ids)) if boundary => {
                let (monitor, programs) = (self.inputs.monitor, &mut *self.programs);
                let look = |programs: &mut dyn Trainee| {
                    measured(programs, |engine| evaluate(engine, ids, reading, monitor))
                };
                let measured = match self.position.averaged {
                    0 => look(programs),
                    _ => mean::with(programs, look),
                }?;
                // Every rank measures the same; one that was stopped meanwhile stops all.
                if self.shards.any(measured.is_none())? {
                    return Ok(None);
                }
                measured
            }
            _ => None,
        };
        let sample = if samples { self.sample()? } else { None };
        self.position.seconds += started.elapsed().as_secs_f64();
        let row = self.row(valid);
        self.last_perplexity = row.train_perplexity.into_iter().chain(row.valid_perplexity).reduce(f64::max);
        self.inputs.run.map_or(Ok(()), |run| run.append(&row))?;
        self.events.map_or(Ok(()), |events| events.row(&row))?;
        self.position.reported = self.position.step;
        if boundary {
            self.position.totals = Totals::default();
        }
        let Position { epoch, step, .. } = self.position;
        let best = row.valid_loss.is_some_and(|loss| {
            self.position.validations.add(Best { epoch, step, loss }, self.recipe.schedule.course)
        });
        let checkpoint = self.save(boundary)?;
        match valid.map(|totals| totals.mean_loss()).filter(|loss| !loss.is_finite()) {
            Some(loss) => Err(Error::BadEvaluation { text: "validation".into(), loss }),
            None => Ok(Some(Report { row, sample, checkpoint, best })),
        }
    }

    fn sample(&mut self) -> Result<Option<Sample>> {
        let at = self.batches.place(self.position.step.saturating_sub(1));
        let (ids, batches) = (self.inputs.train, &mut self.batches);
        let found = measured(&mut *self.programs, |engine| predict_at(engine, ids, batches, at))?;
        Ok(found.map(|found| Sample {
            context: ids[found.read].to_vec(),
            actual: found.actual,
            predicted: found.predicted,
        }))
    }

    fn row(&self, valid: Option<Totals>) -> Row {
        let train = &self.position.totals;
        let of_text = self.inputs.valid_extent.zip(valid.map(|totals| totals.mean_loss()));
        Row {
            epoch: self.position.epoch,
            step: self.position.step,
            train_loss: Some(train.mean_loss()),
            train_perplexity: Some(train.perplexity()),
            train_accuracy: Some(train.accuracy()),
            valid_loss: valid.map(|totals| totals.mean_loss()),
            valid_perplexity: valid.map(|totals| totals.perplexity()),
            valid_accuracy: valid.map(|totals| totals.accuracy()),
            valid_word_perplexity: of_text.map(|(extent, loss)| extent.word_perplexity(loss)),
            valid_bits_per_character: of_text.map(|(extent, loss)| extent.bits_per_character(loss)),
            learning_rate: Some(self.recipe.rate(self.moment())),
            gradient_norm: train.norms.mean(),
            words_per_second: Some(train.per_second()),
            seconds: Some(self.position.seconds),
        }
    }

    /// The last update.
    fn moment(&self) -> Moment {
        let Position { epoch, step, validations, .. } = self.position;
        self.recipe.moment(epoch, step.max(1), self.batches.per_epoch(), validations.cuts)
    }

    /// The end of the last update: a training that has only made the model worse has not succeeded.
    fn finished(&mut self) -> Result<Outcome> {
        let Recipe { vocabulary, clips, .. } = self.recipe;
        let perplexity = self.last_perplexity.unwrap_or(0.0);
        if perplexity > ABSURD * vocabulary as f64 {
            return Err(Error::WorseThanGuessing { perplexity, vocabulary, clips });
        }
        Ok(Outcome::Finished)
    }

    fn interrupted(&mut self) -> Result<Outcome> {
        self.save(false)?;
        Ok(Outcome::Interrupted)
    }

    /// Says whether what the last update has left can be trained on: all numbers are finite, and so is the perplexity of
    /// the next batch. A checkpoint of anything else would take the place of one that can.
    fn check_update(&mut self) -> Result<()> {
        let (step, clips) = (self.position.step, self.recipe.clips);
        let bad = |what| Err(Error::BadUpdate { step, what, clips });
        if let Some(tensor) = self.programs.trained().first_not_finite()? {
            return bad(format!("{} with numbers that are not finite", tensor.name));
        }
        let at = self.batches.place(step);
        let (ids, batches) = (self.inputs.train, &mut self.batches);
        let loss = measured(&mut *self.programs, |engine| loss_at(engine, ids, batches, at))?;
        if loss.exp().is_finite() {
            return Ok(());
        }
        bad(format!("parameters whose loss on the next batch is {loss:.3e}"))
    }

    /// A checkpoint of the end of an epoch or interval, or of a place inside one, which the next replaces.
    fn save(&mut self, boundary: bool) -> Result<Option<PathBuf>> {
        self.check_update()?;
        let Position { epoch, step, .. } = self.position;
        let name = if boundary { self.place(epoch, step) } else { Place::Step(step) }.name();
        let path = self.write(&name)?;
        self.inputs.run.map_or(Ok(()), |run| run.prune(&name, &self.keep()))?;
        Ok(path)
    }

    /// Writes a checkpoint, or tells the rank that does what it has to.
    fn write(&mut self, name: &str) -> Result<Option<PathBuf>> {
        let Inputs { source, vocabulary, run, .. } = self.inputs;
        let engine = self.programs.trained();
        let whole = self.shards.whole(engine)?;
        let Some(run) = run else { return Ok(None) };
        let meta = Meta::new(source.into(), vocabulary.into(), self.recipe.seed, self.position);
        run.save(name, &whole.with(engine), &meta).map(Some)
    }

    /// What a checkpoint at the end of an epoch or interval is called by.
    fn place(&self, epoch: u64, step: u64) -> Place {
        match self.recipe.length {
            Length::Epochs(_) => Place::Epoch(epoch),
            Length::Iterations { .. } => Place::Step(step),
        }
    }

    fn best_place(&self) -> Option<Place> {
        self.position.validations.best.map(|best| self.place(best.epoch, best.step))
    }

    /// Which checkpoints stay.
    fn keep(&self) -> Keep {
        let interval = match self.recipe.length {
            Length::Epochs(_) => None,
            Length::Iterations { .. } => Some(self.interval()),
        };
        let best = self.best_place().filter(|_| self.recipe.keep_best);
        Keep { newest: self.recipe.keep, interval, best }
    }

    /// The best validation so far, if there was one.
    ///
    /// # Errors
    /// The run's metrics cannot be read.
    pub fn summary(&self) -> Result<Option<Summary>> {
        let (Some(best), Some(run)) = (self.position.validations.best, self.inputs.run) else {
            return Ok(None);
        };
        let rows = run.metrics()?;
        let row = rows.into_iter().find(|row| row.step == best.step);
        let place = self.place(best.epoch, best.step);
        let checkpoint = run.has_place(place)?.then(|| run.checkpoint(&place.name()));
        Ok(row.map(|row| Summary { row, checkpoint }))
    }
}

/// What `look` finds in the program that evaluates, with the parameters as they are now.
fn measured<T>(programs: &mut dyn Trainee, mut look: impl FnMut(&mut dyn Engine) -> Result<T>) -> Result<T> {
    let mut found = None;
    programs.measure(&mut |engine| {
        found = Some(look(engine)?);
        Ok(())
    })?;
    found.ok_or_else(|| Error::MissingBuffer("program that evaluates".into()))
}

#[cfg(test)]
mod tests;
