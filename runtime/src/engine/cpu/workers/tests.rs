use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Barrier, default_workers, run};

/// Between two barriers all workers see the sum of all arrivals, and none runs ahead.
fn count_rounds(workers: usize, rounds: u32, late: bool) {
    let barrier = Barrier::new(workers);
    let count = AtomicU32::new(0);
    run(workers, false, &|worker| {
        for round in 1..=rounds {
            if late && worker == 0 {
                std::thread::sleep(Duration::from_millis(3));
            }
            count.fetch_add(1, Ordering::Relaxed);
            assert!(barrier.wait(worker));
            assert_eq!(count.load(Ordering::Relaxed), round * workers as u32);
            assert!(barrier.wait(worker));
        }
    });
    assert_eq!(count.into_inner(), rounds * workers as u32);
}

#[test]
fn workers_meet_at_the_barrier() {
    for workers in [1, 2, 3, 7] {
        count_rounds(workers, 2000, false);
    }
}

#[test]
fn sleepers_are_woken() {
    for workers in [2, 5] {
        count_rounds(workers, 20, true);
    }
}

#[test]
fn every_worker_runs_once() {
    let seen: Vec<AtomicU32> = (0..4).map(|_| AtomicU32::new(0)).collect();
    run(4, true, &|worker| {
        seen[worker as usize].fetch_add(1, Ordering::Relaxed);
    });
    assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
}

#[test]
fn a_panic_lets_the_others_go_and_reaches_the_caller() {
    let barrier = Barrier::new(3);
    let released = AtomicU32::new(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run(3, false, &|worker| {
            let _guard = barrier.guard();
            if worker == 1 {
                std::panic::resume_unwind(Box::new("worker 1 failed"));
            }
            assert!(!barrier.wait(worker));
            released.fetch_add(1, Ordering::Relaxed);
        });
    }));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"worker 1 failed"));
    assert_eq!(released.into_inner(), 2);
    assert!(!barrier.wait(0), "a poisoned barrier stays poisoned");
}

#[test]
fn a_worker_without_a_slot_is_not_waited_for() {
    assert!(!Barrier::new(2).wait(2));
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn subnormal_numbers_are_zero_on_workers_alone() {
    let half = || std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5);
    run(2, false, &|_| assert_eq!(half(), 0.0));
    assert!(half() > 0.0);
    {
        let _mode = super::float::FlushToZero::set();
        assert_eq!(half(), 0.0);
    }
    assert!(half() > 0.0);
}

#[test]
fn there_is_a_worker() {
    assert!((1..=std::thread::available_parallelism().map_or(1, usize::from)).contains(&default_workers()));
}
