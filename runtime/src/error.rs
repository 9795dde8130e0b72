//! What can go wrong at run time, in words for the person at the keyboard: what happened, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::exchange::Cause;
use crate::text::Unknown;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Backend(#[from] lstmc_compiler::backend::cpu::cranelift::Error),

    #[error(transparent)]
    Device(crate::engine::cuda::DeviceError),

    #[error("cannot find {what} {path:?}")]
    MissingText { what: &'static str, path: PathBuf },

    #[error("the tokenizer cannot cut the text: {reason}")]
    Tokenizer { reason: String },

    #[error("no file is like {path:?}, which {what} is to be read from")]
    NoMatch { what: &'static str, path: PathBuf },

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
        "{place} has {unknown}; the first is in line {line}; {}", unknown_advice(*.in_run)
    )]
    UnknownWords { place: String, line: usize, unknown: Box<Unknown>, in_run: bool },

    #[error("this model does not know {words}, of the prompt")]
    UnknownPrompt { words: String },

    #[error(
        "the training text is too short for one batch: it has {}, and {} of {} {} at least {needed}; use {}more text",
        number_of(*.found, "token"), number_of(*.rows, "row"), number_of(*.steps, "step"),
        if *.rows == 1 { "needs" } else { "need" },
        fewer(*.rows, *.steps).map(|fewer| format!("{fewer}, or ")).unwrap_or_default()
    )]
    ShortCorpus { found: usize, needed: usize, rows: usize, steps: usize },

    #[error(
        "the {what} text offers nothing to predict: it has {}, and this model predicts from {needed} on",
        number_of(*.found, "token")
    )]
    NothingToPredict { what: String, found: usize, needed: usize },

    #[error(
        "this needs {} of memory for \"{program}\", and {} is available",
        bytes(*.needed), bytes(*.available)
    )]
    Memory { program: String, needed: u64, available: u64 },

    #[error(
        "cannot start {}: {cause}; use fewer with --threads, or allow this process more threads (`ulimit -u`) or more \
         memory (`ulimit -v`)", number_of(*.workers, "worker thread")
    )]
    Threads { workers: usize, cause: io::Error },

    #[error("rank {rank} {cause}{}", rank_advice(cause))]
    Rank { rank: usize, cause: Cause },

    #[error(
        "{} cannot have equally many of a batch's {}: start {}{}", number_of(*.ranks, "rank"),
        number_of(*.shards, "shard"), divisors(*.shards),
        if *.shards == 1 { format!(", or write `shards: {}` into the train block", .ranks) } else { String::new() }
    )]
    Ranks { shards: usize, ranks: usize },

    #[error("the ranks do not agree on where the run is: {reason}")]
    Position { reason: String },

    #[error("the program has no {0}: it was not compiled for this use")]
    MissingBuffer(String),

    #[error("token id {id} is not one of this program, whose ids are below {limit}")]
    UnknownId { id: u32, limit: usize },

    #[error("\"{name}\" has {}, not {found}", number_of(*.expected, "element"))]
    WrongLength { name: String, expected: usize, found: usize },

    #[error(
        "{path:?} is not a whole checkpoint: {reason}; choose another one of the run with --checkpoint, or train again"
    )]
    BrokenCheckpoint { path: PathBuf, reason: String },

    #[error(
        "{path:?} has no checksums, so that nothing shows whether it is as it was written (earlier versions and other programs \
         write such checkpoints): if you trust it, add --accept-unverified"
    )]
    Unverified { path: PathBuf },

    #[error(
        "{path:?}: {tensor} holds numbers that are NaN or infinite; choose another checkpoint of the run with --checkpoint, or \
         train again"
    )]
    NotFinite { path: PathBuf, tensor: String },

    #[error("{path:?} belongs to another model: {}", list(differences))]
    WrongModel { path: PathBuf, differences: Vec<String> },

    #[error(
        "{what} {path:?} is not the one that this run was begun with: it has {found}, and that had {recorded}; put that \
         text back, or go on with this one with --accept-changes"
    )]
    ChangedText { what: &'static str, path: PathBuf, found: String, recorded: String },

    #[error(
        "the run names {what} {path:?}, and has no record of having read it: if you want it to be read, add \
         --accept-changes, or name the folder that the texts are in with --data"
    )]
    UnknownText { what: &'static str, path: PathBuf },

    #[error(
        "{path:?} was trained with another vocabulary ({found}) than the run's vocab.json has ({expected}): one of them \
         was altered; put the run's own vocab.json back"
    )]
    WrongVocabulary { path: PathBuf, found: String, expected: String },

    #[error("{path:?} already holds a run: go on with it with --resume {path:?}, or name another folder")]
    RunExists { path: PathBuf },

    #[error("{path:?} is there already: name another file, or write over it with --overwrite")]
    ModelExists { path: PathBuf },

    #[error("{path:?} is being written by {holder}: wait until that has ended, or stop it")]
    Busy { path: PathBuf, holder: String },

    #[error("{path:?} is not a run: it has no {missing}; name a folder that `lstmc train` made")]
    NotARun { path: PathBuf, missing: &'static str },

    #[error("the run {path:?} has no {missing} any more: put the file back, or train again")]
    Lost { path: PathBuf, missing: &'static str },

    #[error("{path:?} has no checkpoint yet: train it longer with --resume {path:?}")]
    NoCheckpoint { path: PathBuf },

    #[error("none of the checkpoints of {path:?} {wanted}; there are {there}")]
    NoSuchCheckpoint { path: PathBuf, wanted: String, there: String },

    #[error("{path:?} has no best checkpoint: {reason}")]
    NoBest { path: PathBuf, reason: String },

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
        "training ended at a perplexity of {perplexity:.1e}, where guessing among {} has {vocabulary}: \
         it has diverged; {}", number_of(*.vocabulary, "token"), calmer(*.clips)
    )]
    WorseThanGuessing { perplexity: f64, vocabulary: usize, clips: bool },

    #[error(
        "the prompt has {}, and this model reads {needed} before it can say the next: give a longer prompt",
        number_of(*.found, "token")
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

    /// A file that is longer than `what` can be.
    pub(crate) fn too_long(path: &Path, what: &str, found: u64, most: u64) -> Self {
        let reason = format!("it has {}, and {what} has {} at most", bytes(found), bytes(most));
        Self::BadFile { path: path.to_owned(), reason }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), cause: source }
    }
}

/// What to do about unknown words; the vocabulary of a run stays what it is.
fn unknown_advice(in_run: bool) -> String {
    let advice = "write `unknown: \"<unk>\"` into the data block, which is what they count as then, and `min_count: 2`, so \
                  that it is trained";
    if in_run { format!("to train a model that takes them, {advice}") } else { advice.into() }
}

/// What to do about a rank that is lost.
fn rank_advice(cause: &Cause) -> &'static str {
    match cause {
        Cause::OutOfStep => "",
        Cause::Silent(_) | Cause::Ended => {
            "; look what it says itself, and go on from the last checkpoint with --resume, with fewer ranks if need be"
        }
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
    let advice = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room, and go on with --resume",
        io::ErrorKind::FileTooLarge => "; raise that limit, and go on with --resume",
        _ => "",
    };
    format!("{}{advice}", unwritable(cause))
}

/// Why something cannot be written.
pub fn unwritable(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::StorageFull => "the disk is full".into(),
        io::ErrorKind::QuotaExceeded => "no more of the disk is allotted to this user".into(),
        io::ErrorKind::FileTooLarge => "this process may write no file of this size (`ulimit -f`)".into(),
        _ => cause.to_string(),
    }
}

/// `1, 2, or 4`, those numbers that divide another.
fn divisors(of: usize) -> String {
    let mut all: Vec<String> = (1..=of).filter(|d| of.is_multiple_of(*d)).map(|d| d.to_string()).collect();
    match all.pop() {
        Some(last) if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// What a batch can have fewer of.
pub fn fewer(rows: usize, steps: usize) -> Option<&'static str> {
    match (rows > 1, steps > 1) {
        (true, true) => Some("fewer rows or steps"),
        (true, false) => Some("fewer rows"),
        (false, true) => Some("fewer steps"),
        (false, false) => None,
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

/// A number with what it counts: `1 row`, `2 rows`.
pub fn number_of(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
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
    if unit == 0 { number_of(count as usize, "byte") } else { format!("{value:.1} {}", UNITS[unit]) }
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
    fn one_is_singular() {
        assert_eq!([0, 1, 2].map(|count| number_of(count, "row")), ["0 rows", "1 row", "2 rows"]);
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
