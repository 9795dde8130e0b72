//! Worker threads that run one function together, and the barrier at which they meet.

mod barrier;
mod float;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use core_affinity::CoreId;

pub use barrier::{Barrier, Guard};

/// Calls `f(worker)` on as many threads at once and returns when all have returned.
///
/// A thread of its own runs each worker, so that pinning does not outlive the call. On every worker subnormal numbers
/// count as zero, read or computed: as weights and gradients shrink towards zero they would slow the arithmetic down by a
/// hundred times. With `pin` each worker stays on a physical core of its own, where there are enough and the system
/// allows it.
///
/// # Panics
/// If `f` panics on some worker: with its message, after all workers have returned. A worker that others wait for at a
/// [`Barrier`] should hold a [`Barrier::guard`].
pub fn run(workers: usize, pin: bool, f: &(dyn Fn(u32) + Sync)) {
    let cores = if pin { one_per_core() } else { Vec::new() };
    let cores = if cores.len() >= workers { cores } else { Vec::new() };
    let outcomes: Vec<thread::Result<()>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                let core = cores.get(worker).copied();
                scope.spawn(move || {
                    if let Some(core) = core {
                        core_affinity::set_for_current(core);
                    }
                    let _mode = float::FlushToZero::set();
                    catch_unwind(AssertUnwindSafe(|| f(worker as u32)))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().and_then(|outcome| outcome)).collect()
    });
    if let Some(panic) = outcomes.into_iter().find_map(Result::err) {
        resume_unwind(panic);
    }
}

/// Workers that this process can run at full speed: its physical cores, at least 1.
///
/// Two threads of one core share its multipliers, of which one thread of dense arithmetic already uses all.
pub fn default_workers() -> usize {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    match one_per_core().len() {
        0 => threads,
        cores => cores.min(threads),
    }
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
