//! Rounding loses nothing for long, and gives the same bits on any number of ranks.

use super::{SHARDS, Shapes, Training, bits, number};
use crate::exchange::Precision;

const SHAPES: Shapes = [&[(101, 0), (60 * 5, 5)], &[(9, 0)]];

fn gradient(batch: usize, shard: usize, exchange: usize, pair: usize) -> Vec<f32> {
    let (len, row) = SHAPES[exchange][pair];
    let is_zero = |place: usize| row != 0 && !(place / row + shard + batch).is_multiple_of(5);
    let value = |place| if is_zero(place) { 0.0 } else { number([batch, shard, exchange, pair], place) };
    (0..len).map(value).collect()
}

#[test]
fn the_same_bits_on_any_number_of_ranks() {
    let training = Training { precision: Precision::Bf16, shapes: SHAPES, gradient: &gradient, batches: 5 };
    let expected = bits(&training.on(1));
    assert!(expected.iter().all(|bits| bits % (1 << 16) == 0), "not rounded");
    for size in [2, 3, 4] {
        assert_eq!(bits(&training.on(size)), expected, "{size} ranks");
    }
}

#[test]
fn the_mean_is_that_of_what_was_not_rounded() {
    let steady = |_, shard, exchange, pair| gradient(0, shard, exchange, pair);
    let batches = 400;
    let training = Training { precision: Precision::Bf16, shapes: SHAPES, gradient: &steady, batches };
    let sums = training.on(2);
    let exact = &Training { batches: 1, ..training }.expected()[0];
    let mut apart_at_first = 0.0_f64;
    for exchange in 0..2 {
        for (pair, exact) in exact[exchange].iter().enumerate() {
            for (place, &exact) in exact.iter().enumerate() {
                let of_batch = |batch: usize| f64::from(sums[batch][exchange][pair][place]);
                let mean = (0..batches).map(of_batch).sum::<f64>() / batches as f64;
                // What is still kept: half a unit in the last of 8 bits, for each shard (below 1) and for the sum (below 12).
                let kept = (SHARDS as f64 + 12.0) / 256.0;
                assert!((mean - f64::from(exact)).abs() < kept / batches as f64, "{mean} {exact}");
                apart_at_first = apart_at_first.max((of_batch(0) - f64::from(exact)).abs());
            }
        }
    }
    assert!(apart_at_first > 0.01, "rounding shows: {apart_at_first}");
}

#[test]
fn what_is_no_number_does_not_stay() {
    let bad = |batch, shard, exchange, pair| {
        let mut values = gradient(batch, shard, exchange, pair);
        if batch == 0 && shard == 3 {
            values[..3].copy_from_slice(&[f32::NAN, f32::INFINITY, f32::MAX]);
        }
        values
    };
    let training = Training { precision: Precision::Bf16, shapes: SHAPES, gradient: &bad, batches: 2 };
    for size in [1, 4] {
        let sums = training.on(size);
        let first = &sums[0][0][0];
        assert!(first[0].is_nan() && first[1] == f32::INFINITY && first[2] == f32::INFINITY, "{first:?}");
        assert!(sums[1].iter().flatten().flatten().all(|value| value.is_finite()), "{size} ranks");
    }
}
