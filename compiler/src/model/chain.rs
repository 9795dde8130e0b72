//! The `model` block: shared parameters, named flows, and the chain that ends in the output.

use super::context::{Binding, Context, Flow};
use super::declare::{self, declare_param};
use super::definitions::Definitions;
use super::functions::Function;
use super::layer;
use super::outcome;
use super::scope::{Scope, Value};
use super::{Data, Layer, Source};
use crate::diag::{Diagnostic, Place, count, hint, suggest};
use crate::syntax::ast::{Arg, Chain, Declaration, ExprKind, ModelBlock, ModelStatement, Name};

/// Instantiates every layer of the block; the output layer's index, or `None` with the errors in `cx`.
pub(super) fn check(cx: &mut Context, block: &ModelBlock, data: Option<&Data>) -> Option<usize> {
    let mut output: Option<(Flow, &Chain)> = None;
    for statement in &block.statements {
        match statement {
            ModelStatement::Param(declaration) => params(cx, declaration),
            ModelStatement::Let(name, chain) => {
                let flow = run(cx, chain);
                bind(cx, name, Binding::Flow(flow));
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
                output = Some((run(cx, chain), chain));
            }
        }
    }
    for (name, (binding, span)) in &cx.names {
        // What has an error of its own need not be used too.
        if !cx.read.contains(name) && *binding != Binding::Flow(Flow::Unknown) {
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

fn bind(cx: &mut Context, name: &Name, binding: Binding) {
    if ["tokens", "vocab"].contains(&name.text.as_str()) {
        let message = format!("`{}` has a meaning already", name.text);
        cx.errors.push(Diagnostic::error("E0204", name.span, message));
    } else if let Some((_, first)) = cx.names.insert(name.text.clone(), (binding, name.span)) {
        let error = Diagnostic::error("E0204", name.span, format!("`{}` has a value already", name.text));
        cx.errors.push(error.label(first, "it was given here"));
    }
}

fn params(cx: &mut Context, declaration: &Declaration) {
    let mut scope = Scope::constants();
    scope.bind("vocab", Value::Number(cx.vocab as f64), declaration.span);
    let shape = declare::shape(&mut scope, declaration);
    let init = declare::init(&mut scope, declaration);
    for name in &declaration.names {
        let param = match (&shape, &init) {
            (Ok(shape), Ok(init)) => declare_param(cx, &mut scope, &name.text, shape, *init, name.span),
            _ => None,
        };
        bind(cx, name, param.map_or(Binding::Flow(Flow::Unknown), Binding::Param));
    }
    cx.errors.append(&mut scope.errors);
}

/// Instantiates the layers of a chain; what flows out of the last one.
fn run(cx: &mut Context, chain: &Chain) -> Flow {
    let mut flow = start(cx, &chain.start);
    for stage in &chain.stages {
        let name = stage.name.text.as_str();
        let definitions = cx.definitions;
        flow = match definitions.layers.get(name) {
            Some(entry) if entry.sound => layer::instantiate(cx, entry.definition, stage, flow),
            Some(_) => {
                // The uses of a wrong definition are not checked, but the names in them are used.
                stage.args.iter().for_each(|arg| cx.mark_read(&arg.value));
                Flow::Unknown
            }
            None => {
                let error = unknown_layer(definitions, &stage.name);
                cx.errors.push(error);
                stage.args.iter().for_each(|arg| cx.mark_read(&arg.value));
                Flow::Unknown
            }
        };
    }
    flow
}

fn unknown_layer(definitions: &Definitions, name: &Name) -> Diagnostic {
    let text = name.text.as_str();
    let error = Diagnostic::error("E0203", name.span, format!("there is no layer `{text}`"));
    let known = || definitions.layers.keys().copied();
    // In other libraries `linear` is a layer, here a function: the hint about the layer comes first.
    let layer = hint(Place::Layer, text, &known().collect::<Vec<_>>());
    let function = Function::named(text).filter(|function| function.is_elementwise(1));
    match (layer, function, hint(Place::Activation, text, &[])) {
        (Some(layer), ..) => error.help(layer),
        (None, Some(_), _) => error.help(format!(
            "`{text}` is a function: `dense(64, activation: {text})`, or in a layer of your own `return {text}(x)`"
        )),
        (None, None, Some(activation)) => error.help(activation),
        (None, None, None) => suggest(error, Place::Layer, text, known(), "the layers are"),
    }
}

fn start(cx: &mut Context, name: &Name) -> Flow {
    if name.text == "tokens" {
        return Flow::From(Source::Tokens);
    }
    cx.read.insert(name.text.clone());
    match cx.names.get(&name.text) {
        Some((Binding::Flow(flow), _)) => *flow,
        Some((Binding::Param(_), declared)) => {
            let message = format!("`{}` is a parameter; a chain begins with something that flows", name.text);
            let error = Diagnostic::error("E0303", name.span, message).label(*declared, "declared here");
            cx.errors
                .push(error.help(format!("give it to a layer as an argument: `-> layer({})`", name.text)));
            Flow::Unknown
        }
        None => {
            let error = Diagnostic::error("E0201", name.span, format!("there is no `{}` here", name.text));
            if cx.definitions.layers.contains_key(name.text.as_str()) {
                let help = format!("a chain begins with what flows: `tokens -> {} -> ...`", name.text);
                cx.errors.push(error.help(help));
                return Flow::Unknown;
            }
            let flows = cx.names.iter().filter(|(_, (binding, _))| matches!(binding, Binding::Flow(_)));
            let known = flows.map(|(name, _)| name.as_str()).chain(["tokens"]);
            cx.errors.push(suggest(error, Place::Name, &name.text, known, "a chain can begin with"));
            Flow::Unknown
        }
    }
}

/// Checks that the chain ends in a distribution or in logits, at the steps that have targets; the layer whose result is the
/// distribution.
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
        let error = wrong_width(cx, index, chain);
        cx.errors.push(error);
        return None;
    }
    let batches = &data?.batches;
    let each = batches.window().is_none();
    if each == layer.every_step {
        return outcome::distribution(cx, index, span);
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

/// The result is not as wide as the vocabulary: points at the layer that made it so wide, which is often not the last.
fn wrong_width(cx: &Context, output: usize, chain: &Chain) -> Diagnostic {
    let width = cx.layers[output].width;
    let stage_of = |layer: &Layer| chain.stages.iter().find(|stage| stage.span == layer.span);
    let gives_width = |arg: &Arg| matches!(arg.value.kind, ExprKind::Number(value) if value == width as f64);
    let mut at = output;
    // Back through layers that keep the width and have no argument that sets it.
    while let [Source::Layer(before), ..] = cx.layers[at].inputs[..]
        && cx.layers[before].width == width
        && !stage_of(&cx.layers[at]).is_some_and(|stage| stage.args.iter().any(gives_width))
    {
        at = before;
    }
    let layer = &cx.layers[at];
    let are = if cx.vocab == 1 { "is" } else { "are" };
    let message =
        format!("the model's result has width {width}, and there {are} {}", count(cx.vocab, "token"));
    let error = Diagnostic::error("E0307", layer.span, message).at(format!("this makes it {width} wide"));
    let error =
        if at == output { error } else { error.label(cx.layers[output].span, "the result comes from here") };
    let told = stage_of(layer).filter(|stage| layer.states.is_empty() && stage.args.iter().any(gives_width));
    error.help(match (told, layer.inputs.first()) {
        (Some(stage), Some(Source::Layer(_))) => {
            format!(
                "write `{}(vocab)`: the result has a number for each token of the vocabulary",
                stage.name.text
            )
        }
        _ => "the result has a number for each token of the vocabulary: `-> dense(vocab) -> softmax`"
            .to_owned(),
    })
}
