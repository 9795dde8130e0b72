//! `lstmc gradcheck`: gradients against central differences.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::args::Gradcheck;
use crate::compile::{GRADIENT_TOLERANCE, check_gradients};
use crate::project::Project;
use crate::show;

pub fn run(args: &Gradcheck) -> Result<ExitCode> {
    let project = Project::read(&args.model, None)?;
    let checks = check_gradients(&project.source)?;
    // A NaN is not below the tolerance either.
    let passes = |error: f64| error < GRADIENT_TOLERANCE;
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = if passes(check.error) { "ok" } else { "WRONG" };
            let compared = show::count(check.compared as u64);
            vec![
                check.parameter.clone(),
                show::shape(&check.shape),
                compared,
                format!("{:.1e}", check.error),
                verdict.into(),
            ]
        })
        .collect();
    let mut out = std::io::stdout().lock();
    write!(out, "{}", show::table(&["parameter", "shape", "compared", "largest error", ""], &rows))?;
    let wrong = checks.iter().filter(|check| !passes(check.error)).count();
    writeln!(
        out,
        "{} of {} parameters agree within {GRADIENT_TOLERANCE:.0e}",
        checks.len() - wrong,
        checks.len()
    )?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
