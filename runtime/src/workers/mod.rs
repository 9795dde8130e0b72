//! Worker threads and the barrier that they meet at.

/// Runs `f(worker)` on `workers` threads, each pinned to a core if `pin`, and returns when all are done.
pub fn run(workers: usize, _pin: bool, f: &(dyn Fn(u32) + Sync)) {
    std::thread::scope(|scope| {
        for worker in 1..workers {
            scope.spawn(move || f(worker as u32));
        }
        f(0);
    });
}

/// Where all workers wait for each other.
#[derive(Debug)]
pub struct Barrier(std::sync::Barrier);

impl Barrier {
    pub fn new(workers: usize) -> Self {
        Self(std::sync::Barrier::new(workers))
    }

    pub fn wait(&self, _worker: u32) {
        self.0.wait();
    }
}
