//! `lstmc man`: manual pages.

use std::process::ExitCode;

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use lstmc_runtime::export;

use crate::{args, show, terminal};

pub fn run(args: &args::Man) -> Result<ExitCode> {
    let mut command = args::command().disable_help_subcommand(true);
    // Subcommands get their whole names.
    command.build();
    let Some(folder) = &args.folder else {
        terminal::print(&page(command)?.1)?;
        return Ok(ExitCode::SUCCESS);
    };
    let all = command.get_subcommands().cloned().collect::<Vec<_>>();
    let mut count = 0;
    for command in all.into_iter().chain([command]) {
        let (name, text) = page(command)?;
        export::write(&folder.join(name), text.as_bytes())?;
        count += 1;
    }
    terminal::print(&format!("wrote       {} into {}\n", show::many(count, "page"), show::path(folder)))?;
    Ok(ExitCode::SUCCESS)
}

/// A page and its file's name.
fn page(command: Command) -> Result<(String, String)> {
    let man = Man::new(command);
    let mut text = vec![];
    man.render(&mut text)?;
    Ok((man.get_filename(), String::from_utf8(text)?))
}
