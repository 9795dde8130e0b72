//! `lstmc check`: shapes, parameters and memory, without training.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::model::Model;
use lstmc_runtime::batches::Batcher;
use lstmc_runtime::error::bytes;

use crate::about::{self, Layer};
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
    let (needed, parts) = about::peak(&training);
    let mut out = format!("{}\n", layers(&model));
    let memory = format!("{} at the peak\n{:12}{parts}", bytes(needed), "");
    for (name, value) in about::facts(&model).into_iter().chain([("memory", memory)]) {
        writeln!(out, "{name:<11} {value}")?;
    }
    let time = show::duration(training.time().as_secs_f64());
    writeln!(out, "compiled    in {time} for {}", show::threads(training.train.threads))?;
    terminal::print(&out)?;
    advice::has_room(needed, &model)?;
    Ok(ExitCode::SUCCESS)
}

/// A row for each layer.
fn layers(model: &Model) -> String {
    let row = |layer: &Layer| {
        let states: Vec<String> =
            layer.states.iter().map(|(name, width)| format!("{name} [{width}]")).collect();
        let (shape, parameters) = (show::shape(&layer.shape), show::count(layer.parameters));
        vec![layer.name.clone(), shape, parameters, show::operations(layer.flop), states.join(", ")]
    };
    let rows: Vec<Vec<String>> = about::layers(model).iter().map(row).collect();
    show::table(&["layer", "result", "parameters", "flop/token", "state"], &rows)
}
