//! `lstmc compare`: runs side by side, by what they have written down.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::args::Compare;
use crate::known::Known;
use crate::{show, terminal};

pub fn run(args: &Compare) -> Result<ExitCode> {
    let runs = args.runs.iter().map(|path| Known::read(path)).collect::<Result<Vec<_>>>()?;
    let text = if args.json {
        runs.iter().map(|run| show::json_line(&object(run))).collect::<Result<String>>()?
    } else {
        let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
        show::table(&HEADER, &rows) + &differences(&runs)
    };
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

const HEADER: [&str; 9] = [
    "run",
    "epoch",
    "step",
    "of steps",
    "train perplexity",
    "valid perplexity",
    "valid accuracy",
    "tokens/s",
    "time",
];

fn row(run: &Known<'_>) -> Vec<String> {
    let none = || "-".to_owned();
    let (Some(best), Some(last)) = (run.best(), run.rows.last()) else {
        return [vec![show::path(run.path)], vec![none(); HEADER.len() - 1]].concat();
    };
    let of = |value: Option<f64>, show: &dyn Fn(f64) -> String| value.map_or_else(none, show);
    vec![
        show::path(run.path),
        best.epoch.to_string(),
        show::count(best.step),
        show::count(last.step),
        of(best.train_perplexity, &show::perplexity),
        of(best.valid_perplexity, &show::perplexity),
        of(best.valid_accuracy, &|share| format!("{:.2} %", 100.0 * share)),
        of(last.words_per_second, &|speed| show::count(speed as u64)),
        of(last.seconds, &show::duration),
    ]
}

fn object(run: &Known<'_>) -> serde_json::Value {
    json!({
        "run": run.path,
        "seed": run.settings.seed,
        "best": run.best(),
        "last": run.rows.last(),
    })
}

/// How the later runs' models and texts differ from those of the first.
fn differences(runs: &[Known<'_>]) -> String {
    let Some((first, others)) = runs.split_first() else { return String::new() };
    let of = |run: &Known<'_>| {
        let name = show::path(run.path);
        run.differs_from(first).into_iter().map(move |line| format!("{name}: {line}\n")).collect::<String>()
    };
    let lines: String = others.iter().map(of).collect();
    if lines.is_empty() { lines } else { format!("\nagainst {}:\n{lines}", show::path(first.path)) }
}
