//! `lstmc gradcheck`: gradients against central differences.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Gradcheck;
use crate::gradients::{Comparison, TOLERANCE, compare, vocabulary};
use crate::project::Project;
use crate::{show, terminal};

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
    let table = show::table(&["parameter", "shape", "elements", "largest error", ""], &rows);
    let right = found.iter().filter(|one| one.passes()).count();
    let all = show::many(found.len() as u64, "parameter");
    terminal::print(&format!("{table}{right} of {all} agree within {TOLERANCE:.0e}\n"))?;
    Ok(if right == found.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
