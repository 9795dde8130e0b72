//! `lstmc predict`: actual against predicted words.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_runtime::batches::{self, Batcher};
use lstmc_runtime::evaluate::{Prediction, predict};
use lstmc_runtime::text::{Tokenizer, Vocabulary};

use crate::args::Predict;
use crate::{project, show, terminal};

/// Tokens of context that a line shows.
const CONTEXT: usize = 6;

pub fn run(args: &Predict) -> Result<ExitCode> {
    let opened = project::open(&args.trained)?;
    let (split, ids) = opened.text(args.split)?;
    let shape = &opened.model.data.batches;
    let mut batcher = Batcher::new(shape, ids.len(), batches::Purpose::Evaluate, 0, split.name())?;
    let mut session = opened.session(Purpose::Evaluate, project::threads(args.trained.threads))?;
    let monitor = terminal::interruptible()?;
    let found = predict(&mut session, &ids, &mut batcher, args.count as usize, &monitor)?;
    let tokenizer = opened.project.tokenizer();
    let rows: Vec<Vec<String>> = found.iter().map(|one| row(one, &tokenizer, &opened.vocabulary)).collect();
    let mut out = std::io::stdout().lock();
    write!(out, "{}", show::table(&["after", "actual", "predicted", ""], &rows))?;
    let hits = found.iter().filter(|one| one.actual == one.predicted).count();
    writeln!(out, "{hits} of {} right", found.len())?;
    Ok(ExitCode::SUCCESS)
}

fn row(one: &Prediction, tokenizer: &Tokenizer, vocabulary: &Vocabulary) -> Vec<String> {
    let word = |id: u32| vocabulary.show(id);
    let from = one.context.len().saturating_sub(CONTEXT);
    let context: Vec<String> = one.context[from..].iter().map(|&id| word(id)).collect();
    let text = tokenizer.join(context.iter().map(String::as_str)).replace('\n', " / ");
    let mark = if one.actual == one.predicted { "=" } else { "" };
    vec![text, word(one.actual).replace('\n', "\\n"), word(one.predicted).replace('\n', "\\n"), mark.into()]
}
