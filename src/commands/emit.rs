//! `lstmc emit`: what a stage of the compiler makes of a model.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::args::Emit;
use crate::compile;
use crate::project::{self, Project};

pub fn run(args: &Emit) -> Result<ExitCode> {
    // The first stages need no vocabulary, so no text.
    let early = Project::read(&args.file.model, args.file.data.as_deref())?.source.emit_source(args.stage);
    let text = match early {
        Some(text) => text,
        None => {
            let (_, _, model) = project::model_of(&args.file)?;
            compile::emit(&model, args.stage, args.dump_after.as_deref(), usize::from(args.threads))?
        }
    };
    write!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
