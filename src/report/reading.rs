//! A text beside what a model expected of it.

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_runtime::evaluate::predict;
use lstmc_runtime::monitor::Monitor;

use super::{Reading, Token};
use crate::args::{Device, Split};
use crate::compile::Threads;
use crate::project::{self, Opened};

/// Tokens that are read.
const TOKENS: usize = 120;
const CHARACTERS: usize = 240;

/// The most likely tokens of each place.
const TOP: usize = 3;

/// The beginning of the validation text, or of the training text if there is no other, each token with what the model held likely.
///
/// # Errors
/// There is no such text, or it is not the one that the run was trained with.
pub fn reading(mut opened: Opened, place: String, threads: Threads) -> Result<Reading> {
    // One row reads the text in its order, with the state carried from the first token on.
    opened.model.data.batches.rows = 1;
    let held_out = opened.project.texts().has(Split::Valid.role());
    let (split, ids, _) = opened.text(Some(if held_out { Split::Valid } else { Split::Train }))?;
    let reading = project::reading(&opened.model, split, &ids)?;
    let mut engine = opened.engine(Purpose::Evaluate, Format::F32, Device::Cpu, threads)?;
    let count = if project::between(&opened.tokenizer()).is_empty() { CHARACTERS } else { TOKENS };
    let found = predict(engine.as_mut(), &ids, &reading, (count, TOP), &Monitor::default())?;
    let vocabulary = &opened.vocabulary;
    let token = |one: &lstmc_runtime::evaluate::Prediction| Token {
        actual: vocabulary.show(one.actual),
        probability: one.actual_probability,
        top: one.top.iter().map(|&(id, probability)| (vocabulary.show(id), probability)).collect(),
        right: one.actual == one.predicted,
    };
    Ok(Reading { split: split.name(), place, tokens: found.iter().map(token).collect() })
}
