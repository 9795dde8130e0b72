//! Ranks that are processes, started by `mpirun` on one machine or some.
//!
//! All of MPI is called by the thread that has started it. It does not wait inside MPI, which would take a core from those
//! who compute, and wait for ever for a rank that is gone: it asks from time to time whether something has come.

use std::hint;
use std::mem::{ManuallyDrop, forget, take};
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::environment::{Universe, initialize_with_threading};
use ::mpi::request::{Request, StaticScope};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, Destination, Equivalence, Source};

use super::collective::{Cause, Collective, Lost, Messages};
use crate::{Error, Result};

/// The bytes of a message's pieces: MPI counts up to 2^31, and a rank that sends one after the other is not silent.
const PIECE: usize = 1 << 24;

/// How often it is asked without a pause whether something has come, which are some tens of microseconds, and the pause after
/// that. Who yields in between is behind all others who compute: a short message took 19 ms so, and 0.04 ms without.
const QUICK: usize = 200;
const PAUSE: Duration = Duration::from_micros(50);

/// This process among those of `mpirun`; the only one, if it was started without. When it is dropped, it waits for the others to
/// end, too.
pub struct Mpi {
    // Dropped in this order.
    world: SimpleCommunicator,
    _universe: Universe,
    deadline: Duration,
}

/// A piece that is on its way.
struct Piece {
    request: Request<'static, [u8]>,
    rank: usize,
    /// How long it has to be, if it is received.
    received: Option<usize>,
}

impl Mpi {
    /// Starts MPI. A rank from which nothing comes until the deadline is given up.
    ///
    /// # Errors
    ///
    /// MPI was started in this process before, or cannot be used by programs with threads.
    pub fn start(deadline: Duration) -> Result<Self> {
        let refused = |reason: &str| Error::BadArgument(format!("cannot start MPI: {reason}"));
        let (universe, threading) = initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| refused("it was started in this process before"))?;
        if threading < Threading::Funneled {
            return Err(refused("this MPI library is not made for programs with threads"));
        }
        Ok(Self { world: universe.world(), _universe: universe, deadline })
    }

    /// Begins to receive and to send all pieces of all messages.
    fn begin(&self, messages: &mut Messages) -> Vec<Piece> {
        let others = || (0..self.size()).filter(|&rank| rank != self.rank());
        let mut pieces = vec![];
        for rank in others() {
            for bytes in messages.room(rank).chunks_mut(PIECE) {
                let received = Some(bytes.len());
                // SAFETY: `swap` gives the messages away only when all of these are done, and nothing touches them until then.
                let bytes: &'static mut [u8] =
                    unsafe { slice::from_raw_parts_mut(bytes.as_mut_ptr(), bytes.len()) };
                let source = self.world.process_at_rank(rank as i32);
                pieces.push(Piece {
                    request: source.immediate_receive_into(StaticScope, bytes),
                    rank,
                    received,
                });
            }
        }
        for rank in others() {
            for bytes in messages.to[rank].chunks(PIECE) {
                // SAFETY: as above.
                let bytes: &'static [u8] = unsafe { slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
                let destination = self.world.process_at_rank(rank as i32);
                pieces.push(Piece {
                    request: destination.immediate_send(StaticScope, bytes),
                    rank,
                    received: None,
                });
            }
        }
        pieces
    }

    /// Waits until all pieces are there. After a loss some of them may still come.
    fn wait(&self, mut pieces: Vec<Piece>) -> std::result::Result<(), Lost> {
        let mut wrong = None;
        let (mut heard, mut asked) = (Instant::now(), 0);
        while !pieces.is_empty() {
            let before = pieces.len();
            for Piece { request, rank, received } in take(&mut pieces) {
                match request.test() {
                    Err(request) => pieces.push(Piece { request, rank, received }),
                    Ok(status) => {
                        let count = status.count(u8::equivalent_datatype()) as usize;
                        if received.is_some_and(|expected| expected != count) {
                            wrong = Some(Lost { rank, cause: Cause::OutOfStep });
                        }
                    }
                }
            }
            if pieces.len() < before {
                (heard, asked) = (Instant::now(), 0);
            } else if asked < QUICK {
                asked += 1;
                hint::spin_loop();
            } else if heard.elapsed() < self.deadline {
                thread::sleep(PAUSE);
            } else {
                // Those that receive are first, so it is one that has not sent, if there is one.
                let rank = pieces[0].rank;
                // A request that is dropped panics.
                forget(pieces);
                return Err(Lost { rank, cause: Cause::Silent(self.deadline) });
            }
        }
        wrong.map_or(Ok(()), Err)
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn swap(&mut self, messages: Messages) -> std::result::Result<Messages, Lost> {
        // MPI may write into it for as long as this process lives, if something does not come; so it is not freed then.
        let mut messages = ManuallyDrop::new(messages);
        let pieces = self.begin(&mut messages);
        self.wait(pieces)?;
        Ok(ManuallyDrop::into_inner(messages))
    }

    fn abort(&mut self) {
        if self.size() > 1 {
            self.world.abort(1);
        }
    }
}
