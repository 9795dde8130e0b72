//! Products whose contraction is cut into parts.

use lstmc_compiler::backend::cpu::abi::{Cut::Parts, GemmShape};
use lstmc_compiler::kernel::PANEL;
use lstmc_compiler::kernel::Precision::F32;
use lstmc_compiler::kernel::chunk;

use super::super::gemm;
use super::{Case, Columns, NN, Rows, Whole, bits, places};

/// Each part is the product of its columns of A and rows of B, to the bit, on any worker.
#[test]
fn parts_are_products_of_their_own() {
    for (m, n, k, parts) in [(1, 70, 200, 4), (3, 33, 90, 3), (2, 1100, 40, 8), (1, 5, 0, 2)] {
        let case = Case { form: NN, m, n, k, gap: 2, accumulate: false, precision: F32 };
        let (a, b, c) = case.operands();
        let one = case.shape(None, Whole);
        let (row, len) = (one.b_stride as usize, c.len());
        let mut expected = vec![];
        for part in 0..parts {
            let deep = chunk(k, part, parts, PANEL);
            let shape = GemmShape { k: deep.len() as u32, ..one };
            let mut c = c.clone();
            let places = places(&a[deep.start..], &b[row * deep.start..], &mut c);
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
