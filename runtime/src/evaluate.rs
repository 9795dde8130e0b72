//! Measuring a model on a text, and looking at what it predicts.

use lstmc_compiler::model::Targets;

use crate::arena::Arena;
use crate::batches::Batcher;
use crate::checkpoint::Totals;
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::sample::best;
use crate::session::{Control, Driver, Session};

/// Runs the whole text through an evaluation program, from fresh recurrent state. `None` if it was stopped.
///
/// # Errors
/// [`Error::MissingBuffer`] if the program was compiled for something else; [`Error::Diverged`] if a loss is not a number.
pub fn evaluate(
    session: &mut Session,
    ids: &[u32],
    batcher: &mut Batcher,
    monitor: &Monitor,
) -> Result<Option<Totals>> {
    let batches = batcher.per_epoch();
    monitor.begin(true, 0, batches);
    let mut driver =
        Evaluation { ids, batcher, monitor, totals: Totals::default(), look: &mut |_, _, _| Ok(()) };
    let done = session.run(batches, 0, &mut driver)?;
    Ok((done == batches).then_some(driver.totals))
}

/// What a model says of one token of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The batch's tokens up to the predicted one.
    pub context: Vec<u32>,
    pub actual: u32,
    pub predicted: u32,
    /// What the model gives the predicted token.
    pub probability: f32,
}

/// The first `count` predictions on a text, fewer if the text ends; row by row within a batch.
///
/// # Errors
/// As [`evaluate`].
pub fn predict(
    session: &mut Session,
    ids: &[u32],
    batcher: &mut Batcher,
    count: usize,
    monitor: &Monitor,
) -> Result<Vec<Prediction>> {
    let batches = (count as u64).div_ceil(batcher.predictions()).min(batcher.per_epoch());
    let mut found = Vec::new();
    let mut look = |batcher: &mut Batcher, round: u64, arena: &Arena| {
        found.extend(predictions(arena, ids, batcher, 0, round)?);
        Ok(())
    };
    monitor.begin(true, 0, batches);
    let mut driver = Evaluation { ids, batcher, monitor, totals: Totals::default(), look: &mut look };
    session.run(batches, 0, &mut driver)?;
    found.truncate(count);
    Ok(found)
}

/// What the model says of the last token of batch `step` of `epoch` in its first row.
///
/// # Errors
/// As [`evaluate`].
pub fn predict_at(
    session: &mut Session,
    ids: &[u32],
    batcher: &mut Batcher,
    (epoch, step): (u64, u64),
) -> Result<Option<Prediction>> {
    let mut driver = Single { ids, batcher, at: (epoch, step), found: Vec::new() };
    session.run(1, 0, &mut driver)?;
    let per_row = driver.batcher.predictions() as usize / driver.batcher.rows();
    Ok(driver.found.into_iter().take(per_row).next_back())
}

/// The predictions of one batch that the session has just run.
fn predictions(
    arena: &Arena,
    ids: &[u32],
    batcher: &mut Batcher,
    epoch: u64,
    step: u64,
) -> Result<Vec<Prediction>> {
    let (steps, rows, targets) = (batcher.steps(), batcher.rows(), batcher.targets());
    let (probabilities, vocab) = arena.probabilities()?;
    let mut found = Vec::new();
    for (row, &start) in batcher.starts(epoch, step).iter().enumerate() {
        let (first, stride) = match targets {
            Targets::Each => (0, rows),
            Targets::Last => (steps - 1, 0),
        };
        for t in first..steps {
            let at = (t * stride + row) * vocab;
            let distribution = probabilities.get(at..at + vocab);
            let distribution = distribution.ok_or_else(|| Error::MissingBuffer("probabilities".into()))?;
            let (context, actual) = (ids[start..=start + t].to_vec(), ids[start + t + 1]);
            let predicted = best(distribution, 0);
            let probability = distribution.get(predicted as usize).copied().unwrap_or(f32::NAN);
            found.push(Prediction { context, actual, predicted, probability });
        }
    }
    Ok(found)
}

type Look<'a> = dyn FnMut(&mut Batcher, u64, &Arena) -> Result<()> + Send + 'a;

struct Evaluation<'a> {
    ids: &'a [u32],
    batcher: &'a mut Batcher,
    monitor: &'a Monitor,
    totals: Totals,
    look: &'a mut Look<'a>,
}

impl Driver for Evaluation<'_> {
    fn begin(&mut self, round: u64, arena: &mut Arena) -> Result<Control> {
        if self.monitor.stopped() {
            return Ok(Control::Stop);
        }
        load(self.batcher, self.ids, 0, round, arena)?;
        Ok(Control::Step(round + 1))
    }

    fn end(&mut self, round: u64, arena: &mut Arena) -> Result<()> {
        let loss = f64::from(arena.loss()?);
        if !loss.is_finite() {
            return Err(Error::Diverged { loss, epoch: 1, step: round + 1 });
        }
        self.totals.add(loss, f64::from(arena.hits()?), self.batcher.predictions());
        self.monitor.advance();
        (self.look)(self.batcher, round, arena)
    }
}

struct Single<'a> {
    ids: &'a [u32],
    batcher: &'a mut Batcher,
    at: (u64, u64),
    found: Vec<Prediction>,
}

impl Driver for Single<'_> {
    fn begin(&mut self, round: u64, arena: &mut Arena) -> Result<Control> {
        arena.reset_carried();
        load(self.batcher, self.ids, self.at.0, self.at.1, arena)?;
        Ok(Control::Step(round + 1))
    }

    fn end(&mut self, _round: u64, arena: &mut Arena) -> Result<()> {
        self.found = predictions(arena, self.ids, self.batcher, self.at.0, self.at.1)?;
        Ok(())
    }
}

/// Puts a batch into the arena; recurrent state starts afresh where the batch does not follow the one before.
pub(crate) fn load(
    batcher: &mut Batcher,
    ids: &[u32],
    epoch: u64,
    step: u64,
    arena: &mut Arena,
) -> Result<()> {
    if step == 0 || !batcher.carries_state() {
        arena.reset_carried();
    }
    let (tokens, targets) = arena.batch_mut()?;
    let (expected, found) = (batcher.rows() * batcher.steps(), tokens.len());
    if expected != found {
        return Err(Error::WrongLength { name: "tokens".into(), expected: found, found: expected });
    }
    let (expected, found) = (batcher.predictions() as usize, targets.len());
    if expected != found {
        return Err(Error::WrongLength { name: "targets".into(), expected: found, found: expected });
    }
    batcher.fill(ids, epoch, step, tokens, targets);
    Ok(())
}
