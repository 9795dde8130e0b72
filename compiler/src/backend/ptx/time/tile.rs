//! What a warp multiplies at a time in a time loop: 16 columns of the weight by 8 rows of A, over a block of 16 elements of the
//! contraction.
//!
//! The weight is the left operand of the tensor cores. Of the sums of a tile a thread has those of columns `group` and
//! `group + 8` and of rows `2 * member` and the next.
//!
//! Within a block a thread holds four neighbours in k, which can be read at once: the tensor cores do not mind in which order both
//! operands have the contraction.

use super::super::math::{Math, rounded, tensor_product};
use super::super::scope::{Scope, THREADS, WARP};
use super::super::text::{Pred, Reg, Wide, Writer};
use crate::kernel::Gemm;

pub(super) const WARPS: usize = THREADS / WARP;

/// Elements of the contraction that a warp multiplies at a time.
pub(super) const BLOCK: usize = 16;

/// Columns of the weight and rows of A in a tile.
pub(super) const TILE: [usize; 2] = [16, 8];

/// Four neighbours in the contraction of one row or column; a thread's sums in a tile.
pub(super) type Four = [Reg; 4];

/// Where a thread stands: its warp, the quarter of its lane, and its place in that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub warp: Reg,
    pub group: Reg,
    pub member: Reg,
}

impl Lane {
    pub fn new(scope: &mut Scope) -> Self {
        let (warp, lane) = (scope.warp(), scope.lane());
        let w = &mut scope.w;
        let group = w.op("shr.u32", [lane.into(), 2.into()]);
        Self { warp, group, member: w.op("and.b32", [lane.into(), 3.into()]) }
    }
}

/// Registers that a thread's part of the left operand takes.
pub(super) fn operand_registers(math: Math) -> usize {
    match math {
        Math::F32 | Math::Tf32 => 8,
        Math::Bf16 => 4,
    }
}

/// The left operand, of four elements of both columns of a thread.
pub(super) fn left_operand(w: &mut Writer, math: Math, fours: [Four; 2]) -> Vec<Reg> {
    let [a, b] = fours.map(|four| rounded(w, math, four.to_vec()));
    a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect()
}

/// The four elements of both columns that [`left_operand`] has made an operand of, where nothing is rounded.
pub(super) fn fours_of_operand(operand: &[Reg]) -> [Four; 2] {
    [0, 1].map(|column| [0, 1, 2, 3].map(|k| operand[2 * k + column]))
}

/// The right operand, of four elements of a thread's row.
pub(super) fn right_operand(w: &mut Writer, math: Math, four: &Four) -> Vec<Reg> {
    rounded(w, math, four.to_vec())
}

/// Adds the products of a block to a tile's sums.
pub(super) fn multiply(w: &mut Writer, math: Math, sums: &Four, left: &[Reg], right: &[Reg]) {
    for (left, right) in left.chunks(4).zip(right.chunks(2)) {
        tensor_product(w, math, sums, left, right);
    }
}

/// As [`multiply`] by fused multiply-adds, of four elements of both columns and both rows of a thread.
pub(super) fn multiply_as_it_is(w: &mut Writer, sums: &Four, left: [Four; 2], right: [Four; 2]) {
    for k in 0..4 {
        for (place, &sum) in sums.iter().enumerate() {
            let (x, y) = (left[place / 2][k], right[place % 2][k]);
            w.assign(sum, "fma.rn.f32", [x.into(), y.into(), sum.into()]);
        }
    }
}

/// Four words of memory, zeros where there is nothing. `at` gives the address of one of them, in brackets, and whether there is
/// such a word. If they are read at once, at a multiple of 16 bytes, only the first is asked for.
pub(super) fn four_words(
    w: &mut Writer,
    at_once: bool,
    mut at: impl FnMut(&mut Writer, usize) -> (String, Pred),
) -> Four {
    let count = if at_once { 4 } else { 1 };
    let read = (0..4).step_by(count).flat_map(|next| {
        let (from, is_one) = at(w, next);
        w.load_global_if(is_one, &from, count)
    });
    let words: Vec<Reg> = read.collect();
    [words[0], words[1], words[2], words[3]]
}

/// Stores a sum at a row and column of C, or adds it to what is there.
pub(super) fn store_sum(
    w: &mut Writer,
    gemm: &Gemm,
    c: Wide,
    [row, column]: [Reg; 2],
    is_one: Pred,
    sum: Reg,
) {
    let element = w.mad(row, gemm.c.stride as u32, column);
    let to = format!("[{}]", w.element(c, element));
    let result = if gemm.accumulate {
        let before = w.load_global_if(is_one, &to, 1)[0];
        w.op("add.rn.f32", [before.into(), sum.into()])
    } else {
        sum
    };
    w.store_global_if(is_one, &to, &[result]);
}
