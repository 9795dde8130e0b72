//! Parameters that come from elsewhere: the tensors of a safetensors file or of a PyTorch checkpoint.
//!
//! Which of the two a file is, its content says. Both are data: a pickle is read as a description of tensors, and nothing that it
//! names is called. Tensors are read one at a time, as `f32`.

mod pytorch;
mod safetensors;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use crate::error::{Error, Result};
use crate::text::{Vocabulary, only_a_file};

/// As many bytes as it takes to tell what a file is.
const HEAD: usize = 512;

/// What a tensor's elements are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elements {
    F32,
    F64,
    F16,
    Bf16,
    /// Whole numbers and others, which no parameter is made of, by their name.
    Other(String),
}

impl Elements {
    /// Whether parameters are made of such.
    pub fn are_weights(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Other(name) => name,
        })
    }
}

/// A tensor of a file, which is not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub shape: Vec<usize>,
    pub elements: Elements,
    /// What it is called in the file.
    source: String,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    /// As `train` writes it: its parameters alone are looked at.
    Checkpoint,
    PyTorch,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Checkpoint => "a checkpoint of lstmc",
            Self::PyTorch => "PyTorch",
        })
    }
}

/// The tensors of a file.
#[derive(Debug)]
pub struct Weights {
    pub path: PathBuf,
    pub format: Format,
    /// By name.
    pub tensors: BTreeMap<String, Stored>,
    /// The one that the file has beside them, as `lstmc export` writes it.
    pub vocabulary: Option<Vocabulary>,
    /// Of the vocabulary that a checkpoint of lstmc was trained with.
    pub fingerprint: Option<String>,
    bytes: Bytes,
}

/// Where the values are.
#[derive(Debug)]
enum Bytes {
    Safetensors(safetensors::Whole),
    PyTorch(pytorch::Reader),
}

impl Weights {
    /// Opens a file. What it needs of memory, then and later, is bounded by the length of the file.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Read`]; [`Error::BadFile`] of what is neither, or is broken;
    /// [`Error::BrokenCheckpoint`].
    pub fn open(path: &Path) -> Result<Self> {
        const WHAT: &str = "the weights";
        only_a_file(path, WHAT)?;
        let failed = |source| Error::read(path, WHAT, source);
        let bad = |reason| Error::BadFile { path: path.to_owned(), reason };
        let mut head = Vec::new();
        File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head)).map_err(failed)?;
        if pytorch::is_one(&head) {
            let (reader, tensors) = pytorch::Reader::open(path).map_err(bad)?;
            return Ok(Self {
                path: path.to_owned(),
                format: Format::PyTorch,
                tensors,
                vocabulary: None,
                fingerprint: None,
                bytes: Bytes::PyTorch(reader),
            });
        }
        match safetensors::is_one(&head) {
            true => safetensors::open(path, std::fs::read(path).map_err(failed)?),
            false => Err(bad(is_neither(&head).into())),
        }
    }

    /// Leaves only the tensors whose names begin with this one and a point, without both. Says whether there are any; if there are
    /// not, all stay.
    pub fn under(&mut self, name: &str) -> bool {
        let own = |full: &str| Some(full.strip_prefix(name)?.strip_prefix('.')?.to_owned());
        let inside = self.tensors.iter().filter_map(|(full, stored)| Some((own(full)?, stored.clone())));
        let inside: BTreeMap<String, Stored> = inside.collect();
        let there = !inside.is_empty();
        if there {
            self.tensors = inside;
        }
        there
    }

    /// A tensor's values, row by row.
    ///
    /// # Errors
    /// [`Error::BadFile`] of one that is not there, does not hold numbers with fractions, or holds some that are not finite as
    /// `f32`; [`Error::Read`].
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        let bad = |reason| Error::BadFile { path: self.path.clone(), reason };
        let stored = self.tensors.get(name).ok_or_else(|| bad(format!("it has no tensor {name}")))?;
        let bytes = match &self.bytes {
            Bytes::Safetensors(whole) => whole.bytes(&stored.source),
            Bytes::PyTorch(reader) => reader.bytes(&stored.source),
        };
        let values = converted(&stored.elements, &bytes.map_err(bad)?);
        let values = values.ok_or_else(|| bad(not_weights(name, &stored.elements)))?;
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            let found = values.get(place).copied().unwrap_or(f32::NAN);
            let why = match stored.elements {
                Elements::F64 if found.is_infinite() => "too large for f32, or infinite",
                _ => "NaN or infinite",
            };
            return Err(bad(format!("{name} holds numbers that are {why}; the first is element {place}")));
        }
        Ok(values)
    }
}

/// Why a tensor is no parameter.
pub fn not_weights(name: &str, elements: &Elements) -> String {
    format!("{name} holds {elements}, and a parameter is made of f32, f64, f16 or bf16")
}

/// Little-endian elements; none of others than parameters are made of.
fn converted(elements: &Elements, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
    }
    Some(match elements {
        Elements::F32 => each(bytes, f32::from_le_bytes),
        Elements::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        Elements::F16 => each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Elements::Bf16 => each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Elements::Other(_) => return None,
    })
}

/// What to do about a file that is neither.
fn is_neither(head: &[u8]) -> &'static str {
    match head {
        [] => "it is empty",
        _ if head.starts_with(b"\x89HDF") => {
            "it is HDF5, as Keras writes it; in Python, write its arrays with safetensors.numpy.save_file"
        }
        _ if head.starts_with(b"\x93NUMPY") => {
            "it is an array of NumPy; write it with safetensors.numpy.save_file, where it has a name"
        }
        _ if pytorch::is_tar(head) => {
            "it is a TAR archive, as PyTorch before 0.1.10 wrote it; load it and save it again with a later one"
        }
        [0x80, 0..=5, ..] => {
            "it is a pickle, and has no tensors of PyTorch; save these with torch.save(model.state_dict(), \"weights.pt\")"
        }
        _ => {
            "it is neither safetensors nor a PyTorch checkpoint; save the parameters alone, as safetensors or with \
             torch.save(model.state_dict(), \"weights.pt\")"
        }
    }
}

#[cfg(test)]
mod tests;
