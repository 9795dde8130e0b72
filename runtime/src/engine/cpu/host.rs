//! What compiled code calls back: the host's part of each step, the workers' barrier, and the exchange of sums over shards.
//!
//! Worker 0 alone calls what a [`Driver`] and an exchange are behind, while the others wait or compute something else.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lstmc_compiler::backend::cpu::abi::{Library, PartShape, Run};
use lstmc_compiler::scalar::random_key;

use super::arena::Arena;
use super::probes::Probes;
use super::{gemm, workers};
use crate::engine::{Control, Driver, Shard};
use crate::error::{Error, Result};
use crate::exchange::{Group, Part, Ticket};

/// What the callbacks find behind [`Run::host`].
pub(super) struct Host<'a> {
    pub probes: Option<&'a Probes>,
    pub barrier: workers::Barrier,
    pub seed: u64,
    pub update: AtomicU64,
    /// The number of the step's shard.
    pub shard: AtomicU32,
    pub group: Option<&'a Group>,
    /// Touched by worker 0 alone, in the functions that it alone calls.
    pub state: UnsafeCell<HostState<'a>>,
}

pub(super) struct HostState<'a> {
    pub driver: &'a mut dyn Driver,
    pub arena: &'a mut Arena,
    /// What the next exchange is to sum up.
    pub parts: Vec<Part>,
    /// Exchanges that have been started in this step, by number.
    pub tickets: Vec<(u32, Ticket)>,
    /// Steps run to their end.
    pub done: u64,
    pub outcome: Outcome,
}

pub(super) enum Outcome {
    Running,
    Failed(Error),
    Panicked(Box<dyn Any + Send>),
}

impl HostState<'_> {
    /// Calls the driver unless an earlier call failed, and keeps what goes wrong.
    fn attempt<T>(&mut self, call: impl FnOnce(&mut dyn Driver, &mut Arena) -> Result<T>) -> Option<T> {
        if !matches!(self.outcome, Outcome::Running) {
            return None;
        }
        // After a panic the driver and the arena are only dropped or read as values, so a broken invariant of theirs is
        // not relied upon.
        match catch_unwind(AssertUnwindSafe(|| call(self.driver, self.arena))) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => self.outcome = Outcome::Failed(error),
            Err(payload) => self.outcome = Outcome::Panicked(payload),
        }
        None
    }
}

/// The functions that compiled code calls.
pub fn library() -> Library {
    Library {
        gemm: gemm::gemm,
        pack: gemm::pack,
        scatter: gemm::scatter,
        distinct: gemm::distinct,
        barrier,
        begin_step,
        end_step,
        random_key: key,
        shard,
        collect,
        start_exchange,
        finish_exchange,
        probe,
    }
}

/// The host of a run.
///
/// # Safety
/// `run` is the pointer that [`Engine::run`](crate::engine::Engine::run) gave to the entry, during that call.
unsafe fn host<'a>(run: *mut Run) -> &'a Host<'a> {
    // SAFETY: the session put a `Host` there that lives as long as the call; it is only shared, never borrowed mutably.
    unsafe { &*(*run).host.cast::<Host<'a>>() }
}

unsafe extern "C" fn barrier(run: *mut Run, worker: u32) {
    // SAFETY: compiled code passes its own run on.
    unsafe { host(run) }.barrier.wait(worker);
}

unsafe extern "C" fn begin_step(run: *mut Run, step: u64) -> u32 {
    // SAFETY: compiled code passes its own run on.
    let host = unsafe { host(run) };
    // SAFETY: only worker 0 calls `begin_step` and `end_step`, one after the other.
    let state = unsafe { &mut *host.state.get() };
    let begin = |driver: &mut dyn Driver, arena: &mut Arena| {
        let control = driver.begin(step, arena)?;
        if control != Control::Stop {
            arena.check_batch()?;
        }
        Ok(control)
    };
    match state.attempt(begin) {
        Some(Control::Step(update)) => {
            let Shard { number, round, last } = state.arena.shard();
            if let Some(group) = host.group {
                group.set_round(round, last);
            }
            // The barrier after `begin_step` publishes them to the other workers.
            host.shard.store(number, Ordering::Relaxed);
            host.update.store(update, Ordering::Relaxed);
            0
        }
        Some(Control::Stop) | None => 1,
    }
}

unsafe extern "C" fn end_step(run: *mut Run, step: u64) {
    // SAFETY: compiled code passes its own run on.
    let host = unsafe { host(run) };
    // SAFETY: as in `begin_step`.
    let state = unsafe { &mut *host.state.get() };
    if state.attempt(|driver, arena| driver.end(step, arena)).is_some() {
        state.done += 1;
    }
}

unsafe extern "C" fn key(run: *mut Run, stream: u32) -> u32 {
    // SAFETY: compiled code passes its own run on.
    let host = unsafe { host(run) };
    random_key(host.seed, host.update.load(Ordering::Relaxed), stream)
}

unsafe extern "C" fn shard(run: *mut Run) -> u32 {
    // SAFETY: compiled code passes its own run on.
    unsafe { host(run) }.shard.load(Ordering::Relaxed)
}

unsafe extern "C" fn collect(run: *mut Run, shape: *const PartShape, from: *const f32, to: *mut f32) {
    // SAFETY: compiled code passes its own run on, and a constant of its own.
    let (host, PartShape { rows, n }) = unsafe { (host(run), *shape) };
    // SAFETY: only worker 0 calls this, as in `begin_step`.
    let state = unsafe { &mut *host.state.get() };
    // SAFETY: both lie in the run's arena, and the program is verified: nothing that runs between the start and the finish of an
    // exchange writes `from` or touches `to`. Compiled code finishes every exchange in the step in which it was started.
    let part =
        unsafe { Part::new(to, from, rows as usize * n as usize, if rows > 1 { n as usize } else { 0 }) };
    state.parts.push(part);
}

unsafe extern "C" fn start_exchange(run: *mut Run, number: u32) {
    // SAFETY: compiled code passes its own run on.
    let host = unsafe { host(run) };
    // SAFETY: only worker 0 calls this, as in `begin_step`.
    let state = unsafe { &mut *host.state.get() };
    let parts = std::mem::take(&mut state.parts);
    state.tickets.extend(host.group.map(|group| (number, group.start(parts))));
}

unsafe extern "C" fn finish_exchange(run: *mut Run, number: u32) {
    // SAFETY: compiled code passes its own run on.
    let host = unsafe { host(run) };
    // SAFETY: only worker 0 calls this, as in `begin_step`.
    let state = unsafe { &mut *host.state.get() };
    let started = state.tickets.iter().position(|&(other, _)| other == number);
    if let (Some(group), Some(place)) = (host.group, started) {
        let (_, ticket) = state.tickets.swap_remove(place);
        // Also after another error: the exchange must have let go of the memory.
        if let Err(error) = group.finish(ticket)
            && matches!(state.outcome, Outcome::Running)
        {
            state.outcome = Outcome::Failed(error);
        }
    }
}

unsafe extern "C" fn probe(run: *mut Run, worker: u32, number: u32) {
    // SAFETY: compiled code passes its own run on.
    if let Some(probes) = unsafe { host(run) }.probes {
        probes.record(worker, number);
    }
}
