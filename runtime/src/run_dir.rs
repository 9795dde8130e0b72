//! The folder of a run.
//!
//! ```text
//! model.lstm     the model's source
//! vocab.json     which word has which id
//! run.json       where the corpus is, what its texts were, and the seed
//! metrics.jsonl  one object a line, see [`Row`]
//! checkpoints/   epoch-03.safetensors, step-005000.safetensors
//! latest         the name of the newest checkpoint
//! log.txt        what the command did, and when
//! lock           who writes the run now, see [`crate::lock`]
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lstmc_compiler::diag::visible;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::files;
use crate::lock::Lock;
use crate::text::{Record, Vocabulary, read_model, read_text};

const MODEL: &str = "model.lstm";
const VOCABULARY: &str = "vocab.json";
const SETTINGS: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const LATEST: &str = "latest";
const LOG: &str = "log.txt";

/// A line of `metrics.jsonl`. What was not measured is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub epoch: u64,
    /// Updates since the run began.
    pub step: u64,
    pub train_loss: Option<f64>,
    pub train_perplexity: Option<f64>,
    pub train_accuracy: Option<f64>,
    pub valid_loss: Option<f64>,
    pub valid_perplexity: Option<f64>,
    pub valid_accuracy: Option<f64>,
    pub learning_rate: Option<f64>,
    /// Predicted words in a second of training alone.
    pub words_per_second: Option<f64>,
    /// Since the run began, pauses left out.
    pub seconds: Option<f64>,
}

/// What a run needs to be found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The folder that the corpus's paths are relative to.
    pub data: PathBuf,
    pub seed: u64,
    /// The texts as they were when they were last trained on; none in a run of version 0.1.
    #[serde(default)]
    pub texts: Vec<Record>,
}

/// A run's folder, locked if it was made or taken up again to be written.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held, not looked at.
    _lock: Option<Lock>,
}

impl RunDir {
    /// Makes a run's folder and locks it. The folder may exist, and may hold a run that ended before its first checkpoint,
    /// which is begun again; but no other.
    ///
    /// # Errors
    /// [`Error::RunExists`]; [`Error::Busy`]; [`Error::Write`].
    pub fn create(path: &Path, source: &str, vocabulary: &Vocabulary, settings: &Settings) -> Result<Self> {
        let run = Self::claim(path)?;
        if Self::holds_run(path) {
            if run.has_checkpoints()? {
                return Err(Error::RunExists { path: path.to_owned() });
            }
            files::remove(&path.join(METRICS))?;
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
            if !Self::holds_run(&path) {
                run.begin(source, vocabulary, settings)?;
                return Ok(run);
            }
        }
    }

    /// A locked folder, which may hold a run.
    fn claim(path: &Path) -> Result<Self> {
        files::make_folder(&path.join(CHECKPOINTS))?;
        Ok(Self { path: path.to_owned(), _lock: Some(Lock::take(path)?) })
    }

    fn begin(&self, source: &str, vocabulary: &Vocabulary, settings: &Settings) -> Result<()> {
        let path = self.path.join(VOCABULARY);
        files::replace(&path, &json(&path, vocabulary)?)?;
        self.set_settings(settings)?;
        // The model comes last: a folder with one is a run.
        files::replace(&self.path.join(MODEL), source.as_bytes())
    }

    /// A run that was made before, to be read.
    ///
    /// # Errors
    /// [`Error::NotARun`].
    pub fn open(path: &Path) -> Result<Self> {
        if !Self::holds_run(path) {
            return Err(Error::NotARun { path: path.to_owned(), missing: MODEL });
        }
        Ok(Self { path: path.to_owned(), _lock: None })
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
        path.join(MODEL).exists()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// The text of the model file.
    ///
    /// # Errors
    /// As [`read_text`].
    pub fn source(&self) -> Result<String> {
        read_model(&self.model_path(), "the run's model")
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
        let path = self.path.join(SETTINGS);
        files::replace(&path, &json(&path, settings)?)
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, name: &'static str) -> Result<T> {
        let path = self.path.join(name);
        let text = match read_text(&path, "the run's file") {
            Err(Error::MissingFile { .. }) => {
                return Err(Error::Lost { path: self.path.clone(), missing: name });
            }
            other => other?,
        };
        serde_json::from_str(&text).map_err(|error| Error::BadFile { path, reason: error.to_string() })
    }

    /// Where the checkpoint of this name lies (`epoch-03`).
    pub fn checkpoint(&self, name: &str) -> PathBuf {
        self.path.join(CHECKPOINTS).join(format!("{name}.safetensors"))
    }

    /// Makes `name` the newest checkpoint, and removes those inside an epoch or interval that it makes useless.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn set_latest(&self, name: &str) -> Result<()> {
        files::replace(&self.path.join(LATEST), format!("{name}\n").as_bytes())?;
        let newest = self.checkpoint(name);
        for path in self.checkpoints()? {
            let passing = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("step-"));
            if passing && path != newest {
                files::remove(&path)?;
            }
        }
        Ok(())
    }

    /// The files of all checkpoints, by name.
    ///
    /// # Errors
    /// [`Error::Read`].
    fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let folder = self.path.join(CHECKPOINTS);
        let failed = |cause| Error::Read { path: folder.clone(), cause };
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            // One that is being written has another name.
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Whether there is a checkpoint to go on from.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn has_checkpoints(&self) -> Result<bool> {
        Ok(self.path.join(LATEST).exists() || !self.checkpoints()?.is_empty())
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`]; [`Error::BadFile`] if it is not known which one is the newest.
    pub fn latest(&self) -> Result<PathBuf> {
        let pointer = self.path.join(LATEST);
        match read_text(&pointer, "the run's file") {
            Ok(name) if !name.trim().is_empty() && !name.contains(['/', '\\']) => {
                Ok(self.checkpoint(name.trim()))
            }
            Ok(_) => Err(Error::BadFile { path: pointer, reason: "it does not name a checkpoint".into() }),
            Err(Error::MissingFile { .. }) => match self.checkpoints()?.as_slice() {
                [] => Err(Error::NoCheckpoint { path: self.path.clone() }),
                // The first one, which a crash has left before it was named.
                [only] => Ok(only.clone()),
                several => Err(Error::BadFile { path: pointer, reason: unnamed(several) }),
            },
            Err(error) => Err(error),
        }
    }

    /// The newest checkpoint and its file, of a run that may be being trained. If the file is replaced meanwhile, the
    /// next newest is read.
    ///
    /// # Errors
    /// As [`RunDir::latest`] and [`Checkpoint::read`].
    pub fn newest(&self) -> Result<(PathBuf, Checkpoint)> {
        loop {
            let path = self.latest()?;
            match Checkpoint::read(&path) {
                Err(Error::MissingFile { .. }) if self.latest()? != path => {}
                read => return Ok((path, read?)),
            }
        }
    }

    /// Adds a row of metrics.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn append(&self, row: &Row) -> Result<()> {
        let path = self.path.join(METRICS);
        let line = serde_json::to_string(row).map_err(|error| Error::write(&path, error.into()))?;
        files::append_line(&path, &line)
    }

    /// Keeps only the rows up to update `step`, as a run that goes on from there will write the others again. A line
    /// that a crash cut short goes too.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`].
    pub fn truncate_metrics(&self, step: u64) -> Result<()> {
        let path = self.path.join(METRICS);
        let text = match read_text(&path, "the run's metrics") {
            Err(Error::MissingFile { .. }) => return Ok(()),
            other => other?,
        };
        let keep = |line: &&str| serde_json::from_str::<Row>(line).is_ok_and(|row| row.step <= step);
        let kept: String = text.lines().take_while(keep).map(|line| format!("{line}\n")).collect();
        if kept == text { Ok(()) } else { files::replace(&path, kept.as_bytes()) }
    }

    /// All rows.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::BadFile`].
    pub fn metrics(&self) -> Result<Vec<Row>> {
        let path = self.path.join(METRICS);
        let text = read_text(&path, "the run's metrics")?;
        let parse = |line| {
            serde_json::from_str(line)
                .map_err(|error| Error::BadFile { path: path.clone(), reason: error.to_string() })
        };
        text.lines().map(parse).collect()
    }

    /// Adds a line with the time (UTC) to the log, with escapes for what a terminal would obey.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn log(&self, message: &str) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        files::append_line(&self.path.join(LOG), &format!("{} {}", utc(now), visible(message)))
    }
}

/// What to do where `latest` is gone.
fn unnamed(checkpoints: &[PathBuf]) -> String {
    let names: Vec<String> = checkpoints
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    format!("the file is gone; write into it which checkpoint is the newest: {}", names.join(", "))
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value).map_err(|error| Error::write(path, error.into()))?;
    bytes.push(b'\n');
    Ok(bytes)
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
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::thread;

    use safetensors::tensor::TensorView;

    use super::*;
    use crate::checkpoint::{Meta, Position};
    use crate::text::Role;

    fn vocabulary() -> Vocabulary {
        Vocabulary::build(["a", "b"], 0)
    }

    fn settings() -> Settings {
        let text = Record::new(Role::Train, "a.txt".into(), b"a b", 2);
        Settings { data: "somewhere".into(), seed: 3, texts: vec![text] }
    }

    fn run(dir: &tempfile::TempDir) -> RunDir {
        RunDir::create(&dir.path().join("run"), "model {}", &vocabulary(), &settings()).unwrap()
    }

    fn row(step: u64) -> Row {
        Row { epoch: 1, step, train_loss: Some(0.5), ..Row::default() }
    }

    #[test]
    fn a_run_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        run(&dir);
        let run = RunDir::open(&dir.path().join("run")).unwrap();
        assert_eq!(run.source().unwrap(), "model {}");
        assert_eq!(run.vocabulary().unwrap(), vocabulary());
        assert_eq!(run.settings().unwrap(), settings());
        assert!(matches!(RunDir::open(dir.path()), Err(Error::NotARun { .. })));
    }

    /// As version 0.1 wrote them.
    #[test]
    fn settings_without_texts_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(&dir);
        fs::write(run.path.join(SETTINGS), r#"{"data":"somewhere","seed":3}"#).unwrap();
        assert_eq!(run.settings().unwrap(), Settings { texts: vec![], ..settings() });
    }

    #[test]
    fn a_folder_that_holds_a_run_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let again = || RunDir::create(&dir.path().join("run"), "other", &vocabulary(), &settings());
        let first = run(&dir);
        assert!(matches!(again(), Err(Error::Busy { .. })), "it is being written");
        fs::write(first.checkpoint("epoch-01"), "").unwrap();
        drop(first);
        assert!(matches!(again(), Err(Error::RunExists { .. })));
        let run = RunDir::open(&dir.path().join("run")).unwrap();
        assert_eq!(run.source().unwrap(), "model {}");
    }

    #[test]
    fn a_run_without_a_checkpoint_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = run(&dir);
        first.append(&row(1)).unwrap();
        let path = first.path.clone();
        drop(first);
        let again = RunDir::create(&path, "other", &vocabulary(), &settings()).unwrap();
        assert_eq!(again.source().unwrap(), "other");
        assert!(!path.join(METRICS).exists());
    }

    #[test]
    fn runs_get_the_next_free_name() {
        let dir = tempfile::tempdir().unwrap();
        let create = || RunDir::create_in(dir.path(), "run", "model {}", &vocabulary(), &settings()).unwrap();
        let first = run(&dir);
        // One that is still being made: locked, and without a model.
        let second = RunDir::claim(&dir.path().join("run-2")).unwrap();
        let third = create();
        assert_eq!(third.path(), dir.path().join("run-3"));
        drop((first, second));
        assert_eq!(create().path(), dir.path().join("run-2"));
        assert_eq!(create().path(), dir.path().join("run-4"));
    }

    #[test]
    fn one_process_at_a_time_takes_a_run_up() {
        let dir = tempfile::tempdir().unwrap();
        let first = run(&dir);
        assert!(matches!(RunDir::take_up(first.path()), Err(Error::Busy { .. })));
        assert!(RunDir::open(first.path()).is_ok(), "reading needs no lock");
        let path = first.path.clone();
        drop(first);
        let second = RunDir::take_up(&path).unwrap();
        assert!(matches!(RunDir::take_up(&path), Err(Error::Busy { .. })));
        drop(second);
        assert!(matches!(RunDir::take_up(dir.path()), Err(Error::NotARun { .. })));
        assert!(!dir.path().join("lock").exists(), "nothing is made in another folder");
    }

    #[test]
    fn a_file_of_a_run_that_is_gone_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(&dir);
        fs::remove_file(run.path.join(VOCABULARY)).unwrap();
        assert!(matches!(run.vocabulary(), Err(Error::Lost { missing: "vocab.json", .. })));
        for name in ["epoch-01", "epoch-02"] {
            fs::write(run.checkpoint(name), "").unwrap();
            if name == "epoch-01" {
                assert_eq!(run.latest().unwrap(), run.checkpoint(name), "the only one");
            }
        }
        let error = run.latest().unwrap_err();
        assert!(error.to_string().contains("the newest: epoch-01, epoch-02"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let result = RunDir::create(&file.join("run"), "m", &vocabulary(), &settings());
        assert!(matches!(result, Err(Error::Write { .. })));
    }

    #[test]
    fn rows_have_exactly_the_documented_fields() {
        let text = serde_json::to_string(&row(7)).unwrap();
        assert_eq!(
            text,
            "{\"epoch\":1,\"step\":7,\"train_loss\":0.5,\"train_perplexity\":null,\"train_accuracy\":null,\
             \"valid_loss\":null,\"valid_perplexity\":null,\"valid_accuracy\":null,\"learning_rate\":null,\
             \"words_per_second\":null,\"seconds\":null}"
        );
    }

    #[test]
    fn resuming_drops_rows_after_the_checkpoint_and_half_lines() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(&dir);
        run.truncate_metrics(0).unwrap();
        (1..=4).for_each(|n| run.append(&row(n * 10)).unwrap());
        files::append_line(&run.path.join(METRICS), "{\"epoch\":1,\"st").unwrap();
        run.truncate_metrics(30).unwrap();
        let steps: Vec<u64> = run.metrics().unwrap().iter().map(|row| row.step).collect();
        assert_eq!(steps, [10, 20, 30]);
    }

    #[test]
    fn the_latest_checkpoint_replaces_passing_ones() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(&dir);
        assert!(matches!(run.latest(), Err(Error::NoCheckpoint { .. })));
        for name in ["epoch-01", "step-000010", "step-000020"] {
            fs::write(run.checkpoint(name), "").unwrap();
            run.set_latest(name).unwrap();
        }
        assert_eq!(run.latest().unwrap(), run.checkpoint("step-000020"));
        assert!(run.checkpoint("epoch-01").exists());
        assert!(!run.checkpoint("step-000010").exists());
        fs::write(run.path.join(LATEST), "../../etc").unwrap();
        assert!(matches!(run.latest(), Err(Error::BadFile { .. })));
    }

    /// Another process writes checkpoints as fast as it can, and removes those before.
    #[test]
    fn the_newest_checkpoint_is_found_beside_a_training() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(&dir);
        let meta = Meta::new(String::new(), String::new(), 0, Position::default());
        let entries = HashMap::from([("lstmc".to_owned(), serde_json::to_string(&meta).unwrap())]);
        let nothing = Vec::<(String, TensorView<'_>)>::new();
        let bytes = safetensors::serialize(nothing, Some(entries)).unwrap();
        let write = |step: u32| {
            let name = format!("step-{step:06}");
            fs::write(run.checkpoint(&name), &bytes).unwrap();
            run.set_latest(&name).unwrap();
        };
        write(0);
        let over = AtomicBool::new(false);
        let looks = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut looks = 0;
                while !over.load(Relaxed) {
                    run.newest().unwrap();
                    looks += 1;
                }
                looks
            });
            (1..1000).for_each(write);
            over.store(true, Relaxed);
            reader.join().unwrap()
        });
        assert!(looks > 0);
    }

    #[test]
    fn the_log_can_be_read_on_a_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(&dir);
        run.log("cannot find \u{1b}[2J").unwrap();
        let log = fs::read_to_string(run.path.join(LOG)).unwrap();
        assert!(log.ends_with("Z cannot find \\u{1b}[2J\n"), "{log}");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
