//! Rounding to bf16 with error feedback: what a number loses is kept and added to the next one in its place, so that
//! over many updates nothing is lost (Seide et al., "1-bit stochastic gradient descent", 2014). All is done per element,
//! whoever holds it, so that results do not depend on the number of ranks.

use std::collections::HashMap;

use super::numbers::rounded;

/// Whose losses they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which exchange of a round.
    pub exchange: usize,
    /// Which pair of it.
    pub pair: usize,
    /// Which round, for gradients: each belongs to another shard. `None` for the sums.
    pub round: Option<usize>,
}

/// What has been lost so far, and will be added.
#[derive(Debug, Default)]
pub struct Feedback {
    lost: HashMap<Place, Vec<f32>>,
}

impl Feedback {
    /// Rounds numbers, with what was lost at their place before, and keeps what is lost now.
    pub fn round(&mut self, place: Place, values: &mut [f32]) {
        let lost = self.lost.entry(place).or_default();
        lost.resize(values.len(), 0.0);
        for (value, lost) in values.iter_mut().zip(lost) {
            let exact = *value + *lost;
            *value = rounded(exact);
            // Exact, but for numbers that are no numbers any more: those are not to stay for ever.
            let difference = exact - *value;
            *lost = if difference.is_finite() { difference } else { 0.0 };
        }
    }
}
