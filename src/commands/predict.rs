//! `lstmc predict`: actual against predicted words.

use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_runtime::evaluate::{Prediction, predict};
use lstmc_runtime::text::{Tokenizer, Vocabulary};

use crate::args::Predict;
use crate::{project, show, terminal};

/// The columns of a line, and those of the longest word in it.
const WIDTH: usize = 80;
const WORD: usize = 16;

pub fn run(args: &Predict) -> Result<ExitCode> {
    let mut opened = project::open(&args.trained)?;
    // One row reads the text in its order, with the state carried from the first token on.
    opened.model.data.batches.rows = 1;
    let (split, ids, _) = opened.text(args.split)?;
    let reading = project::reading(&opened.model, split, &ids)?;
    let threads = project::threads(args.trained.threads);
    let mut engine = opened.engine(Purpose::Evaluate, Format::F32, args.trained.device, threads)?;
    let monitor = terminal::interruptible()?;
    let found = predict(engine.as_mut(), &ids, &reading, args.count as usize, &monitor)?;
    let table = table(&found, &ids, &opened.tokenizer(), &opened.vocabulary);
    let hits = found.iter().filter(|one| one.actual == one.predicted).count();
    terminal::print(&format!("{table}{hits} of {} right\n", found.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// What was read, so that it runs into the word that follows; that word, the predicted one, and what became of it.
fn table(found: &[Prediction], ids: &[u32], tokenizer: &Tokenizer, vocabulary: &Vocabulary) -> String {
    let header = ["text before", "actual", "predicted", "probability", "right"];
    let word = |id: u32| show::head(&show::token(&vocabulary.show(id)), WORD);
    let words: Vec<[String; 2]> = found.iter().map(|one| [one.actual, one.predicted].map(word)).collect();
    let widest = |column: usize| words.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let columns = widest(0).max(header[1].len()) + widest(1).max(header[2].len());
    let left = WIDTH.saturating_sub(columns + header[3].len() + header[4].len() + 8).max(header[0].len());
    let before = |one: &Prediction| {
        // More tokens than the line has columns cannot be seen.
        let first = one.read.start.max(one.read.end.saturating_sub(WIDTH + 1));
        let read = ids[first..one.read.end].iter().map(|&id| show::word(&vocabulary.show(id)));
        show::tail(&read.collect::<Vec<_>>(), project::between(tokenizer), left)
    };
    let contexts: Vec<String> = found.iter().map(before).collect();
    let width = contexts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(header[0].len());
    let rows: Vec<Vec<String>> = found
        .iter()
        .zip(contexts)
        .zip(words)
        .map(|((one, context), [actual, predicted])| {
            let probability = format!("{:9.1} %", 100.0 * one.probability);
            let mark = if one.actual == one.predicted { "right" } else { "" };
            vec![format!("{context:>width$}"), actual, predicted, probability, mark.into()]
        })
        .collect();
    let first = format!("{:>width$}", header[0]);
    show::table(&[&first, header[1], header[2], header[3], ""], &rows)
}
