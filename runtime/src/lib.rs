//! What a compiled lstmc program runs on.
//!
//! The compiler hands out a [`lstmc_compiler::plan::Verified`] program and its machine code, or its PTX; this crate does all the rest:
//!
//! ```text
//! text, batches, reading   corpora and vocabularies, which tokens are in which batch of training, of evaluation
//! init                     where parameters start
//! engine                   a running program as the others see it; engine/cpu: compiled code on the processor
//! train, evaluate, generate, sample, monitor    the loops: what is fed to each step, and what is read from it
//! memory, feed             what the machine has left, steps for measuring
//! checkpoint, run_dir, lock    what a run leaves on the disk, and who may write it
//! patience                 what its validations have found: the best one, and when to stop
//! files, folder            how it is written, and that it stays in the run's folder
//! export                   files for other programs
//! ```
//!
//! It does all file I/O. `unsafe` is in `engine` only. In `engine/cpu`: `arena` (typed views of one block), `session` (calling
//! compiled code, and its callbacks), `gemm`, `machine` (its arithmetic), and `workers` (the processor's floating-point mode). In
//! `engine/cuda`: `driver` and `cublaslt` (what NVIDIA has written).

pub mod batches;
pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod feed;
mod files;
mod folder;
pub mod generate;
pub mod init;
mod lock;
pub mod memory;
pub mod monitor;
pub mod patience;
pub mod random;
pub mod reading;
pub mod run_dir;
pub mod sample;
pub mod text;
pub mod train;

#[cfg(test)]
mod testing;

pub use error::{Error, Result};
