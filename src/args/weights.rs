//! What weights are rounded to.

use clap::ValueEnum;
use lstmc_compiler::kernel::Format;

/// What weights are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// As they were trained.
    F32,
    /// Half the memory: eight significant bits.
    Bf16,
    /// A quarter of the memory: whole numbers up to 127, and a scale for each output of a layer.
    Int8,
}

impl From<Weights> for Format {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::F32 => Format::F32,
            Weights::Bf16 => Format::Bf16,
            Weights::Int8 => Format::Int8,
        }
    }
}
