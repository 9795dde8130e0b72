//! How the processes of one training work together.

use clap::{Args, ValueEnum};
use lstmc_runtime::exchange::Precision;

use super::numbers::whole;

#[derive(Clone, Copy, Debug, Args)]
pub struct Ranks {
    /// What shards' gradients are rounded to when they are added up; what bf16 takes away is added the next time.
    #[arg(long, value_enum, default_value = "f32")]
    pub gradients: Gradients,
    /// After how many seconds without an answer another process is given up.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = whole::<u32, 1>)]
    pub deadline: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Gradients {
    F32,
    /// Half the bytes to send.
    Bf16,
}

impl From<Gradients> for Precision {
    fn from(gradients: Gradients) -> Self {
        match gradients {
            Gradients::F32 => Precision::F32,
            Gradients::Bf16 => Precision::Bf16,
        }
    }
}
