//! Rows that go to a table by id: the gradient of a table lookup, and its update.

use std::ops::Range;

use lstmc_compiler::backend::cpu::abi::{Cut, ScatterShape};
use lstmc_compiler::kernel::{Gather, Scatter};

use super::{range, scratch};

/// Elements of scratch that a worker needs: where each id was first.
pub fn scratch(scatter: &Scatter) -> usize {
    if scatter.gather == Gather::Combine { scatter.rows } else { 0 }
}

/// One worker's columns of the operands.
struct Rows {
    shape: ScatterShape,
    ids: *const u32,
    g: *const f32,
    table: *mut f32,
    columns: Range<usize>,
}

/// Adds or combines rows by id, in the worker's columns; see [`lstmc_compiler::kernel::Scatter`].
///
/// # Safety
/// `ids` must hold `count` numbers below `rows`, `g` and `table` be valid for the elements that `shape` says; otherwise
/// as [`super::gemm`].
pub unsafe extern "C" fn scatter(
    shape: *const ScatterShape,
    ids: *const u32,
    g: *const f32,
    table: *mut f32,
    worker: u32,
    workers: u32,
) {
    // SAFETY: the caller passes a valid shape.
    let shape = unsafe { *shape };
    let columns = range(shape.n as usize, shape.cut, Cut::Columns, worker, workers);
    if columns.is_empty() {
        return;
    }
    let rows = Rows { shape, ids, g, table, columns };
    // SAFETY: the caller's promises are the callees'.
    unsafe {
        match Gather::from(shape.gather) {
            Gather::Combine => rows.combine(),
            Gather::Add => rows.add(),
            Gather::Table => {
                (0..shape.rows as usize).for_each(|row| rows.row(row).fill(0.0));
                rows.add();
            }
        }
    }
}

impl Rows {
    /// # Safety
    /// `row` is below the table's rows, and no other slice of it lives.
    #[allow(clippy::mut_from_ref)]
    unsafe fn row(&self, row: usize) -> &mut [f32] {
        let at = row * self.shape.n as usize + self.columns.start;
        // SAFETY: the columns lie within the row, and are this worker's alone.
        unsafe { std::slice::from_raw_parts_mut(self.table.add(at), self.columns.len()) }
    }

    /// # Safety
    /// `i` is below `count`.
    unsafe fn id_and_row(&self, i: usize) -> (usize, &[f32]) {
        let at = i * self.shape.g_stride as usize + self.columns.start;
        // SAFETY: `ids` holds `count` ids and `g` as many rows.
        let (id, row) = unsafe {
            (*self.ids.add(i) as usize, std::slice::from_raw_parts(self.g.add(at), self.columns.len()))
        };
        debug_assert!(id < self.shape.rows as usize, "id {id} is outside {} rows", self.shape.rows);
        (id, row)
    }

    /// `table[ids[i]] += g[i]`
    ///
    /// # Safety
    /// As [`scatter`].
    unsafe fn add(&self) {
        for i in 0..self.shape.count as usize {
            // SAFETY: `i` is below `count`, and the id below the table's rows.
            unsafe {
                let (id, row) = self.id_and_row(i);
                add(self.row(id), row);
            }
        }
    }

    /// The sum of each id's rows at its first place, zero at the others.
    ///
    /// # Safety
    /// As [`scatter`].
    unsafe fn combine(&self) {
        scratch::with(self.shape.rows as usize, |memory| {
            // SAFETY: the scratch has as many elements as ids can be, and any bits are a number.
            let places: &mut [u32] =
                unsafe { std::slice::from_raw_parts_mut(memory.cast(), self.shape.rows as usize) };
            // One more than where an id was first, 0 for not yet.
            places.fill(0);
            for i in 0..self.shape.count as usize {
                // SAFETY: `i` is below `count`, which is as many rows as the table has, and so is an earlier place.
                unsafe {
                    let (id, row) = self.id_and_row(i);
                    match places[id] {
                        0 => {
                            places[id] = i as u32 + 1;
                            self.row(i).copy_from_slice(row);
                        }
                        first => {
                            self.row(i).fill(0.0);
                            add(self.row(first as usize - 1), row);
                        }
                    }
                }
            }
        });
    }
}

fn add(sums: &mut [f32], row: &[f32]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += value;
    }
}
