//! What the host can see of a loop while compiled code runs it, and how it asks the loop to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::checkpoint::Totals;

/// Shared between a running loop and what shows its progress. Numbers read together may be of neighbouring steps.
#[derive(Debug, Default)]
pub struct Monitor {
    stop: AtomicBool,
    validating: AtomicBool,
    /// Steps of the loop done, and how many there are.
    done: AtomicU64,
    total: AtomicU64,
    /// Updates of the whole run.
    step: AtomicU64,
    batches: AtomicU64,
    loss: AtomicU64,
    hits: AtomicU64,
    predictions: AtomicU64,
    seconds: AtomicU64,
}

/// One look at a loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    pub validating: bool,
    /// Batches of this epoch or report interval (or of the validation text) that are done.
    pub done: u64,
    pub total: u64,
    /// Updates of the whole run.
    pub step: u64,
    /// Sums of the current epoch or report interval.
    pub totals: Totals,
}

impl Monitor {
    /// Asks the loop to stop before its next step.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub fn look(&self) -> Snapshot {
        let real = |cell: &AtomicU64| f64::from_bits(cell.load(Relaxed));
        Snapshot {
            validating: self.validating.load(Relaxed),
            done: self.done.load(Relaxed),
            total: self.total.load(Relaxed),
            step: self.step.load(Relaxed),
            totals: Totals {
                batches: self.batches.load(Relaxed),
                loss: real(&self.loss),
                hits: real(&self.hits),
                predictions: self.predictions.load(Relaxed),
                seconds: real(&self.seconds),
                ..Totals::default()
            },
        }
    }

    pub(crate) fn begin(&self, validating: bool, done: u64, total: u64) {
        self.validating.store(validating, Relaxed);
        self.done.store(done, Relaxed);
        self.total.store(total, Relaxed);
    }

    pub(crate) fn advance(&self) {
        self.done.fetch_add(1, Relaxed);
    }

    pub(crate) fn publish(&self, step: u64, totals: &Totals) {
        self.step.store(step, Relaxed);
        self.batches.store(totals.batches, Relaxed);
        self.loss.store(totals.loss.to_bits(), Relaxed);
        self.hits.store(totals.hits.to_bits(), Relaxed);
        self.predictions.store(totals.predictions, Relaxed);
        self.seconds.store(totals.seconds.to_bits(), Relaxed);
    }
}
