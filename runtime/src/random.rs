//! Counter-based random numbers: each is a function of a key and a position, so order and threads do not matter.

use std::f64::consts::TAU;

/// A sequence of random numbers that can be read at any position.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: u64,
}

impl Random {
    /// The sequence of this seed and purpose; different purposes share no numbers.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self { key: mix(seed ^ Self::purpose(purpose)) }
    }

    /// What the seeds of a purpose are mixed with.
    pub fn purpose(purpose: &str) -> u64 {
        mix(hash(purpose.as_bytes()))
    }

    /// A sequence of its own for each `part` of this one.
    pub fn part(self, part: u64) -> Self {
        Self { key: mix(self.key ^ mix(part.wrapping_add(1))) }
    }

    /// 64 random bits.
    pub fn bits(self, position: u64) -> u64 {
        mix(self.key.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Uniform in [0, 1), with 53 random bits.
    pub fn uniform(self, position: u64) -> f64 {
        (self.bits(position) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0 .. below`. The bias of multiplying is under `below / 2^64`.
    pub fn below(self, position: u64, below: u64) -> u64 {
        ((u128::from(self.bits(position)) * u128::from(below)) >> 64) as u64
    }

    /// Standard normal, by Box and Muller (1958): positions `2k` and `2k + 1` are one pair.
    pub fn normal(self, position: u64) -> f64 {
        let first = position & !1;
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform(first)).ln()).sqrt();
        let angle = TAU * self.uniform(first + 1);
        if position == first { radius * angle.cos() } else { radius * angle.sin() }
    }

    /// `0 .. len` in random order (Fisher and Yates).
    pub fn permutation(self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            order.swap(last, self.below(last as u64, last as u64 + 1) as usize);
        }
        order
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood 2014).
fn mix(x: u64) -> u64 {
    let mut x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// FNV-1a over 64 bits: the same on every machine and in every version, as checkpoints and seeds need it.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_of_a_is_the_published_value() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn purposes_and_seeds_give_different_numbers() {
        let a = Random::new(1, "a");
        assert_ne!(a.bits(0), Random::new(1, "b").bits(0));
        assert_ne!(a.bits(0), Random::new(2, "a").bits(0));
        assert_ne!(a.part(0).bits(0), a.part(1).bits(0));
        assert_eq!(a.bits(7), Random::new(1, "a").bits(7));
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let random = Random::new(3, "moments");
        let n = 200_000;
        let mean = (0..n).map(|i| random.uniform(i)).sum::<f64>() / n as f64;
        // Standard error 0.29 / sqrt(n) = 6.5e-4; five of them.
        assert!((mean - 0.5).abs() < 3.3e-3, "{mean}");
        let (sum, squares) =
            (0..n).map(|i| random.normal(i)).fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        // Standard errors 2.2e-3 and 3.2e-3; five of them.
        assert!((sum / n as f64).abs() < 1.2e-2);
        assert!((squares / n as f64 - 1.0).abs() < 1.6e-2);
    }

    #[test]
    fn below_reaches_both_ends_and_no_further() {
        let random = Random::new(4, "below");
        let draws: Vec<u64> = (0..1000).map(|i| random.below(i, 5)).collect();
        assert_eq!(draws.iter().min(), Some(&0));
        assert_eq!(draws.iter().max(), Some(&4));
    }

    #[test]
    fn a_permutation_holds_each_index_once() {
        let mut order = Random::new(5, "order").permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
