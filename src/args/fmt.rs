//! The options of `lstmc fmt`.

use std::path::PathBuf;

use clap::Args;

/// What the help ends with.
pub(super) const EXAMPLES: &str = "Examples:\n  lstmc fmt story.lstm\n  lstmc fmt models --check\n  lstmc fmt -\n\n\
    Only white space is changed. Where a statement goes on in the next line it still does; in a block of several lines each \
    statement has its own. A file with errors is left as it is.";

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
