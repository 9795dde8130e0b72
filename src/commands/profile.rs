//! `lstmc profile`: where a training step's time goes.

use std::process::ExitCode;

use anyhow::Result;
use lstmc_compiler::diag::visible_json;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_runtime::feed::random_ids;

use crate::args::Profile;
use crate::compile::{self, Threads};
use crate::{profile, project, terminal};

/// Random tokens, where there is no text.
const TOKENS: usize = 1_000_000;

pub fn run(args: &Profile) -> Result<ExitCode> {
    let (_, corpus, model) = project::model_of(&args.file)?;
    let threads = project::threads(args.threads);
    let (Threads::Exactly(available) | Threads::UpTo(available)) = threads;
    let program = compile::program(&model, Purpose::Train, Format::F32, threads);
    let batches = &model.data.batches;
    let enough = TOKENS.max(20 * batches.rows * (batches.steps + 1));
    let ids = corpus.map_or_else(|| random_ids(model.vocab, enough, 0), |corpus| corpus.train);
    let found = profile::measure(&model, &program, ids, available, args.steps)?;
    let text = if args.json {
        visible_json(&profile::json(&found)?).into_owned()
    } else {
        profile::text(&found, args.order)
    };
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
