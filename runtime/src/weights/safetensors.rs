//! Tensors of safetensors files; of a checkpoint of lstmc its parameters, as they are used.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};

use super::{Bytes, Elements, Format, Stored, Weights};
use crate::checkpoint::{Accept, CARRIED, Checkpoint, ENTRY, OPTIMIZER};
use crate::error::{Error, Result};
use crate::export::VOCABULARY;
use crate::text::Vocabulary;

/// Whether a file that begins like this is one: a length of 8 bytes, and JSON.
pub(super) fn is_one(head: &[u8]) -> bool {
    head.get(8) == Some(&b'{')
}

/// A file, all of it.
#[derive(Debug)]
pub(super) struct Whole(Vec<u8>);

impl Whole {
    pub fn bytes(&self, name: &str) -> std::result::Result<Vec<u8>, String> {
        let found = SafeTensors::read_metadata(&self.0).map_err(|error| error.to_string())?;
        let (length, header) = found;
        let info = header.info(name).ok_or_else(|| format!("it has no tensor {name}"))?;
        let (from, to) = info.data_offsets;
        let data = self.0.get(8 + length..).and_then(|data| data.get(from..to));
        data.map(<[u8]>::to_vec).ok_or_else(|| format!("{name} is not whole"))
    }
}

pub(super) fn open(path: &Path, bytes: Vec<u8>) -> Result<Weights> {
    let broken = |reason: String| Error::BadFile {
        path: path.to_owned(),
        reason: format!("it begins like safetensors, and is not: {reason}"),
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| broken(error.to_string()))?;
    // Whether the tensors are where the header says.
    SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
    let entry = |name: &str| header.metadata().as_ref().and_then(|entries| entries.get(name));
    let vocabulary = entry(VOCABULARY).map(|text| serde_json::from_str::<Vocabulary>(text));
    // Other programs may call something else so.
    let vocabulary = vocabulary.and_then(std::result::Result::ok);
    let (format, tensors, fingerprint, bytes) = if entry(ENTRY).is_some() {
        let checkpoint = Checkpoint::of(path.to_owned(), bytes, Accept::Unverified)?;
        let tensors = parameters(&header, &checkpoint);
        let fingerprint = checkpoint.meta.vocabulary.clone();
        (Format::Checkpoint, tensors, Some(fingerprint), checkpoint.into_bytes())
    } else {
        (Format::Safetensors, all(&header), None, bytes)
    };
    let path = path.to_owned();
    Ok(Weights { path, format, tensors, vocabulary, fingerprint, bytes: Bytes::Safetensors(Whole(bytes)) })
}

fn all(header: &Metadata) -> BTreeMap<String, Stored> {
    header
        .tensors()
        .iter()
        .map(|(name, info)| (name.clone(), stored(info.dtype, &info.shape, name)))
        .collect()
}

/// Those that the model is used with.
fn parameters(header: &Metadata, checkpoint: &Checkpoint) -> BTreeMap<String, Stored> {
    let found = header.tensors();
    let own = found.iter().filter(|(name, _)| !name.starts_with(OPTIMIZER) && !name.starts_with(CARRIED));
    own.map(|(name, info)| (name.clone(), stored(info.dtype, &info.shape, &checkpoint.used(name)))).collect()
}

fn stored(dtype: Dtype, shape: &[usize], source: &str) -> Stored {
    let elements = match dtype {
        Dtype::F32 => Elements::F32,
        Dtype::F64 => Elements::F64,
        Dtype::F16 => Elements::F16,
        Dtype::BF16 => Elements::Bf16,
        other => Elements::Other(format!("{other:?}").to_lowercase()),
    };
    Stored { shape: shape.into(), elements, source: source.into() }
}
