//! Ways to go about a product, and which of them is the fastest on this machine, which is found out by trying.
//!
//! Whether A is better packed or read as it lies depends on what cannot be asked of a processor: how it prefetches, how far its
//! caches are, what else is in them. So in its first calls of a large product each worker goes about it in each way in turn, and
//! then stays with the fastest. The shortest of several times counts, since other work on the machine only adds to a time, and
//! time in which the worker has no core does not count. Ways differ in times and in no bit. Each worker decides for itself:
//! there is nothing to wait for. What the workers of a run have found those of the next run go on with.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use lstmc_compiler::backend::cpu::abi::GemmShape;

/// A way to go about a product, as far as it can be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// A is packed.
    pub packs_left: bool,
    /// Tiles of one panel hold all rows.
    pub tall: bool,
    /// More columns of B are packed at a time, so that A is read fewer times.
    pub wide: bool,
}

impl Way {
    /// In no order: which is tried first depends on the product.
    pub fn all() -> impl Iterator<Item = Way> {
        (0..8).map(|bits: u8| Way { packs_left: bits & 1 != 0, tall: bits & 2 != 0, wide: bits & 4 != 0 })
    }
}

/// Multiplications and additions of a product of so many rows and columns and of such a contraction.
pub fn work([m, n, k]: [u32; 3]) -> u64 {
    (u64::from(m) * u64::from(n)).saturating_mul(u64::from(k))
}

/// A product of so much work is large: a tenth of a millisecond of one worker.
pub const LEAST_WORK: u64 = 1 << 24;

/// Whether ways of such a product are tried: in less time there is nothing to gain, and too little to measure.
pub fn are_tried(sizes: [u32; 3]) -> bool {
    work(sizes) >= LEAST_WORK
}

/// Seconds that this thread has had of a core.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn clock() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// Seconds, where it cannot be known whether the thread has a core.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn clock() -> f64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// How often each way is tried.
const TRIES: usize = 5;
/// Another way has to be faster than the first by this factor: a choice by chance changes nothing for the better.
const CLEARLY: f64 = 0.98;

/// The ways of one product.
struct Trial {
    /// The one that seems best beforehand first, and the shortest time of each.
    ways: Vec<(Way, f64)>,
    /// How many times are known.
    done: usize,
}

impl Trial {
    fn new(ways: impl Iterator<Item = Way>) -> Trial {
        Trial { ways: ways.map(|way| (way, f64::INFINITY)).collect(), done: 0 }
    }

    fn is_over(&self) -> bool {
        self.ways.len() < 2 || self.done >= TRIES * self.ways.len()
    }

    /// The number of the way to go next. Each round begins with another one: two products of one shape that take turns should
    /// not be gone about one way each.
    fn next(&self) -> usize {
        let count = self.ways.len();
        if self.is_over() { self.fastest() } else { (self.done + self.done / count) % count }
    }

    fn fastest(&self) -> usize {
        let mut fastest = (0, self.ways[0].1 * CLEARLY);
        for (at, &(_, time)) in self.ways.iter().enumerate().skip(1) {
            if time < fastest.1 {
                fastest = (at, time);
            }
        }
        fastest.0
    }

    /// Calls `go` with the next way, for a product of these `m` and `k`.
    fn go(&mut self, [m, k]: [u32; 2], go: impl FnOnce(Way) -> usize) {
        let number = self.next();
        let way = self.ways[number].0;
        if self.is_over() {
            go(way);
            return;
        }
        let started = clock();
        let columns = go(way);
        // Who took which columns, and how many rows there were, must not distort it. Of no columns there is no time.
        let done = work([m, columns as u32, k]);
        if done > 0 {
            self.took(number, (clock() - started) / done as f64);
        }
    }

    fn took(&mut self, way: usize, time: f64) {
        self.ways[way].1 = self.ways[way].1.min(time);
        self.done += 1;
    }
}

/// Products that a worker has tried ways of. Of more than these it goes the way that seems best.
const MOST: usize = 256;

/// What a worker knows of products.
#[derive(Default)]
struct Known(Vec<(GemmShape, Trial)>);

/// Left by workers that have ended, for those of the next run: each run has threads of its own.
static LEFT: Mutex<Vec<Known>> = Mutex::new(Vec::new());

impl Known {
    fn taken_over() -> Self {
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn still_trying(&self) -> bool {
        self.0.iter().any(|(_, trial)| !trial.is_over())
    }
}

/// Whether workers that have ended left products of which they still tried ways.
pub fn still_trying() -> bool {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).iter().any(Known::still_trying)
}

impl Drop for Known {
    fn drop(&mut self) {
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(Self(std::mem::take(&mut self.0)));
    }
}

thread_local! {
    static TRIALS: RefCell<Known> = RefCell::new(Known::taken_over());
}

/// Calls `go`, which returns how many columns it has computed, with the way to go for products of this shape, of which ways
/// [`are_tried`]: the first one of `ways` if nothing is known yet. `varies`: the rows of A differ from call to call.
pub fn go<Ways: Iterator<Item = Way>>(
    shape: &GemmShape,
    varies: bool,
    ways: impl FnOnce() -> Ways,
    go: impl FnOnce(Way) -> usize,
) {
    // One trial for products of about as many rows.
    let about = |size: u32| if varies { size.next_power_of_two() } else { size };
    let key = GemmShape { m: about(shape.m), k: about(shape.k), ..*shape };
    TRIALS.with_borrow_mut(|Known(trials)| {
        let at = trials.iter().position(|(of, _)| *of == key).unwrap_or_else(|| {
            let most = if trials.len() < MOST { usize::MAX } else { 1 };
            trials.push((key, Trial::new(ways().take(most))));
            trials.len() - 1
        });
        trials[at].1.go([shape.m, shape.k], go);
        trials.truncate(MOST);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(ways: usize) -> Trial {
        Trial::new(Way::all().take(ways))
    }

    /// Goes through the trial, where way `way` takes `time(way, its try)`, and returns what is chosen.
    fn chosen(ways: usize, time: impl Fn(usize, usize) -> f64) -> usize {
        let (mut trial, mut tries) = (trial(ways), vec![0; ways]);
        while !trial.is_over() {
            let way = trial.next();
            trial.took(way, time(way, tries[way]));
            tries[way] += 1;
        }
        assert!(tries.iter().all(|&tries| tries == TRIES), "{tries:?}");
        trial.next()
    }

    #[test]
    fn the_fastest_way_is_gone() {
        for fastest in 0..4 {
            assert_eq!(chosen(4, |way, _| if way == fastest { 1.0 } else { 1.1 + way as f64 }), fastest);
        }
    }

    #[test]
    fn other_work_on_the_machine_decides_nothing() {
        for fastest in 0..3 {
            for undisturbed in 0..TRIES {
                // The fastest is slower than all others but once.
                let time = |way: usize, try_: usize| match (way == fastest, try_ == undisturbed) {
                    (true, true) => 1.0,
                    (true, false) => 50.0,
                    _ => 1.5,
                };
                assert_eq!(chosen(3, time), fastest);
            }
        }
    }

    #[test]
    fn what_makes_no_difference_stays_as_it_seemed_best() {
        assert_eq!(chosen(4, |way, _| if way == 0 { 1.0 } else { 0.99 }), 0);
        assert_eq!(chosen(4, |way, _| if way == 2 { 0.97 } else { 1.0 }), 2);
    }

    #[test]
    fn products_that_take_turns_are_gone_about_each_way() {
        for (ways, turns) in [(2, 2), (4, 2), (4, 4), (3, 3)] {
            let mut trial = trial(ways);
            let mut seen = vec![vec![false; turns]; ways];
            for call in 0..ways * TRIES {
                let way = trial.next();
                seen[way][call % turns] = true;
                trial.took(way, 1.0);
            }
            assert!(seen.iter().flatten().all(|&seen| seen), "{ways} ways, {turns} products: {seen:?}");
        }
    }

    /// Of a product that no other test has.
    fn shape() -> GemmShape {
        use lstmc_compiler::backend::cpu::abi::{Cut, Flag, Form, Packed, Precision};
        let [m, n, k] = [12_345, 23_456, 34_567];
        GemmShape {
            form: Form::NN,
            precision: Precision::F32,
            m,
            n,
            k,
            parts: 1,
            a_stride: k,
            b_stride: n,
            c_stride: n,
            accumulate: Flag::Off,
            from_end: Flag::Off,
            as_few: Flag::Off,
            packed: Packed::No,
            cut: Cut::Whole,
        }
    }

    #[test]
    fn who_has_found_all_ways_tries_no_more() {
        let mut known = Known(vec![(shape(), trial(1)), (shape(), trial(3))]);
        for _ in 0..3 * TRIES {
            assert!(known.still_trying());
            known.0[1].1.took(0, 1.0);
        }
        assert!(!known.still_trying());
        // A worker of another test must not take it over.
        known.0.clear();
    }

    #[test]
    fn what_a_thread_has_found_another_goes_on_with() {
        let shape = shape();
        let ways = || Way::all().take(2);
        let in_a_thread =
            |call: &(dyn Fn() + Sync)| std::thread::scope(|scope| drop(scope.spawn(call).join()));
        in_a_thread(&|| go(&shape, false, ways, |_| shape.n as usize));
        // Threads of other tests may have it meanwhile, and leave it when they end.
        let known = || {
            let found = Known::taken_over();
            found.0.iter().any(|(of, trial)| *of == shape && trial.done == 1)
        };
        let tries = (0..10_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            known()
        });
        assert!(tries);
    }

    #[test]
    fn one_way_needs_no_trial() {
        assert!(trial(1).is_over());
        assert_eq!(trial(1).next(), 0);
    }
}
