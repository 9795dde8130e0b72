//! `lstmc check`: shapes, parameters and memory, without training.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::model::{BatchKind, Model};
use lstmc_runtime::batches::Batcher;
use lstmc_runtime::error::bytes;
use lstmc_runtime::memory;

use crate::args::{Check, Device};
use crate::{advice, compile, on_gpu, project, show, terminal};

pub fn run(args: &Check) -> Result<ExitCode> {
    let (_, corpus, model) = project::model_of(&args.file)?;
    let shape = &model.data.batches;
    if let Some(corpus) = &corpus {
        Batcher::new(shape, corpus.train.len(), 0)?;
    }
    if args.device != Device::Cpu || args.target.is_some() {
        terminal::print(&format!(
            "{}\n{}",
            layers(&model),
            on_gpu::check(&model, args.device, args.target)?
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let threads = project::threads(args.threads);
    let training = compile::training(&model, threads)?;
    let own = memory::own();
    let needed = own + training.memory();
    let mut out = String::new();
    write!(out, "{}", layers(&model))?;
    writeln!(out)?;
    let kind = match shape.kind {
        BatchKind::Stream => "contiguous stream",
        BatchKind::Windows { .. } => "windows",
    };
    writeln!(out, "vocabulary  {}", show::many(model.vocab as u64, "id"))?;
    let (rows, steps) = (show::many(shape.rows as u64, "row"), show::many(shape.steps as u64, "step"));
    writeln!(out, "batches     {rows} of {steps}, {kind}")?;
    writeln!(out, "parameters  {}", show::count(parameters(&model)))?;
    let mut parts = vec![format!("{} training", bytes(training.train.memory))];
    parts.push(match training.evaluation_memory() {
        0 => "evaluation in the same memory".to_owned(),
        own => format!("{} evaluation", bytes(own)),
    });
    parts.push(format!("{} lstmc itself", bytes(own)));
    writeln!(out, "memory      {} at the peak", bytes(needed))?;
    writeln!(out, "            {}", parts.join(", "))?;
    let time = show::duration(training.time().as_secs_f64());
    writeln!(out, "compiled    in {time} for {}", show::threads(training.train.threads))?;
    terminal::print(&out)?;
    match memory::available() {
        Some(available) if needed > available => Err(advice::too_large(needed, available, &model)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Elements of all parameters.
pub fn parameters(model: &Model) -> u64 {
    model.params.iter().map(|param| param.shape.iter().product::<usize>() as u64).sum()
}

/// A row for each layer, with the parameters that bear its name; then those that several layers share.
fn layers(model: &Model) -> String {
    let batches = &model.data.batches;
    let owned = |layer: &str| {
        let prefix = format!("{layer}.");
        model.params.iter().filter(move |param| param.name.starts_with(&prefix)).collect::<Vec<_>>()
    };
    let size = |shape: &[usize]| shape.iter().product::<usize>() as u64;
    let mut rows =
        vec![vec!["tokens".into(), show::shape(&[batches.steps, batches.rows]), "0".into(), String::new()]];
    for layer in &model.layers {
        let shape = match layer.every_step {
            true => vec![batches.steps, batches.rows, layer.width],
            false => vec![batches.rows, layer.width],
        };
        let params = owned(&layer.name);
        let count: u64 = params.iter().map(|param| size(&param.shape)).sum();
        let state: Vec<String> =
            layer.states.iter().map(|state| format!("{} [{}]", state.name, state.width)).collect();
        rows.push(vec![layer.name.clone(), show::shape(&shape), show::count(count), state.join(", ")]);
    }
    for param in &model.params {
        if !model.layers.iter().any(|layer| param.name.starts_with(&format!("{}.", layer.name))) {
            let name = format!("param {}", param.name);
            rows.push(vec![name, show::shape(&param.shape), show::count(size(&param.shape)), String::new()]);
        }
    }
    show::table(&["layer", "result", "parameters", "state"], &rows)
}
