//! Choosing a token from a distribution.

use crate::random::Random;

/// What random numbers are for here.
pub const PURPOSE: &str = "sample";

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Below 1 sharpens the distribution, above 1 flattens it; 0 is greedy.
    pub temperature: f64,
    /// Only among the k most likely.
    pub top_k: Option<usize>,
    /// Only among the fewest most likely that together have at least this probability (Holtzman et al. 2020).
    pub top_p: Option<f64>,
    pub seed: u64,
}

impl Sampler {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None, seed: 0 }
    }

    /// The `index`-th choice of a text. Ids below `reserve` stand for no word and are never chosen.
    pub fn choose(&self, probabilities: &[f32], reserve: usize, index: u64) -> u32 {
        if self.temperature <= 0.0 {
            return best(probabilities, reserve);
        }
        let mut candidates = self.candidates(probabilities, reserve);
        if candidates.is_empty() {
            return best(probabilities, reserve);
        }
        let total: f64 = candidates.iter().map(|c| c.1).sum();
        let mut left = Random::new(self.seed, PURPOSE).uniform(index) * total;
        let last = candidates.pop();
        for (id, weight) in candidates {
            if left < weight {
                return id;
            }
            left -= weight;
        }
        last.map_or(0, |(id, _)| id)
    }

    /// Tokens with their weights, the most likely first; equally likely ones by id.
    fn candidates(&self, probabilities: &[f32], reserve: usize) -> Vec<(u32, f64)> {
        // Relative to the largest, so that a low temperature does not turn everything to zero.
        let largest = probabilities.iter().skip(reserve).copied().fold(0.0, f32::max);
        let weight = |p: f32| (f64::from(p) / f64::from(largest)).powf(1.0 / self.temperature);
        let mut candidates: Vec<(u32, f64)> = probabilities
            .iter()
            .enumerate()
            .skip(reserve)
            .filter(|(_, p)| **p > 0.0)
            .map(|(id, &p)| (id as u32, weight(p)))
            .collect();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if let Some(k) = self.top_k {
            candidates.truncate(k.max(1));
        }
        if let Some(p) = self.top_p {
            let total: f64 = candidates.iter().map(|c| c.1).sum();
            let mut sum = 0.0;
            let cut = candidates.iter().position(|c| {
                sum += c.1;
                sum >= p * total
            });
            candidates.truncate(cut.map_or(candidates.len(), |at| at + 1));
        }
        candidates
    }
}

/// Probabilities that are compared at once in [`best`].
const LANES: usize = 16;

/// The most likely token, the first of equals. Probabilities that are not numbers are passed over.
pub fn best(probabilities: &[f32], reserve: usize) -> u32 {
    let from = reserve.min(probabilities.len().saturating_sub(1));
    let candidates = probabilities.get(from..).unwrap_or(&[]);
    // One search for the largest number in lanes, and one for its place: ten thousand words wait for nothing else.
    let larger = |most: f32, p: f32| if p > most { p } else { most };
    let mut most = [f32::NEG_INFINITY; LANES];
    let lines = candidates.chunks_exact(LANES);
    let rest = lines.remainder().iter();
    for line in lines {
        for (most, &p) in most.iter_mut().zip(line) {
            *most = larger(*most, p);
        }
    }
    let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &p| larger(most, p));
    (from + candidates.iter().position(|&p| p == most).unwrap_or(0)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f32; 5] = [0.1, 0.4, 0.2, 0.25, 0.05];

    fn sampler(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Sampler {
        Sampler { temperature, top_k, top_p, seed: 11 }
    }

    fn shares(sampler: Sampler, n: u64) -> [f64; 5] {
        let mut counts = [0.0; 5];
        (0..n).for_each(|i| counts[sampler.choose(&P, 0, i) as usize] += 1.0 / n as f64);
        counts
    }

    #[test]
    fn temperature_one_is_the_distribution_itself() {
        for (share, p) in shares(sampler(1.0, None, None), 40_000).iter().zip(P) {
            // Five standard errors: 5 * 0.49 / sqrt(n) = 0.0123.
            assert!((share - f64::from(p)).abs() < 0.0123, "{share} for {p}");
        }
    }

    #[test]
    fn low_temperature_sharpens() {
        let expected: f64 = 0.4f64.powi(2) / P.iter().map(|&p| f64::from(p).powi(2)).sum::<f64>();
        let share = shares(sampler(0.5, None, None), 40_000)[1];
        assert!((share - expected).abs() < 0.0125, "{share} for {expected}");
        assert_eq!(sampler(1e-6, None, None).choose(&P, 0, 0), 1);
        assert_eq!(Sampler::greedy().choose(&P, 0, 0), 1);
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let chosen = |sampler| shares(sampler, 2000).map(|share| share > 0.0);
        assert_eq!(chosen(sampler(1.0, Some(2), None)), [false, true, false, true, false]);
        assert_eq!(chosen(sampler(1.0, None, Some(0.64))), [false, true, false, true, false]);
        assert_eq!(chosen(sampler(1.0, None, Some(0.66))), [false, true, true, true, false]);
        assert_eq!(chosen(sampler(1.0, None, Some(0.0))), [false, true, false, false, false]);
        assert_eq!(chosen(sampler(1.0, Some(100), Some(1.0))), [true; 5]);
    }

    #[test]
    fn seeds_and_indices_decide() {
        let run = |seed| {
            let sampler = Sampler { seed, ..sampler(1.0, None, None) };
            (0..50).map(|i| sampler.choose(&P, 0, i)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn reserved_ids_are_never_chosen_and_ties_go_to_the_first() {
        assert_eq!(best(&[0.9, 0.05, 0.05], 1), 1);
        assert!((0..200).all(|i| sampler(1.0, None, None).choose(&P, 2, i) >= 2));
        assert_eq!(best(&[0.5, 0.5], 0), 0);
    }

    #[test]
    fn degenerate_rows_do_not_panic() {
        for row in [&[][..], &[0.0, 0.0], &[f32::NAN, f32::NAN]] {
            for reserve in [0, 1, 3] {
                assert!(sampler(1.0, None, Some(0.5)).choose(row, reserve, 0) < 2);
            }
        }
    }
}
