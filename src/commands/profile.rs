//! `lstmc profile`: where a training step's time goes.

use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::diag::visible_json;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;

use crate::args::Profile;
use crate::compile::{self, Threads};
use crate::{profile, project, terminal};

pub fn run(args: &Profile) -> Result<ExitCode> {
    let (_, corpus, model) = project::model_of(&args.file)?;
    let threads = project::threads(args.threads);
    let (Threads::Exactly(available) | Threads::UpTo(available)) = threads;
    let program = compile::program(&model, Purpose::Train, Format::F32, threads);
    let ids = corpus.map_or_else(|| profile::random_tokens(&model), |corpus| corpus.train);
    let found = profile::measure(&model, &program, ids, available, args.steps)?;
    let text = if args.json {
        visible_json(&profile::json(&found)?).into_owned()
    } else {
        profile::text(&found, args.order)
    };
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
