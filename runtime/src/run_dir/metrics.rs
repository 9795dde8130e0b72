//! What a run writes down of its training: a row for each report, and points of its curves between them.

use serde::{Deserialize, Serialize};

use super::{METRICS, POINTS, RunDir};
use crate::error::{Error, Result};
use crate::files;

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
    pub valid_word_perplexity: Option<f64>,
    pub valid_bits_per_character: Option<f64>,
    pub learning_rate: Option<f64>,
    /// The mean norm of the updates' gradients, before they are clipped; none where the program does not compute it.
    #[serde(default)]
    pub gradient_norm: Option<f64>,
    /// Predicted words in a second of training alone.
    pub words_per_second: Option<f64>,
    /// Since the run began, pauses left out.
    pub seconds: Option<f64>,
}

/// A line of `steps.jsonl`: means over the updates since the line before it. What was not measured is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub epoch: u64,
    /// The last of these updates, counted since the run began.
    pub step: u64,
    pub train_loss: Option<f64>,
    pub train_accuracy: Option<f64>,
    /// That of the last of these updates.
    pub learning_rate: Option<f64>,
    /// As in [`Row`].
    pub gradient_norm: Option<f64>,
    pub words_per_second: Option<f64>,
}

/// The row of the lowest validation loss, the first of equals, if there is a finite one.
pub fn best_of(rows: &[Row]) -> Option<&Row> {
    let losses = rows.iter().filter_map(|row| Some((row, row.valid_loss.filter(|loss| loss.is_finite())?)));
    losses.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(row, _)| row)
}

impl RunDir {
    /// Adds a row of metrics.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn append(&self, row: &Row) -> Result<()> {
        self.append_lines(METRICS, std::slice::from_ref(row))
    }

    /// Adds points of the curves.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn append_points(&self, points: &[Point]) -> Result<()> {
        if points.is_empty() { Ok(()) } else { self.append_lines(POINTS, points) }
    }

    fn append_lines<T: Serialize>(&self, name: &str, values: &[T]) -> Result<()> {
        let lines = values.iter().map(serde_json::to_string).collect::<serde_json::Result<Vec<_>>>();
        let lines = lines.map_err(|error| Error::write(&self.folder.join(name), error.into()))?;
        files::append_line(&self.folder, name, &lines.join("\n"))
    }

    /// Keeps only what was written down up to update `step`, as a run that goes on from there will write the rest again. A line
    /// that a crash cut short goes too.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`].
    pub fn forget_after(&self, step: u64) -> Result<()> {
        self.cut::<Row>(METRICS, &|row| row.step <= step)?;
        self.cut::<Point>(POINTS, &|point| point.step <= step)?;
        self.cut_events(step)
    }

    /// Keeps the first lines of a file, as long as they are such values.
    fn cut<T: for<'de> Deserialize<'de>>(&self, name: &str, keep: &dyn Fn(&T) -> bool) -> Result<()> {
        let text = match self.text(name, "the run's metrics") {
            Err(Error::MissingFile { .. }) => return Ok(()),
            other => other?,
        };
        let stays = |line: &&str| serde_json::from_str::<T>(line).is_ok_and(|value| keep(&value));
        let kept: String = text.lines().take_while(stays).map(|line| format!("{line}\n")).collect();
        if kept == text { Ok(()) } else { files::replace(&self.folder, name, kept.as_bytes()) }
    }

    /// All rows; none of a run that has written none.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::BadFile`].
    pub fn metrics(&self) -> Result<Vec<Row>> {
        self.lines(METRICS)
    }

    /// All points; none of a run that has written none, such as one of a version before they were.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::BadFile`].
    pub fn points(&self) -> Result<Vec<Point>> {
        self.lines(POINTS)
    }

    fn lines<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Vec<T>> {
        let text = match self.text(name, "the run's metrics") {
            Err(Error::MissingFile { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        // The last line may be one that is being written, or that a crash has cut short.
        let (whole, rest) = text.rsplit_once('\n').map_or(("", text.as_str()), |(whole, rest)| (whole, rest));
        let parse = |line| serde_json::from_str(line).map_err(|error| self.bad(name, error.to_string()));
        let last = serde_json::from_str(rest).ok();
        whole.lines().map(parse).chain(last.map(Ok)).collect()
    }

    /// Removes all that was written down.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`].
    pub(super) fn forget(&self) -> Result<()> {
        files::remove(&self.folder, METRICS)?;
        files::remove(&self.folder, POINTS)?;
        self.remove_events()
    }
}
