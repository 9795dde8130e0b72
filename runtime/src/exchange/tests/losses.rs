//! A rank that is gone is found by all others.

use std::sync::Barrier;
use std::time::Duration;

use super::{LONG, on_ranks};
use crate::exchange::collective::{Cause, Collective, Lost};
use crate::exchange::reduce::{Exchange, Pair, Turn};
use crate::exchange::{Local, Precision};

/// Longer than it takes to start some threads, or another rank than the silent one is found.
const SHORT: Duration = Duration::from_secs(2);

fn add(local: Local, len: usize) -> Result<(), Lost> {
    let (mut sum, gradient) = (vec![0.0; len], vec![1.0; len]);
    let pair = Pair { sum: &mut sum, gradient: &gradient, row: 0 };
    Exchange::new(Box::new(local), Precision::F32).reduce(&mut [pair], Turn::default())
}

#[test]
fn a_silent_rank() {
    for size in [2, 4] {
        // The others stay until all have found it, so that none is taken for another one that has ended.
        let all = Barrier::new(size);
        let found = on_ranks(size, SHORT, |mut local| {
            let messages = crate::exchange::Messages::new(size);
            let found = (local.rank() != 1).then(|| local.swap(messages).map(drop));
            all.wait();
            found
        });
        for (rank, found) in found.into_iter().enumerate() {
            let lost = Lost { rank: 1, cause: Cause::Silent(SHORT) };
            assert_eq!(found, (rank != 1).then_some(Err(lost)), "rank {rank} of {size}");
        }
    }
}

#[test]
fn a_rank_that_ends() {
    for size in [2, 4] {
        let found = on_ranks(size, LONG, |local| match local.rank() {
            1 => Ok(()),
            _ => add(local, 10),
        });
        // Another one that has found it first has ended, too.
        for (rank, found) in found.into_iter().enumerate().filter(|(rank, _)| *rank != 1) {
            assert_eq!(found.expect_err("a loss").cause, Cause::Ended, "rank {rank} of {size}");
        }
    }
}

#[test]
fn a_rank_that_does_something_else() {
    let found = on_ranks(2, LONG, |local| {
        let len = if local.rank() == 0 { 10 } else { 12 };
        add(local, len)
    });
    assert!(found.contains(&Err(Lost { rank: 1, cause: Cause::OutOfStep })), "{found:?}");
}

#[test]
fn a_rank_that_sends_more_tables() {
    let found = on_ranks(2, LONG, |local| {
        let (mut sums, gradient) = (vec![vec![0.0; 8]; 1 + local.rank()], [1.0; 8]);
        let mut pairs: Vec<_> =
            sums.iter_mut().map(|sum| Pair { sum, gradient: &gradient, row: 2 }).collect();
        Exchange::new(Box::new(local), Precision::F32).reduce(&mut pairs, Turn::default())
    });
    for (rank, found) in found.into_iter().enumerate() {
        assert_eq!(found, Err(Lost { rank: 1 - rank, cause: Cause::OutOfStep }));
    }
}
