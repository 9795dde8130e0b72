//! A barrier for a fixed set of threads that mostly arrive at once.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use super::most_workers;

/// Rounds of waiting in place, some hundreds of microseconds: longer than workers with equal work differ, and than most
/// interrupts of one of them last. To wake a sleeper costs both of them more.
const SPINS: u32 = 10_000;

/// One worker's count of arrivals, on cache lines of its own (processors fetch them in pairs).
#[repr(align(128))]
struct Arrivals(AtomicU32);

/// Where workers wait for each other, any number of times.
///
/// Each worker counts its own arrivals and reads the others' counts, so that two workers exchange one cache line each. A
/// worker that has waited long sleeps until the last one arrives, so that a machine with more workers or other work than
/// cores gets on. None yields its core instead: beside a process that computes, that one would have it for milliseconds,
/// however soon the others arrive.
pub struct Barrier {
    arrivals: Box<[Arrivals]>,
    spins: u32,
    poisoned: AtomicBool,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Barrier {
    /// For workers `0..workers`.
    pub fn new(workers: usize) -> Barrier {
        Barrier {
            arrivals: (0..workers).map(|_| Arrivals(AtomicU32::new(0))).collect(),
            // With fewer cores than workers the one waited for may need this one's core.
            spins: if workers <= most_workers() { SPINS } else { 0 },
            poisoned: AtomicBool::new(false),
            sleepers: AtomicU32::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Returns when all workers have called it as often as this one: true, or false, perhaps at once, if the barrier was
    /// poisoned. What workers wrote before, all see after.
    ///
    /// `worker` is the caller's number; no two threads may wait under the same one.
    pub fn wait(&self, worker: u32) -> bool {
        if self.arrivals.len() > 1 {
            let Some(own) = self.arrivals.get(worker as usize) else { return false };
            let target = own.0.load(Ordering::Relaxed).wrapping_add(1);
            // The arrival must be visible before the sleepers are counted: see `sleep`.
            own.0.store(target, Ordering::SeqCst);
            if self.sleepers.load(Ordering::SeqCst) > 0 && self.done(target) {
                self.wake_all();
            }
            self.await_arrivals(target);
        }
        !self.poisoned.load(Ordering::Acquire)
    }

    /// Lets every worker go that waits now or later.
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Poisons the barrier if the thread panics before the guard is dropped.
    pub fn guard(&self) -> Guard<'_> {
        Guard(self)
    }

    /// Whether every worker has arrived `target` times, or none will be waited for.
    fn done(&self, target: u32) -> bool {
        // A worker can be ahead by one; the difference is right even after the count has wrapped around.
        let arrived = |one: &Arrivals| one.0.load(Ordering::SeqCst).wrapping_sub(target) as i32 >= 0;
        self.arrivals.iter().all(arrived) || self.poisoned.load(Ordering::SeqCst)
    }

    fn await_arrivals(&self, target: u32) {
        for _ in 0..self.spins {
            if self.done(target) {
                return;
            }
            spin_loop();
        }
        self.sleep(target);
    }

    fn sleep(&self, target: u32) {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // If the last worker arrives after this line it wakes the sleepers; if it arrived before, `done` sees it. To wake
        // takes the lock, so it cannot happen between `done` and the wait.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !self.done(target) {
            held = self.wake.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake_all(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
    }
}

/// See [`Barrier::guard`].
pub struct Guard<'a>(&'a Barrier);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison();
        }
    }
}
