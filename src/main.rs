//! The `lstmc` command: arguments in, tables and progress out.
//!
//! Exit codes: 0 done, 1 an error in the model, the data or the machine, 2 wrong usage, 130 stopped by Ctrl-C.

mod about;
mod advice;
mod args;
mod cause;
mod changes;
mod commands;
mod compile;
mod draft;
mod find;
mod gain;
mod gradients;
mod import;
mod known;
mod lines;
mod next;
mod on_gpu;
mod profile;
mod progress;
mod project;
mod pytorch;
mod ranks;
mod report;
mod set;
mod show;
mod start;
mod terminal;
mod transfer;

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::{Error, Result};
use lstmc_compiler::diag::is_command;
use lstmc_runtime::engine::cpu::gemm;

use crate::args::Command;
use crate::compile::{Refused, Unusable};

fn main() -> ExitCode {
    keep_file_limits_errors();
    let command = match args::parse(std::env::args_os()) {
        Ok(cli) => cli.command,
        // What was typed may come from the name of a file, and clap repeats it as it is.
        Err(error) if std::env::args_os().any(|word| word.to_string_lossy().contains(is_command)) => {
            terminal::say(error.to_string().trim_end());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
        Err(error) => return told(&error),
    };
    if let Some(value) = gemm::unknown_unit() {
        let variable = gemm::MATRIX_UNIT_VARIABLE;
        terminal::say(&format!("error: {variable} is `model` or `none`, or not set, not `{value}`"));
        return ExitCode::from(2);
    }
    match run(&command) {
        Ok(code) => code,
        Err(error) => failed(&error, &command),
    }
}

/// Says why a command has failed.
fn failed(error: &Error, command: &Command) -> ExitCode {
    match error.downcast_ref::<Refused>() {
        Some(refused) => terminal::say_rendered(refused),
        None => {
            let advice = advice::of(error, command).map(|advice| format!("; {advice}")).unwrap_or_default();
            terminal::say(&format!("error: {error:#}{advice}"));
        }
    }
    // A device that cannot be used is a wrong option.
    if error.is::<Unusable>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// A write beyond the size that files may have (`ulimit -f`) is an error then, as on a full disk; the signal that comes
/// before it would end the process.
fn keep_file_limits_errors() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, Signal};
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGXFSZ);
        // Threads have the mask of the one that starts them. Without it the limit only ends the command less politely.
        let _ = signals.thread_block();
    }
}

/// What clap has to say: of wrong usage, or the help and the version that were asked for.
fn told(words: &clap::Error) -> ExitCode {
    let written = words.print().and_then(|()| stdout().flush());
    match written.or_else(|error| terminal::unwritable(error).map_err(|error| error.to_string())) {
        Err(error) if !words.use_stderr() => {
            terminal::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(words.exit_code()).unwrap_or(2)),
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Fmt(args) => commands::fmt::run(args),
        Command::Init(args) => commands::init::run(args),
        Command::Import(args) => commands::import::run(args),
        Command::Train(args) => commands::train::run(args, &|error| failed(error, command)),
        Command::Eval(args) => commands::eval::run(args),
        Command::Compare(args) => commands::compare::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Predict(args) => commands::predict::run(args),
        Command::Score(args) => commands::score::run(args),
        Command::Generate(args) => commands::generate::run(args),
        Command::Export(args) => commands::export::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Emit(args) => commands::emit::run(args),
        Command::Profile(args) => commands::profile::run(args),
        Command::Gradcheck(args) => commands::gradcheck::run(args),
        Command::Completions(args) => commands::completions::run(args),
        Command::Man(args) => commands::man::run(args),
    }
}
