//! Which bytes of the arena are taken when.
//!
//! A tree over the positions of the schedule: each node stands for a range of them, and knows the bytes that are taken all
//! through it and those that are taken somewhere in it. What is taken during a life is in a few nodes, so that the lowest
//! free place is found without looking at every buffer that has one.

use std::collections::BTreeMap;

/// Bytes that are taken, as ranges that do not touch: start and end.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    ends: BTreeMap<usize, usize>,
}

impl Blocks {
    pub fn insert(&mut self, mut start: usize, mut end: usize) {
        if start >= end {
            return;
        }
        while let Some((&first, &last)) =
            self.ends.range(..=end).next_back().filter(|(_, last)| **last >= start)
        {
            self.ends.remove(&first);
            (start, end) = (start.min(first), end.max(last));
        }
        self.ends.insert(start, end);
    }

    /// The end of the last block that has bytes in `start..end`.
    fn last_in(&self, start: usize, end: usize) -> Option<usize> {
        self.ends.range(..end).next_back().map(|(_, &last)| last).filter(|last| *last > start)
    }
}

/// What is taken in a range of positions.
#[derive(Clone, Debug, Default)]
struct Node {
    /// At all of its positions.
    throughout: Blocks,
    /// At some of them.
    somewhere: Blocks,
}

#[derive(Debug)]
pub(super) struct Space {
    /// The root is at 1, the halves of node `i` are `2 * i` and `2 * i + 1`.
    nodes: Vec<Node>,
    positions: usize,
    /// Bytes that are taken at all positions.
    always: Blocks,
}

impl Space {
    /// Nothing is taken at positions below `positions` but `always`.
    pub fn new(positions: usize, always: Blocks) -> Self {
        let positions = positions.next_power_of_two();
        Self { nodes: vec![Node::default(); 2 * positions], positions, always }
    }

    /// The lowest offset at which so many bytes are free at positions `first ..= last`.
    pub fn lowest(&self, first: usize, last: usize, bytes: usize) -> usize {
        let mut taken = vec![&self.always];
        self.collect((1, 0, self.positions), first, last, &mut taken);
        let mut offset = 0;
        if bytes == 0 {
            return offset;
        }
        // The last block in the way: no place that begins below its end is free.
        while let Some(end) = taken.iter().find_map(|blocks| blocks.last_in(offset, offset + bytes)) {
            offset = end;
        }
        offset
    }

    fn collect<'s>(
        &'s self,
        (index, from, to): (usize, usize, usize),
        first: usize,
        last: usize,
        taken: &mut Vec<&'s Blocks>,
    ) {
        let node = &self.nodes[index];
        if last < from || to <= first || node.somewhere.ends.is_empty() {
            return;
        }
        if first <= from && to <= last + 1 {
            taken.push(&node.somewhere);
            return;
        }
        taken.push(&node.throughout);
        let middle = (from + to) / 2;
        self.collect((2 * index, from, middle), first, last, taken);
        self.collect((2 * index + 1, middle, to), first, last, taken);
    }

    /// Takes bytes `start .. end` at positions `first ..= last`.
    pub fn take(&mut self, first: usize, last: usize, start: usize, end: usize) {
        self.take_in((1, 0, self.positions), (first, last), (start, end));
    }

    fn take_in(
        &mut self,
        (index, from, to): (usize, usize, usize),
        life: (usize, usize),
        bytes: (usize, usize),
    ) {
        let (first, last) = life;
        if last < from || to <= first {
            return;
        }
        let node = &mut self.nodes[index];
        node.somewhere.insert(bytes.0, bytes.1);
        if first <= from && to <= last + 1 {
            node.throughout.insert(bytes.0, bytes.1);
            return;
        }
        let middle = (from + to) / 2;
        self.take_in((2 * index, from, middle), life, bytes);
        self.take_in((2 * index + 1, middle, to), life, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By looking at everything that has a place.
    fn lowest(placed: &[(usize, usize, usize, usize)], first: usize, last: usize, bytes: usize) -> usize {
        let alive = placed.iter().filter(|other| other.0 <= last && first <= other.1);
        let mut busy: Vec<(usize, usize)> = alive.map(|other| (other.2, other.3)).collect();
        busy.sort_unstable();
        let mut offset = 0;
        for (start, end) in busy {
            if offset + bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        offset
    }

    proptest! {
        #[test]
        fn places_are_those_that_a_search_finds(ranges in proptest::collection::vec((0_usize..40, 0_usize..40, 0_usize..9), 1..80)) {
            let mut space = Space::new(80, Blocks::default());
            let mut placed = vec![];
            for (first, len, lines) in ranges {
                let (last, bytes) = (first + len, 64 * lines);
                let offset = space.lowest(first, last, bytes);
                prop_assert_eq!(offset, lowest(&placed, first, last, bytes));
                space.take(first, last, offset, offset + bytes);
                placed.push((first, last, offset, offset + bytes));
            }
        }
    }

    #[test]
    fn what_is_always_taken_is_never_free() {
        let mut always = Blocks::default();
        always.insert(64, 128);
        let space = Space::new(3, always);
        assert_eq!((space.lowest(0, 2, 64), space.lowest(0, 2, 128)), (0, 128));
    }

    #[test]
    fn neighbours_are_one_block() {
        let mut space = Space::new(1000, Blocks::default());
        (0..1000).for_each(|index| space.take(index, 999, 64 * index, 64 * index + 64));
        assert!(space.nodes.iter().all(|node| node.somewhere.ends.len() <= 1));
    }
}
