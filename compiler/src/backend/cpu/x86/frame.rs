//! The frame: memory in which a loop's function finds its operands and leaves its results.

use super::body::Body;
use super::instructions::Width;

/// Where a loop's function finds its operands, in bytes from the frame's start.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    bases: usize,
    parameters: usize,
    folds: usize,
    vector: usize,
}

impl Frame {
    pub fn of(body: &Body, width: Width) -> Self {
        Self {
            bases: body.bases,
            parameters: body.parameters,
            folds: body.folds.len(),
            vector: width.lanes() * 4,
        }
    }

    /// A pointer, to the element of iteration 0.
    pub fn base(&self, index: usize) -> usize {
        8 * index
    }

    /// The iteration, of 64 bits, before which the caller's stores end, if it goes on where this loop ends.
    pub fn stored(&self) -> usize {
        8 * self.bases
    }

    /// A number of 32 bits.
    pub fn parameter(&self, index: usize) -> usize {
        self.stored() + 8 + 4 * index
    }

    /// A vector of totals, which together are the fold's.
    pub fn fold(&self, index: usize) -> usize {
        self.parameter(self.parameters).next_multiple_of(self.vector) + self.vector * index
    }

    pub fn size(&self) -> usize {
        self.fold(self.folds)
    }
}
