//! The `model` block: shared parameters, named flows, and the chain that ends in the output.

use std::collections::BTreeMap;

use super::check::Context;
use super::declare::{self, declare_param};
use super::eval::Scope;
use super::layer::{self, Shared};
use super::settings::suggest;
use super::{BatchKind, Data, Source, Targets};
use crate::diag::{Diagnostic, Span};
use crate::syntax::ast::{Chain, Declaration, ModelBlock, ModelStatement, Name};

/// What flows along a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Flow {
    From(Source),
    /// Its error has been reported.
    Unknown,
}

/// Names of the model block and what they stand for.
pub(super) type SharedNames = BTreeMap<String, (Shared, Span)>;

/// Instantiates every layer of the block; the output layer's index, or `None` with the errors in `cx`.
pub(super) fn check(cx: &mut Context, block: &ModelBlock, data: Option<&Data>) -> Option<usize> {
    let mut names = SharedNames::new();
    let mut output: Option<(Flow, &Chain)> = None;
    for statement in &block.statements {
        match statement {
            ModelStatement::Param(declaration) => params(cx, &mut names, declaration),
            ModelStatement::Let(name, chain) => {
                let flow = run(cx, &names, chain);
                declare(cx, &mut names, name, Shared::Flow(flow));
            }
            ModelStatement::Output(chain) => {
                if let Some((_, first)) = output {
                    let error = Diagnostic::error("E0401", chain.span, "the model has two results");
                    cx.errors.push(
                        error
                            .label(first.span, "the first is here")
                            .help("name this one: `let a = ...`, and use it"),
                    );
                }
                output = Some((run(cx, &names, chain), chain));
            }
        }
    }
    for (name, (value, span)) in &names {
        // What has an error of its own need not be used too.
        if !cx.used.contains(name) && *value != Shared::Flow(Flow::Unknown) {
            cx.errors.push(Diagnostic::error("E0209", *span, format!("`{name}` is never used")));
        }
    }
    let Some((flow, chain)) = output else {
        let error = Diagnostic::error("E0404", block.span, "the model has no result");
        let help = "end it with a chain that has no name: `tokens -> ... -> dense(vocab) -> softmax`";
        cx.errors.push(error.help(help));
        return None;
    };
    result(cx, flow, chain, data)
}

fn declare(cx: &mut Context, names: &mut SharedNames, name: &Name, value: Shared) {
    if ["tokens", "vocab"].contains(&name.text.as_str()) {
        let message = format!("`{}` has a meaning already", name.text);
        cx.errors.push(Diagnostic::error("E0204", name.span, message));
    } else if let Some((_, first)) = names.insert(name.text.clone(), (value, name.span)) {
        let error = Diagnostic::error("E0204", name.span, format!("`{}` has a value already", name.text));
        cx.errors.push(error.label(first, "it was given here"));
    }
}

fn params(cx: &mut Context, names: &mut SharedNames, declaration: &Declaration) {
    let mut scope = Scope::constants();
    scope.bind("vocab", super::eval::Value::Number(cx.vocab as f64), declaration.span);
    let shape = declare::shape(&mut scope, declaration);
    let init = declare::init(&mut scope, declaration);
    for name in &declaration.names {
        let value = match (&shape, &init) {
            (Ok(shape), Ok(init)) => declare_param(cx, &mut scope, &name.text, shape, *init, name.span),
            _ => None,
        };
        declare(cx, names, name, value.map_or(Shared::Flow(Flow::Unknown), Shared::Param));
    }
    cx.errors.append(&mut scope.errors);
}

fn run(cx: &mut Context, names: &SharedNames, chain: &Chain) -> Flow {
    let mut flow = start(cx, names, &chain.start);
    for stage in &chain.stages {
        let name = stage.name.text.as_str();
        let definitions = cx.definitions;
        flow = match definitions.layers.get(name) {
            Some(entry) if entry.sound => layer::instantiate(cx, names, entry.definition, stage, flow),
            Some(_) => {
                // The uses of a broken layer are not looked into, but what they name is not unused.
                stage.args.iter().for_each(|arg| layer::mark_used(cx, names, &arg.value));
                Flow::Unknown
            }
            None => {
                let error =
                    Diagnostic::error("E0203", stage.name.span, format!("there is no layer `{name}`"));
                let known = definitions.layers.keys().copied();
                cx.errors.push(suggest(error, name, known, "the layers are"));
                stage.args.iter().for_each(|arg| layer::mark_used(cx, names, &arg.value));
                Flow::Unknown
            }
        };
    }
    flow
}

fn start(cx: &mut Context, names: &SharedNames, name: &Name) -> Flow {
    if name.text == "tokens" {
        return Flow::From(Source::Tokens);
    }
    cx.used.insert(name.text.clone());
    match names.get(&name.text) {
        Some((Shared::Flow(flow), _)) => *flow,
        Some((Shared::Param(_), declared)) => {
            let message = format!("`{}` is a parameter; a chain begins with something that flows", name.text);
            let error = Diagnostic::error("E0303", name.span, message).label(*declared, "declared here");
            cx.errors
                .push(error.help(format!("give it to a layer as an argument: `-> layer({})`", name.text)));
            Flow::Unknown
        }
        None => {
            let error = Diagnostic::error("E0201", name.span, format!("there is no `{}` here", name.text));
            let flows = names.iter().filter(|(_, (shared, _))| matches!(shared, Shared::Flow(_)));
            let known = flows.map(|(name, _)| name.as_str()).chain(["tokens"]);
            cx.errors.push(suggest(error, &name.text, known, "a chain can begin with"));
            Flow::Unknown
        }
    }
}

/// Checks that the chain ends in a distribution at the steps that have targets.
fn result(cx: &mut Context, flow: Flow, chain: &Chain, data: Option<&Data>) -> Option<usize> {
    let index = match flow {
        Flow::Unknown => return None,
        Flow::From(Source::Tokens) => {
            let error = Diagnostic::error("E0303", chain.span, "the model's result is the tokens themselves");
            cx.errors.push(error.help("end the chain with `-> dense(vocab) -> softmax`"));
            return None;
        }
        Flow::From(Source::Layer(index)) => index,
    };
    let layer = &cx.layers[index];
    let span = chain.stages.last().map_or(chain.span, |stage| stage.span);
    if layer.width != cx.vocab {
        let message =
            format!("the model's result has width {}, and there are {} tokens", layer.width, cx.vocab);
        let error = Diagnostic::error("E0307", span, message).at("the result comes from here");
        cx.errors.push(
            error.help("the result is a distribution over the vocabulary: `-> dense(vocab) -> softmax`"),
        );
        return None;
    }
    let batches = &data?.batches;
    let each = !matches!(batches.kind, BatchKind::Windows { targets: Targets::Last, .. });
    if each == layer.every_step {
        return Some(index);
    }
    let error = if each {
        let message =
            "the targets are the words after every step, but the model has one result for the last step";
        Diagnostic::error("E0409", span, message)
            .label(batches.span, "every step has a target")
            .help("leave `last` out of the chain, or write `windows(..., targets: last)`")
    } else {
        let message = "the target is the word after the last step, but the model has a result for every step";
        Diagnostic::error("E0409", span, message)
            .label(batches.span, "only the last step has a target")
            .help("put `-> last` into the chain, or write `targets: each`")
    };
    cx.errors.push(error);
    None
}
