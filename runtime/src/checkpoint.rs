//! Checkpoints: one safetensors file with everything that a run needs to go on, or a model to be used.
//!
//! Each of the model's parameters is one tensor under its own name (`lstm_1.W_i`), optimizer state
//! `optimizer/lstm_1.W_i/s`, recurrent state `carried/lstm_1.h`. One metadata entry, `lstmc`, holds [`Meta`] as JSON.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};
use safetensors::{SafeTensorError, serialize_to_file};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Tensor, TensorKind};
use crate::error::{Error, Result};
use crate::files;

const FORMAT: u32 = 2;
const ENTRY: &str = "lstmc";

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
    /// Seconds since the run began, pauses left out.
    pub seconds: f64,
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
}

impl Totals {
    /// Adds a batch: the sum of its predictions' losses, and how many of them were right.
    pub fn add(&mut self, loss: f64, hits: f64, predictions: u64) {
        self.batches += 1;
        self.loss += loss;
        self.hits += hits;
        self.predictions += predictions;
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

/// Writes the program's tensors and `meta` to `path`, whole or not at all.
///
/// # Errors
/// [`Error::Write`].
pub fn save(path: &Path, engine: &dyn Engine, meta: &Meta) -> Result<()> {
    let text = serde_json::to_string(meta).map_err(|e| Error::write(path, e.into()))?;
    let failed = |source| Error::write(path, source);
    let temporary = files::beside(path)?;
    let permissions = temporary.as_file().metadata().map_err(failed)?.permissions();
    let temporary = temporary.into_temp_path();
    let tensors = engine.tensors();
    let views = tensors.iter().map(|tensor| (tensor.name.as_str(), Stored { engine, tensor }));
    serialize_to_file(views, Some(HashMap::from([(ENTRY.into(), text)])), &temporary).map_err(|error| {
        let source = match error {
            SafeTensorError::IoError(source) => source,
            other => std::io::Error::other(other.to_string()),
        };
        failed(source)
    })?;
    // `serialize_to_file` puts a file of its own in the place of ours, which no other user may read.
    fs::set_permissions(&temporary, permissions).map_err(failed)?;
    files::publish(temporary, path)
}

/// A tensor that is read from the engine when its turn to be written comes.
struct Stored<'a> {
    engine: &'a dyn Engine,
    tensor: &'a Tensor,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.engine.bytes(&self.tensor.name).unwrap_or_default()
    }

    fn data_len(&self) -> usize {
        self.tensor.len() * 4
    }
}

/// A checkpoint's bytes, found to be whole.
#[derive(Debug)]
pub struct Checkpoint {
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

impl Checkpoint {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::BrokenCheckpoint`] if it is cut short or not one of ours; [`Error::Read`].
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path, "the checkpoint")?;
        let broken = |reason: String| Error::BrokenCheckpoint { path: path.to_owned(), reason };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| broken(error.to_string()))?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
        let text = text.ok_or_else(|| broken("it was not written by lstmc".into()))?;
        let mut meta: Meta = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        match meta.format {
            FORMAT => {}
            // Summed each batch's mean loss; a run's batches are all of one size.
            1 => {
                let totals = &mut meta.position.totals;
                totals.loss *= totals.predictions as f64 / totals.batches.max(1) as f64;
                meta.format = FORMAT;
            }
            other => return Err(broken(format!("its format is {other}, and this version reads {FORMAT}"))),
        }
        if let Some(reason) = meta.position.impossible() {
            return Err(broken(reason));
        }
        SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
        Ok(Self { bytes, meta })
    }

    /// Says whether the checkpoint was trained with this vocabulary.
    ///
    /// # Errors
    /// [`Error::WrongVocabulary`].
    pub fn check_vocabulary(&self, path: &Path, fingerprint: &str) -> Result<()> {
        if self.meta.vocabulary == fingerprint {
            return Ok(());
        }
        let (path, found) = (path.to_owned(), self.meta.vocabulary.clone());
        Err(Error::WrongVocabulary { path, found, expected: fingerprint.into() })
    }

    /// Copies the tensors into a program of the same model; nothing is copied if they do not fit.
    ///
    /// # Errors
    /// [`Error::WrongModel`] with every difference in names and shapes.
    pub fn restore(&self, path: &Path, engine: &mut dyn Engine, take: Take) -> Result<()> {
        let broken = |error: SafeTensorError| Error::BrokenCheckpoint {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let stored = SafeTensors::deserialize(&self.bytes).map_err(broken)?;
        let wanted: Vec<Tensor> = engine
            .tensors()
            .iter()
            .filter(|tensor| take == Take::Everything || tensor.kind == TensorKind::Param)
            .cloned()
            .collect();
        let differences = differences(&stored, &wanted, take);
        if !differences.is_empty() {
            return Err(Error::WrongModel { path: path.to_owned(), differences });
        }
        for tensor in &wanted {
            let view = stored.tensor(&tensor.name).map_err(broken)?;
            let values: Vec<f32> =
                view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            engine.write(&tensor.name, &values)?;
        }
        Ok(())
    }
}

fn differences(stored: &SafeTensors<'_>, wanted: &[Tensor], take: Take) -> Vec<String> {
    let mut differences = Vec::new();
    for tensor in wanted {
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
        let ours =
            take == Take::Everything || !(name.starts_with("optimizer/") || name.starts_with("carried/"));
        ours && !wanted.iter().any(|tensor| tensor.name == **name)
    });
    extra.sort_unstable();
    differences.extend(extra.into_iter().map(|name| format!("{name} is not in the model")));
    differences
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::kernel::{BufferKind, InputRole, Part};
    use lstmc_compiler::plan::Program;

    use super::*;
    use crate::engine::cpu::Session;
    use crate::testing::{buffer, idle, program};

    fn model(columns: usize) -> Program {
        let part = |name: &str, start, len| Part { name: name.into(), start, len };
        let parts = vec![part("W_i", 0, 2), part("W_f", 2, columns)];
        let state = InputRole::OptimizerState { param: "W".into(), start: 0.0 };
        program(
            "train",
            vec![
                buffer("W", &[2, 2 + columns], BufferKind::Input(InputRole::Param { parts })),
                buffer("W/s", &[2, 2 + columns], BufferKind::Input(state)),
                buffer("l.h", &[1, 2], BufferKind::Input(InputRole::Carried { start: 0.0 })),
            ],
        )
    }

    fn filled() -> Session {
        let mut arena = idle(&model(1));
        arena.write("W_i", &[1.0, 2.0, 3.0, 4.0]).unwrap();
        arena.write("W_f", &[0.1, f32::MIN_POSITIVE]).unwrap();
        arena.write("optimizer/W_f/s", &[7.0, 8.0]).unwrap();
        arena.write("carried/l.h", &[9.0, -0.0]).unwrap();
        arena
    }

    fn meta() -> Meta {
        let totals = Totals { batches: 2, loss: 0.1 + 0.2, hits: 3.0, predictions: 40, seconds: 0.5 };
        let position = Position { epoch: 1, step: 2, reported: 0, totals, seconds: 1.0 / 3.0 };
        Meta::new("model {}".into(), "v".into(), u64::MAX, position)
    }

    #[test]
    fn everything_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let arena = filled();
        save(&path, &arena, &meta()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        let checkpoint = Checkpoint::read(&path).unwrap();
        assert_eq!(checkpoint.meta, meta());
        assert!(checkpoint.meta.is_of("model {}") && !checkpoint.meta.is_of("model { }"));
        let mut other = idle(&model(1));
        checkpoint.restore(&path, &mut other, Take::Everything).unwrap();
        for tensor in arena.tensors() {
            let bits = |engine: &Session| engine.bytes(&tensor.name).unwrap().into_owned();
            assert_eq!(bits(&arena), bits(&other), "{}", tensor.name);
        }
    }

    #[test]
    fn sums_of_the_first_format_are_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        save(&path, &filled(), &Meta { format: 1, ..meta() }).unwrap();
        let read = Checkpoint::read(&path).unwrap();
        assert_eq!(read.meta.format, FORMAT);
        // Two batches of 20 predictions each, whose means were added up.
        assert_eq!(read.meta.position.totals.mean_loss(), meta().position.totals.loss / 2.0);
        save(&path, &filled(), &Meta { format: 3, ..meta() }).unwrap();
        assert!(matches!(Checkpoint::read(&path), Err(Error::BrokenCheckpoint { .. })));
    }

    /// Batches of random starts are found by going through all passes before: from a place that was never reached, for ever.
    #[test]
    fn a_place_that_no_run_can_have_reached_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let read = |step, seconds| {
            let position = Position { step, seconds, ..meta().position };
            save(&path, &filled(), &Meta { position, ..meta() }).unwrap();
            Checkpoint::read(&path)
        };
        for (step, seconds) in [(0, 0.0), (1_000_000, 0.9), (1 << 40, 1e8)] {
            assert!(read(step, seconds).is_ok(), "{step} {seconds}");
        }
        for (step, seconds) in [(1, 0.0), (1 << 40, 3.0), (1 << 40, -1.0), (1 << 40, 1e200)] {
            let error = read(step, seconds).unwrap_err();
            assert!(error.to_string().contains(&format!("{step} updates took")), "{error}");
        }
    }

    #[test]
    fn parameters_can_be_taken_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        save(&path, &filled(), &meta()).unwrap();
        let mut other = idle(&model(1));
        Checkpoint::read(&path).unwrap().restore(&path, &mut other, Take::Parameters).unwrap();
        assert_eq!(other.read("W_i").unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(other.read("optimizer/W_f/s").unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn a_checkpoint_cut_short_anywhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        save(&path, &filled(), &meta()).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let result = Checkpoint::read(&path);
            assert!(
                matches!(result, Err(Error::BrokenCheckpoint { .. })),
                "{length} of {} bytes",
                whole.len()
            );
        }
        let longer = [whole.as_slice(), b"x"].concat();
        fs::write(&path, longer).unwrap();
        assert!(matches!(Checkpoint::read(&path), Err(Error::BrokenCheckpoint { .. })));
    }

    #[test]
    fn another_models_checkpoint_is_refused_with_every_difference() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        save(&path, &filled(), &meta()).unwrap();
        let checkpoint = Checkpoint::read(&path).unwrap();
        let mut wider = idle(&model(3));
        let error = checkpoint.restore(&path, &mut wider, Take::Everything).unwrap_err();
        let Error::WrongModel { differences, .. } = &error else { panic!("{error}") };
        assert_eq!(*differences, ["W_f is [2, 1], not [2, 3]", "optimizer/W_f/s is [2, 1], not [2, 3]"]);
        assert_eq!(wider.read("W_i").unwrap(), [0.0; 4], "nothing was copied");
        let parts = vec![Part { name: "V".into(), start: 0, len: 1 }];
        let v = buffer("V", &[1], BufferKind::Input(InputRole::Param { parts }));
        let mut other = idle(&program("evaluate", vec![v]));
        let error = checkpoint.restore(&path, &mut other, Take::Parameters).unwrap_err();
        let Error::WrongModel { differences, .. } = &error else { panic!("{error}") };
        assert_eq!(*differences, ["V is missing", "W_f is not in the model", "W_i is not in the model"]);
    }

    #[test]
    fn another_vocabulary_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        save(&path, &filled(), &meta()).unwrap();
        let checkpoint = Checkpoint::read(&path).unwrap();
        assert!(checkpoint.check_vocabulary(&path, "v").is_ok());
        let error = checkpoint.check_vocabulary(&path, "w").unwrap_err();
        assert!(matches!(error, Error::WrongVocabulary { .. }));
    }

    #[test]
    fn a_checkpoint_of_another_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        safetensors::serialize_to_file(Vec::<(String, Stored<'_>)>::new(), None, &path).unwrap();
        let error = Checkpoint::read(&path).unwrap_err();
        assert!(error.to_string().contains("not written by lstmc"), "{error}");
    }
}
