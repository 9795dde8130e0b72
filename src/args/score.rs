//! `lstmc score`.

use std::path::PathBuf;

use clap::Args;
use lstmc_runtime::run_dir::Choice;

use super::{Device, checkpoint, threads, whole};

#[derive(Debug, Args)]
pub struct Score {
    /// The folder of a run.
    pub run: PathBuf,
    /// Files with a text in each line; - is standard input [default: standard input].
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[arg(long, value_name = "WHICH", default_value = "newest", help = checkpoint::HELP, value_parser = checkpoint::parse)]
    pub checkpoint: Choice,
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
    /// Use a checkpoint without checksums, as earlier versions and other programs write them.
    #[arg(long)]
    pub accept_unverified: bool,
    /// What to run on: cpu, cuda, or one of several GPUs as cuda:1.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = Device::parse)]
    pub device: Device,
    /// Worker threads, no more than there are processors [default: as many as the processor has cores].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
}
