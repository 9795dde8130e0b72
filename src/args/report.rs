//! The options of `lstmc report`.

use std::path::PathBuf;

use clap::Args;

use super::numbers::{threads, whole};

#[derive(Debug, Args)]
pub struct Report {
    /// The folders of the runs; several are compared with the first.
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub runs: Vec<PathBuf>,
    /// The file to write; one that is there is replaced.
    #[arg(long, value_name = "FILE", default_value = "report.html", visible_alias = "output")]
    pub out: PathBuf,
    /// From how many checkpoints of a run to write text, over the whole of its training; 0 leaves it out.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole::<usize, 0>)]
    pub samples: usize,
    /// What that text begins with [default: as the validation text, or the training text].
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// How many tokens follow [default: 60, or 240 characters].
    #[arg(long, value_name = "N", value_parser = whole::<usize, 1>)]
    pub length: Option<usize>,
    /// How many steps of training to measure; 0 leaves it out [default: as many as take a second, and none of a run that is being
    /// trained].
    #[arg(long, value_name = "N", value_parser = whole::<u64, 0>)]
    pub profile: Option<u64>,
    /// The folder that the texts are in [default: where training found them]. Any text in it is read.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Read texts though they are not those that the run was trained with.
    #[arg(long)]
    pub accept_changes: bool,
    /// Use checkpoints without checksums, as earlier versions and other programs write them.
    #[arg(long)]
    pub accept_unverified: bool,
    /// Worker threads, no more than there are processors [default: as many as the processor has cores].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
}
