//! The thread that exchanges.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use super::{LONG, on_ranks};
use crate::exchange::{Alone, Cause, Collective, Group, Local, Lost, Messages, Part, Precision};
use crate::{Error, Result};

fn group(local: Local) -> Group {
    // Ranks of one process may go from thread to thread; what `make` gives may not.
    Group::new(Precision::F32, move || Ok(Box::new(local))).expect("a thread")
}

fn part(sum: &mut [f32], gradient: &[f32]) -> Part {
    assert_eq!(sum.len(), gradient.len());
    // SAFETY: each test finishes its exchanges, or drops the group, before it looks at what it has given.
    unsafe { Part::new(sum.as_mut_ptr(), gradient.as_ptr(), sum.len(), 0) }
}

#[test]
fn exchanges_go_on_in_order_while_others_are_started() {
    let sums = on_ranks(2, LONG, |local| {
        let mut group = group(local);
        let gradient = [group.rank() as f32 + 1.0; 5];
        let (mut first, mut second, mut none) = ([0.0; 5], [0.0; 5], []);
        for (round, gather) in [(0, false), (1, true)] {
            group.set_round(round, gather);
            let tickets = [
                group.start(vec![part(&mut first, &gradient)]),
                group.start(vec![part(&mut second, &gradient), part(&mut none, &[])]),
                group.start(vec![]),
            ];
            for ticket in tickets.into_iter().rev() {
                group.finish(ticket).expect("both ranks");
            }
        }
        let costs = group.costs();
        // Slices of 3 and 2 numbers, of two sums in each round, and what this rank owns at last.
        let (own, other) = if group.rank() == 0 { (2, 3) } else { (3, 2) };
        assert_eq!(costs.bytes, 4 * (2 * 2 * other + 2 * own));
        assert!(!costs.busy.is_zero() && !costs.waited.is_zero());
        group.close().expect("both ranks");
        (first, second)
    });
    assert_eq!(sums, [([6.0; 5], [6.0; 5]); 2]);
}

#[test]
fn words_of_any_length_are_gathered_and_broadcast() {
    let said = on_ranks(3, LONG, |local| {
        let mut group = group(local);
        let rank = group.rank();
        let all = group.all_gather("word".repeat(rank).as_bytes()).expect("all ranks");
        let first = group.broadcast((rank == 0).then_some(b"hear")).expect("all ranks");
        group.close().expect("all ranks");
        (all, first)
    });
    for (all, first) in said {
        assert_eq!(all, [b"".as_slice(), b"word", b"wordword"]);
        assert_eq!(first, b"hear");
    }
}

#[test]
fn one_process_has_a_group_too() {
    let mut group = Group::alone(Precision::F32).expect("a thread");
    assert_eq!((group.rank(), group.size()), (0, 1));
    let mut sum = [1.0; 3];
    group.set_round(0, true);
    group.finish(group.start(vec![part(&mut sum, &[2.0; 3])])).expect("the only rank");
    assert_eq!(sum, [2.0; 3], "whatever was there before");
    assert_eq!(group.broadcast(Some(b"hear")).expect("the only rank"), b"hear");
    group.close().expect("the only rank");
}

/// Of a batch of several rounds.
#[test]
fn sums_are_whole_in_the_last_round_and_zero_before() {
    let group = Group::alone(Precision::F32).expect("a thread");
    for _ in 0..2 {
        let seen = [0, 1, 2].map(|round| {
            group.set_round(round, round == 2);
            let mut sum = [7.0; 2];
            let gradient = [1.0 + round as f32, 10.0];
            group.finish(group.start(vec![part(&mut sum, &gradient)])).expect("the only rank");
            sum
        });
        assert_eq!(seen, [[0.0, 0.0], [0.0, 0.0], [6.0, 30.0]]);
    }
}

/// What rounding takes away of one exchange is not given to another, nor to the one of another round.
#[test]
fn exchanges_are_told_apart() {
    let all = |gradients: &[[f32; 1]]| {
        let group = Group::alone(Precision::Bf16).expect("a thread");
        let mut sums = vec![[0.0]; gradients.len()];
        for _ in 0..3 {
            for round in 0..2 {
                group.set_round(round, round == 1);
                let pairs = sums.iter_mut().zip(gradients);
                let tickets: Vec<_> =
                    pairs.map(|(sum, gradient)| group.start(vec![part(sum, gradient)])).collect();
                tickets.into_iter().for_each(|ticket| group.finish(ticket).expect("the only rank"));
            }
        }
        sums
    };
    let (one, other) = ([1.003], [-77.7]);
    assert_eq!(all(&[one, other]), [all(&[one]), all(&[other])].concat());
}

#[test]
fn a_loss_is_said_by_every_later_call() {
    let mut both = Local::ranks(2, LONG);
    drop(both.pop());
    let mut group = group(both.remove(0));
    let mut sum = [0.0; 3];
    let ticket = group.start(vec![part(&mut sum, &[1.0; 3])]);
    let is_lost = |result: Result<()>| {
        let error = result.expect_err("a loss");
        assert!(matches!(error, Error::Rank { rank: 1, cause: Cause::Ended }), "{error}");
        assert_eq!(
            error.to_string(),
            "rank 1 has ended before the training has; look what it says itself, and go on from the last checkpoint with \
             --resume, with fewer ranks if need be"
        );
    };
    is_lost(group.finish(ticket));
    is_lost(group.finish(ticket));
    let later = group.start(vec![part(&mut sum, &[1.0; 3])]);
    is_lost(group.finish(later));
    is_lost(group.all_gather(b"x").map(drop));
    is_lost(group.broadcast(Some(b"x")).map(drop));
    is_lost(group.close());
}

#[test]
fn a_silent_rank_is_named_with_the_time() {
    let mut both = Local::ranks(2, Duration::from_millis(100));
    let silent = both.pop();
    let error = group(both.remove(0)).all_gather(b"x").expect_err("a loss").to_string();
    assert!(
        error.starts_with("rank 1 did not answer for 0.1 s, so that the training cannot go on; "),
        "{error}"
    );
    drop(silent);
}

/// A rank that finds another one lost, and tells that it was asked, or that its thread had a panic.
struct Once(Sender<()>);

impl Collective for Once {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        2
    }
    fn swap(&mut self, _: Messages) -> std::result::Result<Messages, Lost> {
        self.0.send(()).expect("the test");
        Err(Lost { rank: 1, cause: Cause::OutOfStep })
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.send(()).expect("the test");
        }
    }
}

#[test]
fn after_a_loss_nothing_is_exchanged() {
    let (tell, told) = channel();
    let make = move || -> Result<Box<dyn Collective>> { Ok(Box::new(Once(tell))) };
    let group = Group::new(Precision::F32, make).expect("a thread");
    let mut sum = [1.0; 2];
    let tickets = [(); 3].map(|()| group.start(vec![part(&mut sum, &[1.0; 2])]));
    for ticket in tickets {
        group.finish(ticket).expect_err("a loss");
    }
    group.all_gather(b"x").expect_err("a loss");
    drop(group);
    assert_eq!(told.iter().count(), 1);
}

/// A rank that tells how it was ended.
struct Told(Sender<&'static str>, bool);

impl Collective for Told {
    fn rank(&self) -> usize {
        Alone.rank()
    }
    fn size(&self) -> usize {
        Alone.size()
    }
    fn swap(&mut self, messages: Messages) -> std::result::Result<Messages, Lost> {
        assert!(!self.1, "told to");
        Ok(messages)
    }
    fn abort(&mut self) {
        self.0.send("abort").expect("the test");
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send("end").expect("the test");
    }
}

/// What becomes of the ranks of a group.
fn told(panics: bool, then: impl FnOnce(Group) + Send + 'static) -> Vec<&'static str> {
    let (tell, told) = channel();
    let make = move || -> Result<Box<dyn Collective>> { Ok(Box::new(Told(tell, panics))) };
    let group = Group::new(Precision::F32, make).expect("a thread");
    let _ = thread::spawn(move || then(group)).join();
    told.iter().collect()
}

#[test]
fn all_ranks_end_with_one_that_ends_by_an_error() {
    assert_eq!(told(false, |mut group| group.close().expect("the only rank")), ["end"]);
    assert_eq!(told(false, drop), ["abort", "end"]);
    assert_eq!(told(false, |_group| panic!("a bug of the trainer")), ["abort", "end"]);
}

#[test]
fn a_panic_of_the_thread_is_no_endless_wait() {
    let wait = |group: Group| {
        let ticket = group.start(vec![]);
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| group.finish(ticket).map(drop)));
        assert!(found.is_err(), "{found:?}");
    };
    assert_eq!(told(true, wait), ["abort", "end"]);
}

#[test]
fn what_cannot_be_made_is_an_error() {
    let error = Group::new(Precision::F32, || Err(Error::BadArgument("no way".into()))).expect_err("no way");
    assert_eq!(error.to_string(), "no way");
}
