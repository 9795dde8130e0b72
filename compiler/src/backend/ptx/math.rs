//! How elements are multiplied, rounded for it, and what tensor cores are told.

use super::text::{Reg, Writer, list};
use crate::kernel::Precision;

/// How elements are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Math {
    /// Fused multiply-adds.
    F32,
    /// Tensor cores on operands rounded to 10 bits of fraction.
    Tf32,
    /// Tensor cores on operands rounded to 7 bits of fraction.
    Bf16,
}

impl Math {
    pub fn of(precision: Precision) -> Self {
        match precision {
            // Passes leave it to processors that gain from it.
            Precision::F32 | Precision::Bf16x3 | Precision::Bf16x6 => Math::F32,
            Precision::Tf32 => Math::Tf32,
            Precision::Bf16 => Math::Bf16,
        }
    }

    /// Elements of the contraction that are read and multiplied at a time.
    pub fn step(self) -> usize {
        match self {
            Math::F32 => 4,
            Math::Tf32 => 8,
            Math::Bf16 => 16,
        }
    }
}

/// The words of a line as they are multiplied.
pub(super) fn rounded(w: &mut Writer, math: Math, words: Vec<Reg>) -> Vec<Reg> {
    match math {
        Math::F32 => words,
        Math::Tf32 => words.into_iter().map(|word| w.op("cvt.rna.tf32.f32", [word.into()])).collect(),
        // The first operand goes to the upper half.
        Math::Bf16 => {
            words.chunks(2).map(|pair| w.op("cvt.rn.bf16x2.f32", [pair[1].into(), pair[0].into()])).collect()
        }
    }
}

/// Adds to 4 sums of a thread what tensor cores multiply at a time: 16 lines of the left operand by 8 of the right one.
pub(super) fn tensor_product(w: &mut Writer, math: Math, sums: &[Reg], left: &[Reg], right: &[Reg]) {
    let name = match math {
        Math::Bf16 => "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        _ => "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    };
    let sums = list(sums);
    w.line(format_args!("{name} {sums}, {}, {}, {sums}", list(left), list(right)));
}
