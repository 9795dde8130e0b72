//! Measuring a model on a text, and looking at what it predicts.

use std::ops::Range;

use lstmc_compiler::model::Targets;

use crate::batches::Batcher;
use crate::checkpoint::Totals;
use crate::engine::{Control, Driver, Engine, StepInputs, StepOutputs};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::reading::Reading;
use crate::sample::best;
use crate::score::{Likely, distribution, most_likely};

/// Runs the whole text through an evaluation program, from fresh recurrent state. `None` if it was stopped. Where the
/// model finds no finite loss, the sum is not finite.
///
/// # Errors
/// [`Error::MissingBuffer`] if the program was compiled for something else.
pub fn evaluate(
    engine: &mut dyn Engine,
    ids: &[u32],
    reading: &Reading,
    monitor: &Monitor,
) -> Result<Option<Totals>> {
    let batches = reading.batches();
    monitor.begin(true, 0, batches);
    let mut totals = Totals::default();
    let mut look = |batch: u64, outputs: &dyn StepOutputs| {
        totals.batches += 1;
        let (losses, hits) = outputs.outcomes()?;
        for row in 0..reading.rows() {
            for (_, target) in reading.predicted(batch, row) {
                totals.predictions += 1;
                totals.loss += f64::from(at(losses, target)?);
                totals.hits += f64::from(at(hits, target)?);
            }
        }
        monitor.advance();
        Ok(true)
    };
    let mut walk = Walk { ids, reading, monitor, more: true, waits: false, look: &mut look };
    let done = engine.run(batches, 0, &mut walk)?;
    Ok((done == batches).then_some(totals))
}

/// What a model says of one token of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Which tokens of the text the model has read since its state began; the next one is to be predicted.
    pub read: Range<usize>,
    pub actual: u32,
    pub predicted: u32,
    /// What the model gives the predicted token.
    pub probability: f32,
    /// What it gives the actual one.
    pub actual_probability: f32,
    /// The most likely tokens, as many as were asked for.
    pub top: Likely,
}

/// The first `count` predictions on a text, each with the `top` most likely tokens, in its order and each token once, fewer if
/// the text ends. For that order the program has batches of one row.
///
/// # Errors
/// [`Error::MissingBuffer`] or [`Error::WrongLength`] if the program was compiled for something else.
pub fn predict(
    engine: &mut dyn Engine,
    ids: &[u32],
    reading: &Reading,
    (count, top): (usize, usize),
    monitor: &Monitor,
) -> Result<Vec<Prediction>> {
    monitor.begin(true, 0, reading.batches());
    let mut found: Vec<Prediction> = Vec::new();
    let mut look = |batch: u64, outputs: &dyn StepOutputs| {
        let begun = reading.begun(batch, 0);
        for (place, target) in reading.predicted(batch, 0) {
            // Windows overlap; the first that predicts a token has read most before it.
            if found.len() < count && found.last().is_none_or(|last| last.read.end <= place) {
                found.push(prediction(outputs, ids, begun..place + 1, target, top)?);
            }
        }
        monitor.advance();
        Ok(found.len() < count)
    };
    let mut walk = Walk { ids, reading, monitor, more: count > 0, waits: true, look: &mut look };
    engine.run(reading.batches(), 0, &mut walk)?;
    Ok(found)
}

/// What the model says of the last token of batch `step` of `epoch` of training in its first row.
///
/// # Errors
/// As [`predict`].
pub fn predict_at(
    engine: &mut dyn Engine,
    ids: &[u32],
    batcher: &mut Batcher,
    (epoch, step): (u64, u64),
) -> Result<Option<Prediction>> {
    let mut found = None;
    let mut look = |batcher: &mut Batcher, outputs: &dyn StepOutputs| {
        let Some(&start) = batcher.starts(epoch, step).first() else { return Ok(()) };
        let target = match batcher.targets() {
            Targets::Each => (batcher.steps() - 1) * batcher.rows(),
            Targets::Last => 0,
        };
        found = Some(prediction(outputs, ids, start..start + batcher.steps(), target, 0)?);
        Ok(())
    };
    engine.run(1, 0, &mut Single { ids, batcher, at: (epoch, step), look: &mut look })?;
    Ok(found)
}

/// The model's mean loss on batch `step` of `epoch` of training, in nats, from fresh recurrent state.
///
/// # Errors
/// As [`evaluate`].
pub fn loss_at(
    engine: &mut dyn Engine,
    ids: &[u32],
    batcher: &mut Batcher,
    (epoch, step): (u64, u64),
) -> Result<f64> {
    let mut mean = f64::NAN;
    let mut look = |_: &mut Batcher, outputs: &dyn StepOutputs| {
        let losses = outputs.outcomes()?.0;
        mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
        Ok(())
    };
    engine.run(1, 0, &mut Single { ids, batcher, at: (epoch, step), look: &mut look })?;
    Ok(mean)
}

/// The model's prediction at element `target` of the batch's targets, after it has read `read`.
fn prediction(
    outputs: &dyn StepOutputs,
    ids: &[u32],
    read: Range<usize>,
    target: usize,
    top: usize,
) -> Result<Prediction> {
    let distribution = distribution(outputs, target)?;
    let (actual, predicted) = (ids[read.end], best(distribution, 0));
    let probability = at(distribution, predicted as usize)?;
    // A token that the distribution does not have cannot come.
    let actual_probability = distribution.get(actual as usize).copied().unwrap_or(0.0);
    let top = if top == 0 { Likely::new() } else { most_likely(distribution, top) };
    Ok(Prediction { actual, read, predicted, probability, actual_probability, top })
}

fn at(values: &[f32], index: usize) -> Result<f32> {
    values.get(index).copied().ok_or_else(|| Error::MissingBuffer("element for each target".into()))
}

/// Called after each batch; `false` ends the walk.
type Look<'a> = dyn FnMut(u64, &dyn StepOutputs) -> Result<bool> + Send + 'a;

/// Reads a text from its beginning.
struct Walk<'a> {
    ids: &'a [u32],
    reading: &'a Reading,
    monitor: &'a Monitor,
    more: bool,
    /// Whether distributions are looked at.
    waits: bool,
    look: &'a mut Look<'a>,
}

impl Driver for Walk<'_> {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> Result<Control> {
        if self.monitor.stopped() || !self.more {
            return Ok(Control::Stop);
        }
        if step == 0 || !self.reading.carries_state() {
            inputs.reset_carried();
        }
        let (tokens, targets) = inputs.batch_mut()?;
        self.reading.fill(self.ids, step, tokens, targets)?;
        Ok(Control::Step(step + 1))
    }

    fn end(&mut self, step: u64, outputs: &dyn StepOutputs) -> Result<()> {
        self.more = (self.look)(step, outputs)?;
        Ok(())
    }

    fn waits(&self) -> bool {
        self.waits
    }
}

/// Runs one batch of training through an evaluation program.
struct Single<'a> {
    ids: &'a [u32],
    batcher: &'a mut Batcher,
    at: (u64, u64),
    look: &'a mut (dyn FnMut(&mut Batcher, &dyn StepOutputs) -> Result<()> + Send + 'a),
}

impl Driver for Single<'_> {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> Result<Control> {
        inputs.reset_carried();
        let rows = 0..self.batcher.rows();
        load(self.batcher, self.ids, [self.at.0, self.at.1], rows, inputs)?;
        Ok(Control::Step(step + 1))
    }

    fn end(&mut self, _: u64, outputs: &dyn StepOutputs) -> Result<()> {
        (self.look)(self.batcher, outputs)
    }

    fn waits(&self) -> bool {
        true
    }
}

/// Puts rows of a batch of training into the program's input buffers, with recurrent state at its start where none is carried
/// over from the batch before.
pub(crate) fn load(
    batcher: &mut Batcher,
    ids: &[u32],
    at: [u64; 2],
    rows: Range<usize>,
    inputs: &mut dyn StepInputs,
) -> Result<()> {
    if at[1] == 0 || !batcher.carries_state() {
        inputs.reset_carried();
    }
    let (tokens, targets) = inputs.batch_mut()?;
    let (expected, found) = (rows.len() * batcher.steps(), tokens.len());
    if expected != found {
        return Err(Error::WrongLength { name: "tokens".into(), expected: found, found: expected });
    }
    let (expected, found) = (batcher.predictions() as usize / batcher.rows() * rows.len(), targets.len());
    if expected != found {
        return Err(Error::WrongLength { name: "targets".into(), expected: found, found: expected });
    }
    batcher.fill_rows(ids, at, rows, tokens, targets);
    Ok(())
}
