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
mod disassembly;
mod emit;
mod frame;
mod instructions;
pub mod product;
mod registers;

#[cfg(test)]
mod tests;

pub use body::{Body, Operation, Place, Value};
pub use emit::{Loop, compile};
pub use frame::Frame;
pub use instructions::Width;
