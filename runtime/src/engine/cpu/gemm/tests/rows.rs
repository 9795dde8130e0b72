//! Rows of a table: adding up those that were looked up, and finding the distinct ones. Rows that stand for products of few.

use lstmc_compiler::backend::cpu::abi::{DistinctShape, Flag, Gather, GemmShape, ScatterShape};
use lstmc_compiler::kernel::Format;

use super::super::{distinct, gemm_on, micro, scatter};
use super::{Case, Columns, F32, NN, Whole, bits, numbers, places};

#[test]
fn scatter_adds_rows_in_order() {
    let (rows, n, stride) = (7, 37, 40);
    let ids = [3u32, 0, 3, 6, 3, 0];
    let first = [0, 1, 0, 3, 0, 1];
    let g = numbers(5, ids.len() * stride);
    let before = numbers(6, rows * n);
    // Zeros and all rows added; what was there and all rows added; sums at the first place of each id.
    for gather in [Gather::Table, Gather::Add, Gather::Combine] {
        let mut expected = if gather == Gather::Add { before.clone() } else { vec![0.0f32; rows * n] };
        for (i, &id) in ids.iter().enumerate() {
            let to = if gather == Gather::Combine { first[i] } else { id as usize };
            for j in 0..n {
                expected[to * n + j] += g[i * stride + j];
            }
        }
        let written = if gather == Gather::Combine { ids.len() * n } else { rows * n };
        for (cut, workers) in [(Whole, 1), (Whole, 2), (Columns, 1), (Columns, 2), (Columns, 5)] {
            let shape = ScatterShape {
                gather,
                count: ids.len() as u32,
                rows: rows as u32,
                n: n as u32,
                g_stride: stride as u32,
                cut,
            };
            let mut table = before.clone();
            for worker in 0..workers {
                // SAFETY: the buffers have the lengths that the shape asks for, and the ids are below `rows`.
                unsafe { scatter(&shape, ids.as_ptr(), g.as_ptr(), table.as_mut_ptr(), worker, workers) };
            }
            let label = format!("gather {gather:?}, cut {cut:?}, {workers} workers");
            assert_eq!(bits(&table[..written]), bits(&expected[..written]), "{label}");
            assert_eq!(bits(&table[written..]), bits(&before[written..]), "{label}: wrote past the rows");
        }
    }
}

#[test]
fn distinct_ids_are_found_in_order_whatever_the_scratch_holds() {
    let rows = 9;
    for ids in [&[3u32, 0, 3, 8, 0, 7, 3][..], &[5; 20], &[8, 7, 6, 5, 4, 3, 2, 1, 0, 0], &[2], &[]] {
        let mut expected: Vec<u32> = vec![];
        ids.iter().for_each(|id| expected.extend((!expected.contains(id)).then_some(*id)));
        // Once more finds what the first time has left in the scratch.
        for _ in 0..2 {
            let shape = DistinctShape { len: ids.len() as u32, rows };
            let (mut places, mut count) = (vec![99; ids.len()], 99);
            let mut found = vec![99; ids.len().min(rows as usize)];
            let (to, at) = (found.as_mut_ptr(), places.as_mut_ptr());
            let (mut ranks, mut present) = (vec![99; rows as usize], vec![9.0; rows as usize]);
            // SAFETY: the buffers have the lengths that the shape asks for, and the ids are below `rows`.
            unsafe {
                let (ranks, present) = (ranks.as_mut_ptr(), present.as_mut_ptr());
                distinct(&shape, ids.as_ptr(), at, to, &mut count, ranks, present);
                let none = (std::ptr::null_mut(), std::ptr::null_mut());
                distinct(&shape, ids.as_ptr(), at, to, &mut count, none.0, none.1);
            };
            assert_eq!(count as usize, expected.len(), "{ids:?}");
            assert_eq!(found[..expected.len()], expected, "{ids:?}");
            for (row, (&rank, &present)) in ranks.iter().zip(&present).enumerate() {
                let place = expected.iter().position(|&id| id as usize == row);
                let known = if place.is_some() { 1.0 } else { 0.0 };
                assert_eq!((rank as usize, present), (place.unwrap_or(0), known), "{ids:?}: row {row}");
            }
            assert!(found[expected.len()..].iter().all(|&id| id == 0), "{ids:?}: {found:?}");
            assert!(places.iter().zip(ids).all(|(&place, id)| found[place as usize] == *id), "{ids:?}");
        }
    }
}

/// A unit that adds up in another order leaves alone what stands for products of few rows.
#[test]
fn rows_that_stand_for_few_have_the_bits_of_few() {
    let all = Case { form: NN, m: 30, n: 70, k: 90, gap: 0, accumulate: false, precision: F32 };
    for isa in micro::available() {
        for format in Format::OF_WEIGHTS {
            let (a, b, mut c) = all.operands();
            let b = all.packed(isa, &b, format, Whole, 1);
            let shape = GemmShape { as_few: Flag::On, ..all.shape(Some(format), Whole) };
            // SAFETY: the operands have the lengths that the shape asks for.
            unsafe { gemm_on(isa, &shape, &places(&a, &b, &mut c), 0, 1) };
            for (row, expected) in c.chunks(all.n).enumerate() {
                let one = GemmShape { m: 1, ..all.shape(Some(format), Whole) };
                let mut c = vec![0.0; all.n];
                // SAFETY: a row of the same operands.
                unsafe { gemm_on(isa, &one, &places(&a[row * all.k..], &b, &mut c), 0, 1) };
                assert_eq!(c, expected, "{}, {format:?}, row {row}", isa.name);
            }
        }
    }
}
