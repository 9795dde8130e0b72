//! What training needs to know of a model, and the rate of each update.

use std::f64::consts::PI;

use lstmc_compiler::model::{Batches, Course, Length, Model, Schedule};

/// What training needs to know of a model.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub batches: Batches,
    pub length: Length,
    pub schedule: Schedule,
    pub rate: f64,
    pub seed: u64,
    /// How many tokens there are to choose from.
    pub vocabulary: usize,
    /// Whether gradients are clipped.
    pub clips: bool,
    /// Ends the run after this many updates, if it is not done before.
    pub limit: Option<u64>,
    /// So many of the newest checkpoints stay: see [`Keep::newest`].
    pub keep: Option<u64>,
    /// Whether the best checkpoint stays.
    pub keep_best: bool,
    /// Ends the run after so many validations without a better loss.
    pub patience: Option<u64>,
    /// Of how many batches the gradients' mean makes an update.
    pub accumulate: u64,
    /// Into how many shards a batch is cut.
    pub shards: usize,
    /// The epoch from which on the mean of the parameters is kept.
    pub average: Option<u64>,
}

/// When an update is made, as its rate depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// From 1.
    pub epoch: u64,
    /// The number of the update, from 1.
    pub update: u64,
    /// How many there are in the whole training.
    pub updates: u64,
    /// How often a plateau has cut the rate.
    pub cuts: u64,
}

impl Recipe {
    pub fn of(model: &Model, seed: u64) -> Self {
        Self {
            batches: model.data.batches.clone(),
            length: model.train.length,
            schedule: model.train.schedule,
            rate: model.optimizer.rate,
            seed,
            vocabulary: model.vocab,
            clips: model.train.clip.is_some(),
            limit: None,
            // The best one stays beside the newest.
            keep: model.train.keep.map(|keep| keep as u64).or(model.train.keep_best.then_some(1)),
            keep_best: model.train.keep_best,
            patience: model.train.patience.map(|patience| patience as u64),
            accumulate: model.train.accumulate as u64,
            shards: model.train.shards,
            average: model.train.average.map(|after| after as u64),
        }
    }

    /// One without anything that need not be.
    #[cfg(test)]
    pub(crate) fn plain(batches: Batches, length: Length, schedule: Schedule, rate: f64) -> Self {
        Self {
            batches,
            length,
            schedule,
            rate,
            seed: 0,
            vocabulary: 1,
            clips: false,
            limit: None,
            keep: None,
            keep_best: false,
            patience: None,
            accumulate: 1,
            shards: 1,
            average: None,
        }
    }

    /// How many batches the whole training has.
    pub fn whole(&self, per_epoch: u64) -> u64 {
        match self.length {
            Length::Epochs(epochs) => (epochs as u64).saturating_mul(per_epoch),
            Length::Iterations { count, .. } => count as u64,
        }
    }

    /// How many batches there are from one report to the next.
    pub fn interval(&self, per_epoch: u64) -> u64 {
        match self.length {
            Length::Epochs(_) => per_epoch.max(1),
            Length::Iterations { report_every, .. } => (report_every as u64).max(1),
        }
    }

    /// When the update is made that a batch, counted from 1, is part of.
    pub fn moment(&self, epoch: u64, batch: u64, per_epoch: u64, cuts: u64) -> Moment {
        let (update, updates) = (batch.div_ceil(self.accumulate), self.whole(per_epoch) / self.accumulate);
        Moment { epoch, update, updates, cuts }
    }

    /// Whether the gradients of a batch, counted from 1, are the last ones of an update.
    pub fn completes_update(&self, batch: u64) -> bool {
        batch.is_multiple_of(self.accumulate)
    }

    /// Whether the updates of an epoch, counted from 1, are part of the mean of the parameters.
    pub fn averages_in(&self, epoch: u64) -> bool {
        self.average.is_some_and(|after| epoch >= after)
    }

    /// The learning rate of an update.
    pub fn rate(&self, moment: Moment) -> f64 {
        let Moment { epoch, update, updates, cuts } = moment;
        let warmup = self.schedule.warmup as u64;
        let factor = match self.schedule.course {
            Course::Constant => 1.0,
            Course::Decay { factor, after } => factor.powf(epoch.saturating_sub(after as u64) as f64),
            Course::Stairs { factor, every } => factor.powf((epoch.saturating_sub(1) / every as u64) as f64),
            Course::Cosine { to } => {
                let (done, all) = (update.saturating_sub(1 + warmup), updates.saturating_sub(warmup).max(1));
                to + (1.0 - to) * 0.5 * (1.0 + (PI * (done as f64 / all as f64).min(1.0)).cos())
            }
            Course::Plateau { factor, .. } => factor.powf(cuts as f64),
        };
        let risen = if update < warmup { update as f64 / warmup as f64 } else { 1.0 };
        self.rate * factor * risen
    }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::diag::Span;
    use lstmc_compiler::model::BatchKind;

    use super::*;

    fn recipe(course: Course, warmup: usize) -> Recipe {
        let batches = Batches { kind: BatchKind::Stream, rows: 1, steps: 1, span: Span::default() };
        Recipe::plain(batches, Length::Epochs(4), Schedule { warmup, course }, 0.5)
    }

    /// The rates of these batches, in epochs of ten.
    fn rates(recipe: &Recipe, batches: &[u64], cuts: u64) -> Vec<f64> {
        let moment = |batch: u64| recipe.moment((batch - 1) / 10 + 1, batch, 10, cuts);
        batches.iter().map(|&batch| recipe.rate(moment(batch))).collect()
    }

    #[test]
    fn rates_fall_by_epochs() {
        let after = recipe(Course::Decay { factor: 0.5, after: 2 }, 0);
        assert_eq!(rates(&after, &[1, 20, 21, 31], 0), [0.5, 0.5, 0.25, 0.125]);
        let every = recipe(Course::Stairs { factor: 0.5, every: 2 }, 0);
        assert_eq!(rates(&every, &[1, 20, 21, 40, 41], 0), [0.5, 0.5, 0.25, 0.25, 0.125]);
        let plateau = recipe(Course::Plateau { factor: 0.5, patience: 1 }, 0);
        assert_eq!(rates(&plateau, &[1, 40], 2), [0.125, 0.125]);
    }

    #[test]
    fn a_cosine_ends_where_training_does() {
        let cosine = recipe(Course::Cosine { to: 0.2 }, 0);
        let found = rates(&cosine, &[1, 21, 40, 41, 50], 0);
        // Half of the 40 updates are made before the 21st.
        assert_eq!((found[0], found[1]), (0.5, 0.5 * (0.2 + 0.4)));
        assert!(0.1 < found[2] && found[2] < 0.102, "{found:?}");
        assert_eq!(found[3..], [0.1, 0.1], "beyond the end");
        assert!(rates(&cosine, &(1..=41).collect::<Vec<_>>(), 0).is_sorted_by(|a, b| a > b));
    }

    #[test]
    fn a_warmup_comes_first() {
        let warm = recipe(Course::Constant, 4);
        assert_eq!(rates(&warm, &[1, 2, 3, 4, 5], 0), [0.125, 0.25, 0.375, 0.5, 0.5]);
        let both = recipe(Course::Cosine { to: 0.0 }, 20);
        // The cosine has the 20 updates that are left.
        assert_eq!(rates(&both, &[10, 20, 21, 31], 0), [0.25, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn several_batches_make_an_update() {
        let several = Recipe { accumulate: 4, average: Some(2), ..recipe(Course::Cosine { to: 0.0 }, 0) };
        let moment = |batch| several.moment(1, batch, 10, 0);
        assert_eq!([1, 4, 5].map(|batch| moment(batch).update), [1, 1, 2]);
        assert_eq!(moment(1).updates, 10);
        assert_eq!([3, 4, 8].map(|batch| several.completes_update(batch)), [false, true, true]);
        assert_eq!([1, 2, 3].map(|epoch| several.averages_in(epoch)), [false, true, true]);
    }
}
