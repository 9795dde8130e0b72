//! What a run has written down.

use std::path::Path;

use anyhow::Result;
use lstmc_runtime::run_dir::{Row, RunDir, Settings, best_of};
use lstmc_runtime::text::{Record, Role};

use crate::{changes, find};

/// A run by its files, without its checkpoints.
pub struct Known<'a> {
    pub path: &'a Path,
    pub run: RunDir,
    /// The text of its model file.
    pub source: String,
    pub settings: Settings,
    /// The rows of its metrics.
    pub rows: Vec<Row>,
}

impl<'a> Known<'a> {
    /// # Errors
    /// No run there; files that cannot be read.
    pub fn read(path: &'a Path) -> Result<Self> {
        let run = RunDir::open(path).map_err(find::run)?;
        let (source, settings, rows) = (run.source()?, run.settings()?, run.metrics()?);
        Ok(Self { path, run, source, settings, rows })
    }

    /// Its best validation, or its last report if it has no validation.
    pub fn best(&self) -> Option<&Row> {
        best_of(&self.rows).or(self.rows.last())
    }

    /// How its model and its texts differ from those of another run, in lines.
    pub fn differs_from(&self, first: &Known<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        if self.source != first.source {
            lines.push(format!("model {}", changes::lines(&first.source, &self.source)));
        }
        if self.settings.seed != first.settings.seed {
            lines.push(format!("seed {} for {}", self.settings.seed, first.settings.seed));
        }
        if !same_validation(&self.settings.texts, &first.settings.texts) {
            lines.push("another validation text: their figures do not compare".to_owned());
        }
        lines
    }
}

fn same_validation(a: &[Record], b: &[Record]) -> bool {
    let of = |records: &[Record]| records.iter().find(|record| record.role == Role::Valid).cloned();
    match (of(a), of(b)) {
        (Some(a), Some(b)) => a.same_text(&b) && a.tokens == b.tokens,
        (a, b) => a.is_none() == b.is_none(),
    }
}
