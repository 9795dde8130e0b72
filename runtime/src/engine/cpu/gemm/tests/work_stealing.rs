//! Products whose workers take columns from each other, bit for bit against one worker's.

use std::sync::Barrier;
use std::thread;

use lstmc_compiler::backend::cpu::abi::{Cut::AnyColumns, GemmPlaces, GemmShape, Packed, Precision};
use lstmc_compiler::kernel::Precision::F32;

use super::super::micro::{self, Isa};
use super::super::{WorkQueues, steals};
use super::super::{gemm, gemm_on};
use super::{Case, Columns, NN, NT, Rows, TN, bits, places};

/// What a product writes: C, the sums of B's columns and of squares of C's columns.
#[derive(Clone, PartialEq)]
struct Results {
    c: Vec<f32>,
    sums: Vec<f32>,
    squares: Vec<f32>,
}

/// Of odd widths, and of several blocks of the contraction and of rows.
fn cases() -> Vec<Case> {
    let case = |form, m, n, k, accumulate| Case { form, m, n, k, gap: 3, accumulate, precision: F32 };
    let cases = vec![
        case(NN, 70, 1003, 300, false),
        case(TN, 200, 1100, 90, true),
        case(TN, 180, 301, 730, false),
        // An A that each worker packs for itself.
        Case { gap: 76, ..case(TN, 180, 1100, 90, true) },
    ];
    assert!(cases.iter().all(|case| steals(&case.shape(None, AnyColumns), 2)));
    assert!(!cases.iter().any(|case| steals(&case.shape(None, Columns), 2)));
    cases
}

/// Places in `results`.
fn of(a: &[f32], b: &[f32], results: &mut Results, queues: Option<&WorkQueues>) -> GemmPlaces {
    GemmPlaces {
        right_sums: results.sums.as_mut_ptr(),
        squares: results.squares.as_mut_ptr(),
        queues: queues.map_or(std::ptr::null(), |queues| std::ptr::from_ref(queues).cast()),
        ..places(a, b, &mut results.c)
    }
}

/// Runs `call(worker)` on as many threads at once.
fn at_once(workers: u32, call: impl Fn(u32) + Sync) {
    let start = Barrier::new(workers as usize);
    thread::scope(|scope| {
        for worker in 0..workers {
            let (start, call) = (&start, &call);
            scope.spawn(move || {
                start.wait();
                call(worker);
            });
        }
    });
}

/// What all workers may use at once.
struct Shared(GemmShape, GemmPlaces);

// SAFETY: the workers of a product write different elements of what lies there.
unsafe impl Sync for Shared {}

impl Shared {
    fn run(&self, isa: &'static Isa, worker: u32, workers: u32) {
        // SAFETY: the operands have the lengths that the shape asks for; the queues are for these workers.
        unsafe { gemm_on(isa, &self.0, &self.1, worker, workers) };
    }
}

#[test]
fn who_takes_which_columns_changes_no_bit() {
    for case in cases() {
        let (a, b, c) = case.operands();
        let untouched = Results { c, sums: vec![f32::NAN; case.n], squares: vec![f32::NAN; case.n] };
        let shape = case.shape(None, AnyColumns);
        for isa in micro::available() {
            let mut expected = untouched.clone();
            Shared(shape, of(&a, &b, &mut expected, None)).run(isa, 0, 1);
            let same = |found: &Results, label: &str| {
                let label = format!("{} {case:?}: {label}", isa.name);
                assert_eq!(bits(&found.c), bits(&expected.c), "{label}");
                assert_eq!(bits(&found.sums), bits(&expected.sums), "{label}: sums");
                assert_eq!(bits(&found.squares), bits(&expected.squares), "{label}: squares");
            };
            for workers in [2, 3] {
                let queues = WorkQueues::new(workers as usize);
                for round in 0..3 {
                    let mut found = untouched.clone();
                    let product = Shared(shape, of(&a, &b, &mut found, Some(&queues)));
                    at_once(workers, |worker| product.run(isa, worker, workers));
                    same(&found, &format!("{workers} workers, round {round}"));
                }
                // A worker that is alone does everything, and what it did is not done again.
                let mut found = untouched.clone();
                let product = Shared(shape, of(&a, &b, &mut found, Some(&queues)));
                product.run(isa, 1, workers);
                same(&found, "one of several");
                (0..workers)
                    .filter(|&worker| worker != 1)
                    .for_each(|worker| product.run(isa, worker, workers));
                same(&found, "all, one after the other");
            }
        }
    }
}

/// The rows that are left out are each worker's own columns as before.
#[test]
fn products_of_the_first_rows_share_columns_too() {
    for case in cases().into_iter().filter(|case| !case.accumulate) {
        let (a, b, c) = case.operands();
        let shape = case.shape(None, AnyColumns);
        let rows = if case.form == TN { case.k } else { case.m };
        for count in [1, rows as u32 - 1, rows as u32] {
            let run = |workers, queues: Option<&WorkQueues>| {
                let mut found = c.clone();
                let queues = queues.map_or(std::ptr::null(), |queues| std::ptr::from_ref(queues).cast());
                let product =
                    Shared(shape, GemmPlaces { prefix: &count, queues, ..places(&a, &b, &mut found) });
                at_once(workers, |worker| {
                    let Shared(shape, places) = &product;
                    // SAFETY: the operands have the lengths that the shape asks for; the queues are for these workers.
                    unsafe { gemm(shape, places, worker, workers) };
                });
                bits(&found)
            };
            let expected = run(1, None);
            for workers in [2, 3] {
                let queues = WorkQueues::new(workers as usize);
                for _ in 0..3 {
                    assert_eq!(
                        run(workers, Some(&queues)),
                        expected,
                        "{case:?}: {count} rows, {workers} workers"
                    );
                }
            }
        }
    }
}

/// Those whose columns do not stand alone: with an A that is packed in several passes, or, in turn, with a B that is transposed or packed, in
/// bf16, cut by rows, small, of few rows, of more columns than can be counted.
#[test]
fn other_products_are_cut_once_and_for_all() {
    let case = Case { form: TN, m: 200, n: 1100, k: 90, gap: 3, accumulate: false, precision: F32 };
    let shape = case.shape(None, AnyColumns);
    assert!(steals(&shape, 2) && !steals(&shape, 1));
    let crowded = GemmShape { a_stride: 512, ..shape };
    assert!(steals(&crowded, 2) && steals(&GemmShape { form: NN, ..crowded }, 2));
    let large = GemmShape { m: 20_000, k: 700, ..crowded };
    assert!(!steals(&large, 2) && steals(&GemmShape { a_stride: 20_001, ..large }, 2));
    for other in [
        GemmShape { form: NT, ..shape },
        GemmShape { packed: Packed::F32, ..shape },
        GemmShape { precision: Precision::Bf16, ..shape },
        GemmShape { cut: Rows, ..shape },
        GemmShape { k: 9, ..shape },
        GemmShape { m: 64, k: 9000, ..shape },
        GemmShape { n: 2 << 20, ..shape },
    ] {
        assert!(!steals(&other, 2), "{other:?}");
    }
}
