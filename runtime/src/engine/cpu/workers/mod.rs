//! Worker threads that run one function together, and the barrier at which they meet.

mod barrier;
mod float;
#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::thread;

use core_affinity::CoreId;

pub use barrier::{Barrier, Guard};
pub(super) use float::FlushToZero;

/// Calls `f(worker)` on as many threads at once and returns when all have returned.
///
/// Workers wait for each other, so none begins before all threads are there. A thread of its own runs each worker, so that
/// pinning does not outlive the call. On every worker subnormal numbers count as zero, read or computed: as weights and
/// gradients shrink towards zero they would slow the arithmetic down by a hundred times. With `pin` each worker stays on a physical core of its own, where there are enough and the system
/// allows it.
///
/// # Errors
/// The system refuses a thread; then `f` has not been called.
///
/// # Panics
/// If `f` panics on some worker: with its message, after all workers have returned. A worker that others wait for at a
/// [`Barrier`] should hold a [`Barrier::guard`].
pub fn run(workers: usize, pin: bool, f: &(dyn Fn(u32) + Sync)) -> io::Result<()> {
    run_on(&thread::Builder::new, workers, pin, f)
}

/// [`run`], on threads that `builder` makes.
fn run_on(
    builder: &dyn Fn() -> thread::Builder,
    workers: usize,
    pin: bool,
    f: &(dyn Fn(u32) + Sync),
) -> io::Result<()> {
    let cores = if pin { one_per_core() } else { Vec::new() };
    let cores = if cores.len() >= workers { cores } else { Vec::new() };
    // Whether all threads are there.
    let complete = OnceLock::<bool>::new();
    let outcomes: Vec<thread::Result<()>> = thread::scope(|scope| {
        let start = |worker: usize| {
            let (core, complete) = (cores.get(worker).copied(), &complete);
            builder().spawn_scoped(scope, move || {
                if !complete.wait() {
                    return Ok(());
                }
                if let Some(core) = core {
                    core_affinity::set_for_current(core);
                }
                let _mode = float::FlushToZero::set();
                catch_unwind(AssertUnwindSafe(|| f(worker as u32)))
            })
        };
        let threads: io::Result<Vec<_>> = (0..workers).map(start).collect();
        complete.get_or_init(|| threads.is_ok());
        io::Result::Ok(threads?.into_iter().map(|thread| thread.join().and_then(|outcome| outcome)).collect())
    })?;
    if let Some(panic) = outcomes.into_iter().find_map(Result::err) {
        resume_unwind(panic);
    }
    Ok(())
}

/// Workers that this process can run at full speed: its physical cores, at least 1.
///
/// Two threads of one core share its multipliers, of which one thread of dense arithmetic already uses all.
pub fn default_workers() -> usize {
    match one_per_core().len() {
        0 => most_workers(),
        cores => cores.min(most_workers()),
    }
}

/// Workers that can run at once: the logical processors that this process may use, or as many as its control group's quota
/// of time comes to, at least 1.
pub fn most_workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// One logical processor of each physical core that this process may use; empty if that cannot be found out.
fn one_per_core() -> Vec<CoreId> {
    let mut seen = Vec::new();
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    allowed
        .into_iter()
        .filter(|core| {
            let Some(siblings) = siblings(*core) else { return true };
            let new = !seen.contains(&siblings);
            if new {
                seen.push(siblings);
            }
            new
        })
        .collect()
}

/// What names the physical core of a logical processor, on systems that tell.
fn siblings(core: CoreId) -> Option<String> {
    let path = format!("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", core.id);
    std::fs::read_to_string(path).ok()
}
