//! What to do about an error, where that depends on what was asked for: it does not advise what has been done already.

use std::io::ErrorKind;
use std::path::Path;

use lstmc_compiler::model::Model;
use lstmc_runtime::Error;
use lstmc_runtime::error::fewer;
use lstmc_runtime::memory;

use crate::args::{Command, Import, ModelFile, Train};

/// What a command that failed could do instead.
pub fn of(error: &anyhow::Error, command: &Command) -> Option<String> {
    match error.downcast_ref::<Error>()? {
        Error::MissingText { .. } | Error::NoMatch { .. } => Some(missing_text(command)),
        Error::Write { cause, .. } => {
            let kinds = [
                ErrorKind::PermissionDenied,
                ErrorKind::ReadOnlyFilesystem,
                ErrorKind::NotADirectory,
                ErrorKind::NotFound,
            ];
            let (Command::Train(Train { out, resume: None, .. }) | Command::Import(Import { out, .. })) =
                command
            else {
                return None;
            };
            let advice = match out {
                Some(_) => "name a folder that you may write to",
                None => "choose a folder that you may write to with --out",
            };
            kinds.contains(&cause.kind()).then(|| advice.into())
        }
        _ => None,
    }
}

fn missing_text(command: &Command) -> String {
    let (data, size) = match command {
        Command::Train(args) => (args.data.as_deref(), false),
        Command::Import(args) => (args.data.as_deref(), false),
        Command::Eval(args) => (args.trained.data.as_deref(), false),
        Command::Predict(args) => (args.trained.data.as_deref(), false),
        Command::Report(args) => (args.data.as_deref(), false),
        Command::Check(args) => looked_at(&args.file),
        Command::Emit(args) => looked_at(&args.file),
        Command::Profile(args) => looked_at(&args.file),
        Command::Init(_)
        | Command::Compare(_)
        | Command::Score(_)
        | Command::Generate(_)
        | Command::Export(_)
        | Command::Fmt(_)
        | Command::Gradcheck(_)
        | Command::Completions(_)
        | Command::Man(_) => (None, false),
    };
    match (data, size) {
        (Some(_), _) => "put it there".into(),
        (None, false) => "put it there, or say with --data which folder it is in".into(),
        (None, true) => {
            "put it there, say with --data which folder it is in, or give the vocabulary's size with --vocab N".into()
        }
    }
}

fn looked_at(file: &ModelFile) -> (Option<&Path>, bool) {
    (file.data.as_deref(), true)
}

/// Whether the machine has so many bytes for a training.
///
/// # Errors
/// It has less, as far as that is known; says what to make smaller.
pub fn has_room(needed: u64, model: &Model) -> anyhow::Result<()> {
    match memory::available() {
        Some(available) if needed > available => Err(too_large(needed, available, model)),
        _ => Ok(()),
    }
}

fn too_large(needed: u64, available: u64, model: &Model) -> anyhow::Error {
    let error = Error::Memory { program: "train".into(), needed, available };
    let batches = &model.data.batches;
    match fewer(batches.rows, batches.steps) {
        Some(fewer) => anyhow::anyhow!("{error}; use a smaller model, or {fewer}"),
        None => anyhow::anyhow!("{error}; use a smaller model"),
    }
}
