//! Checkpoints: one safetensors file with everything that a run needs to go on, or a model to be used.
//!
//! Each of the model's parameters is one tensor under its own name (`lstm_1.W_i`), optimizer state
//! `optimizer/lstm_1.W_i/s`, recurrent state `carried/lstm_1.h`. The metadata entry `lstmc` holds [`Meta`] as JSON, the entry
//! `crc32` a checksum of that text and of every tensor ([`Checksums`]).

mod checksums;
mod write;

use std::path::PathBuf;

use lstmc_compiler::grad::PARAM_MEAN;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use self::checksums::Checksums;
use crate::engine::{Store, Tensor, TensorKind};
use crate::error::{Error, Result};
use crate::files;
use crate::folder::Folder;
use crate::patience::Validations;

pub(crate) use write::save;

const FORMAT: u32 = 2;
/// The entry of the metadata that a checkpoint is told by.
pub(crate) const ENTRY: &str = "lstmc";
const CHECKSUMS: &str = "crc32";
/// What the names of tensors begin with that are no parameters.
pub(crate) const OPTIMIZER: &str = "optimizer/";
pub(crate) const CARRIED: &str = "carried/";

/// What a checkpoint says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub format: u32,
    /// The text of the model file.
    pub source: String,
    /// [`crate::random::hash`] of the text.
    pub source_hash: String,
    /// [`crate::text::Vocabulary::fingerprint`].
    pub vocabulary: String,
    pub seed: u64,
    pub position: Position,
}

impl Meta {
    pub fn new(source: String, vocabulary: String, seed: u64, position: Position) -> Self {
        let source_hash = hash(&source);
        Self { format: FORMAT, source, source_hash, vocabulary, seed, position }
    }

    /// Reads what [`Meta`] was written as, by this version or one before; or says what is wrong with it.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut meta: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match meta.format {
            FORMAT => {}
            // Summed each batch's mean loss; a run's batches are all of one size.
            1 => {
                let totals = &mut meta.position.totals;
                totals.loss *= totals.predictions as f64 / totals.batches.max(1) as f64;
                meta.format = FORMAT;
            }
            other => return Err(format!("its format is {other}, and this version reads {FORMAT}")),
        }
        match meta.position.impossible() {
            Some(reason) => Err(reason),
            None => Ok(meta),
        }
    }

    /// Whether this is the text of the model that was trained.
    pub fn is_of(&self, source: &str) -> bool {
        self.source_hash == hash(source)
    }
}

fn hash(source: &str) -> String {
    format!("{:016x}", crate::random::hash(source.as_bytes()))
}

/// Where a run is. (serde_json's `float_roundtrip` brings the sums back bit for bit.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epoch of the last update, from 1.
    pub epoch: u64,
    /// Updates made.
    pub step: u64,
    /// The update after which metrics were last written.
    pub reported: u64,
    pub totals: Totals,
    /// Sums since the last point of the curves, which ends where a report does.
    #[serde(default, skip_serializing_if = "Totals::is_empty")]
    pub curve: Totals,
    /// Seconds since the run began, pauses left out.
    pub seconds: f64,
    /// None in a checkpoint of before they were counted.
    #[serde(default)]
    pub validations: Validations,
    /// Of how many updates the mean of the parameters is that the checkpoint has; 0 if it has none.
    #[serde(default)]
    pub averaged: u64,
}

/// No machine makes more updates in a second: each calls the host twice, which looks at the clock.
const UPDATES_PER_SECOND: f64 = 1e7;
/// No run goes on for longer: thirty years.
const SECONDS: f64 = 1e9;

impl Position {
    /// Why no run was ever there. From such a place the batches of random starts could not be found again in any time:
    /// each pass over the text begins where the one before has ended.
    fn impossible(&self) -> Option<String> {
        let possible = self.seconds <= SECONDS && self.step as f64 <= self.seconds * UPDATES_PER_SECOND;
        (!possible).then(|| format!("it says that {} updates took {} seconds", self.step, self.seconds))
    }
}

/// Sums over the batches since the last epoch or report interval began, or over a text that is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub batches: u64,
    /// Of each prediction's loss, in nats.
    pub loss: f64,
    pub hits: f64,
    pub predictions: u64,
    /// Spent in training steps.
    pub seconds: f64,
    /// Of the norms of the updates' gradients, and how many these are, where the program computes them.
    #[serde(default, skip_serializing_if = "Norms::is_empty")]
    pub norms: Norms,
}

/// Norms of gradients, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Norms {
    pub sum: f64,
    pub updates: u64,
}

impl Norms {
    pub fn add(&mut self, norm: f64) {
        self.sum += norm;
        self.updates = self.updates.saturating_add(1);
    }

    pub fn mean(&self) -> Option<f64> {
        (self.updates > 0).then(|| self.sum / self.updates as f64)
    }

    fn is_empty(&self) -> bool {
        self.updates == 0
    }
}

impl Totals {
    fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// Adds a batch: the sum of its predictions' losses, and how many of them were right.
    pub fn add(&mut self, loss: f64, hits: f64, predictions: u64) {
        // A stranger's checkpoint may say any number.
        self.batches = self.batches.saturating_add(1);
        self.loss += loss;
        self.hits += hits;
        self.predictions = self.predictions.saturating_add(predictions);
    }

    /// Mean cross-entropy, in nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.predictions.max(1) as f64
    }

    pub fn perplexity(&self) -> f64 {
        self.mean_loss().exp()
    }

    /// The share of predictions that were right.
    pub fn accuracy(&self) -> f64 {
        self.hits / self.predictions.max(1) as f64
    }

    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.predictions as f64 / self.seconds } else { 0.0 }
    }
}

/// A checkpoint's bytes, found to be whole.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its file, for messages.
    pub path: PathBuf,
    bytes: Vec<u8>,
    pub meta: Meta,
}

/// What to take out of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// All that training goes on from.
    Everything,
    Parameters,
}

/// Which checkpoints to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Those that their checksums show to be as they were written.
    Verified,
    /// Those without checksums too, as earlier versions and other programs write them.
    Unverified,
}

impl Checkpoint {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::BrokenCheckpoint`] if it is cut short, not as it was written, or not one of ours; [`Error::Unverified`];
    /// [`Error::Read`].
    pub(crate) fn read(folder: &Folder, name: &str, accept: Accept) -> Result<Self> {
        Self::of(folder.join(name), files::read(folder, name, "the checkpoint")?, accept)
    }

    pub(crate) fn of(path: PathBuf, bytes: Vec<u8>, accept: Accept) -> Result<Self> {
        let broken = |reason: String| Error::BrokenCheckpoint { path: path.clone(), reason };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| broken(error.to_string()))?;
        let text = entry(&header, ENTRY).ok_or_else(|| broken("it was not written by lstmc".into()))?;
        match (entry(&header, CHECKSUMS), accept) {
            (Some(checksums), _) => {
                let checksums: Checksums =
                    serde_json::from_str(checksums).map_err(|error| broken(error.to_string()))?;
                let stored = SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
                checksums.check(text, &stored).map_err(broken)?;
            }
            (None, Accept::Unverified) => {}
            (None, Accept::Verified) => return Err(Error::Unverified { path }),
        }
        let meta = Meta::parse(text).map_err(broken)?;
        Ok(Self { path, bytes, meta })
    }

    /// Says whether the checkpoint was trained with this vocabulary.
    ///
    /// # Errors
    /// [`Error::WrongVocabulary`].
    pub fn check_vocabulary(&self, fingerprint: &str) -> Result<()> {
        if self.meta.vocabulary == fingerprint {
            return Ok(());
        }
        let (path, found) = (self.path.clone(), self.meta.vocabulary.clone());
        Err(Error::WrongVocabulary { path, found, expected: fingerprint.into() })
    }

    /// The tensor that a parameter is used by: the mean, if there is one, in place of what the last update left.
    pub(crate) fn used(&self, param: &str) -> String {
        if self.meta.position.averaged > 0 { mean_of(param) } else { param.to_owned() }
    }

    /// A parameter's values, row by row, as it is used.
    ///
    /// # Errors
    /// [`Error::BrokenCheckpoint`] if it is not there; [`Error::NotFinite`].
    pub fn parameter(&self, name: &str) -> Result<Vec<f32>> {
        let (stored, used) = (self.stored()?, self.used(name));
        let view = stored.tensor(&used).map_err(|error| self.broken(error))?;
        self.check_finite(&used, &view)?;
        Ok(values(&view).collect())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn stored(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| self.broken(error))
    }

    fn broken(&self, error: SafeTensorError) -> Error {
        Error::BrokenCheckpoint { path: self.path.clone(), reason: error.to_string() }
    }

    fn check_finite(&self, name: &str, view: &TensorView<'_>) -> Result<()> {
        let magnitudes = values(view).map(|x| x.abs().to_bits());
        // As whole numbers they have the same order, and those that are not numbers come last.
        if magnitudes.fold(0, u32::max) < f32::INFINITY.to_bits() {
            return Ok(());
        }
        Err(Error::NotFinite { path: self.path.clone(), tensor: name.into() })
    }

    /// Copies the tensors into a program of the same model; nothing is copied if they do not fit.
    ///
    /// # Errors
    /// [`Error::WrongModel`] with every difference in names and shapes; [`Error::NotFinite`].
    pub fn restore(&self, engine: &mut dyn Store, take: Take) -> Result<()> {
        let (stored, broken) = (self.stored()?, |error| self.broken(error));
        let wanted: Vec<Tensor> = engine
            .tensors()
            .iter()
            .filter(|tensor| take == Take::Everything || tensor.kind == TensorKind::Param)
            .cloned()
            .collect();
        // Training goes on with what the last update left.
        let source = |tensor: &Tensor| match take {
            Take::Parameters => self.used(&tensor.name),
            Take::Everything => tensor.name.clone(),
        };
        let sources: Vec<Tensor> =
            wanted.iter().map(|tensor| Tensor { name: source(tensor), ..tensor.clone() }).collect();
        let differences = differences(&stored, &wanted, &sources, take);
        if !differences.is_empty() {
            return Err(Error::WrongModel { path: self.path.clone(), differences });
        }
        // Of optimizer state it is the optimizer's business what it is: only parameters are seen to be numbers.
        for tensor in sources.iter().filter(|tensor| tensor.kind == TensorKind::Param) {
            self.check_finite(&tensor.name, &stored.tensor(&tensor.name).map_err(broken)?)?;
        }
        for (tensor, source) in wanted.iter().zip(&sources) {
            let view = stored.tensor(&source.name).map_err(broken)?;
            engine.write(&tensor.name, &values(&view).collect::<Vec<f32>>())?;
        }
        Ok(())
    }
}

/// The tensor that has the mean of a parameter.
pub(crate) fn mean_of(param: &str) -> String {
    format!("{OPTIMIZER}{param}/{PARAM_MEAN}")
}

fn entry<'h>(header: &'h Metadata, name: &str) -> Option<&'h str> {
    header.metadata().as_ref()?.get(name).map(String::as_str)
}

fn values<'v>(view: &TensorView<'v>) -> impl Iterator<Item = f32> + use<'v> {
    view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// Where tensors do not fit: those that are read, `sources`, and those of the file that no `wanted` one has the name of.
fn differences(stored: &SafeTensors<'_>, wanted: &[Tensor], sources: &[Tensor], take: Take) -> Vec<String> {
    let mut differences = Vec::new();
    for tensor in sources {
        match stored.tensor(&tensor.name) {
            Err(_) => differences.push(format!("{} is missing", tensor.name)),
            Ok(view) if view.shape() != tensor.shape || view.dtype() != Dtype::F32 => {
                differences.push(format!("{} is {:?}, not {:?}", tensor.name, view.shape(), tensor.shape));
            }
            Ok(_) => {}
        }
    }
    let mut extra: Vec<&str> = stored.names();
    extra.retain(|name| {
        let ours = take == Take::Everything || !(name.starts_with(OPTIMIZER) || name.starts_with(CARRIED));
        ours && !wanted.iter().any(|tensor| tensor.name == **name)
    });
    extra.sort_unstable();
    differences.extend(extra.into_iter().map(|name| format!("{name} is not in the model")));
    differences
}

#[cfg(test)]
mod tests;
