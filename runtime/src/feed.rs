//! The host's part of training steps whose results are thrown away: for measuring, on any token ids.

use std::collections::HashSet;
use std::ops::Range;

use lstmc_compiler::model::Model;

use crate::batches::Batcher;
use crate::engine::{Control, Driver, Shard, StepInputs, StepOutputs};
use crate::error::{Error, Result};
use crate::evaluate::load;
use crate::random::Random;

/// `count` ids below `vocabulary`, all alike likely, as a function of the seed.
pub fn random_ids(vocabulary: usize, count: usize, seed: u64) -> Vec<u32> {
    let random = Random::new(seed, "text");
    (0..count as u64).map(|position| random.below(position, vocabulary as u64) as u32).collect()
}

/// Gives each step its batch, as training does, and adds up the losses.
pub struct Feed {
    ids: Vec<u32>,
    batches: Batcher,
    /// Each is a step.
    shards: usize,
    rate: f32,
    clips: bool,
    /// Updates made.
    done: u64,
    /// The sum of their mean losses.
    loss: f64,
}

impl Feed {
    /// # Errors
    /// [`Error::ShortCorpus`] if the ids do not fill one batch.
    pub fn new(model: &Model, ids: Vec<u32>, seed: u64) -> Result<Self> {
        let batches = Batcher::new(&model.data.batches, ids.len(), seed)?;
        let (rate, clips) = (model.optimizer.rate as f32, model.train.clip.is_some());
        Ok(Self { ids, batches, shards: model.train.shards, rate, clips, done: 0, loss: 0.0 })
    }

    /// Tokens that one step predicts.
    pub fn predictions(&self) -> u64 {
        self.batches.predictions() / self.shards as u64
    }

    /// Of which epoch and batch a step is, and which rows of it: those of this shard.
    fn place(&self, step: u64) -> ([u64; 2], usize, Range<usize>) {
        let shards = self.shards as u64;
        let (epoch, batch) = self.batches.place(step / shards);
        let (shard, rows) = ((step % shards) as usize, self.batches.rows() / self.shards);
        ([epoch, batch], shard, shard * rows..(shard + 1) * rows)
    }

    /// How many different tokens a batch has, on average over the first `steps` steps.
    pub fn distinct_tokens(&self, steps: u64) -> f64 {
        let mut batches = self.batches.clone();
        let mut tokens = vec![0; batches.rows() / self.shards * batches.steps()];
        let mut targets = vec![0; self.predictions() as usize];
        let mut sum = 0;
        for step in 0..steps {
            let (at, _, rows) = self.place(step);
            batches.fill_rows(&self.ids, at, rows, &mut tokens, &mut targets);
            sum += tokens.iter().collect::<HashSet<_>>().len();
        }
        sum as f64 / steps.max(1) as f64
    }

    /// The sum of the steps' mean losses since the last call.
    pub fn take_loss(&mut self) -> f64 {
        std::mem::take(&mut self.loss)
    }
}

impl Driver for Feed {
    fn begin(&mut self, _: u64, inputs: &mut dyn StepInputs) -> Result<Control> {
        let (at, shard, rows) = self.place(self.done);
        inputs.set_shard(Shard { number: shard as u32, round: shard, last: shard + 1 == self.shards });
        load(&mut self.batches, &self.ids, at, rows, inputs)?;
        inputs.set_rate_and_step(self.rate, self.done + 1);
        // A whole update, where several batches make one.
        inputs.set_last_and_weight(true, 0.0);
        Ok(Control::Step(self.done + 1))
    }

    fn end(&mut self, _: u64, outputs: &dyn StepOutputs) -> Result<()> {
        self.done += 1;
        let loss = f64::from(outputs.loss()?);
        self.loss += loss;
        // Arithmetic on infinities and NaN takes another time than what is to be measured.
        if loss.is_finite() {
            return Ok(());
        }
        Err(Error::Diverged { loss, epoch: 1, step: self.done, clips: self.clips })
    }
}
