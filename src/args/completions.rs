//! The options of `lstmc completions`.

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub struct Completions {
    /// Whose script to write.
    #[arg(value_enum)]
    pub shell: Shell,
}
