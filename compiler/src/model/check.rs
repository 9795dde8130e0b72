//! From the syntax tree to the model: finds the blocks and definitions and runs the checks over them.

use std::collections::BTreeSet;

use super::chain;
use super::context::Context;
use super::data;
use super::definitions::Definitions;
use super::optimizer;
use super::train;
use super::{Data, Model};
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::syntax::ast::{File, Item, ModelBlock, Settings};

/// The `data` block alone: it says which text to read, and only the text says how large the vocabulary is.
///
/// # Errors
/// What is wrong with the block, or that it is missing.
pub fn data_block(file: &File) -> Result<Data, Diagnostics> {
    let mut errors = Vec::new();
    let block = Blocks::of(file, &mut Vec::new()).data;
    if block.is_none() {
        errors.push(missing(file, "data"));
    }
    let data = block.and_then(|block| data::read(block, &mut errors));
    match data {
        Some(data) if errors.is_empty() => Ok(data),
        _ => Err(finish(errors)),
    }
}

/// The typed model of a file. The file's own layers and optimizers stand beside the prelude's and hide those of the same
/// name. `vocab` is the number of token ids, the reserved ones included.
///
/// # Errors
/// All errors that were found: names (`E02xx`), shapes (`E03xx`), blocks and values (`E04xx`).
pub fn check(file: &File, prelude: &[File], vocab: usize) -> Result<Model, Diagnostics> {
    let mut errors = Vec::new();
    let blocks = Blocks::of(file, &mut errors);
    let definitions = Definitions::of(file, prelude, &mut errors);
    for (found, name) in [
        (blocks.data.is_some(), "data"),
        (blocks.model.is_some(), "model"),
        (blocks.train.is_some(), "train"),
    ] {
        if !found {
            errors.push(missing(file, name));
        }
    }
    let data = blocks.data.and_then(|block| data::read(block, &mut errors));
    let train = blocks.train.map(|block| train::read(block, &mut errors)).unwrap_or_default();
    if let Some(data) = &data {
        train::check_validation(&train.by_validation, data, &mut errors);
        train::check_shards(&train, data, &mut errors);
    }
    let mut cx = Context::new(&definitions, vocab, train.init, errors);
    let output = blocks.model.and_then(|block| chain::check(&mut cx, block, data.as_ref()));
    let optimizer = train.optimizer.and_then(|expr| optimizer::check(&mut cx, expr, train.schedule_span));
    match (data, train.train, output, optimizer) {
        (Some(data), Some(train), Some(output), Some(optimizer)) if cx.errors.is_empty() => {
            Ok(Model { data, train, vocab, params: cx.params, layers: cx.layers, output, optimizer })
        }
        _ => Err(finish(cx.errors)),
    }
}

/// The three blocks of a file.
struct Blocks<'a> {
    data: Option<&'a Settings>,
    model: Option<&'a ModelBlock>,
    train: Option<&'a Settings>,
}

impl<'a> Blocks<'a> {
    fn of(file: &'a File, errors: &mut Vec<Diagnostic>) -> Self {
        let mut blocks = Blocks { data: None, model: None, train: None };
        for item in &file.items {
            match item {
                Item::Data(block) => {
                    let first = blocks.data.get_or_insert(block);
                    report_second(first.span, block.span, "data", errors);
                }
                Item::Model(block) => {
                    let first = blocks.model.get_or_insert(block);
                    report_second(first.span, block.span, "model", errors);
                }
                Item::Train(block) => {
                    let first = blocks.train.get_or_insert(block);
                    report_second(first.span, block.span, "train", errors);
                }
                Item::Layer(_) | Item::Optimizer(_) => {}
            }
        }
        blocks
    }
}

/// Reports a block that is not the first of its name.
fn report_second(first: Span, block: Span, name: &str, errors: &mut Vec<Diagnostic>) {
    if block != first {
        let error = Diagnostic::error("E0401", block, format!("there are two {name} blocks"));
        errors.push(error.label(first, "the first is here"));
    }
}

fn missing(file: &File, name: &str) -> Diagnostic {
    let mut end = file.span;
    end.start = end.end;
    let error = Diagnostic::error("E0401", end, format!("there is no {name} block"));
    error.help(match name {
        "data" => {
            "such as `data { train: \"story.txt\"; tokens: words; batches: stream(rows: 20, steps: 35) }`"
        }
        "model" => "such as `model { tokens -> embedding(32) -> dense(vocab) -> softmax }`",
        _ => "such as `train { loss: cross_entropy; optimizer: sgd(rate: 1.0); epochs: 13 }`",
    })
}

/// The errors without repetitions: each use of a layer reports what is wrong with its body.
fn finish(errors: Vec<Diagnostic>) -> Diagnostics {
    let mut seen = BTreeSet::new();
    let key = |error: &Diagnostic| {
        let span = error.labels[0].span;
        (error.message.clone(), span.source, span.start, span.end)
    };
    Diagnostics(errors.into_iter().filter(|error| seen.insert(key(error))).collect())
}
