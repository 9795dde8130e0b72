//! The options of `lstmc man`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct Man {
    /// The folder to write all pages into, one for each subcommand [default: the main page to standard output].
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}
