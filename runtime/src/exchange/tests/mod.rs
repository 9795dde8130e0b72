mod bf16;
mod group;
mod losses;
mod numbers;
mod sums;

use std::thread;
use std::time::Duration;

use super::collective::Collective;
use super::reduce::{Exchange, Pair, Turn};
use super::{Local, Precision};

/// Longer than any test, where no rank is lost.
const LONG: Duration = Duration::from_secs(600);

/// What each rank comes to, each on a thread of its own.
fn on_ranks<T: Send>(size: usize, deadline: Duration, body: impl Fn(Local) -> T + Sync) -> Vec<T> {
    let body = &body;
    thread::scope(|scope| {
        let start = |rank| scope.spawn(move || body(rank));
        let ranks: Vec<_> = Local::ranks(size, deadline).into_iter().map(start).collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

/// The shards of a batch: what 1, 2, 3 and 4 divide.
const SHARDS: usize = 12;

/// The pairs of two exchanges: how long, and how wide a row.
type Shapes = [&'static [(usize, usize)]; 2];

/// A training that only adds gradients up.
struct Training<'a> {
    precision: Precision,
    shapes: Shapes,
    /// By batch, shard, exchange, pair.
    gradient: &'a (dyn Fn(usize, usize, usize, usize) -> Vec<f32> + Sync),
    batches: usize,
}

/// The sums after each batch, by exchange and pair.
type Sums = Vec<[Vec<Vec<f32>>; 2]>;

impl Training<'_> {
    fn zeros(&self) -> [Vec<Vec<f32>>; 2] {
        self.shapes.map(|pairs| pairs.iter().map(|&(len, _)| vec![0.0; len]).collect())
    }

    /// As one rank of some.
    fn rank(&self, local: Local) -> Sums {
        let (rank, size) = (local.rank(), local.size());
        let mut exchange = Exchange::new(Box::new(local), self.precision);
        let batch = |batch| {
            let mut sums = self.zeros();
            for round in 0..SHARDS / size {
                for (number, sums) in sums.iter_mut().enumerate() {
                    let shard = round * size + rank;
                    let gradients: Vec<_> =
                        (0..sums.len()).map(|pair| (self.gradient)(batch, shard, number, pair)).collect();
                    let rows = self.shapes[number].iter().map(|&(_, row)| row);
                    let mut pairs: Vec<_> = (sums.iter_mut().zip(&gradients).zip(rows))
                        .map(|((sum, gradient), row)| Pair { sum, gradient, row })
                        .collect();
                    let gather = (round + 1) * size == SHARDS;
                    exchange.reduce(&mut pairs, Turn { round, exchange: number, gather }).expect("all ranks");
                }
            }
            sums
        };
        (0..self.batches).map(batch).collect()
    }

    /// What all of so many ranks come to.
    fn on(&self, size: usize) -> Sums {
        let mut all = on_ranks(size, LONG, |local| self.rank(local));
        let first = all.swap_remove(0);
        assert!(all.iter().all(|other| bits(other) == bits(&first)), "ranks of {size} differ");
        first
    }

    /// Shard after shard.
    fn expected(&self) -> Sums {
        let batch = |batch| {
            let mut sums = self.zeros();
            for shard in 0..SHARDS {
                for (exchange, sums) in sums.iter_mut().enumerate() {
                    for (pair, sum) in sums.iter_mut().enumerate() {
                        let gradient = (self.gradient)(batch, shard, exchange, pair);
                        sum.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
                    }
                }
            }
            sums
        };
        (0..self.batches).map(batch).collect()
    }
}

/// All bits; which NaN it is may follow from how an addition is compiled.
fn bits(sums: &Sums) -> Vec<u32> {
    let values = sums.iter().flatten().flatten().flatten();
    values.map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
}

/// Some number between -1 and 1 for each name, with as many digits as there are; sometimes -0.0.
fn number(name: [usize; 4], place: usize) -> f32 {
    let mut hash = place as u64;
    for part in name {
        hash = (hash ^ part as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    if hash.is_multiple_of(17) { -0.0 } else { (hash >> 40) as f32 / (1 << 23) as f32 - 1.0 }
}
