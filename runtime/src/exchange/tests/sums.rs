//! Sums are those of one shard after the other, bit by bit, on any number of ranks.

use super::{LONG, SHARDS, Shapes, Training, bits, number, on_ranks};
use crate::exchange::collective::{Collective, Lost, Messages};
use crate::exchange::reduce::{Exchange, Pair, Turn};
use crate::exchange::{Alone, Precision};

fn assert_exact(shapes: Shapes, gradient: &(dyn Fn(usize, usize, usize, usize) -> Vec<f32> + Sync)) {
    let training = Training { precision: Precision::F32, shapes, gradient, batches: 2 };
    let expected = bits(&training.expected());
    for size in [1, 2, 3, 4] {
        assert_eq!(bits(&training.on(size)), expected, "{size} ranks");
    }
}

/// Lengths that no number of ranks divides, shorter than ranks, and empty.
const DENSE: Shapes = [&[(101, 0), (1, 0), (0, 0), (7, 0)], &[]];

fn dense(batch: usize, shard: usize, exchange: usize, pair: usize) -> Vec<f32> {
    let len = DENSE[exchange][pair].0;
    (0..len).map(|place| number([batch, shard, exchange, pair], place)).collect()
}

#[test]
fn dense_sums() {
    assert_exact(DENSE, &dense);
}

#[test]
fn the_order_matters_to_these_numbers() {
    let training = Training { precision: Precision::F32, shapes: DENSE, gradient: &dense, batches: 2 };
    let backwards = |batch, shard: usize, exchange, pair| dense(batch, SHARDS - 1 - shard, exchange, pair);
    let other = Training { gradient: &backwards, ..training };
    assert_ne!(bits(&other.expected()), bits(&training.expected()));
}

/// Tables beside what is dense; of one row, of fewer rows than ranks, and of none.
const MIXED: Shapes = [&[(60 * 5, 5), (101, 0), (3 * 4, 4)], &[(7, 7), (0, 3), (1000, 1)]];

/// One in so many rows of a table is not zero; some of the others are -0.0.
fn mixed(one_in: usize) -> impl Fn(usize, usize, usize, usize) -> Vec<f32> + Sync {
    move |batch, shard, exchange, pair| {
        let (len, row) = MIXED[exchange][pair];
        let name = [batch, shard, exchange, pair];
        let of_row = |row| (number([9, batch, shard, pair], row).abs() * 1e6) as usize;
        let value = |place| match place {
            place if row == 0 || of_row(place / row).is_multiple_of(one_in) => number(name, place),
            place if of_row(place / row) % one_in == 1 => -0.0,
            _ => 0.0,
        };
        (0..len).map(value).collect()
    }
}

#[test]
fn sums_of_tables() {
    for one_in in [1, 2, 4, 10, 1_000_000] {
        assert_exact(MIXED, &mixed(one_in));
    }
}

#[test]
fn sums_of_numbers_that_are_none() {
    let strange = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, -1e-45];
    assert_exact(MIXED, &|batch, shard, exchange, pair| {
        let mut values = mixed(3)(batch, shard, exchange, pair);
        for (place, value) in values.iter_mut().enumerate().filter(|(place, _)| place % 5 == 3) {
            *value = strange[(place / 5 + shard) % strange.len()];
        }
        values
    });
}

#[test]
fn most_of_a_table_is_not_sent() {
    // Rows that are not zero, one after the other in each rank's half of 500.
    let sent = |row, rows: usize| {
        let ranks = on_ranks(2, LONG, |local| {
            let mut gradient = vec![0.0; 4000];
            for half in gradient.chunks_mut(2000) {
                half[80..80 + rows * 8].fill(local.rank() as f32 + 1.0);
            }
            let mut exchange = Exchange::new(Box::new(local), Precision::F32);
            let mut sum = vec![0.0; 4000];
            let pair = Pair { sum: &mut sum, gradient: &gradient, row };
            exchange.reduce(&mut [pair], Turn { gather: true, ..Turn::default() }).expect("both ranks");
            assert!(
                sum.iter().zip(&gradient).all(|(sum, gradient)| *sum == 3.0 * f32::from(*gradient != 0.0))
            );
            exchange.sent()
        });
        assert_eq!(ranks[0], ranks[1]);
        ranks[0]
    };
    assert_eq!(sent(0, 1), 2 * 2000 * 4);
    // A length and a number of rows, and each row with its own number, both of a gradient and of a sum.
    assert_eq!(sent(8, 1), 2 * (8 + 4 + (4 + 8 * 4)));
    assert_eq!(sent(8, 125), 2 * (8 + 4 + 125 * (4 + 8 * 4)));
    assert_eq!(sent(8, 126), 2 * (8 + 4 + 2000 * 4));
}

/// What others made of earlier rounds stays in the sums that they alone know, and is replaced by what the owner knows.
#[test]
fn rows_that_became_zero_are_zero_for_all() {
    let training = Training {
        precision: Precision::F32,
        shapes: [&[(4 * 8, 8)], &[]],
        gradient: &|_, shard, _, _| vec![if shard % 2 == 0 { 1.5 } else { -1.5 }; 32],
        batches: 2,
    };
    for size in [1, 2, 4] {
        assert!(bits(&training.on(size)).iter().all(|&bits| bits == 0), "{size} ranks");
    }
}

/// An owner's -0.0 comes to the others as that.
#[test]
fn what_is_gathered_is_the_owners_to_the_bit() {
    let sums = on_ranks(2, LONG, |local| {
        let first = local.rank() == 0;
        let mut exchange = Exchange::new(Box::new(local), Precision::F32);
        let mut sum = [if first { -0.0 } else { 7.0 }; 8];
        let pair = Pair { sum: &mut sum, gradient: &[-0.0; 8], row: 2 };
        exchange.reduce(&mut [pair], Turn { gather: true, ..Turn::default() }).expect("both ranks");
        sum.map(f32::to_bits)
    });
    assert_eq!(sums[0][..4], [(-0.0_f32).to_bits(); 4]);
    assert_eq!(sums[0][4..], [7.0_f32.to_bits(); 4]);
    assert_eq!(sums[0], sums[1]);
}

/// Before the last round nobody needs all sums.
#[test]
fn sums_are_gathered_in_the_last_round_only() {
    let sent = on_ranks(4, LONG, |local| {
        let mut exchange = Exchange::new(Box::new(local), Precision::F32);
        let mut sum = [0.0; 16];
        let pair = Pair { sum: &mut sum, gradient: &[1.0; 16], row: 0 };
        exchange.reduce(&mut [pair], Turn::default()).expect("all ranks");
        exchange.sent()
    });
    assert_eq!(sent, [3 * 4 * 4; 4]);
}

#[test]
fn one_rank_sends_nothing() {
    struct Nothing;
    impl Collective for Nothing {
        fn rank(&self) -> usize {
            Alone.rank()
        }
        fn size(&self) -> usize {
            Alone.size()
        }
        fn swap(&mut self, messages: Messages) -> Result<Messages, Lost> {
            assert!(messages.to.iter().all(Vec::is_empty));
            Ok(messages)
        }
    }
    let mut exchange = Exchange::new(Box::new(Nothing), Precision::F32);
    let mut sum = [1.0, 2.0];
    let pair = Pair { sum: &mut sum, gradient: &[0.5, 0.25], row: 1 };
    exchange.reduce(&mut [pair], Turn { gather: true, ..Turn::default() }).expect("the only rank");
    assert_eq!((sum, exchange.sent()), ([1.5, 2.25], 0));
    assert_eq!(exchange.all_gather(b"it").expect("the only rank"), [b"it"]);
}
