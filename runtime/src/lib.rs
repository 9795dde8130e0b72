//! What a compiled lstmc program runs on.
//!
//! The compiler hands out a [`lstmc_compiler::plan::Program`] and its machine code; this crate does all the rest:
//!
//! ```text
//! text, batches, reading   corpora and vocabularies, which tokens are in which batch of training, of evaluation
//! init                     where parameters start
//! arena, memory            a program's buffers by name and role
//! gemm                     the products that compiled code calls
//! workers                  the threads that run it
//! session                  compiled code with its arena, its workers and the host's part of each step
//! train, evaluate, generate, sample, monitor    the loops: what is fed to each step, and what is read from it
//! machine, marks, feed     what the machine can do, what the parts of a step take, steps for measuring
//! checkpoint, run_dir, lock    what a run leaves on the disk, and who may write it
//! ```
//!
//! It does all file I/O. `unsafe` is in `arena` (typed views of one block), `session` (calling compiled code, and its
//! callbacks), `gemm`, `machine` (its arithmetic), and `workers` (the processor's floating-point mode).

pub mod arena;
pub mod batches;
pub mod checkpoint;
pub mod error;
pub mod evaluate;
pub mod feed;
mod files;
pub mod gemm;
pub mod generate;
pub mod init;
mod lock;
pub mod machine;
pub mod marks;
pub mod memory;
pub mod monitor;
mod pages;
pub mod random;
pub mod reading;
pub mod run_dir;
pub mod sample;
pub mod session;
pub mod text;
pub mod train;
pub mod workers;

#[cfg(test)]
mod testing;

pub use error::{Error, Result};
