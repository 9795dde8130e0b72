//! The command that follows a training.

use std::path::Path;

use lstmc_compiler::model::Model;
use lstmc_runtime::continuation::prompt as prompt_of;
use lstmc_runtime::text::{Corpus, Tokenizer, Vocabulary};

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
    let text = beginning(model, &corpus.train, tokenizer, &corpus.vocabulary)?;
    is_plain(&text).then_some(text)
}

/// As much of a text's beginning as a prompt for the model should have; none of a text that is shorter than that.
pub fn beginning(
    model: &Model,
    ids: &[u32],
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
) -> Option<String> {
    let count = match model.data.batches.window() {
        Some(window) => window,
        None if project::between(tokenizer).is_empty() => CHARACTERS,
        None => WORDS,
    };
    Some(prompt_of(tokenizer, vocabulary, ids.get(..count)?))
}

/// Whether a shell takes a text between quotation marks as it is.
pub fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | ',' | '.' | '\'' | '-' | ':' | ';');
    text.chars().all(plain) && text.trim() == text && !text.is_empty()
}
