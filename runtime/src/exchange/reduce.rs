//! Sums of all ranks' gradients, in the order of the ranks.
//!
//! Each rank owns a slice of every pair. It gets that slice of all ranks' gradients and adds them to its slice of the sum, rank
//! by rank: no sum is taken in another order for another number of ranks, which an all-reduce of MPI or NCCL does not promise.
//! In the last round of a batch all ranks get all slices of the sums; until then a rank's sums hold what is true in its own slice
//! only.

use std::mem;
use std::ops::Range;

use super::collective::{Cause, Collective, Lost, Messages};
use super::feedback::{Feedback, Place};
use super::numbers::{Precision, Use, read, write};

/// A running sum and what is to be added to it.
#[derive(Debug)]
pub struct Pair<'a> {
    /// +0.0 before the first round of a batch.
    pub sum: &'a mut [f32],
    /// As long as the sum.
    pub gradient: &'a [f32],
    /// The width of the rows of a table most of whose rows may be zero; 0 otherwise.
    pub row: usize,
}

/// When an exchange is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Which round of the batch.
    pub round: usize,
    /// Which exchange of the round.
    pub exchange: usize,
    /// Whether this is the last round, after which all ranks have all sums.
    pub gather: bool,
}

/// One rank's part in all exchanges.
pub struct Exchange {
    collective: Box<dyn Collective>,
    precision: Precision,
    messages: Messages,
    /// How long the messages are, where the others cannot know.
    lengths: Messages,
    feedback: Feedback,
    /// Rounded gradients, by pair.
    rounded: Vec<Vec<f32>>,
    sent: u64,
}

impl Exchange {
    pub fn new(collective: Box<dyn Collective>, precision: Precision) -> Self {
        let empty = || Messages::new(collective.size());
        let (messages, lengths) = (empty(), empty());
        Self {
            collective,
            precision,
            messages,
            lengths,
            feedback: Feedback::default(),
            rounded: vec![],
            sent: 0,
        }
    }

    pub fn rank(&self) -> usize {
        self.collective.rank()
    }

    pub fn size(&self) -> usize {
        self.collective.size()
    }

    /// The bytes that this rank has sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Ends all ranks, see [`Collective::abort`].
    pub fn abort(&mut self) {
        self.collective.abort();
    }

    /// Adds all ranks' gradients to the sums. All ranks do the same exchanges, with pairs of the same lengths.
    ///
    /// # Errors
    ///
    /// A lost rank; the sums are in between then.
    pub fn reduce(&mut self, pairs: &mut [Pair<'_>], turn: Turn) -> Result<(), Lost> {
        let rounded = mem::take(&mut self.rounded);
        let rounded = self.scatter(pairs, rounded, turn)?;
        self.rounded = rounded;
        if turn.gather { self.gather(pairs, turn) } else { Ok(()) }
    }

    /// Every rank's slices of the gradients to their owners, who add them. The buffers for rounded ones come back.
    fn scatter(
        &mut self,
        pairs: &mut [Pair<'_>],
        mut rounded: Vec<Vec<f32>>,
        turn: Turn,
    ) -> Result<Vec<Vec<f32>>, Lost> {
        let (own, size, precision) = (self.rank(), self.size(), self.precision);
        let gradients: Vec<&[f32]> = match precision {
            Precision::F32 => pairs.iter().map(|pair| pair.gradient).collect(),
            Precision::Bf16 => {
                self.round_gradients(pairs, &mut rounded, turn);
                rounded.iter().map(Vec::as_slice).collect()
            }
        };
        for rank in others(own, size) {
            let message = &mut self.messages.to[rank];
            message.clear();
            for (pair, gradient) in pairs.iter().zip(&gradients) {
                write(&gradient[slice(pair, rank, size)], pair.row, precision, message);
            }
        }
        self.swap(known(pairs, precision, size, |_| own))?;
        for rank in 0..size {
            let mut message = self.messages.received(rank);
            for (pair, gradient) in pairs.iter_mut().zip(&gradients) {
                let range = slice(pair, own, size);
                let (row, sum) = (pair.row, &mut pair.sum[range.clone()]);
                if rank == own {
                    sum.iter_mut().zip(&gradient[range]).for_each(|(sum, gradient)| *sum += gradient);
                } else {
                    read(&mut message, row, precision, sum, Use::Add).ok_or(out_of_step(rank))?;
                }
            }
            ended(message, rank)?;
        }
        Ok(rounded)
    }

    /// All ranks' slices of the sums to everyone.
    fn gather(&mut self, pairs: &mut [Pair<'_>], turn: Turn) -> Result<(), Lost> {
        let (own, size, precision) = (self.rank(), self.size(), self.precision);
        if precision == Precision::Bf16 {
            self.round_sums(pairs, turn);
        }
        for rank in others(own, size) {
            let message = &mut self.messages.to[rank];
            message.clear();
            for pair in &*pairs {
                write(&pair.sum[slice(pair, own, size)], pair.row, precision, message);
            }
        }
        self.swap(known(pairs, precision, size, |rank| rank))?;
        for rank in others(own, size) {
            let mut message = self.messages.received(rank);
            for pair in &mut *pairs {
                let range = slice(pair, rank, size);
                read(&mut message, pair.row, precision, &mut pair.sum[range], Use::Set)
                    .ok_or(out_of_step(rank))?;
            }
            ended(message, rank)?;
        }
        Ok(())
    }

    /// All of it, also what this rank keeps.
    fn round_gradients(&mut self, pairs: &[Pair<'_>], rounded: &mut Vec<Vec<f32>>, turn: Turn) {
        rounded.resize_with(rounded.len().max(pairs.len()), Vec::new);
        for (number, (pair, rounded)) in pairs.iter().zip(rounded).enumerate() {
            rounded.clear();
            rounded.extend_from_slice(pair.gradient);
            let place = Place { exchange: turn.exchange, pair: number, round: Some(turn.round) };
            self.feedback.round(place, rounded);
        }
    }

    /// Only the owner knows a sum, and rounds it; it goes on with what the others get.
    fn round_sums(&mut self, pairs: &mut [Pair<'_>], turn: Turn) {
        let (own, size) = (self.rank(), self.size());
        for (number, pair) in pairs.iter_mut().enumerate() {
            let range = slice(pair, own, size);
            let place = Place { exchange: turn.exchange, pair: number, round: None };
            self.feedback.round(place, &mut pair.sum[range]);
        }
    }

    /// What each rank has to say, by rank; of any lengths.
    ///
    /// # Errors
    ///
    /// A lost rank.
    pub fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Lost> {
        let (own, size) = (self.rank(), self.size());
        for rank in others(own, size) {
            self.messages.to[rank].clear();
            self.messages.to[rank].extend_from_slice(bytes);
        }
        self.swap(None)?;
        let said = |rank| if rank == own { bytes } else { self.messages.received(rank) };
        Ok((0..size).map(|rank| said(rank).to_vec()).collect())
    }

    /// Swaps the messages. Lengths that are not known go before them.
    fn swap(&mut self, lengths: Option<Vec<usize>>) -> Result<(), Lost> {
        let lengths = lengths.map_or_else(|| self.swap_lengths(), Ok)?;
        for rank in others(self.rank(), self.size()) {
            self.messages.expect(rank, lengths[rank]);
        }
        swap(&mut *self.collective, &mut self.messages, &mut self.sent)
    }

    fn swap_lengths(&mut self) -> Result<Vec<usize>, Lost> {
        let (own, size) = (self.rank(), self.size());
        for rank in others(own, size) {
            let message = &mut self.lengths.to[rank];
            message.clear();
            message.extend((self.messages.to[rank].len() as u64).to_ne_bytes());
            self.lengths.expect(rank, size_of::<u64>());
        }
        swap(&mut *self.collective, &mut self.lengths, &mut self.sent)?;
        let length = |rank| {
            let bytes = self.lengths.received(rank).first_chunk().copied();
            bytes.map_or(0, u64::from_ne_bytes) as usize
        };
        Ok((0..size).map(length).collect())
    }
}

fn swap(collective: &mut dyn Collective, messages: &mut Messages, sent: &mut u64) -> Result<(), Lost> {
    *sent += messages.to.iter().map(|message| message.len() as u64).sum::<u64>();
    *messages = collective.swap(mem::replace(messages, Messages::new(0)))?;
    Ok(())
}

fn others(own: usize, size: usize) -> impl Iterator<Item = usize> {
    (0..size).filter(move |&rank| rank != own)
}

/// What a rank owns of a pair: whole rows, as many as the others but for one.
fn slice(pair: &Pair<'_>, rank: usize, size: usize) -> Range<usize> {
    let row = pair.row.max(1);
    let rows = pair.sum.len() / row;
    let start = |rank| rows * rank / size * row;
    start(rank)..start(rank + 1)
}

/// The lengths of what is received, by rank, each of which sends the slices of `whose(rank)`; `None` with a table, whose
/// sender decides.
fn known(
    pairs: &[Pair<'_>],
    precision: Precision,
    size: usize,
    whose: impl Fn(usize) -> usize,
) -> Option<Vec<usize>> {
    let length =
        |rank| pairs.iter().map(|pair| slice(pair, whose(rank), size).len() * precision.bytes()).sum();
    pairs.iter().all(|pair| pair.row == 0).then(|| (0..size).map(length).collect())
}

fn out_of_step(rank: usize) -> Lost {
    Lost { rank, cause: Cause::OutOfStep }
}

/// A message that is longer than what was read is another one than was expected.
fn ended(message: &[u8], rank: usize) -> Result<(), Lost> {
    if message.is_empty() { Ok(()) } else { Err(out_of_step(rank)) }
}
