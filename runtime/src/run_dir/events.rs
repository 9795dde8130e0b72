//! A run's event files for TensorBoard: one for each time that its training was begun or taken up.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Point, Row, RunDir};
use crate::error::{Error, Result};
use crate::files;
use crate::tensorboard::{When, up_to};

/// What TensorBoard looks for in names, and what the files of lstmc end in. Between the two are seconds: files are read in the
/// order of their names.
const BEGIN: &str = "events.out.tfevents.";
const END: &str = ".lstmc";

/// An event file that is being written.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Adds points of the curves.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn points(&self, points: &[Point]) -> Result<()> {
        let event = |point: &Point| {
            let values = [
                ("update/loss", point.train_loss),
                ("update/accuracy", point.train_accuracy),
                ("update/learning_rate", point.learning_rate),
                ("update/gradient_norm", point.gradient_norm),
                ("update/words_per_second", point.words_per_second),
            ];
            now(point.step).scalars(&measured(&values))
        };
        self.write(&points.iter().flat_map(event).collect::<Vec<u8>>())
    }

    /// Adds the figures of a report.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn row(&self, row: &Row) -> Result<()> {
        let values = [
            ("epoch", Some(row.epoch as f64)),
            ("loss/train", row.train_loss),
            ("loss/valid", row.valid_loss),
            ("perplexity/train", row.train_perplexity),
            ("perplexity/valid", row.valid_perplexity),
            ("perplexity/valid_word", row.valid_word_perplexity),
            ("bits_per_character/valid", row.valid_bits_per_character),
            ("accuracy/train", row.train_accuracy),
            ("accuracy/valid", row.valid_accuracy),
        ];
        self.write(&now(row.step).scalars(&measured(&values)))
    }

    /// Adds a text under a tag. It is shown as it is.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn text(&self, step: u64, tag: &str, text: &str) -> Result<()> {
        // In Markdown, lines that are indented are as they are.
        let lines: String = text.lines().map(|line| format!("    {line}\n")).collect();
        self.write(&now(step).text(tag, &lines))
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        (&self.file).write_all(bytes).map_err(|source| Error::write(&self.path, source))
    }
}

fn measured<'a>(values: &[(&'a str, Option<f64>)]) -> Vec<(&'a str, f64)> {
    values.iter().filter_map(|&(tag, value)| Some((tag, value?))).collect()
}

fn now(step: u64) -> When {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    When { time, step }
}

/// The seconds in the name of a file of lstmc.
fn seconds(name: &str) -> Option<u64> {
    name.strip_prefix(BEGIN)?.strip_suffix(END)?.parse().ok()
}

impl RunDir {
    /// Begins an event file of a training that has made `step` updates.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`].
    pub fn begin_events(&self, step: u64) -> Result<Events> {
        let last = self.event_files()?.iter().filter_map(|name| seconds(name)).max();
        let next = (now(step).time as u64).max(last.map_or(0, |last| last.saturating_add(1)));
        let name = format!("{BEGIN}{next:010}{END}");
        let failed = |source| Error::write(&self.folder.join(&name), source);
        let file = self.folder.new_file(&name).map_err(failed)?;
        let events = Events { path: self.folder.join(&name), file };
        events.write(&now(step + 1).start())?;
        Ok(events)
    }

    /// Whether there is an event file of lstmc.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn has_events(&self) -> Result<bool> {
        Ok(!self.event_files()?.is_empty())
    }

    fn event_files(&self) -> Result<Vec<String>> {
        let failed = |cause| Error::Read { path: self.path().to_owned(), cause };
        let mut names = self.folder.names().map_err(failed)?;
        names.retain(|name| seconds(name).is_some() && self.folder.has_file(name));
        Ok(names)
    }

    /// Cuts off what is about updates after `step`, and what a crash has cut short.
    pub(super) fn cut_events(&self, step: u64) -> Result<()> {
        for name in self.event_files()? {
            let bytes = files::read(&self.folder, &name, "the run's event file")?;
            match up_to(&bytes, step) {
                0 => files::remove(&self.folder, &name)?,
                length if length < bytes.len() => {
                    let failed = |source| Error::write(&self.folder.join(&name), source);
                    let file = self.folder.update(&name).map_err(failed)?;
                    file.set_len(length as u64).map_err(failed)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn remove_events(&self) -> Result<()> {
        self.event_files()?.iter().try_for_each(|name| files::remove(&self.folder, name))
    }
}
