//! What a training that failed was about to compute. The updates since its newest checkpoint are made again, which gives the same
//! bits, one by one until one leaves numbers that are not finite; then once more up to there.

use std::collections::HashMap;

use super::curve::Curve;
use super::{Trainer, Training};
use crate::checkpoint::{Accept, Checkpoint};
use crate::engine::{Control, Driver, StepInputs, TensorKind};
use crate::error::{Error, Result};

/// What there is before an update.
#[derive(Clone, Debug)]
pub struct Before {
    /// The number of the batch, from 1, which random numbers are a function of.
    pub update: u64,
    /// Parameters, the optimizer's states and recurrent states by name, row by row.
    pub tensors: HashMap<String, Vec<f32>>,
    /// The batch's ids, `[steps, rows]`, and those to predict, `[steps, rows]` or `[rows]`.
    pub tokens: Vec<u32>,
    pub targets: Vec<u32>,
}

impl Trainer<'_> {
    /// The state before the first update, up to number `failed`, that leaves numbers which are not finite. Nothing if there is no
    /// such update, if batches are cut into shards, or if the monitor says stop meanwhile. The run's files stay as they are, and the parameters are those of that
    /// state.
    ///
    /// # Errors
    /// There is no checkpoint that can be read.
    pub fn before_failure(&mut self, failed: u64) -> Result<Option<Before>> {
        let (Some(run), 1) = (self.inputs.run, self.shards.count()) else { return Ok(None) };
        let checkpoint = run.newest(Accept::Verified)?;
        self.back_to(&checkpoint)?;
        let Some(update) = self.first_not_finite(failed)? else { return Ok(None) };
        self.back_to(&checkpoint)?;
        let before = update - 1;
        if self.position.step < before {
            self.advance(before, self.interval())?;
        }
        if self.position.step < before {
            return Ok(None);
        }
        self.state()
    }

    fn back_to(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.go_back_to(checkpoint)?;
        // What is made again is written down already.
        self.records = false;
        Ok(())
    }

    /// Goes on from where it is, update by update.
    fn first_not_finite(&mut self, failed: u64) -> Result<Option<u64>> {
        while self.position.step < failed {
            let next = self.position.step + 1;
            match self.advance(next, self.interval()) {
                Err(Error::Diverged { step, .. }) => return Ok(Some(step)),
                done => done?,
            }
            if self.position.step < next {
                return Ok(None);
            }
            if self.programs.trained().first_not_finite()?.is_some() {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// What the next update begins with. Nothing if the monitor says stop.
    fn state(&mut self) -> Result<Option<Before>> {
        let [steps, rows] = self.programs.trained().batch_shape()?;
        let predictions = self.batches.predictions() as usize;
        let mut inputs = Batch { tokens: vec![0; steps * rows], targets: vec![0; predictions], fresh: false };
        let curve = Curve::new(&self.recipe, self.batches.per_epoch(), &self.position, None);
        let (batches, shards) = (&mut self.batches, &mut self.shards);
        let mut driver = Training::new(&self.recipe, self.inputs, batches, shards, &self.position, curve);
        let Control::Step(update) = driver.begin(0, &mut inputs)? else { return Ok(None) };
        let engine = self.programs.trained();
        let mut tensors = HashMap::new();
        for tensor in engine.tensors() {
            let values = match tensor.kind {
                TensorKind::Carried(start) if inputs.fresh => vec![start as f32; tensor.len()],
                _ => engine.read(&tensor.name)?,
            };
            tensors.insert(tensor.name.clone(), values);
        }
        Ok(Some(Before { update, tensors, tokens: inputs.tokens, targets: inputs.targets }))
    }
}

/// A batch that is looked at instead of run.
struct Batch {
    tokens: Vec<u32>,
    targets: Vec<u32>,
    /// Whether recurrent states start afresh.
    fresh: bool,
}

impl StepInputs for Batch {
    fn batch_mut(&mut self) -> Result<(&mut [u32], &mut [u32])> {
        Ok((&mut self.tokens, &mut self.targets))
    }

    fn set_rate_and_step(&mut self, _rate: f32, _step: u64) {}

    fn set_last_and_weight(&mut self, _last: bool, _weight: f32) {}

    fn reset_carried(&mut self) {
        self.fresh = true;
    }
}
