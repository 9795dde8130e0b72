//! `lstmc init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What a model file that is written is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Like {
    /// Of characters.
    Char,
    /// Of words and punctuation.
    Word,
    /// Of words between spaces, as the small model of the Penn Treebank.
    Ptb,
}

#[derive(Debug, Args)]
pub struct Init {
    /// The name of the model: NAME.lstm is written.
    pub name: PathBuf,
    /// The text, or several files of it in their order.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// What the model is to be like [default: characters or words, as suits the text].
    #[arg(long, value_enum)]
    pub like: Option<Like>,
    /// Write over a model file that is there.
    #[arg(long)]
    pub overwrite: bool,
}
