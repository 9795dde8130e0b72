//! Writing a checkpoint: the tensors are read once, so the header with their checksums is put before them when they are
//! written.

use std::collections::HashMap;
use std::io::{self, Seek, SeekFrom, Write};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::checksums::Checksums;
use super::{CHECKSUMS, ENTRY, Meta};
use crate::engine::{Store, Tensor};
use crate::error::{Error, Result};
use crate::files::Writing;
use crate::folder::Folder;

/// Writes the program's tensors and `meta` to a file, whole or not at all.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn save(folder: &Folder, name: &str, engine: &dyn Store, meta: &Meta) -> Result<()> {
    let failed = |source| Error::write(&folder.join(name), source);
    let entry = serde_json::to_string(meta).map_err(|error| failed(error.into()))?;
    let mut tensors: Vec<&Tensor> = engine.tensors().iter().collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut checksums = Checksums::begin(&entry, tensors.iter().map(|tensor| tensor.name.as_str()));

    let mut writing = Writing::begin(folder, name)?;
    let file = writing.file();
    let place = header(&entry, &checksums, &tensors).map_err(failed)?;
    file.write_all(&place).map_err(failed)?;
    for tensor in &tensors {
        let bytes = engine.bytes(&tensor.name)?;
        checksums.set(&tensor.name, &bytes);
        file.write_all(&bytes).map_err(failed)?;
    }
    let header = header(&entry, &checksums, &tensors).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header)).map_err(failed)?;
    writing.publish()
}

/// What a safetensors file begins with: a length, and the JSON of what it holds, filled up to whole words.
fn header(entry: &str, checksums: &Checksums, tensors: &[&Tensor]) -> io::Result<Vec<u8>> {
    let mut offset = 0;
    let info = |tensor: &&Tensor| {
        let begin = offset;
        offset += tensor.len() * size_of::<f32>();
        let info =
            TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone(), data_offsets: (begin, offset) };
        (tensor.name.clone(), info)
    };
    let tensors = tensors.iter().map(info).collect();
    let entries = HashMap::from([
        (ENTRY.to_owned(), entry.to_owned()),
        (CHECKSUMS.to_owned(), serde_json::to_string(checksums)?),
    ]);
    let metadata =
        Metadata::new(Some(entries), tensors).map_err(|error| io::Error::other(error.to_string()))?;
    let mut json = serde_json::to_vec(&metadata)?;
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}
