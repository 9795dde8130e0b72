//! `lstmc compare`: runs side by side, by what they have written down.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use lstmc_runtime::run_dir::{Row, RunDir, Settings, best_of};
use lstmc_runtime::text::{Record, Role};
use serde_json::json;

use crate::args::Compare;
use crate::{changes, find, show, terminal};

/// What a run has written down.
struct Known<'a> {
    path: &'a Path,
    source: String,
    settings: Settings,
    /// Its best validation, or its last report if it has no validation.
    best: Option<Row>,
    last: Option<Row>,
}

pub fn run(args: &Compare) -> Result<ExitCode> {
    let runs = args.runs.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let text = if args.json {
        runs.iter().map(|run| show::json_line(&object(run))).collect::<Result<String>>()?
    } else {
        let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
        show::table(&HEADER, &rows) + &differences(&runs)
    };
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Known<'_>> {
    let run = RunDir::open(path).map_err(find::run)?;
    let rows = run.metrics()?;
    let last = rows.last();
    Ok(Known {
        path,
        source: run.source()?,
        settings: run.settings()?,
        best: best_of(&rows).or(last).cloned(),
        last: last.cloned(),
    })
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
    let (Some(best), Some(last)) = (&run.best, &run.last) else {
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
        "best": run.best,
        "last": run.last,
    })
}

/// How the later runs' models and texts differ from those of the first.
fn differences(runs: &[Known<'_>]) -> String {
    let Some((first, others)) = runs.split_first() else { return String::new() };
    let of = |run: &Known<'_>| {
        let mut lines = Vec::new();
        if run.source != first.source {
            lines.push(format!("model {}", changes::lines(&first.source, &run.source)));
        }
        if run.settings.seed != first.settings.seed {
            lines.push(format!("seed {} for {}", run.settings.seed, first.settings.seed));
        }
        if !same_validation(&run.settings.texts, &first.settings.texts) {
            lines.push("another validation text: their figures do not compare".to_owned());
        }
        let name = show::path(run.path);
        lines.into_iter().map(move |line| format!("{name}: {line}\n")).collect::<String>()
    };
    let lines: String = others.iter().map(of).collect();
    if lines.is_empty() { lines } else { format!("\nagainst {}:\n{lines}", show::path(first.path)) }
}

fn same_validation(a: &[Record], b: &[Record]) -> bool {
    let of = |records: &[Record]| records.iter().find(|record| record.role == Role::Valid).cloned();
    match (of(a), of(b)) {
        (Some(a), Some(b)) => a.same_text(&b) && a.tokens == b.tokens,
        (a, b) => a.is_none() == b.is_none(),
    }
}
