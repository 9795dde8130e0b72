//! What can go wrong at run time, in words for the person at the keyboard: what happened, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Backend(#[from] lstmc_compiler::backend::cranelift::Error),

    #[error("cannot find {what} {path:?}: put it there, or say with --data which folder it is in")]
    MissingText { what: &'static str, path: PathBuf },

    #[error("cannot find {what} {path:?}")]
    MissingFile { what: &'static str, path: PathBuf },

    #[error("cannot read {path:?}: {cause}")]
    Read { path: PathBuf, cause: io::Error },

    #[error("cannot write {path:?}: {}", write_reason(cause))]
    Write { path: PathBuf, cause: io::Error },

    #[error(
        "{path:?} is not UTF-8 text: byte {offset} (line {line}) is not part of a character; convert the file to UTF-8"
    )]
    NotUtf8 { path: PathBuf, offset: usize, line: usize },

    #[error("{path:?} holds no tokens: a corpus needs text")]
    EmptyCorpus { path: PathBuf },

    #[error(
        "unknown word \"{word}\" in {place}, line {line}: it is not in the training text, and the vocabulary has no \
         <unk> to stand for it"
    )]
    UnknownWord { word: String, place: String, line: usize },

    #[error(
        "the training text is too short for one batch: it has {found} tokens, and {rows} rows of {steps} steps need at \
         least {needed}; use fewer rows or steps, or more text"
    )]
    ShortCorpus { found: usize, needed: usize, rows: usize, steps: usize },

    #[error(
        "the {what} text offers nothing to predict: it has {found} token{}, and this model \
         predicts from {needed} on", if *.found == 1 { "" } else { "s" }
    )]
    NothingToPredict { what: String, found: usize, needed: usize },

    #[error(
        "this needs {} of memory for \"{program}\", and {} is available: use a smaller model, fewer rows or fewer steps",
        bytes(*.needed), bytes(*.available)
    )]
    Memory { program: String, needed: u64, available: u64 },

    #[error("the program has no {0}: it was not compiled for this use")]
    MissingBuffer(String),

    #[error("\"{name}\" has {expected} elements, not {found}")]
    WrongLength { name: String, expected: usize, found: usize },

    #[error("{path:?} is not a whole checkpoint: {reason}; use an earlier one, or train again")]
    BrokenCheckpoint { path: PathBuf, reason: String },

    #[error("{path:?} belongs to another model: {}", list(differences))]
    WrongModel { path: PathBuf, differences: Vec<String> },

    #[error(
        "{path:?} was trained with another vocabulary ({found}, not {expected}): put the run's own vocab.json back, \
         or train again on this text"
    )]
    WrongVocabulary { path: PathBuf, found: String, expected: String },

    #[error(
        "{path:?} already holds a run: go on with it with --resume {path:?}, or choose another folder with --out"
    )]
    RunExists { path: PathBuf },

    #[error("{path:?} is not a run: it has no {missing}; name a folder that `lstmc train` made")]
    NotARun { path: PathBuf, missing: &'static str },

    #[error("{path:?} has no checkpoint yet: train it longer, or start again")]
    NoCheckpoint { path: PathBuf },

    #[error("{path:?}: {reason}")]
    BadFile { path: PathBuf, reason: String },

    #[error("the loss became {loss} at epoch {epoch}, step {step}: training has diverged; {}", calmer(*.clips))]
    Diverged { loss: f64, epoch: u64, step: u64, clips: bool },

    #[error(
        "training has diverged: update {step} left {what}, so there is no checkpoint of it; {}", calmer(*.clips)
    )]
    BadUpdate { step: u64, what: String, clips: bool },

    #[error(
        "the loss on the {text} text is {loss}, though all parameters are finite: look for what the model computes \
         without bounds, such as `exp`, `log` or a division"
    )]
    BadEvaluation { text: String, loss: f64 },

    #[error(
        "training ended at a perplexity of {perplexity:.1e}, where guessing among {vocabulary} tokens has {vocabulary}: \
         it has diverged; {}", calmer(*.clips)
    )]
    WorseThanGuessing { perplexity: f64, vocabulary: usize, clips: bool },

    #[error(
        "the prompt has {found} tokens, and this model reads {needed} before it can say the next: give a longer prompt"
    )]
    ShortPrompt { found: usize, needed: usize },

    #[error("{0}")]
    BadArgument(String),
}

impl Error {
    pub(crate) fn read(path: &Path, what: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::MissingFile { what, path: path.to_owned() },
            _ => Self::Read { path: path.to_owned(), cause: source },
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), cause: source }
    }
}

/// What keeps a training from diverging that is not done already.
fn calmer(clips: bool) -> &'static str {
    if clips {
        "lower the rate, or clip to a smaller norm"
    } else {
        "lower the rate, or clip the gradients (`clip: norm(5.0)`)"
    }
}

fn write_reason(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::StorageFull => "the disk is full; make room, and go on with --resume".into(),
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::NotFound => {
            format!("{cause}; choose a folder that you may write to with --out")
        }
        _ => cause.to_string(),
    }
}

/// At most eight of them, and how many more there are.
fn list(differences: &[String]) -> String {
    let shown = differences.iter().take(8).cloned().collect::<Vec<_>>().join("; ");
    match differences.len().saturating_sub(8) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// A size for people: `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_in_words() {
        let error = Error::write(Path::new("x"), io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(
            error.to_string(),
            "cannot write \"x\": the disk is full; make room, and go on with --resume"
        );
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(bytes(12), "12 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }

    #[test]
    fn long_lists_are_cut() {
        let differences: Vec<String> = (0..10).map(|i| format!("d{i}")).collect();
        assert!(list(&differences).ends_with("d7; and 2 more"));
    }
}
