//! `lstmc score`.

use std::path::PathBuf;

use clap::Args;

use super::numbers::whole;
use super::{Processor, Used};

#[derive(Debug, Args)]
pub struct Score {
    #[command(flatten)]
    pub used: Used,
    /// Files with a text in each line; - is standard input [default: standard input].
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Score each file as one text, with the state carried from line to line.
    #[arg(long)]
    pub whole: bool,
    /// Show each scored token with its probability.
    #[arg(long)]
    pub tokens: bool,
    /// Show each scored token, and the K most likely ones in its place.
    #[arg(long, value_name = "K", value_parser = whole::<u32, 1>)]
    pub top_k: Option<u32>,
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub on: Processor,
}
