//! Work stealing: columns of a product that its workers take from each other.
//!
//! A worker that loses its core for a while makes the others wait at the next barrier. So a large product is not divided
//! beforehand: each worker takes blocks from the front of its own columns, and when these are gone from the back of
//! others'. So which worker computes a column depends on timing, and what is computed does not: see the module's "Determinism".
//!
//! All workers of a run come to the same products in the same order, and each counts those it has come to: the count is
//! the product's number. Independent products have no barrier between them, so that no worker can set the ranges
//! anew for all: the first worker that finds a range of an earlier product puts the whole range of its own product there.
//! Nothing is lost by that, because a worker goes on to the next product only when it has found each range empty, or of a
//! later product.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use lstmc_compiler::kernel::PANEL;
use lstmc_compiler::plan::worker_range;

/// Panels of the smallest blocks, at whose ends workers wait for each other: a tenth of a millisecond or less.
const LEAST: usize = 4;
/// The most panels that are taken from another worker at once: it will be back soon.
const MOST_OF_OTHERS: usize = 8;

/// What is left to be taken in the products of one run, by each worker's own range.
pub struct WorkQueues(Box<[Queue]>);

/// Of one worker, on cache lines of its own (processors fetch them in pairs).
#[derive(Default)]
#[repr(align(128))]
struct Queue {
    /// A [`Rest`] as a word.
    rest: AtomicU64,
    /// How many products this worker has come to. Only the worker itself uses it.
    products: AtomicU32,
}

/// What is left of a range.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rest {
    /// The product's number.
    product: u32,
    /// The panels that are left.
    front: u16,
    back: u16,
}

impl Rest {
    fn of_word(word: u64) -> Rest {
        Rest { product: (word >> 32) as u32, front: (word >> 16) as u16, back: word as u16 }
    }

    fn word(self) -> u64 {
        u64::from(self.product) << 32 | u64::from(self.front) << 16 | u64::from(self.back)
    }
}

impl WorkQueues {
    /// For workers `0..workers` that are about to run together.
    pub fn new(workers: usize) -> WorkQueues {
        WorkQueues((0..workers).map(|_| Queue::default()).collect())
    }

    /// `worker` comes to the next product, of `n` columns. Has to take until there is nothing left.
    ///
    /// No two threads may come under the same number, and all workers must come to products of the same sizes.
    pub fn enter(&self, worker: usize, n: usize) -> Taking<'_> {
        let products = &self.0[worker].products;
        let product = products.load(Relaxed).wrapping_add(1);
        products.store(product, Relaxed);
        Taking { queues: self, worker, product, n }
    }
}

/// A worker at a product.
pub struct Taking<'a> {
    queues: &'a WorkQueues,
    worker: usize,
    product: u32,
    n: usize,
}

impl Taking<'_> {
    /// Columns, at most so many, that no other worker has taken or will take; none if all are taken.
    pub fn next(&self, most: usize) -> Option<Range<usize>> {
        let workers = self.queues.0.len();
        let panels = (0..workers).find_map(|i| self.take((self.worker + i) % workers, most / PANEL))?;
        Some(panels.start * PANEL..(panels.end * PANEL).min(self.n))
    }

    /// Panels of this worker's range.
    fn take(&self, of: usize, most: usize) -> Option<Range<usize>> {
        // The words say who computes what, and no more: what is read was written before a barrier, and what is written is
        // read after one. All threads see one word's changes in the same order, however relaxed.
        let word = &self.queues.0[of].rest;
        let mut found = word.load(Relaxed);
        loop {
            let (taken, rest) = self.split_off(self.now(Rest::of_word(found), of)?, of, most)?;
            match word.compare_exchange_weak(found, rest.word(), Relaxed, Relaxed) {
                Ok(_) => return Some(taken),
                Err(other) => found = other,
            }
        }
    }

    /// What is left of this worker's range in this product, where `rest` was found; none if that is of a later product.
    fn now(&self, rest: Rest, of: usize) -> Option<Rest> {
        // The difference is right even after the count has wrapped around.
        match rest.product.wrapping_sub(self.product) as i32 {
            0 => Some(rest),
            1.. => None,
            _ => {
                let all = worker_range(self.n.div_ceil(PANEL), of, self.queues.0.len(), 1);
                Some(Rest { product: self.product, front: all.start as u16, back: all.end as u16 })
            }
        }
    }

    /// The next panels, and what is left without them: half of what there is, so that the last blocks are small.
    fn split_off(&self, rest: Rest, of: usize, most: usize) -> Option<(Range<usize>, Rest)> {
        let Rest { front, back, .. } = rest;
        let left = usize::from(back - front);
        let own = of == self.worker;
        let most = if own { most } else { most.min(MOST_OF_OTHERS) };
        // No more than is left, so it fits the word.
        let count = left.div_ceil(2).next_multiple_of(LEAST).min(most).min(left) as u16;
        let (taken, rest) = match own {
            _ if left == 0 => return None,
            true => (front..front + count, Rest { front: front + count, ..rest }),
            false => (back - count..back, Rest { back: back - count, ..rest }),
        };
        Some((usize::from(taken.start)..usize::from(taken.end), rest))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Columns of the product of this number.
    fn columns(product: usize) -> usize {
        1 + product * 397 % 3000
    }

    /// Comes to `products` products on as many threads, with no barrier between them; every column is taken once.
    fn all_are_taken_once(
        queues: &WorkQueues,
        workers: usize,
        products: usize,
        delay: impl Fn(usize) + Sync,
    ) {
        let taken: Vec<Vec<AtomicU8>> =
            (0..products).map(|product| (0..columns(product)).map(|_| AtomicU8::new(0)).collect()).collect();
        thread::scope(|scope| {
            for worker in 0..workers {
                let (taken, delay) = (&taken, &delay);
                scope.spawn(move || {
                    for taken in taken {
                        let taking = queues.enter(worker, taken.len());
                        while let Some(columns) = taking.next(256) {
                            assert!(columns.start.is_multiple_of(PANEL) && columns.len() <= 256);
                            taken[columns].iter().for_each(|count| {
                                count.fetch_add(1, Relaxed);
                            });
                            delay(worker);
                        }
                    }
                });
            }
        });
        for (product, taken) in taken.iter().enumerate() {
            let wrong = taken.iter().position(|count| count.load(Relaxed) != 1);
            assert_eq!(wrong, None, "{workers} workers, product {product}");
        }
    }

    #[test]
    fn every_column_is_taken_once() {
        for workers in [1, 2, 3, 5] {
            all_are_taken_once(&WorkQueues::new(workers), workers, 2000, |_| {});
        }
    }

    #[test]
    fn a_late_worker_finds_what_is_left() {
        for late in [0, 1] {
            let delay = |worker| {
                if worker == late {
                    thread::sleep(Duration::from_micros(200));
                }
            };
            all_are_taken_once(&WorkQueues::new(2), 2, 300, delay);
        }
    }

    #[test]
    fn the_number_of_products_may_wrap_around() {
        let queues = WorkQueues::new(2);
        for queue in &queues.0 {
            queue.products.store(u32::MAX - 100, Relaxed);
            queue.rest.store(Rest { product: u32::MAX - 100, front: 0, back: 0 }.word(), Relaxed);
        }
        all_are_taken_once(&queues, 2, 300, |_| {});
    }

    #[test]
    fn own_columns_come_first_and_in_order_and_those_of_others_from_the_end() {
        let queues = WorkQueues::new(2);
        // 60 panels and a part of one: 30 of the first worker and 31 of the second.
        let second = queues.enter(1, 965);
        let blocks: Vec<_> = std::iter::from_fn(|| second.next(256)).collect();
        let starts = [480, 736, 864, 928, 352, 224, 96, 32, 0];
        let ends = [736, 864, 928, 965, 480, 352, 224, 96, 32];
        let expected: Vec<_> = starts.into_iter().zip(ends).map(|(start, end)| start..end).collect();
        assert_eq!(blocks, expected);
        // It goes on, and the first one comes to what has been done, and to what has been begun.
        let next = queues.enter(1, 100);
        assert_eq!(next.next(256), Some(48..100));
        assert_eq!(queues.enter(0, 965).next(256), None);
        let late = queues.enter(0, 100);
        assert_eq!((late.next(256), late.next(256)), (Some(0..48), None));
        assert_eq!(next.next(256), None);
    }
}
