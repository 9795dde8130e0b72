//! Ranks that are threads of one process, for tests. One that is dropped has ended, one that does not call is silent.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::collective::{Cause, Collective, Lost, Messages};

/// One of several ranks in this process.
#[derive(Debug)]
pub struct Local {
    rank: usize,
    deadline: Duration,
    /// By rank, its own included.
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

impl Local {
    /// So many of them, each of which waits for the others until the deadline.
    pub fn ranks(size: usize, deadline: Duration) -> Vec<Self> {
        let mut to: Vec<Vec<_>> = (0..size).map(|_| vec![]).collect();
        let mut from: Vec<Vec<_>> = (0..size).map(|_| vec![]).collect();
        for to in &mut to {
            for from in &mut from {
                let (sender, receiver) = channel();
                to.push(sender);
                from.push(receiver);
            }
        }
        let ends = to.into_iter().zip(from).enumerate();
        ends.map(|(rank, (to, from))| Self { rank, deadline, to, from }).collect()
    }
}

impl Collective for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn swap(&mut self, mut messages: Messages) -> Result<Messages, Lost> {
        let others = || (0..self.to.len()).filter(|&rank| rank != self.rank);
        for rank in others() {
            // Who has ended is found below.
            let _ = self.to[rank].send(messages.to[rank].clone());
        }
        for rank in others() {
            let message = self.from[rank].recv_timeout(self.deadline).map_err(|error| match error {
                RecvTimeoutError::Timeout => Lost { rank, cause: Cause::Silent(self.deadline) },
                RecvTimeoutError::Disconnected => Lost { rank, cause: Cause::Ended },
            })?;
            let room = messages.room(rank);
            if room.len() != message.len() {
                return Err(Lost { rank, cause: Cause::OutOfStep });
            }
            room.copy_from_slice(&message);
        }
        Ok(messages)
    }
}
