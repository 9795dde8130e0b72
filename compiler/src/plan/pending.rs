//! What workers may still be touching: the accesses since the last barrier.

use std::collections::{HashMap, HashSet};

use super::apart::{RoundPart, RowWise};
use super::ranges::Ranges;
use crate::kernel::Time;

/// What one item touches: a byte range of the arena, and how it is cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Touch {
    pub start: usize,
    pub end: usize,
    pub writes: bool,
    /// Worker 0 does all of the item.
    pub whole: bool,
    pub rows: Option<RowWise>,
    /// The part of its buffer, if there is one for each round of the loop around.
    pub part: Option<RoundPart>,
    /// An earlier round of the loop that is being walked did this.
    pub earlier_round: bool,
}

impl Touch {
    fn needs_barrier_before(&self, later: &Touch, reverse: bool) -> bool {
        let apart = self.end <= later.start || later.end <= self.start;
        let same_worker = (self.whole && later.whole)
            || (self.start == later.start && self.rows.is_some() && self.rows == later.rows);
        (self.writes || later.writes) && !apart && !same_worker && !self.is_of_another_round(later, reverse)
    }

    /// Whether both touch one of a buffer's parts for each round, and never the same. `reverse` says that rounds go down.
    fn is_of_another_round(&self, later: &Touch, reverse: bool) -> bool {
        let (Some(own), Some(other)) = (self.part, later.part) else { return false };
        if self.start != later.start || (own.time, own.size) != (other.time, other.size) {
            return false;
        }
        // Round `t` touches part `first + t`, so the later access comes to the earlier one's part `own - other` rounds on.
        let (own, other) = if reverse { (other, own) } else { (own, other) };
        if self.earlier_round { own.first <= other.first } else { own.first != other.first }
    }
}

/// The accesses since the last barrier, by the bytes that they touch.
#[derive(Default)]
pub(super) struct Pending {
    touches: Vec<Touch>,
    known: HashSet<Touch>,
    /// Those of items that worker 0 does, by number; no two of them need a barrier, however many there are.
    whole: Ranges<usize>,
    /// Those of items that are cut among workers.
    cut: Ranges<usize>,
    /// Those of a part for each round of a loop.
    in_rounds: HashMap<Time, Vec<usize>>,
}

impl Pending {
    pub fn add(&mut self, touch: Touch) {
        if !self.known.insert(touch.clone()) {
            return;
        }
        let number = self.touches.len();
        let ranges = if touch.whole { &mut self.whole } else { &mut self.cut };
        ranges.insert(touch.start..touch.end, number);
        if let Some(part) = touch.part {
            self.in_rounds.entry(part.time).or_default().push(number);
        }
        self.touches.push(touch);
    }

    /// Whether `later` must wait for one of them. `reverse` says that the rounds of the loop around go down.
    pub fn must_wait(&self, later: &Touch, reverse: bool) -> bool {
        let waits = |&number: &usize| self.touches[number].needs_barrier_before(later, reverse);
        let range = later.start..later.end;
        self.cut.overlapping(range.clone()).any(waits)
            || (!later.whole && self.whole.overlapping(range).any(waits))
    }

    /// Another round of the loop over `time` begins.
    pub fn next_round(&mut self, time: Time) {
        for &number in self.in_rounds.get(&time).map_or(&[][..], |numbers| numbers) {
            let touch = &mut self.touches[number];
            if !touch.earlier_round {
                self.known.remove(touch);
                touch.earlier_round = true;
                self.known.insert(touch.clone());
            }
        }
    }

    /// Every worker has come to a barrier.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
