//! Vector loops as wide as an x86-64 processor's vectors, where Cranelift's have 128 bits.
//!
//! A loop is a [`Body`] of operations on vectors, and becomes a function of its own, which compiled kernels call:
//!
//! ```text
//! loop(frame, from, to)
//! ```
//!
//! over the iterations `from..to`. The frame holds what the loop reads of its surroundings and takes its results; see
//! [`Frame`]. The loop runs in rounds of several vectors, then of one, of which the last may have lanes missing: all by
//! the same operations, so that an element's value does not depend on where it is computed.

mod assembler;
mod body;
mod emit;
mod instructions;
mod registers;

#[cfg(test)]
mod tests;

pub use body::{Body, Operation, Place, Value};
pub use emit::{Loop, compile};
pub use instructions::Width;

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
