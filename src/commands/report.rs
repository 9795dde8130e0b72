//! `lstmc report`: a page to look at.

use std::process::ExitCode;

use anyhow::Result;
use lstmc_runtime::export;

use crate::args::Report;
use crate::{report, show, terminal};

pub fn run(args: &Report) -> Result<ExitCode> {
    let page = report::page(&report::collect(args)?);
    export::write(&args.out, page.as_bytes())?;
    let size = show::count(page.len() as u64);
    terminal::print(&format!("wrote       {}: {size} bytes\n", show::path(&args.out)))?;
    Ok(ExitCode::SUCCESS)
}
