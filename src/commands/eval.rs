//! `lstmc eval`: perplexity and accuracy on a text.

use std::process::ExitCode;

use anyhow::{Result, bail};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_runtime::Error;
use lstmc_runtime::checkpoint::Totals;
use lstmc_runtime::evaluate::evaluate;
use lstmc_runtime::text::Extent;

use crate::args::Eval;
use crate::{project, show, terminal};

pub fn run(args: &Eval) -> Result<ExitCode> {
    let opened = project::open(&args.trained)?;
    let (split, ids, extent) = opened.text(args.split)?;
    let reading = project::reading(&opened.model, split, &ids)?;
    let monitor = terminal::interruptible()?;
    let mut measured: Vec<(Format, Totals)> = Vec::new();
    let threads = project::threads(args.trained.on.threads);
    for weights in args.weights.iter().map(|&weights| Format::from(weights)) {
        let mut engine = opened.engine(Purpose::Evaluate, weights, args.trained.on.device, threads)?;
        let Some(totals) = evaluate(engine.as_mut(), &ids, &reading, &monitor)? else {
            return Ok(ExitCode::from(terminal::INTERRUPTED));
        };
        let loss = totals.mean_loss();
        if !loss.is_finite() {
            return Err(Error::BadEvaluation { text: split.name().into(), loss }.into());
        }
        measured.push((weights, totals));
    }
    let predictions = measured.first().map_or(0, |(_, totals)| totals.predictions);
    let tokens = show::many(ids.len() as u64, "token");
    let text = format!("{} ({tokens}, {} predicted)", split.name(), show::count(predictions));
    let model =
        format!("{} (after {})", opened.checkpoint.path.display(), show::many(opened.steps(), "update"));
    terminal::print(&format!(
        "{:<11} {text}\n{:<11} {model}\n{}",
        "text",
        "model",
        figures(&measured, extent)
    ))?;
    if measured.iter().any(|(_, totals)| !totals.perplexity().is_finite()) {
        bail!("the perplexity is beyond all bounds: this model has diverged");
    }
    Ok(ExitCode::SUCCESS)
}

/// With two decimals at least: it is what models are compared by.
fn perplexity(value: f64) -> String {
    if value < 1e6 { format!("{value:.2}") } else { show::perplexity(value) }
}

/// The last two do not depend on how the text is cut into tokens.
const FIGURES: [&str; 5] = ["loss", "perplexity", "accuracy", "ppl/word", "bits/char"];

/// A line for each figure, or, of weights in several formats, a table.
fn figures(measured: &[(Format, Totals)], extent: Extent) -> String {
    let values = |totals: &Totals| {
        let accuracy = format!("{:.2} %", 100.0 * totals.accuracy());
        let loss = totals.mean_loss();
        let word = perplexity(extent.word_perplexity(loss));
        let bits = format!("{:.4}", extent.bits_per_character(loss));
        [format!("{loss:.4}"), perplexity(totals.perplexity()), accuracy, word, bits]
    };
    match measured {
        [(format, totals)] => {
            let weights = (*format != Format::F32).then(|| ("weights", format.to_string()));
            let lines = weights.into_iter().chain(FIGURES.into_iter().zip(values(totals)));
            lines.map(|(name, value)| format!("{name:<11} {value}\n")).collect()
        }
        several => {
            let row =
                |(format, totals): &(Format, Totals)| [&[format.to_string()][..], &values(totals)].concat();
            let header = [&["weights"][..], &FIGURES].concat();
            show::table(&header, &several.iter().map(row).collect::<Vec<_>>())
        }
    }
}
