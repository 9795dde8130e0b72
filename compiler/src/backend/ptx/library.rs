//! Products that NVIDIA's library may compute in place of a kernel of ours, where there is one on the machine.
//!
//! A launch is described where all that its kernel does is one product, and where the target says that the library may be faster.
//! The kernel is written all the same: it is what runs where the library is not.

use crate::kernel::{Form, Gemm, Matrix, Precision, Rounds};
use crate::target::LibraryProducts;

/// `C = op(A) @ op(B)`, or `C += op(A) @ op(B)`, of matrices in the arena. `op` transposes A where the form is TN and B where it is
/// NT: `op(A)` is `[m, k]`, `op(B)` is `[k, n]`, and C is `[m, n]`. C overlaps neither A nor B.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    pub form: Form,
    /// What A and B are rounded to before they are multiplied: never [`Precision::F32`]. Sums are `f32`.
    pub precision: Precision,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Placed,
    pub b: Placed,
    pub c: Placed,
    /// Whether the product is added to what C holds. If not, C may hold anything.
    pub accumulate: bool,
}

/// A matrix of `f32` as it lies in the arena, row after row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Bytes from the arena's beginning to the first element.
    pub offset: usize,
    /// Rows, and elements of each.
    pub rows: usize,
    pub columns: usize,
    /// Elements from a row to the next, at least as many as a row has.
    pub stride: usize,
}

impl Product {
    /// What a launch of this product does; none if that is more than a product, or if the library is not worth asking. The product is
    /// outside time loops.
    pub(super) fn of(gemm: &Gemm, offsets: &[usize], library: &LibraryProducts) -> Option<Self> {
        let &Gemm { form, precision, m, n, k, accumulate, .. } = gemm;
        let is_plain = gemm.prefix.is_none() && gemm.parts == 1 && gemm.rounds == Rounds::All;
        if !is_plain || precision == Precision::F32 || !library.is_worth([m, n, k]) {
            return None;
        }
        let placed = |matrix: &Matrix, [rows, columns]: [usize; 2]| {
            let Matrix { at, stride } = matrix;
            assert!(at.terms.is_empty(), "internal error: a matrix that moves outside time loops");
            let offset = offsets[at.buffer.0 as usize] + 4 * at.offset;
            let starts_aligned =
                [offset, 4 * stride].iter().all(|bytes| bytes.is_multiple_of(library.alignment));
            starts_aligned.then_some(Placed { offset, rows, columns, stride: *stride })
        };
        let a = placed(&gemm.a, if form == Form::TN { [k, m] } else { [m, k] })?;
        let b = placed(&gemm.b, if form == Form::NT { [n, k] } else { [k, n] })?;
        let c = placed(&gemm.c, [m, n])?;
        Some(Self { form, precision, m, n, k, a, b, c, accumulate })
    }
}
