//! The host's part of a training step.

use std::time::Instant;

use super::curve::Curve;
use super::shards::{Shards, Sum};
use super::{Inputs, Recipe};
use crate::batches::Batcher;
use crate::checkpoint::{Position, Totals};
use crate::engine::{Control, Driver, StepInputs, StepOutputs};
use crate::error::{Error, Result};
use crate::evaluate::load;

/// Feeds each step its batch and adds up what it leaves.
pub(super) struct Training<'a, 'r> {
    recipe: &'a Recipe,
    inputs: Inputs<'a>,
    batches: &'a mut Batcher,
    shards: &'a mut Shards<'r>,
    /// Updates made before this call of compiled code.
    first: u64,
    pub totals: Totals,
    started: Instant,
    /// Training seconds of the interval before this call.
    before: f64,
    /// How often a plateau has cut the rate.
    cuts: u64,
    /// Of how many updates the mean of the parameters is.
    pub averaged: u64,
    pub curve: Curve<'a>,
}

impl<'a, 'r> Training<'a, 'r> {
    /// From a place in the training on.
    pub fn new(
        recipe: &'a Recipe,
        inputs: Inputs<'a>,
        batches: &'a mut Batcher,
        shards: &'a mut Shards<'r>,
        position: &Position,
        curve: Curve<'a>,
    ) -> Self {
        Self {
            recipe,
            inputs,
            batches,
            shards,
            first: position.step,
            totals: position.totals,
            started: Instant::now(),
            before: position.totals.seconds,
            cuts: position.validations.cuts,
            averaged: position.averaged,
            curve,
        }
    }

    /// The batch that a step is part of, from 0 in this call, and which of its rounds the step is.
    fn batch_of(&self, step: u64) -> (u64, usize) {
        let rounds = self.shards.rounds() as u64;
        (step / rounds, (step % rounds) as usize)
    }

    /// The epoch of a batch, and its place in the epoch, both from 0.
    fn at(&self, batch: u64) -> (u64, u64) {
        self.batches.place(self.first + batch)
    }

    /// How many steps make a batch.
    pub fn rounds(&self) -> u64 {
        self.shards.rounds() as u64
    }

    /// The learning rate of a batch, counted from 1, in an epoch, counted from 0; and the number of its update.
    fn rate(&self, epoch: u64, batch: u64) -> (f64, u64) {
        let moment = self.recipe.moment(epoch + 1, batch, self.batches.per_epoch(), self.cuts);
        (self.recipe.rate(moment), moment.update)
    }
}

impl Driver for Training<'_, '_> {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> Result<Control> {
        let (in_call, round) = self.batch_of(step);
        if round == 0 && self.shards.stops(self.inputs.monitor.stopped()) {
            return Ok(Control::Stop);
        }
        let (epoch, place) = self.at(in_call);
        let shard = self.shards.enter(round, inputs);
        let rows = self.batches.rows() / self.shards.count();
        let own = shard.number as usize * rows..(shard.number as usize + 1) * rows;
        load(self.batches, self.inputs.train, [epoch, place], own, inputs)?;
        let (recipe, batch) = (self.recipe, self.first + in_call + 1);
        let (rate, number) = self.rate(epoch, batch);
        inputs.set_rate_and_step(rate as f32, number);
        let last = shard.last && recipe.completes_update(batch);
        let mut weight = 0.0;
        if last && recipe.averages_in(epoch + 1) {
            // A stranger's checkpoint may say any number.
            self.averaged = self.averaged.saturating_add(1);
            weight = 1.0 / self.averaged as f64;
        }
        inputs.set_last_and_weight(last, weight as f32);
        Ok(Control::Step(batch))
    }

    fn end(&mut self, step: u64, outputs: &dyn StepOutputs) -> Result<()> {
        let stop = self.inputs.monitor.stopped();
        let Some(Sum { loss, hits }) = self.shards.add(outputs.loss()?, outputs.hits()?, stop)? else {
            return Ok(());
        };
        let (in_call, _) = self.batch_of(step);
        let (epoch, _) = self.at(in_call);
        let update = self.first + in_call + 1;
        if !loss.is_finite() {
            return Err(Error::Diverged { loss, epoch: epoch + 1, step: update, clips: self.recipe.clips });
        }
        let predictions = self.batches.predictions();
        let seconds = self.before + self.started.elapsed().as_secs_f64();
        let took = seconds - self.totals.seconds;
        let norm = outputs.gradient_norm()?.filter(|_| self.recipe.completes_update(update));
        let loss = loss * predictions as f64;
        for sums in [&mut self.totals, &mut self.curve.sums] {
            sums.add(loss, hits, predictions);
            norm.iter().for_each(|&norm| sums.norms.add(f64::from(norm)));
        }
        self.totals.seconds = seconds;
        self.curve.sums.seconds += took;
        if self.curve.ends_at(update) {
            let (rate, _) = self.rate(epoch, update);
            self.curve.point(epoch + 1, update, rate)?;
        }
        self.inputs.monitor.publish(update, &self.totals);
        self.inputs.monitor.advance();
        Ok(())
    }
}
