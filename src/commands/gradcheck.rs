//! `lstmc gradcheck`: gradients against central differences.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::args::Gradcheck;
use crate::gradients::{Comparison, TOLERANCE, compare, vocabulary};
use crate::project::Project;
use crate::show;

pub fn run(args: &Gradcheck) -> Result<ExitCode> {
    let project = Project::read(&args.model, None)?;
    let model = project.source.model(vocabulary(project.data.tokens.reserve))?;
    let found = compare(model)?;
    let row = |one: &Comparison| {
        let verdict = if one.passes() { "ok" } else { "FAILED" };
        let compared = show::count(one.compared as u64);
        let error = format!("{:.1e}", one.error);
        vec![one.parameter.clone(), show::shape(&one.shape), compared, error, verdict.into()]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let mut out = std::io::stdout().lock();
    write!(out, "{}", show::table(&["parameter", "shape", "elements", "largest error", ""], &rows))?;
    let right = found.iter().filter(|one| one.passes()).count();
    writeln!(out, "{right} of {} parameters agree within {TOLERANCE:.0e}", found.len())?;
    Ok(if right == found.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
