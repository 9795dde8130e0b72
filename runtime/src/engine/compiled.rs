//! A model compiled for this processor, for programs that do not say how.

use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;

use super::Engine;
use super::cpu::{self, Executable, Session, workers};
use crate::error::Result;

/// A model compiled for a purpose and in its memory, on up to `threads` worker threads, or as many as the processor has cores; on
/// one where more would not help. They are not pinned: there may be several such programs.
///
/// # Errors
/// The machine cannot run compiled code, or does not have enough memory.
pub fn compiled(model: &Model, purpose: Purpose, threads: Option<usize>) -> Result<Box<dyn Engine>> {
    let most = threads.map_or_else(workers::default_workers, |count| count.min(workers::most_workers()));
    let program = pipeline::program_up_to(model, purpose, Format::F32, &cpu::target(most));
    Ok(Box::new(Session::new(Executable::compile(program)?)?))
}
