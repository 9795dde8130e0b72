//! `lstmc export`: a trained model for other programs.

mod link;
mod standalone;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::Tokens;
use lstmc_compiler::onnx::{About, Exchange, State, Steps};
use lstmc_runtime::engine::Engine;
use lstmc_runtime::export;
use serde_json::{Value, json};

use crate::about::parameters;
use crate::args::{Device, Export, Form, Sequence};
use crate::compile::{self, Threads};
use crate::project::{self, Opened};
use crate::pytorch::{self, Tensor};
use crate::{show, terminal};

/// Of four bytes each in a file of less than 2 GiB, with what else is in it.
const MOST_VALUES: u64 = (1 << 29) - (1 << 24);

pub fn run(args: &Export) -> Result<ExitCode> {
    check(args)?;
    let opened = project::open_used(&args.used, None)?;
    let name = name(args);
    let (bytes, lines) = match args.format {
        Form::C | Form::So | Form::A | Form::O => {
            standalone::write(args, &opened, &name)?;
            return Ok(ExitCode::SUCCESS);
        }
        Form::Onnx => {
            let steps = steps(&opened, args.sequence)?;
            let exchange = compile::exchange(&opened.model, steps)?;
            let lines = described(&opened, &exchange, steps);
            (onnx(&opened, exchange, &name)?, lines)
        }
        Form::Safetensors => {
            let found = pytorch::tensors(&opened.model)?;
            let whose = if found.is_some() { "PyTorch's" } else { "the model's own" };
            let tensors = found.unwrap_or_else(|| pytorch::own(&opened.model));
            let tensor = |tensor: &Tensor| format!("tensor      {} {:?}\n", tensor.name, tensor.shape);
            let lines: String = tensors.iter().map(tensor).collect();
            (safetensors(&opened, &tensors, &name)?, format!("{lines}names       {whose}\n"))
        }
    };
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.{}", args.format.ending())));
    export::write(&path, &bytes)?;
    let size = show::count(bytes.len() as u64);
    terminal::print(&format!("{lines}wrote       {}: {size} bytes\n", show::path(&path)))?;
    Ok(ExitCode::SUCCESS)
}

/// Options that go together.
fn check(args: &Export) -> Result<()> {
    let (form, format) = (args.format, args.format.ending());
    if args.sequence.is_some() && form != Form::Onnx {
        bail!(
            "--sequence goes with --format onnx: {}",
            match form {
                Form::Safetensors => "safetensors has parameters and no steps",
                _ => "code reads a token at a time",
            }
        );
    }
    if args.weights.is_some() && matches!(form, Form::Onnx | Form::Safetensors) {
        bail!("--weights goes with --format c, so, a and o: {format} has weights as they were trained");
    }
    if args.cpu.is_some() && matches!(form, Form::Onnx | Form::Safetensors | Form::C) {
        bail!("--cpu goes with --format so, a and o: {format} is no machine code");
    }
    Ok(())
}

/// What the model is called: as its run.
fn name(args: &Export) -> String {
    let path = std::path::absolute(&args.used.run).unwrap_or_else(|_| args.used.run.clone());
    path.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned())
}

/// The parameters that the model is used with.
fn weights(opened: &Opened) -> Result<Box<dyn Engine>> {
    opened.engine(Purpose::Generate { tokens: 1 }, Format::F32, Device::Cpu, Threads::Exactly(1))
}

fn steps(opened: &Opened, sequence: Option<Sequence>) -> Result<Steps> {
    Ok(match (opened.model.data.batches.window(), sequence) {
        (Some(window), Some(_)) => {
            bail!(
                "this model predicts one token after each window of {window}, and always reads one: leave out --sequence"
            )
        }
        (Some(window), None) => Steps::Fixed(window),
        (None, None) => Steps::One,
        (None, Some(Sequence::Tokens(steps))) => Steps::Fixed(steps),
        (None, Some(Sequence::Dynamic)) => Steps::Any,
    })
}

fn onnx(opened: &Opened, exchange: Exchange, name: &str) -> Result<Vec<u8>> {
    let values = parameters(&opened.model);
    if values >= MOST_VALUES {
        bail!(
            "a file of this format has less than 2 GiB, and the model has {} parameters",
            show::count(values)
        );
    }
    let state = |State { input, output, width, start }: &State| json!({ "input": input, "output": output, "width": width, "start": start });
    let states: Vec<Value> = exchange.states.iter().map(state).collect();
    let mut metadata = metadata(opened, name)?;
    metadata.push(("states".into(), Value::from(states).to_string()));
    let about = About { name: name.to_owned(), version: env!("CARGO_PKG_VERSION").into(), metadata };
    let engine = weights(opened)?;
    Ok(exchange.encode(about, &mut |param| engine.read(param))?)
}

fn safetensors(opened: &Opened, tensors: &[Tensor], name: &str) -> Result<Vec<u8>> {
    let engine = weights(opened)?;
    let read = |param: &str| engine.read(param);
    let values = |tensor: &Tensor| Ok((tensor.name.clone(), tensor.shape.clone(), tensor.values(&read)?));
    let tensors = tensors.iter().map(values).collect::<Result<Vec<_>>>()?;
    let mut metadata: HashMap<String, String> = metadata(opened, name)?.into_iter().collect();
    // What other libraries look for: values are in PyTorch's order, row by row.
    metadata.insert("format".into(), "pt".into());
    Ok(export::safetensors(&tensors, metadata)?)
}

/// What every file says of the model.
fn metadata(opened: &Opened, name: &str) -> Result<Vec<(String, String)>> {
    let entries = [
        ("name", name.to_owned()),
        (export::VOCABULARY, serde_json::to_string(&opened.vocabulary)?),
        ("tokens", tokens(&opened.model.data.tokens).to_string()),
        ("updates", opened.steps().to_string()),
        ("source", opened.project.text.clone()),
    ];
    Ok(entries.map(|(key, value)| (key.to_owned(), value)).into())
}

/// How a text is cut into tokens; of subwords the vocabulary has the tokenizer.
fn tokens(tokens: &Tokens) -> Value {
    json!({ "kind": tokens.kind.name(), "newline": tokens.newline })
}

/// The inputs and outputs, in lines.
fn described(opened: &Opened, exchange: &Exchange, steps: Steps) -> String {
    let (batch, vocab) = ("batch", opened.vocabulary.len());
    let (read, given) = match steps {
        Steps::One => (batch.to_owned(), format!("{batch}, {vocab}")),
        Steps::Fixed(steps) if opened.model.data.batches.window().is_some() => {
            (format!("{batch}, {steps}"), format!("{batch}, {vocab}"))
        }
        Steps::Fixed(steps) => (format!("{batch}, {steps}"), format!("{batch}, {steps}, {vocab}")),
        Steps::Any => (format!("{batch}, steps"), format!("{batch}, steps, {vocab}")),
    };
    let mut lines =
        vec![format!("input       tokens [{read}]"), format!("output      probabilities [{given}]")];
    let state = |State { input, output, width, .. }: &State| {
        format!("state       {input} -> {output} [{batch}, {width}]")
    };
    lines.extend(exchange.states.iter().map(state));
    lines.join("\n") + "\n"
}
