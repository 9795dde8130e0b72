//! What the exchange needs of the ranks, which are the processes that train one model together: that each can send bytes to
//! every other one, and that a rank which is gone is noticed. What carries the bytes is behind [`Collective`].

use std::fmt;
use std::time::Duration;

use crate::Error;

/// The way between one rank and all others. It stays on the thread that has made it.
pub trait Collective {
    /// Which one this is, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are, this one included.
    fn size(&self) -> usize;

    /// Sends every other rank its message, and waits for the one of each. All ranks call it equally often, and what one
    /// expects of another is as long as what that one sends. The messages come back for the next time.
    ///
    /// # Errors
    ///
    /// A rank that has ended, or did not answer until the deadline. Nothing can be exchanged any more then.
    fn swap(&mut self, messages: Messages) -> Result<Messages, Lost>;

    /// Ends all ranks, where that is possible; this process may be ended, too. Otherwise, dropping this is what they notice.
    fn abort(&mut self) {}
}

/// What one rank sends to the others, and gets of them, by rank. The buffers are kept. Its own places stay empty.
#[derive(Debug)]
pub struct Messages {
    /// What each rank is to get.
    pub to: Vec<Vec<u8>>,
    /// Only grown, so that no byte is cleared each time; the message is at the front.
    from: Vec<Vec<u8>>,
    expected: Vec<usize>,
}

impl Messages {
    /// Empty ones, for so many ranks.
    pub fn new(size: usize) -> Self {
        Self { to: vec![vec![]; size], from: vec![vec![]; size], expected: vec![0; size] }
    }

    /// Makes room for what a rank sends: so many bytes.
    pub fn expect(&mut self, rank: usize, bytes: usize) {
        self.expected[rank] = bytes;
        if self.from[rank].len() < bytes {
            self.from[rank].resize(bytes, 0);
        }
    }

    /// Where a rank's message goes.
    pub fn room(&mut self, rank: usize) -> &mut [u8] {
        &mut self.from[rank][..self.expected[rank]]
    }

    /// What a rank has sent.
    pub fn received(&self, rank: usize) -> &[u8] {
        &self.from[rank][..self.expected[rank]]
    }
}

/// A rank that the others cannot go on without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub rank: usize,
    pub cause: Cause,
}

/// What is wrong with a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It did not answer for so long.
    Silent(Duration),
    /// It has ended, or nothing reaches it.
    Ended,
    /// What it sends is not what this rank expects: it runs something else.
    OutOfStep,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(time) => {
                write!(f, "did not answer for {} s, so that the training cannot go on", time.as_secs_f64())
            }
            Self::Ended => write!(f, "has ended before the training has"),
            Self::OutOfStep => write!(
                f,
                "does not do what this rank does: start all of them from the same files, with the same options"
            ),
        }
    }
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        Self::Rank { rank: lost.rank, cause: lost.cause }
    }
}

/// The only rank there is.
#[derive(Debug)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn swap(&mut self, messages: Messages) -> Result<Messages, Lost> {
        Ok(messages)
    }
}
