//! Subcommands that look at trained models: `lstmc eval`, `predict` and `compare`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lstmc_runtime::text::Role;

use super::numbers::whole;
use super::{Processor, Used, Weights};

/// A trained model.
#[derive(Debug, Args)]
pub struct Trained {
    #[command(flatten)]
    pub used: Used,
    /// The folder that the texts are in [default: where training found them]. Any text in it is read.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Read a text though it is not one of those that the run was trained with. Without this, it has to be one, or to be
    /// in the folder of --data.
    #[arg(long)]
    pub accept_changes: bool,
    #[command(flatten)]
    pub on: Processor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Split {
    Train,
    Valid,
    Test,
}

impl Split {
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Valid => "validation",
            Self::Test => "test",
        }
    }

    pub fn role(self) -> Role {
        match self {
            Self::Train => Role::Train,
            Self::Valid => Role::Valid,
            Self::Test => Role::Test,
        }
    }
}

#[derive(Debug, Args)]
pub struct Eval {
    #[command(flatten)]
    pub trained: Trained,
    /// Which text [default: test, or the last one that the model has].
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// What to round the weights to; several, with commas between them, are compared.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "f32")]
    pub weights: Vec<Weights>,
}

#[derive(Debug, Args)]
pub struct Compare {
    /// The folders of the runs; the others are compared with the first.
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub runs: Vec<PathBuf>,
    /// Print one JSON object a run.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Predict {
    #[command(flatten)]
    pub trained: Trained,
    /// Which text [default: test, or the last one that the model has].
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// How many predictions to show.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole::<u32, 1>)]
    pub count: u32,
    /// Show the K most likely words of each place too.
    #[arg(long, value_name = "K", value_parser = whole::<u32, 1>)]
    pub top_k: Option<u32>,
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub json: bool,
}
