//! `lstmc completions`: what a shell completes a command line with.

use std::process::ExitCode;

use anyhow::Result;
use clap_complete::generate;

use crate::args::{self, Completions};
use crate::terminal;

pub fn run(args: &Completions) -> Result<ExitCode> {
    let mut script = vec![];
    generate(args.shell, &mut args::command(), args::NAME, &mut script);
    terminal::print(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}
