use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Barrier, default_workers, most_workers, run, run_on};

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
    })
    .unwrap();
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
    })
    .unwrap();
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
        })
    }));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"worker 1 failed"));
    assert_eq!(released.into_inner(), 2);
    assert!(!barrier.wait(0), "a poisoned barrier stays poisoned");
}

/// Without the third thread the first two would wait for it for ever.
#[test]
fn a_thread_that_the_system_refuses_is_an_error_and_no_worker_begins() {
    let barrier = Barrier::new(4);
    let (asked, begun) = (AtomicU32::new(0), AtomicU32::new(0));
    // More than any address space has.
    let refused = || std::thread::Builder::new().stack_size(1 << 60);
    let builder = || match asked.fetch_add(1, Ordering::Relaxed) {
        2 => refused(),
        _ => std::thread::Builder::new(),
    };
    let outcome = run_on(&builder, 4, false, &|worker| {
        begun.fetch_add(1, Ordering::Relaxed);
        barrier.wait(worker);
    });
    assert!(outcome.is_err());
    assert_eq!((asked.into_inner(), begun.into_inner()), (3, 0));
}

#[test]
fn a_worker_without_a_slot_is_not_waited_for() {
    assert!(!Barrier::new(2).wait(2));
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn subnormal_numbers_are_zero_on_workers_alone() {
    let half = || std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5);
    run(2, false, &|_| assert_eq!(half(), 0.0)).unwrap();
    assert!(half() > 0.0);
    {
        let _mode = super::float::FlushToZero::set();
        assert_eq!(half(), 0.0);
    }
    assert!(half() > 0.0);
}

#[test]
fn there_is_a_worker() {
    assert!((1..=most_workers()).contains(&default_workers()));
}
