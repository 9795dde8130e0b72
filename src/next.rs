//! The command that follows a training.

use std::path::Path;

use lstmc_compiler::model::Model;
use lstmc_runtime::text::{Corpus, Tokenizer};

use crate::{project, show};

/// How many tokens a prompt has, where the model does not want more.
const WORDS: usize = 3;
const CHARACTERS: usize = 10;

/// Measures the model on its test text, or writes with it, beginning as the training text does.
pub fn command(run: &Path, model: &Model, corpus: &Corpus, tokenizer: &Tokenizer) -> String {
    let run = show::path(run);
    if model.data.test.is_some() {
        return format!("lstmc eval {run}");
    }
    match prompt(model, corpus, tokenizer) {
        Some(prompt) => format!("lstmc generate {run} --prompt \"{prompt}\""),
        None => format!("lstmc predict {run}"),
    }
}

/// The beginning of the training text, if a shell takes it as it is.
fn prompt(model: &Model, corpus: &Corpus, tokenizer: &Tokenizer) -> Option<String> {
    let batches = &model.data.batches;
    let count = match batches.window() {
        Some(window) => window,
        None if project::between(tokenizer).is_empty() => CHARACTERS,
        None => WORDS,
    };
    let words: Vec<String> =
        corpus.train.get(..count)?.iter().map(|&id| corpus.vocabulary.token(id)).collect();
    let text = tokenizer.join(words.iter().map(String::as_str));
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | ',' | '.' | '\'' | '-' | ':' | ';');
    (text.chars().all(plain) && text.trim() == text && !text.is_empty()).then_some(text)
}
