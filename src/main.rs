//! The `lstmc` command: arguments in, tables and progress out.
//!
//! Exit codes: 0 done, 1 an error in the model, the data or the machine, 2 wrong usage, 130 stopped by Ctrl-C.

mod args;
mod commands;
mod compile;
mod gradients;
mod profile;
mod progress;
mod project;
mod show;
mod terminal;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::Parser;

use crate::args::{Cli, Command};
use crate::compile::Refused;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        // Whoever reads our output, such as `head`, has had enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = match error.downcast_ref::<Refused>() {
                Some(refused) => refused.to_string(),
                None => format!("error: {error:#}"),
            };
            // There is nowhere left to say that this failed.
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Train(args) => commands::train::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Emit(args) => commands::emit::run(&args),
        Command::Profile(args) => commands::profile::run(&args),
        Command::Gradcheck(args) => commands::gradcheck::run(&args),
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == ErrorKind::BrokenPipe)
}
