//! The folder of a run.
//!
//! ```text
//! model.lstm     the model's source
//! vocab.json     which word has which id
//! run.json       where the corpus is, what its texts were, and the seed
//! metrics.jsonl  one object a line for each report, see [`Row`]
//! steps.jsonl    one object a line for each point of the curves between reports, see [`Point`]
//! checkpoints/   epoch-03.safetensors, step-005000.safetensors; left-epoch-04.safetensors, before which it was taken up again
//! latest         the name of the newest checkpoint
//! log.txt        what the command did, and when
//! events.out.tfevents.*  the same curves for TensorBoard, where they are asked for, see [`Events`]
//! lock           who writes the run now, see [`crate::lock`]
//! ```
//!
//! A run may come from somebody else: all of this is reached through the folder, and through no link ([`crate::folder`]).

mod checkpoints;
mod events;
mod metrics;
mod place;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lstmc_compiler::diag::visible;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::folder::Folder;
use crate::lock::Lock;
use crate::text::{MODEL_BYTES, Record, Vocabulary, decode};

pub use checkpoints::{Choice, Keep};
pub use events::Events;
pub use metrics::{Point, Row, best_of};
pub use place::{Place, in_words};

const MODEL: &str = "model.lstm";
const VOCABULARY: &str = "vocab.json";
const SETTINGS: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const POINTS: &str = "steps.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const LATEST: &str = "latest";
const LOG: &str = "log.txt";

/// What a run needs to be found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The folder that the corpus's paths are relative to.
    pub data: PathBuf,
    pub seed: u64,
    /// The texts as they were when they were last trained on; none in a run of version 0.1.
    #[serde(default)]
    pub texts: Vec<Record>,
    /// The file that its first parameters are from, if they were imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<PathBuf>,
}

/// A run's folder, locked if it was made or taken up again to be written.
#[derive(Debug)]
pub struct RunDir {
    folder: Folder,
    lock: Option<Lock>,
}

impl RunDir {
    /// Makes a run's folder and locks it. The folder may exist, and may hold a run that has learned nothing that was saved, which is
    /// begun again; but no other.
    ///
    /// # Errors
    /// [`Error::RunExists`]; [`Error::Busy`]; [`Error::Write`].
    pub fn create(path: &Path, source: &str, vocabulary: &Vocabulary, settings: &Settings) -> Result<Self> {
        let run = Self::claim(path)?;
        if run.has(MODEL)? {
            if run.has_learned()? || run.has_imported()? {
                return Err(Error::RunExists { path: path.to_owned() });
            }
            run.remove_start()?;
            run.forget()?;
        }
        run.begin(source, vocabulary, settings)?;
        Ok(run)
    }

    /// Makes and locks `parent/name`, or the first of `parent/name-2`, `parent/name-3`, ... that holds no run.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn create_in(
        parent: &Path,
        name: &str,
        source: &str,
        vocabulary: &Vocabulary,
        settings: &Settings,
    ) -> Result<Self> {
        let mut number = 1u64;
        loop {
            let path = match number {
                1 => parent.join(name),
                _ => parent.join(format!("{name}-{number}")),
            };
            number += 1;
            if Self::holds_run(&path) {
                continue;
            }
            let run = match Self::claim(&path) {
                // Another process is just making it.
                Err(Error::Busy { .. }) => continue,
                other => other?,
            };
            // It may have been made, and its run ended, since we looked.
            if !run.has(MODEL)? {
                run.begin(source, vocabulary, settings)?;
                return Ok(run);
            }
        }
    }

    /// A locked folder, which may hold a run, without what a killed process was writing in it.
    fn claim(path: &Path) -> Result<Self> {
        let folder = files::make_folder(path)?;
        let lock = Lock::take(&folder)?;
        folder.make_folder(CHECKPOINTS).map_err(|source| Error::write(&folder.join(CHECKPOINTS), source))?;
        let run = Self { folder, lock: Some(lock) };
        let checkpoints = run.checkpoints_folder()?;
        if run.lock.as_ref().is_some_and(Lock::is_exclusive) {
            files::sweep(&run.folder)?;
            files::sweep(&checkpoints)?;
        }
        Ok(run)
    }

    fn begin(&self, source: &str, vocabulary: &Vocabulary, settings: &Settings) -> Result<()> {
        self.replace(VOCABULARY, vocabulary)?;
        self.set_settings(settings)?;
        // The model comes last: a folder with one is a run.
        files::replace(&self.folder, MODEL, source.as_bytes())
    }

    /// A run that was made before, to be read.
    ///
    /// # Errors
    /// [`Error::NotARun`]; [`Error::Read`].
    pub fn open(path: &Path) -> Result<Self> {
        let not_a_run = || Error::NotARun { path: path.to_owned(), missing: MODEL };
        let run = Self { folder: Folder::open(path).map_err(|_| not_a_run())?, lock: None };
        if run.has(MODEL)? { Ok(run) } else { Err(not_a_run()) }
    }

    fn has(&self, name: &str) -> Result<bool> {
        self.folder.has(name).map_err(|cause| Error::Read { path: self.folder.join(name), cause })
    }

    /// A run that was made before, locked to be written.
    ///
    /// # Errors
    /// [`Error::NotARun`]; [`Error::Busy`]; [`Error::Write`].
    pub fn take_up(path: &Path) -> Result<Self> {
        Self::open(path)?;
        Self::claim(path)
    }

    pub fn holds_run(path: &Path) -> bool {
        Folder::open(path).is_ok_and(|folder| folder.has(MODEL).unwrap_or(false))
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn model_path(&self) -> PathBuf {
        self.folder.join(MODEL)
    }

    /// The text of the model file.
    ///
    /// # Errors
    /// A file that is unreadable, not UTF-8 or too long for a model.
    pub fn source(&self) -> Result<String> {
        let bytes = files::read_up_to(MODEL_BYTES, &self.folder, MODEL, "the run's model")?;
        decode(&self.model_path(), bytes)
    }

    fn text(&self, name: &str, what: &'static str) -> Result<String> {
        decode(&self.folder.join(name), files::read(&self.folder, name, what)?)
    }

    /// # Errors
    /// A file that is missing or not what it was.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        self.parse(VOCABULARY)
    }

    /// # Errors
    /// A file that is missing or not what it was.
    pub fn settings(&self) -> Result<Settings> {
        self.parse(SETTINGS)
    }

    /// # Errors
    /// [`Error::Write`].
    pub fn set_settings(&self, settings: &Settings) -> Result<()> {
        self.replace(SETTINGS, settings)
    }

    fn replace<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let json = serde_json::to_vec(value);
        let mut bytes = json.map_err(|error| Error::write(&self.folder.join(name), error.into()))?;
        bytes.push(b'\n');
        files::replace(&self.folder, name, &bytes)
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, name: &'static str) -> Result<T> {
        let text = match self.text(name, "the run's file") {
            Err(Error::MissingFile { .. }) => {
                return Err(Error::Lost { path: self.path().to_owned(), missing: name });
            }
            other => other?,
        };
        serde_json::from_str(&text).map_err(|error| self.bad(name, error.to_string()))
    }

    fn bad(&self, name: &str, reason: String) -> Error {
        Error::BadFile { path: self.folder.join(name), reason }
    }

    /// Where the checkpoint of this name lies (`epoch-03`).
    pub fn checkpoint(&self, name: &str) -> PathBuf {
        self.folder.join(CHECKPOINTS).join(place::file_of(name))
    }

    fn checkpoints_folder(&self) -> Result<Folder> {
        let failed = |source| Error::read(&self.folder.join(CHECKPOINTS), "the folder", source);
        self.folder.folder(CHECKPOINTS).map_err(failed)
    }

    /// Adds a line with the time (UTC) to the log, with escapes for what a terminal would obey.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn log(&self, message: &str) -> Result<()> {
        files::append_line(&self.folder, LOG, &format!("{} {}", now(), visible(message)))
    }

    /// The lines of the log, each with the time before it; none of a run that has none.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn logged(&self) -> Result<Vec<String>> {
        match self.text(LOG, "the run's log") {
            Err(Error::MissingFile { .. }) => Ok(Vec::new()),
            text => Ok(text?.lines().map(str::to_owned).collect()),
        }
    }
}

/// The time (UTC), as the log has it: `2026-01-31T12:00:00Z`.
pub fn now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// `2026-01-31T12:00:00Z` of seconds since 1970 (Hinnant's civil_from_days).
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years from March; eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests;
