//! Every way of a product, in blocks for every size of caches, bit for bit against one of them.

use std::ptr::from_ref;

use lstmc_compiler::backend::cpu::abi::{Cut, GemmPlaces, GemmShape};
use lstmc_compiler::kernel::Format;

use super::super::driver::{self, Lies};
use super::super::limits::Limits;
use super::super::micro::{self, Isa, Operands};
use super::super::product::Layout;
use super::super::ways::{self, Way};
use super::super::{Blocking, WorkQueues, gemm_in, gemm_on, steals};
use super::{Bf16, Case, F32, NN, NT, Rows, TN, Whole, bits, places};
use crate::engine::cpu::caches::{Cache, Caches};

/// For caches from smaller to larger than any processor's, and for one in which no A fits.
fn all_limits() -> Vec<Limits> {
    let of = |second, third| {
        let cache = |bytes| Cache { bytes, sharing: 1 };
        Limits::of(&Caches { first: cache(32 << 10), second: cache(second), third: Some(cache(third)) }, true)
    };
    let none_fits = Limits { packed_left: 2000, cached_weight: 1000, ..of(0, 0) };
    vec![Limits::of(&Caches::USUAL, true), of(0, 0), of(usize::MAX, usize::MAX), none_fits]
}

fn all_blockings(limits: &[Limits]) -> Vec<Blocking<'_>> {
    let of = |limits| Way::all().map(move |way| Blocking { limits, way: Some(way) });
    limits.iter().flat_map(of).collect()
}

/// What a product writes: C, the sums of B's columns and of squares of C's columns, the latter where they can be had.
#[derive(Clone)]
struct Results {
    c: Vec<f32>,
    sums: Vec<f32>,
    squares: Vec<f32>,
    queues: Option<*const WorkQueues>,
}

impl Results {
    fn bits(&self) -> [Vec<u32>; 3] {
        [&self.c, &self.sums, &self.squares].map(|x| bits(x))
    }

    fn places(&mut self, a: &[f32], b: &[f32], shape: &GemmShape) -> GemmPlaces {
        let null = std::ptr::null_mut();
        let sums = shape.form != NT && shape.packed.format().is_none() && shape.precision == F32.into();
        GemmPlaces {
            right_sums: if sums { self.sums.as_mut_ptr() } else { null },
            squares: if shape.cut == Rows { null } else { self.squares.as_mut_ptr() },
            queues: self.queues.map_or(null.cast_const().cast(), <*const _>::cast),
            ..places(a, b, &mut self.c)
        }
    }
}

/// What all workers of a product write, one after the other: of those that share columns the first one does most.
fn run(
    (case, isa, blocking): (&Case, &'static Isa, Option<Blocking>),
    b: &[f32],
    shape: &GemmShape,
    workers: u32,
) -> [Vec<u32>; 3] {
    let (a, _, c) = case.operands();
    let queues = WorkQueues::new(workers as usize);
    let shares = steals(shape, workers);
    let (sums, squares) = (vec![0.5; case.n + 16], vec![0.5; case.n]);
    let mut results = Results { c, sums, squares, queues: shares.then_some(from_ref(&queues)) };
    let places = results.places(&a, b, shape);
    for worker in 0..workers {
        // SAFETY: the operands have the lengths that the shape asks for.
        unsafe {
            match blocking {
                Some(blocking) => gemm_in(isa, blocking, shape, &places, worker, workers),
                None => gemm_on(isa, shape, &places, worker, workers),
            }
        }
    }
    let mut bits = results.bits();
    if shape.cut == Rows {
        bits[2].clear();
    }
    // What lies past the last column's sum is not the product's.
    bits[1].truncate(case.n);
    bits
}

#[test]
fn no_way_and_no_cache_changes_a_bit() {
    let case = |form, m, n, k, precision| Case { form, m, n, k, gap: 3, accumulate: m % 2 == 0, precision };
    let cases = [
        case(NN, 70, 1203, 300, F32),
        case(TN, 200, 1100, 90, F32),
        case(TN, 181, 301, 1430, F32),
        case(NT, 90, 600, 790, F32),
        case(NN, 20, 700, 730, F32),
        case(NN, 130, 300, 730, Bf16),
        case(TN, 70, 300, 90, Bf16),
        // Columns of A that lie badly.
        Case { gap: 56, ..case(TN, 200, 1100, 90, F32) },
    ];
    let limits = all_limits();
    for case in &cases {
        for isa in micro::available() {
            for packed in [None, Some(Format::from(case.precision))] {
                if packed.is_some() && case.form == TN {
                    continue;
                }
                check(case, isa, packed, &all_blockings(&limits));
            }
        }
    }
}

fn check(case: &Case, isa: &'static Isa, packed: Option<Format>, blockings: &[Blocking]) {
    let mut b = case.operands().1;
    if let Some(format) = packed {
        b = case.packed(isa, &b, format, Whole, 1);
    }
    let cuts = [(Whole, 1), (Rows, 3), (Cut::AnyColumns, 2)];
    let expected = run((case, isa, Some(blockings[0])), &b, &case.shape(packed, Whole), 1);
    for (cut, workers) in cuts {
        let shape = case.shape(packed, cut);
        // The others are the same as these.
        let differs = |way: Way| if packed.is_some() { !way.wide } else { !way.tall };
        for blocking in blockings.iter().filter(|blocking| blocking.way.is_some_and(differs)) {
            let found = run((case, isa, Some(*blocking)), &b, &shape, workers);
            let label = format!("{} {case:?} {packed:?}, {cut:?}, {blocking:?}", isa.name);
            for (found, expected) in found.iter().zip(&expected).filter(|(found, _)| !found.is_empty()) {
                assert!(found == expected, "{label}");
            }
        }
    }
}

/// The first calls, in which they are tried, and those after them.
#[test]
fn trying_ways_changes_no_bit() {
    let case = Case { form: TN, m: 200, n: 1100, k: 90, gap: 3, accumulate: false, precision: F32 };
    let (isa, shape, b) = (micro::best(), case.shape(None, Whole), case.operands().1);
    assert!(ways::are_tried([shape.m, shape.n, shape.k]));
    let first = run((&case, isa, None), &b, &shape, 1);
    for _ in 0..30 {
        assert!(run((&case, isa, None), &b, &shape, 1) == first);
    }
}

/// Which ways there are, and that what a program's products need has room in any of them.
#[test]
fn a_product_has_the_ways_that_differ() {
    let limits = Limits::of(&Caches::USUAL, true);
    let isa = micro::best();
    let of = |m, n, k, left_step, right| {
        let lies = Lies { left_step, right };
        driver::ways(isa, &limits, Operands::Numbers, (m, n, k), lies).collect::<Vec<_>>()
    };
    let packed = |ways: &[Way]| ways.iter().map(|way| way.packs_left).collect::<Vec<_>>();
    let gradient = of(650, 2600, 700, 650, Layout::Rows);
    assert_eq!((gradient.len(), gradient[0].packs_left), (4, false), "{gradient:?}");
    assert!(of(650, 2600, 700, 512, Layout::Rows)[0].packs_left, "it lies badly");
    assert_eq!(packed(&of(700, 650, 10_000, 1, Layout::Columns)), [false, true]);
    assert_eq!(packed(&of(10, 2600, 650, 1, Layout::Panels)), [false, true]);
    let pairs = driver::ways(
        isa,
        &limits,
        Operands::Rounded,
        (650, 2600, 700),
        Lies { left_step: 650, right: Layout::Rows },
    );
    assert_eq!(pairs.count(), 2, "an A that is rounded is packed");
    let lies = Lies { left_step: 650, right: Layout::Rows };
    let room = |any_way| driver::scratch(isa, Operands::Numbers, (650, 2600, 700), lies, any_way);
    assert!(room(true) >= room(false) + 650 * 700);
}
