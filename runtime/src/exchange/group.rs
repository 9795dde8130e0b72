//! The thread that exchanges while the program computes, and the handle that a trainer has of it.
//!
//! It serves its jobs in the order in which they were given, so all ranks have to give the same ones in the same order.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::collective::{Alone, Collective, Lost};
use super::numbers::Precision;
use super::reduce::{Exchange, Turn};
use super::shared::Part;
use crate::{Error, Result};

/// This process among those that train one model.
///
/// One that is dropped before [`close`](Self::close) has ended by an error: it ends all ranks, this process maybe with them.
/// So say what went wrong before you drop it.
pub struct Group {
    rank: usize,
    size: usize,
    order: Mutex<Order>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// Jobs are given, and exchanges counted, by one thread at a time.
struct Order {
    jobs: Sender<Job>,
    next: Turn,
    given: u64,
}

enum Job {
    Reduce(Vec<Part>, Turn),
    Gather(Vec<u8>, Sender<Vec<Vec<u8>>>),
    Close,
}

/// An exchange that has been started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// What an exchange has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Sent by this rank.
    pub bytes: u64,
    /// How long the exchange's thread was at work, with its waits for other ranks.
    pub busy: Duration,
    /// How long [`Group::finish`] has waited: what the computing did not hide.
    pub waited: Duration,
}

/// What the thread tells.
#[derive(Default)]
struct State {
    progress: Mutex<Progress>,
    changed: Condvar,
    bytes: AtomicU64,
    busy: AtomicU64,
    waited: AtomicU64,
}

#[derive(Default)]
struct Progress {
    /// How many exchanges are done.
    done: u64,
    lost: Option<Lost>,
    /// The thread serves no more.
    ended: bool,
}

impl Group {
    /// Starts the thread, on which `make` is called: MPI wants to be called by the thread that has started it.
    ///
    /// # Errors
    ///
    /// Those of `make`, and [`Error::Threads`].
    pub fn new(
        precision: Precision,
        make: impl FnOnce() -> Result<Box<dyn Collective>> + Send + 'static,
    ) -> Result<Self> {
        let (jobs, queue) = channel();
        let (tell, told) = channel();
        let state = Arc::new(State::default());
        let body = {
            let state = Arc::clone(&state);
            move || match make() {
                Ok(collective) => {
                    let _ = tell.send(Ok((collective.rank(), collective.size())));
                    Server { exchange: Exchange::new(collective, precision), held: HashMap::new(), state }
                        .serve(queue);
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        };
        let thread = thread::Builder::new()
            .name("exchange".into())
            .spawn(body)
            .map_err(|cause| Error::Threads { workers: 1, cause })?;
        let (rank, size) = told.recv().expect("internal error: the exchange did not begin")?;
        let order = Mutex::new(Order { jobs, next: Turn::default(), given: 0 });
        Ok(Self { rank, size, order, state, thread: Some(thread) })
    }

    /// The only process: sums are added as they would be among several.
    ///
    /// # Errors
    ///
    /// [`Error::Threads`].
    pub fn alone(precision: Precision) -> Result<Self> {
        Self::new(precision, || Ok(Box::new(Alone)))
    }

    /// Which process this is, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Says which round of a batch comes, from 0, and whether it is the last, after which all ranks have all sums. To be
    /// called before each: exchanges are known by their number since.
    pub fn set_round(&self, round: usize, gather: bool) {
        lock(&self.order).next = Turn { round, exchange: 0, gather };
    }

    /// Starts adding all ranks' gradients to the sums. What it comes to is said by [`finish`](Self::finish).
    pub fn start(&self, parts: Vec<Part>) -> Ticket {
        let mut order = lock(&self.order);
        let ticket = Ticket(order.given);
        let turn = order.next;
        order.next.exchange += 1;
        order.given += 1;
        // A thread that has ended has said why in `state`.
        let _ = order.jobs.send(Job::Reduce(parts, turn));
        ticket
    }

    /// Waits until an exchange is done. After an error none of the memory of any exchange is used any more.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`]: a rank was lost, in this exchange or any time before.
    pub fn finish(&self, ticket: Ticket) -> Result<()> {
        let begin = Instant::now();
        let progress = self.wait(|progress| progress.done > ticket.0)?;
        drop(progress);
        self.state.waited.fetch_add(begin.elapsed().as_nanos() as u64, Relaxed);
        Ok(())
    }

    /// What every rank has given, by rank; of any lengths. After all that was started before.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`].
    pub fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (tell, told) = channel();
        let _ = lock(&self.order).jobs.send(Job::Gather(bytes.to_vec(), tell));
        match told.recv() {
            Ok(all) => Ok(all),
            Err(_) => self.wait(|_| false).map(|_| vec![]),
        }
    }

    /// What rank 0 has given; the others give `None`. After all that was started before.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`].
    pub fn broadcast(&self, bytes: Option<&[u8]>) -> Result<Vec<u8>> {
        debug_assert_eq!(bytes.is_some(), self.rank == 0, "rank 0 says it");
        Ok(self.all_gather(bytes.unwrap_or_default())?.swap_remove(0))
    }

    /// What it has cost since the start.
    pub fn costs(&self) -> Costs {
        let time = |nanoseconds: &AtomicU64| Duration::from_nanos(nanoseconds.load(Relaxed));
        let State { bytes, busy, waited, .. } = &*self.state;
        Costs { bytes: bytes.load(Relaxed), busy: time(busy), waited: time(waited) }
    }

    /// Ends well, when all ranks do. What is left to do is done before.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`], of any time before; it has not ended then.
    pub fn close(&mut self) -> Result<()> {
        let _ = lock(&self.order).jobs.send(Job::Close);
        drop(self.wait(|progress| progress.ended)?);
        self.join();
        Ok(())
    }

    /// Waits for the thread to come so far.
    fn wait(&self, so_far: impl Fn(&Progress) -> bool) -> Result<MutexGuard<'_, Progress>> {
        let progress = self
            .state
            .changed
            .wait_while(lock(&self.state.progress), |now| !so_far(now) && now.lost.is_none() && !now.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(lost) = &progress.lost {
            return Err(lost.clone().into());
        }
        assert!(so_far(&progress), "internal error: the exchange has ended");
        Ok(progress)
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and found by those who waited.
            let _ = thread.join();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Without a word before it: the thread takes it as an end by an error.
        lock(&self.order).jobs = channel().0;
        self.join();
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

/// No thread panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's side.
struct Server {
    exchange: Exchange,
    /// The sums so far, by exchange and part, in a batch of several rounds. All zero when a batch begins.
    held: HashMap<usize, Vec<Vec<f32>>>,
    state: Arc<State>,
}

impl Server {
    /// Serves until the group is closed or dropped. After a loss it does no more, but waits for that, so that the error can
    /// be said before all is ended.
    fn serve(mut self, jobs: Receiver<Job>) {
        let mut lost = false;
        for job in jobs {
            let served = match job {
                _ if lost => continue,
                Job::Reduce(parts, turn) => self.reduce(parts, turn),
                Job::Gather(bytes, tell) => {
                    self.counted(|exchange| exchange.all_gather(&bytes)).map(|all| drop(tell.send(all)))
                }
                Job::Close => return,
            };
            if let Err(error) = served {
                lost = true;
                self.tell(|progress| progress.lost = Some(error));
            }
        }
        self.exchange.abort();
    }

    /// The program gets sums in the last round, and zeros before: until then they are kept here, if there are several rounds.
    fn reduce(&mut self, mut parts: Vec<Part>, turn: Turn) -> std::result::Result<(), Lost> {
        let mut pairs: Vec<_> = parts.iter_mut().map(Part::pair).collect();
        pairs.iter_mut().for_each(|pair| pair.sum.fill(0.0));
        if turn == (Turn { round: 0, gather: true, ..turn }) {
            self.counted(|exchange| exchange.reduce(&mut pairs, turn))?;
        } else {
            let mut held = self.held.remove(&turn.exchange).unwrap_or_default();
            held.resize_with(pairs.len(), Vec::new);
            for (pair, held) in pairs.iter_mut().zip(&mut held) {
                held.resize(pair.sum.len(), 0.0);
                pair.sum.swap_with_slice(held);
            }
            self.counted(|exchange| exchange.reduce(&mut pairs, turn))?;
            if !turn.gather {
                pairs.iter_mut().zip(&mut held).for_each(|(pair, held)| pair.sum.swap_with_slice(held));
            }
            self.held.insert(turn.exchange, held);
        }
        self.tell(|progress| progress.done += 1);
        Ok(())
    }

    /// Does a job; what it cost is known before anyone hears of it.
    fn counted<T>(&mut self, job: impl FnOnce(&mut Exchange) -> T) -> T {
        let begin = Instant::now();
        let done = job(&mut self.exchange);
        self.state.bytes.store(self.exchange.sent(), Relaxed);
        self.state.busy.fetch_add(begin.elapsed().as_nanos() as u64, Relaxed);
        done
    }

    fn tell(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.state.progress));
        self.state.changed.notify_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            self.exchange.abort();
        }
        self.tell(|progress| progress.ended = true);
    }
}
