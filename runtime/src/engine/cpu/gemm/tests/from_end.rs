//! Products that read B from its end.

use lstmc_compiler::backend::cpu::abi::{Cut, Flag, GemmShape};
use lstmc_compiler::kernel::Precision::F32;

use super::super::{gemm_on, micro, parts_on};
use super::{Case, Columns, NN, NT, Rows, Whole, bits, places};

/// Of A and B, all steps of the contraction in the opposite order.
fn mirrored(case: &Case, a: &[f32], b: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut a = a.to_vec();
    for row in a.chunks_mut(case.k + case.gap) {
        row[..case.k].reverse();
    }
    let b = b.chunks(case.n + case.gap).rev().flatten().copied().collect();
    (a, b)
}

/// NN adds up as if A and B lay the other way round. In NT no sum changes.
#[test]
fn sums_begin_at_the_end() {
    for (form, m, n, k) in
        [(NN, 1, 300, 90), (NN, 3, 70, 1500), (NN, 2, 2100, 40), (NT, 1, 50, 130), (NT, 4, 33, 257)]
    {
        for accumulate in [false, true] {
            let case = Case { form, m, n, k, gap: 3, accumulate, precision: F32 };
            let (a, b, c) = case.operands();
            let (mirrored_a, mirrored_b) =
                if form == NT { (a.clone(), b.clone()) } else { mirrored(&case, &a, &b) };
            let plain = case.shape(None, Whole);
            for isa in micro::available() {
                let mut expected = c.clone();
                let places = places(&mirrored_a, &mirrored_b, &mut expected);
                // SAFETY: the operands have the lengths that the shape asks for.
                unsafe { gemm_on(isa, &plain, &places, 0, 1) };
                for (cut, workers) in [(Whole, 1), (Rows, 2), (Columns, 2), (Columns, 3)] {
                    let mut found = c.clone();
                    let places = super::places(&a, &b, &mut found);
                    let shape = GemmShape { from_end: Flag::On, cut, ..plain };
                    for worker in 0..workers {
                        // SAFETY: as above.
                        unsafe { gemm_on(isa, &shape, &places, worker, workers) };
                    }
                    let label = format!("{} {case:?}: cut {cut:?}, {workers} workers", isa.name);
                    assert_eq!(bits(&found), bits(&expected), "{label}");
                }
            }
        }
    }
}

/// Each part is read from its own end, on any worker.
#[test]
fn parts_begin_at_their_ends() {
    let case = Case { form: NN, m: 2, n: 90, k: 96, gap: 0, accumulate: false, precision: F32 };
    let (a, b, c) = case.operands();
    let shape = GemmShape { from_end: Flag::On, parts: 2, ..case.shape(None, Whole) };
    for isa in micro::available() {
        let mut expected = vec![];
        for part in [0, 1] {
            let mut c = c.clone();
            let places = places(&a[48 * part..], &b[48 * 90 * part..], &mut c);
            let shape = GemmShape { k: 48, parts: 1, ..shape };
            // SAFETY: the operands have the lengths that the shape asks for.
            unsafe { gemm_on(isa, &shape, &places, 0, 1) };
            expected.extend(c);
        }
        for workers in [1, 2, 3] {
            let mut found = c.repeat(2);
            let places = places(&a, &b, &mut found);
            for worker in 0..workers {
                // SAFETY: as above, and C has as many parts.
                unsafe { parts_on(isa, &GemmShape { cut: Cut::Parts, ..shape }, &places, worker, workers) };
            }
            assert_eq!(bits(&found), bits(&expected), "{} {case:?}: {workers} workers", isa.name);
        }
    }
}
