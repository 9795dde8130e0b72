//! What the cases are chosen by.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// Splitmix64: small, and good enough to choose cases.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `limit`, without it.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// From 0 to 1, without 1.
    pub fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and has to be a number")))
}

/// Runs as many cases as are asked for, or `few`. The seed of each is said, which a test that fails shows.
pub fn cases(what: &str, few: u64, mut case: impl FnMut(&mut Random)) {
    let seed = setting("LSTMC_CRASH_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    });
    for number in 0..setting("LSTMC_CRASH_CASES").unwrap_or(few) {
        let seed = seed.wrapping_add(number);
        eprintln!("{what}: LSTMC_CRASH_SEED={seed}");
        case(&mut Random(seed));
    }
}
