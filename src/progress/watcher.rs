//! A thread beside the work, which ends when the work does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder, Thread};
use std::time::Duration;

/// Calls `work` on this thread, and `look` on another every `tick` until `work` has ended: also by a panic, which goes on
/// to the caller.
///
/// # Errors
/// The system refuses the thread; then there was no work.
pub fn beside<T>(tick: Duration, mut look: impl FnMut() + Send, work: impl FnOnce() -> T) -> io::Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = Builder::new().spawn_scoped(scope, || {
            while !over.load(Ordering::Relaxed) {
                look();
                thread::park_timeout(tick);
            }
        })?;
        let _end = End { over: &over, watcher: watching.thread() };
        Ok(work())
    })
}

/// Tells the watcher, however the work ends: the scope waits for it.
struct End<'a> {
    over: &'a AtomicBool,
    watcher: &'a Thread,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.watcher.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::AtomicU32;

    use super::*;

    const LONG: Duration = Duration::from_secs(1 << 30);

    #[test]
    fn work_is_looked_at_until_it_ends() {
        let looks = AtomicU32::new(0);
        let look = || _ = looks.fetch_add(1, Ordering::Relaxed);
        let work = || {
            while looks.load(Ordering::Relaxed) < 3 {
                thread::yield_now();
            }
            "done"
        };
        assert_eq!(beside(Duration::ZERO, look, work).unwrap(), "done");
        assert_eq!(beside(LONG, || {}, || 1).unwrap(), 1, "the watcher is woken");
    }

    #[test]
    fn a_panic_ends_the_watcher_and_reaches_the_caller() {
        let outcome =
            catch_unwind(AssertUnwindSafe(|| beside(LONG, || {}, || resume_unwind(Box::new("broken")))));
        assert_eq!(outcome.map(|_: io::Result<()>| ()).unwrap_err().downcast_ref(), Some(&"broken"));
    }
}
