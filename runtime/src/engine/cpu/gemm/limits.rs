//! How large blocks may be, by the caches of the machine. Nothing here decides in which order a sum is taken, so that machines
//! of one instruction set compute the same bits whatever their caches: `k_block`, which does, is the instruction set's.
//!
//! The shares are what was best on cores with 48 KB, 1 MB and 32 MB (Zen 5), and about as good with 32 KB, 512 KB and
//! 32 MB (Zen 3).

use std::sync::OnceLock;

use lstmc_compiler::kernel::PANEL;

use super::micro::Isa;
use crate::engine::cpu::caches::Caches;
use crate::engine::cpu::machine::Reading;

/// Limits of blocks on one machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of the second-level cache.
    pub second: usize,
    /// A packed B of more bytes than this is read from memory each time, or from a cache that is far.
    pub cached_weight: usize,
    /// Elements of A that are packed at a time; they live in the last-level cache.
    pub packed_left: usize,
}

/// Larger caches than these were not measured: what shares them with others, or is far, holds less than it says.
const MOST_SECOND: usize = 4 << 20;
const MOST_LAST: usize = 32 << 20;
/// Smaller ones, or none that is seen, are better than that as a rule.
const LEAST_SECOND: usize = 256 << 10;
const LEAST_LAST: usize = 4 << 20;

/// A last-level cache is far if a core reads fewer bytes of it in the time of one operation: a tile of ten rows, half of a batch of
/// twenty, does twenty operations with each four bytes of B. Zen 5 has 0.4 of them, an Intel processor of 480 MB 0.12.
const FAR: f64 = 0.2;

impl Limits {
    /// Of this machine.
    pub fn here() -> &'static Limits {
        static HERE: OnceLock<Limits> = OnceLock::new();
        HERE.get_or_init(|| {
            let caches = Caches::here();
            // More than the second level holds, whatever it keeps of the last round. Without memory for it there is nothing to gain.
            let bytes = 3 * caches.second.bytes.min(MOST_SECOND);
            let is_far = Reading::new(bytes).is_ok_and(|last| last.bytes_per_operation() < FAR);
            Limits::of(caches, !is_far)
        })
    }

    /// With such caches; `near` says whether a weight that is read from the last of them is read as fast as it is multiplied.
    pub fn of(caches: &Caches, near: bool) -> Limits {
        let last = caches.last().bytes.clamp(LEAST_LAST, MOST_LAST);
        let second = caches.second.bytes.clamp(LEAST_SECOND, MOST_SECOND);
        Limits {
            second,
            cached_weight: if near { last / 4 } else { second / 4 * 3 },
            packed_left: last / 8 / size_of::<f32>(),
        }
    }

    /// Rows of A, over the longest block of the contraction, that take not quite half of the second-level cache, where they
    /// are kept while panels of B go by.
    pub fn rows(&self, isa: &Isa) -> usize {
        self.second * 9 / 20 / (isa.k_block * size_of::<f32>())
    }

    /// Columns of B that are packed at a time: two thirds of that cache.
    pub fn columns(&self, isa: &Isa) -> usize {
        (self.second * 11 / 16 / (isa.k_block * size_of::<f32>())).next_multiple_of(2 * PANEL)
    }

    /// The same where A should be read few times: because it lies badly, or because B's columns lie one element after the
    /// other, which makes A long and C narrow as a rule.
    pub fn many_columns(&self, isa: &Isa) -> usize {
        4 * self.columns(isa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::caches::Cache;
    use crate::engine::cpu::gemm::micro;

    fn caches(second: usize, third: Option<usize>) -> Caches {
        let cache = |bytes| Cache { bytes, sharing: 1 };
        Caches { first: cache(32 << 10), second: cache(second), third: third.map(cache) }
    }

    #[test]
    fn blocks_are_as_large_as_caches_allow() {
        let usual = Limits::of(&Caches::USUAL, true);
        assert_eq!((usual.cached_weight, usual.packed_left), (8 << 20, 1 << 20));
        assert_eq!(
            Limits::of(&Caches::USUAL, false).cached_weight,
            768 << 10,
            "three quarters of the second level"
        );
        let (small, large) = (caches(256 << 10, Some(8 << 20)), caches(2 << 20, Some(432 << 20)));
        for isa in micro::available() {
            let [small, usual, large] = [Limits::of(&small, true), usual, Limits::of(&large, false)];
            assert!(small.rows(isa) < usual.rows(isa) && usual.rows(isa) < large.rows(isa));
            assert!(small.columns(isa) < usual.columns(isa) && usual.columns(isa) < large.columns(isa));
            if isa.k_block == 704 {
                assert_eq!([usual.rows(isa), usual.columns(isa), usual.many_columns(isa)], [167, 256, 1024]);
            }
        }
    }

    #[test]
    fn no_cache_makes_a_block_empty_or_huge() {
        for caches in [caches(0, None), caches(usize::MAX, Some(usize::MAX)), caches(1, Some(1))] {
            let limits = Limits::of(&caches, true);
            for isa in micro::available() {
                assert!((32..10_000).contains(&limits.rows(isa)), "{limits:?}");
                assert!(
                    limits.columns(isa).is_multiple_of(PANEL) && (64..10_000).contains(&limits.columns(isa))
                );
            }
            assert!((1 << 16..=1 << 20).contains(&limits.packed_left), "{limits:?}");
        }
    }
}
