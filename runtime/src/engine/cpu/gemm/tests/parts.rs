//! Products whose contraction is cut into parts.

use lstmc_compiler::backend::cpu::abi::{Cut::Parts, GemmShape};
use lstmc_compiler::kernel::PANEL;
use lstmc_compiler::kernel::Precision::{Bf16, F32};
use lstmc_compiler::kernel::chunk;

use super::super::gemm;
use super::{Case, Columns, NN, NT, Rows, TN, Whole, bits, places};

/// Each part is the product of its columns of A and rows of B, as they are multiplied, to the bit, on any worker.
#[test]
fn parts_are_products_of_their_own() {
    let cases = [
        (NN, F32, 1, 70, 200, 4),
        (NN, F32, 3, 33, 90, 3),
        (NN, F32, 2, 1100, 40, 8),
        (NN, F32, 1, 5, 0, 2),
        (NN, Bf16, 20, 33, 90, 3),
        (NT, F32, 20, 33, 90, 3),
        (NT, F32, 2, 70, 200, 4),
        (TN, F32, 20, 33, 90, 3),
        (TN, Bf16, 3, 70, 200, 4),
    ];
    for (form, precision, m, n, k, parts) in cases {
        let case = Case { form, m, n, k, gap: 2, accumulate: false, precision };
        let (a, b, c) = case.operands();
        let one = case.shape(None, Whole);
        let len = c.len();
        let [a_apart, b_apart] = one.along();
        let mut expected = vec![];
        for part in 0..parts {
            let deep = chunk(k, part, parts, PANEL);
            let shape = GemmShape { k: deep.len() as u32, ..one };
            let mut c = c.clone();
            let places = places(&a[a_apart * deep.start..], &b[b_apart * deep.start..], &mut c);
            // SAFETY: the operands have the lengths that the shape asks for.
            unsafe { gemm(&shape, &places, 0, 1) };
            expected.extend(c);
        }
        for (cut, workers) in
            [(Whole, 1), (Whole, 2), (Rows, 2), (Columns, 3), (Parts, 1), (Parts, 2), (Parts, 3)]
        {
            let mut found = c.repeat(parts);
            let shape = GemmShape { parts: parts as u32, cut, ..one };
            let places = places(&a, &b, &mut found);
            for worker in 0..workers {
                // SAFETY: as above, and C has as many parts.
                unsafe { gemm(&shape, &places, worker, workers) };
            }
            assert_eq!(found.len(), parts * len);
            assert_eq!(bits(&found), bits(&expected), "{case:?}: cut {cut:?}, {workers} workers");
        }
    }
}
