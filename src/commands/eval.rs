//! `lstmc eval`: perplexity and accuracy on a text.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_runtime::batches::{self, Batcher};
use lstmc_runtime::evaluate::evaluate;

use crate::args::Eval;
use crate::{project, show, terminal};

pub fn run(args: &Eval) -> Result<ExitCode> {
    let opened = project::open(&args.trained)?;
    let (split, ids) = opened.text(args.split)?;
    let shape = &opened.model.data.batches;
    let mut batcher = Batcher::new(shape, ids.len(), batches::Purpose::Evaluate, 0, split.name())?;
    let mut session = opened.session(Purpose::Evaluate, project::threads(args.trained.threads))?;
    let monitor = terminal::interruptible()?;
    let Some(totals) = evaluate(&mut session, &ids, &mut batcher, &monitor)? else {
        return Ok(ExitCode::from(terminal::INTERRUPTED));
    };
    let rows = [
        (
            "text",
            format!(
                "{} ({} tokens, {} predicted)",
                split.name(),
                show::count(ids.len() as u64),
                show::count(totals.predictions)
            ),
        ),
        ("model", format!("{} (after {} updates)", opened.path.display(), show::count(opened.steps()))),
        ("loss", format!("{:.4}", totals.mean_loss())),
        ("perplexity", format!("{:.2}", totals.perplexity())),
        ("accuracy", format!("{:.2} %", 100.0 * totals.accuracy())),
    ];
    let mut out = std::io::stdout().lock();
    for (name, value) in rows {
        writeln!(out, "{name:<11} {value}")?;
    }
    Ok(ExitCode::SUCCESS)
}
