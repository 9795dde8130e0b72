//! What the validations of a run have found so far: the best one, for how long there was no better one, and how often the rate was
//! cut for that.
//!
//! It is part of a run's place in its training, and so of every checkpoint: a run that goes on counts on.

use lstmc_compiler::model::Course;
use serde::{Deserialize, Serialize};

/// The validations of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validations {
    /// The one with the lowest loss, the first of equals.
    pub best: Option<Best>,
    /// How many there were since.
    pub since: u64,
    /// How many a plateau has waited for a better one since that or since it has cut the rate.
    #[serde(default)]
    pub waited: u64,
    /// How often it has cut the rate.
    #[serde(default)]
    pub cuts: u64,
}

/// The best validation, and the update after which it was made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub epoch: u64,
    pub step: u64,
    /// The mean loss, in nats.
    pub loss: f64,
}

impl Validations {
    /// Counts a validation, and says whether it is the best one. One without a finite loss never is.
    pub fn add(&mut self, found: Best, course: Course) -> bool {
        let better = found.loss.is_finite() && self.best.is_none_or(|best| found.loss < best.loss);
        if better {
            *self = Self { best: Some(found), since: 0, waited: 0, ..*self };
            return true;
        }
        // A stranger's checkpoint may say any number.
        self.since = self.since.saturating_add(1);
        if let Course::Plateau { patience, .. } = course {
            self.waited = self.waited.saturating_add(1);
            if self.waited >= patience as u64 {
                (self.waited, self.cuts) = (0, self.cuts.saturating_add(1));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_the_best() {
        let mut all = Validations::default();
        let losses = [f64::NAN, 2.0, 3.0, 1.5, 1.5, f64::INFINITY];
        let better: Vec<bool> = (1..)
            .zip(losses)
            .map(|(epoch, loss)| all.add(Best { epoch, step: 10 * epoch, loss }, Course::Constant))
            .collect();
        assert_eq!(better, [false, true, false, true, false, false]);
        let best = Some(Best { epoch: 4, step: 40, loss: 1.5 });
        assert_eq!(all, Validations { best, since: 2, waited: 0, cuts: 0 });
    }

    #[test]
    fn a_plateau_cuts_the_rate_when_it_has_waited() {
        let (mut all, course) = (Validations::default(), Course::Plateau { factor: 0.5, patience: 2 });
        let losses = [2.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.6];
        let cuts: Vec<u64> = losses
            .iter()
            .map(|&loss| {
                all.add(Best { epoch: 1, step: 1, loss }, course);
                all.cuts
            })
            .collect();
        assert_eq!(cuts, [0, 0, 0, 0, 1, 1, 2, 2, 2]);
    }
}
