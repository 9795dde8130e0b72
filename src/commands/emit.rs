//! `lstmc emit`: what a stage of the compiler makes of a model.

use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::target::{Nvidia, Target};
use lstmc_runtime::engine::cpu;

use crate::args::{Emit, Stage, Use};
use crate::compile::{self, Request};
use crate::project::{self, Project};
use crate::terminal;

pub fn run(args: &Emit) -> Result<ExitCode> {
    let purpose = match args.purpose {
        Use::Train => Purpose::Train,
        Use::Evaluate => Purpose::Evaluate,
        Use::Generate => Purpose::Generate { tokens: args.length },
    };
    let (dump_after, workers) = (args.dump_after.as_deref(), usize::from(args.threads));
    let weights = args.weights.into();
    let gpu = match (args.target, args.stage) {
        (None, Stage::Ptx) => Some(Nvidia::SM_90),
        (target, _) => target.map(Nvidia::from),
    };
    let target = gpu.map_or_else(|| cpu::target(workers), Target::nvidia);
    let request = Request { stage: args.stage, purpose, dump_after, weights, target: &target };
    request.check()?;
    // The first stages need no vocabulary, so no text.
    let early = Project::read(&args.file.model, args.file.data.as_deref())?.source.emit_source(args.stage);
    let text = match early {
        Some(text) => text,
        None => {
            let (_, _, model) = project::model_of(&args.file)?;
            compile::emit(&model, request)?
        }
    };
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
