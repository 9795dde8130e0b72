//! Ranges of bytes with something in each, which can be asked what overlaps another range without looking at all of them.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges by their length, rounded down to a power of two, and by where they start: those of about one length that overlap
/// a range start near it.
#[derive(Debug)]
pub(super) struct Ranges<T> {
    by_length: BTreeMap<u32, BTreeMap<usize, Vec<(usize, T)>>>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self { by_length: BTreeMap::new() }
    }
}

fn class(range: &Range<usize>) -> u32 {
    range.len().max(1).ilog2()
}

impl<T> Ranges<T> {
    pub fn insert(&mut self, range: Range<usize>, item: T) {
        let starts = self.by_length.entry(class(&range)).or_default();
        starts.entry(range.start).or_default().push((range.end, item));
    }

    /// What lies in ranges that overlap this one. A range of no bytes overlaps one that has bytes on both sides of it.
    pub fn overlapping(&self, range: Range<usize>) -> impl Iterator<Item = &T> {
        self.by_length.iter().flat_map(move |(&class, starts)| {
            let longest = 2_usize.saturating_pow(class + 1);
            let near = starts.range(range.start.saturating_sub(longest)..range.end.max(range.start));
            near.flat_map(|(_, items)| items).filter(move |(end, _)| *end > range.start).map(|(_, item)| item)
        })
    }
}

impl<T: PartialEq> Ranges<T> {
    pub fn remove(&mut self, range: Range<usize>, item: &T) {
        let Some(starts) = self.by_length.get_mut(&class(&range)) else { return };
        let Some(items) = starts.get_mut(&range.start) else { return };
        items.retain(|(end, other)| *end != range.end || other != item);
        if items.is_empty() {
            starts.remove(&range.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_overlaps_is_found(all in proptest::collection::vec((0_usize..200, 0_usize..90), 0..60), start in 0_usize..200, len in 0_usize..90) {
            let mut ranges = Ranges::default();
            for (index, &(start, len)) in all.iter().enumerate() {
                ranges.insert(start..start + len, index);
            }
            // Every third one is taken out again.
            for (index, &(start, len)) in all.iter().enumerate().step_by(3) {
                ranges.remove(start..start + len, &index);
            }
            let end = start + len;
            let overlaps = |&(from, len): &(usize, usize)| from < end && from + len > start;
            let expected: Vec<usize> =
                (0..all.len()).filter(|index| index % 3 != 0 && overlaps(&all[*index])).collect();
            let mut found: Vec<usize> = ranges.overlapping(start..end).copied().collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn ranges_far_away_are_not_looked_at() {
        let mut ranges = Ranges::default();
        (0..1000).for_each(|index| ranges.insert(64 * index..64 * index + 64, index));
        let starts = &ranges.by_length[&6];
        assert_eq!(starts.len(), 1000);
        assert_eq!(ranges.overlapping(640..768).copied().collect::<Vec<_>>(), [10, 11]);
    }
}
