//! One file for each subcommand.

pub mod check;
pub mod compare;
pub mod completions;
pub mod emit;
pub mod eval;
pub mod export;
pub mod fmt;
pub mod generate;
pub mod gradcheck;
pub mod import;
pub mod init;
pub mod man;
pub mod predict;
pub mod profile;
pub mod report;
pub mod score;
pub mod train;
