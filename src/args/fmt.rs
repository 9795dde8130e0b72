//! The options of `lstmc fmt`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct Fmt {
    /// Model files, or folders of them; - formats standard input into standard output [default: the files in this folder that
    /// end in .lstm].
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Change nothing: show what would be changed, and exit with 1 if that is anything.
    #[arg(long)]
    pub check: bool,
}
