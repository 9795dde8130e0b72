//! From the syntax tree to the model: finds the blocks and definitions and runs the checks over them.

use std::collections::{BTreeMap, BTreeSet};

use super::chain;
use super::data;
use super::eval::Rules;
use super::init::InitSpec;
use super::names;
use super::optimizer;
use super::train;
use super::{Data, Layer, Model, Param};
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::syntax::ast::{Definition, File, Item, ModelBlock, Settings};

/// The `data` block alone, for whoever needs the text before the vocabulary's size is known.
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
    let mut cx = Context {
        definitions: &definitions,
        vocab,
        default_init: train.init,
        params: Vec::new(),
        layers: Vec::new(),
        counts: BTreeMap::new(),
        used: BTreeSet::new(),
        errors,
    };
    let output = blocks.model.and_then(|block| chain::check(&mut cx, block, data.as_ref()));
    let optimizer = train.optimizer.and_then(|expr| optimizer::check(&mut cx, expr, train.schedule_span));
    match (data, train.train, output, optimizer) {
        (Some(data), Some(train), Some(output), Some(optimizer)) if cx.errors.is_empty() => {
            Ok(Model { data, train, vocab, params: cx.params, layers: cx.layers, output, optimizer })
        }
        _ => Err(finish(cx.errors)),
    }
}

/// What the instantiation of layers reads and builds.
pub(super) struct Context<'a> {
    pub definitions: &'a Definitions<'a>,
    pub vocab: usize,
    pub default_init: Option<InitSpec>,
    pub params: Vec<Param>,
    pub layers: Vec<Layer>,
    /// Uses so far of each layer name.
    pub counts: BTreeMap<String, usize>,
    /// Names of the model block that something reads.
    pub used: BTreeSet<String>,
    pub errors: Vec<Diagnostic>,
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
                Item::Data(block) => once(&mut blocks.data, block, block.span, |b| b.span, "data", errors),
                Item::Model(block) => once(&mut blocks.model, block, block.span, |b| b.span, "model", errors),
                Item::Train(block) => once(&mut blocks.train, block, block.span, |b| b.span, "train", errors),
                Item::Layer(_) | Item::Optimizer(_) => {}
            }
        }
        blocks
    }
}

fn once<'a, T>(
    slot: &mut Option<&'a T>,
    block: &'a T,
    span: Span,
    span_of: impl Fn(&T) -> Span,
    name: &str,
    errors: &mut Vec<Diagnostic>,
) {
    match slot {
        None => *slot = Some(block),
        Some(first) => errors.push(
            Diagnostic::error("E0401", span, format!("there are two {name} blocks"))
                .label(span_of(first), "the first is here"),
        ),
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

/// The layers and optimizers by name, and which of them are sound.
pub(super) struct Definitions<'a> {
    pub layers: BTreeMap<&'a str, Entry<'a>>,
    pub optimizers: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub definition: &'a Definition,
    /// Whether its names are all right; if not, its uses are not looked into.
    pub sound: bool,
}

impl<'a> Definitions<'a> {
    fn of(file: &'a File, prelude: &'a [File], errors: &mut Vec<Diagnostic>) -> Self {
        let mut layer_names = BTreeSet::new();
        for item in prelude.iter().chain([file]).flat_map(|file| &file.items) {
            if let Item::Layer(definition) = item {
                layer_names.insert(definition.name.text.as_str());
            }
        }
        let mut all = Definitions { layers: BTreeMap::new(), optimizers: BTreeMap::new() };
        for prelude in prelude {
            all.add(prelude, &layer_names, errors);
        }
        all.add(file, &layer_names, errors);
        all
    }

    fn add(&mut self, file: &'a File, layer_names: &BTreeSet<&'a str>, errors: &mut Vec<Diagnostic>) {
        let mut own: BTreeMap<(bool, &str), Span> = BTreeMap::new();
        for item in &file.items {
            let (definition, rules, table) = match item {
                Item::Layer(definition) => (definition, Rules::Layer, &mut self.layers),
                Item::Optimizer(definition) => (definition, Rules::Optimizer, &mut self.optimizers),
                _ => continue,
            };
            let name = definition.name.text.as_str();
            if let Some(first) = own.insert((rules == Rules::Layer, name), definition.name.span) {
                let error =
                    Diagnostic::error("E0204", definition.name.span, format!("`{name}` is defined twice"));
                errors.push(error.label(first, "the first is here"));
            }
            let sound = names::check(definition, rules, layer_names, errors);
            table.insert(name, Entry { definition, sound });
        }
    }
}

/// A layer used five times at the same sizes reports a fault in its body once.
fn finish(errors: Vec<Diagnostic>) -> Diagnostics {
    let mut seen = BTreeSet::new();
    let key = |error: &Diagnostic| {
        let span = error.labels[0].span;
        (error.message.clone(), span.source, span.start, span.end)
    };
    Diagnostics(errors.into_iter().filter(|error| seen.insert(key(error))).collect())
}
