//! What a compiled lstmc program runs on, and trained models for Rust programs.
//!
//! # A trained model
//!
//! [`Run::open`] opens a run that `lstmc train` has made. It says what comes next, how likely a text is, and writes:
//!
//! ```no_run
//! use lstmc_runtime::Run;
//! use lstmc_runtime::run::Writing;
//! use lstmc_runtime::run_dir::Choice;
//!
//! # fn main() -> lstmc_runtime::Result<()> {
//! let mut run = Run::open("runs/aesop")?;
//! for (word, probability) in run.next_probabilities("had a general")?.top(3) {
//!     println!("{word} {probability:.3}");
//! }
//! let scored = run.score("then the old mouse said it is easy")?;
//! println!("{} nats, perplexity {:?}", scored.log_probability, scored.perplexity);
//! let written = run.generate("had a general", &Writing { length: 20, stop: vec![".".into()], ..Writing::default() })?;
//! println!("had a general{}", written.text);
//!
//! // Another checkpoint of it, or of another run, may be open at once.
//! let mut best = Run::options().checkpoint(Choice::Best).threads(1).open("runs/ptb-small")?;
//! for scored in best.score_all(&["the company said", "the said company"], 0)? {
//!     println!("{}", scored.log_probability);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What a run's files, a text or the machine can cause is an [`Error`]. `examples/use_a_run.rs` trains a small model and uses it so.
//! These are what stays as it is from version to version: [`Run`] and [`run`], [`run_dir::Choice`], [`sample::Sampler`],
//! [`text::Vocabulary`], [`text::Tokenizer`] and [`Error`]. What follows are the parts that the command is made of.
//!
//! # What it does
//!
//! The compiler hands out a [`lstmc_compiler::plan::Verified`] program and its machine code, or its PTX; this crate does all the rest:
//!
//! ```text
//! text, batches, reading   corpora and vocabularies, which tokens are in which batch of training, of evaluation
//! init                     where parameters start
//! engine                   a running program as the others see it; engine/cpu: compiled code on the processor
//! train, evaluate, score, generate, sample, monitor    the loops: what is fed to each step, and what is read from it
//! continuation             what is written, as text
//! run                      all of it for a trained model
//! exchange                 how several processes train one model together
//! memory, feed             what the machine has left, steps for measuring
//! checkpoint, run_dir, lock    what a run leaves on the disk, and who may write it
//! patience                 what its validations have found: the best one, and when to stop
//! files, folder            how it is written, and that it stays in the run's folder
//! export, tensorboard      files for other programs
//! ```
//!
//! It does all file I/O. `unsafe` is in `engine` and `exchange` only. In `exchange`: `shared` (a program's memory), and `mpi`. In `engine/cpu`: `arena` (typed views of one block), `session` (calling
//! compiled code, and its callbacks), `gemm`, `machine` (its arithmetic), and `workers` (the processor's floating-point mode). In
//! `engine/cuda`: `driver` and `cublaslt` (what NVIDIA has written).

pub mod batches;
pub mod checkpoint;
pub mod continuation;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod exchange;
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
pub mod run;
pub mod run_dir;
pub mod sample;
pub mod score;
mod tensorboard;
pub mod text;
pub mod train;
pub mod weights;

#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use run::Run;
