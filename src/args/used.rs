//! What several subcommands are told: which trained model is used, and what it runs on.

use std::path::PathBuf;

use clap::Args;
use lstmc_runtime::run_dir::Choice;

use super::numbers::threads;
use super::{Device, checkpoint};

/// A run, and its checkpoint.
#[derive(Debug, Args)]
pub struct Used {
    /// The folder of a run.
    pub run: PathBuf,
    #[arg(long, value_name = "WHICH", default_value = "newest", help = checkpoint::HELP, value_parser = checkpoint::parse)]
    pub checkpoint: Choice,
    /// Use a checkpoint without checksums, as earlier versions and other programs write them.
    #[arg(long)]
    pub accept_unverified: bool,
}

/// What a program runs on.
#[derive(Debug, Args)]
pub struct Processor {
    /// What to run on: cpu, cuda, or one of several GPUs as cuda:1.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = Device::parse)]
    pub device: Device,
    /// Worker threads, no more than there are processors [default: as many as the processor has cores].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
}

impl Processor {
    /// The device, and the number of threads if that was said.
    pub(super) fn said(&self) -> (Device, Option<u16>) {
        (self.device, self.threads)
    }
}
