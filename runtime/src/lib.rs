//! What a compiled lstmc program runs on.
//!
//! The compiler hands out a [`lstmc_compiler::plan::Program`] and a function; this crate gives them a corpus
//! ([`text`]), batches, initial values, memory ([`arena`]), and takes checkpoints. It does all file I/O.

pub mod arena;
pub mod batches;
pub mod error;
pub mod init;
pub mod memory;
pub mod random;
pub mod text;

#[cfg(test)]
mod testing;

pub use error::{Error, Result};
