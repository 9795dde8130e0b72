//! The time of each part of a step, on each worker: what `probe` of [`lstmc_compiler::backend::cpu::abi`] adds up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lstmc_compiler::plan::Program;

/// Counters of one worker, on cache lines of their own (processors fetch them in pairs).
#[derive(Default)]
#[repr(align(128))]
struct Line([AtomicU64; LINE]);

const LINE: usize = 16;

/// The time that each worker has spent in each part of the schedule.
///
/// A worker touches its own counters only, so they are atomic for the compiler's sake and not ordered.
pub struct Probes {
    started: Instant,
    /// Of each worker: when it last passed a probe, then a sum for each number.
    workers: Vec<Box<[Line]>>,
    numbers: usize,
}

/// Seconds, by number as in [`lstmc_compiler::plan::Program::leaves`] and by worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Spent {
    pub leaves: Vec<Vec<f64>>,
    /// At the barrier that ends the schedule.
    pub end: Vec<f64>,
    /// From there to the next run of the schedule: the host's part, and waiting for it.
    pub host: Vec<f64>,
}

impl Probes {
    /// For a program that is compiled with them.
    pub fn new(program: &Program) -> Self {
        let numbers = program.leaves().len() + 2;
        let lines = || (0..(numbers + 1).div_ceil(LINE)).map(|_| Line::default()).collect();
        Self {
            started: Instant::now(),
            workers: (0..program.target.workers).map(|_| lines()).collect(),
            numbers,
        }
    }

    /// Starts this worker's clock.
    pub fn begin(&self, worker: u32) {
        self.begin_at(worker, self.now());
    }

    /// Adds the time since this worker's last probe to part `number`.
    pub fn record(&self, worker: u32, number: u32) {
        self.record_at(worker, number, self.now());
    }

    /// Forgets all sums.
    pub fn clear(&mut self) {
        for line in self.workers.iter_mut().flatten() {
            line.0.iter_mut().for_each(|counter| *counter.get_mut() = 0);
        }
    }

    /// The sums.
    pub fn spent(&self) -> Spent {
        let of = |number: usize| -> Vec<f64> {
            let sum = |worker| self.counter(worker, number + 1).load(Ordering::Relaxed);
            (0..self.workers.len()).map(|worker| 1e-9 * sum(worker) as f64).collect()
        };
        let leaves = self.numbers - 2;
        Spent { leaves: (0..leaves).map(of).collect(), end: of(leaves), host: of(leaves + 1) }
    }

    /// Nanoseconds since a fixed moment.
    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn counter(&self, worker: usize, index: usize) -> &AtomicU64 {
        &self.workers[worker][index / LINE].0[index % LINE]
    }

    fn begin_at(&self, worker: u32, now: u64) {
        self.counter(worker as usize, 0).store(now, Ordering::Relaxed);
    }

    fn record_at(&self, worker: u32, number: u32, now: u64) {
        let (last, sum) =
            (self.counter(worker as usize, 0), self.counter(worker as usize, number as usize + 1));
        let spent = now.saturating_sub(last.load(Ordering::Relaxed));
        sum.store(sum.load(Ordering::Relaxed) + spent, Ordering::Relaxed);
        last.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::plan::Scheduled;

    use super::*;
    use crate::testing::program;

    fn probes(leaves: usize, workers: usize) -> Probes {
        let mut program = program("test", Vec::new());
        program.target.workers = workers;
        program.schedule = vec![Scheduled::Barrier; leaves];
        Probes::new(&program)
    }

    fn seconds(nanoseconds: [u64; 2]) -> Vec<f64> {
        nanoseconds.map(|n| 1e-9 * n as f64).to_vec()
    }

    #[test]
    fn time_belongs_to_what_is_marked_at_its_end() {
        let mut probes = probes(2, 2);
        probes.begin_at(0, 100);
        probes.begin_at(1, 1000);
        // Two runs of the schedule on worker 0, one on worker 1.
        let one_run = [(3, 5), (0, 10), (1, 30), (2, 1)];
        let mut now = 100;
        for (number, spent) in one_run.into_iter().chain(one_run) {
            now += spent;
            probes.record_at(0, number, now);
        }
        probes.record_at(1, 3, 1007);
        probes.record_at(1, 0, 1010);
        let spent = probes.spent();
        assert_eq!(spent.leaves, [seconds([20, 3]), seconds([60, 0])]);
        assert_eq!((spent.end, spent.host), (seconds([2, 0]), seconds([10, 7])));
        probes.clear();
        assert_eq!(probes.spent().leaves, [seconds([0, 0]), seconds([0, 0])]);
    }

    #[test]
    fn the_sums_are_all_of_the_time() {
        // Numbers on both sides of a cache line's end.
        let probes = probes(40, 1);
        probes.begin_at(0, 7);
        let mut now = 7;
        for number in (0..42).chain([15, 14, 41]) {
            now += 3 * u64::from(number) + 1;
            probes.record_at(0, number, now);
        }
        let spent = probes.spent();
        let sum: f64 = spent.leaves.iter().chain([&spent.end, &spent.host]).flatten().sum();
        assert!((sum - 1e-9 * (now - 7) as f64).abs() < 1e-15, "{sum}");
        // Number 15 was recorded twice.
        assert!((spent.leaves[15][0] - 2e-9 * 46.0).abs() < 1e-15);
    }
}
