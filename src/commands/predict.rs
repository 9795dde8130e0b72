//! `lstmc predict`: actual against predicted words.

use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_runtime::evaluate::{Prediction, predict};
use lstmc_runtime::text::{Tokenizer, Vocabulary};
use serde::Serialize;

use crate::args::Predict;
use crate::show::Likely;
use crate::{project, show, terminal};

/// The columns of a line, and those of the longest word in it.
const WIDTH: usize = 80;
const WORD: usize = 16;

const RIGHT: &str = "right";

pub fn run(args: &Predict) -> Result<ExitCode> {
    let mut opened = project::open(&args.trained)?;
    // One row reads the text in its order, with the state carried from the first token on.
    opened.model.data.batches.rows = 1;
    let (split, ids, _) = opened.text(args.split)?;
    let reading = project::reading(&opened.model, split, &ids)?;
    let threads = project::threads(args.trained.on.threads);
    let mut engine = opened.engine(Purpose::Evaluate, Format::F32, args.trained.on.device, threads)?;
    let monitor = terminal::interruptible()?;
    let wanted = (args.count as usize, args.top_k.unwrap_or(0) as usize);
    let found = predict(engine.as_mut(), &ids, &reading, wanted, &monitor)?;
    if args.json {
        let rows = found.iter().map(|one| row(one, &opened.vocabulary, args.top_k.is_some()));
        terminal::print(&rows.map(|row| show::json_line(&row)).collect::<Result<String>>()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let table = table(&found, &ids, &opened.tokenizer(), &opened.vocabulary);
    let hits = found.iter().filter(|one| one.actual == one.predicted).count();
    terminal::print(&format!("{table}{hits} of {} right\n", found.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// What `--json` writes of a prediction.
#[derive(Serialize)]
struct Row {
    /// Where the actual token stands in the text, counted from 0.
    at: usize,
    /// How many tokens before it the model has read.
    read: usize,
    actual: String,
    probability: f32,
    predicted: String,
    predicted_probability: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Likely>>,
}

fn row(one: &Prediction, vocabulary: &Vocabulary, top: bool) -> Row {
    Row {
        at: one.read.end,
        read: one.read.len(),
        actual: vocabulary.show(one.actual),
        probability: one.actual_probability,
        predicted: vocabulary.show(one.predicted),
        predicted_probability: one.probability,
        top: top.then(|| Likely::of(&one.top, vocabulary)),
    }
}

/// What was read, so that it runs into the word that follows; that word and the predicted one, each with its probability; and
/// what became of it.
fn table(found: &[Prediction], ids: &[u32], tokenizer: &Tokenizer, vocabulary: &Vocabulary) -> String {
    let header = ["text before", "actual", "", "predicted", ""];
    let word = |id: u32| show::head(&show::token(&vocabulary.show(id)), WORD);
    let words: Vec<[String; 2]> = found.iter().map(|one| [one.actual, one.predicted].map(word)).collect();
    let widest = |column: usize| words.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let columns = widest(0).max(header[1].len()) + widest(1).max(header[3].len());
    let left = WIDTH.saturating_sub(columns + 2 * percent(1.0).len() + RIGHT.len() + 10).max(header[0].len());
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
            let mark = if one.actual == one.predicted { RIGHT } else { "" };
            let top = one.top.iter().map(|&(id, p)| format!("{} {}", word(id), percent(p).trim_start()));
            let [its, best] = [one.actual_probability, one.probability].map(percent);
            let top = top.collect::<Vec<_>>().join("  ");
            vec![format!("{context:>width$}"), actual, its, predicted, best, mark.into(), top]
        })
        .collect();
    let first = format!("{:>width$}", header[0]);
    let top = if found.iter().any(|one| !one.top.is_empty()) { "most likely" } else { "" };
    show::table(&[&first, header[1], header[2], header[3], header[4], "", top], &rows)
}

fn percent(probability: f32) -> String {
    format!("{:5.1} %", 100.0 * probability)
}
