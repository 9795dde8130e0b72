//! What the validations of a run have found so far: the best one, and for how long there was no better one.
//!
//! It is part of a run's place in its training, and so of every checkpoint: a run that goes on counts on.

use serde::{Deserialize, Serialize};

/// The validations of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validations {
    /// The one with the lowest loss, the first of equals.
    pub best: Option<Best>,
    /// How many there were since.
    pub since: u64,
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
    pub fn add(&mut self, found: Best) -> bool {
        let better = found.loss.is_finite() && self.best.is_none_or(|best| found.loss < best.loss);
        if better {
            *self = Self { best: Some(found), since: 0 };
        } else {
            self.since += 1;
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_the_best() {
        let mut all = Validations::default();
        let losses = [f64::NAN, 2.0, 3.0, 1.5, 1.5, f64::INFINITY];
        let better: Vec<bool> =
            (1..).zip(losses).map(|(epoch, loss)| all.add(Best { epoch, step: 10 * epoch, loss })).collect();
        assert_eq!(better, [false, true, false, true, false, false]);
        assert_eq!(all, Validations { best: Some(Best { epoch: 4, step: 40, loss: 1.5 }), since: 2 });
    }
}
