//! Files for other programs.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::error::{Error, Result};
use crate::files;

/// The entry of the metadata that has the vocabulary.
pub const VOCABULARY: &str = "vocabulary";

/// The bytes of a safetensors file of tensors in `f32`: the name, the shape and the values of each, row by row.
///
/// # Errors
/// [`Error::WrongLength`] of a tensor that has not as many values as its shape says.
pub fn safetensors(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let stored: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| bytes(values)).collect();
    let wrong = |(name, shape, values): &(String, Vec<usize>, Vec<f32>)| {
        let (name, expected, found) = (name.clone(), shape.iter().product(), values.len());
        Error::WrongLength { name, expected, found }
    };
    let view = |(tensor, bytes)| {
        let (name, shape, _): &(String, Vec<usize>, Vec<f32>) = tensor;
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|_| wrong(tensor))?;
        Ok((name.as_str(), view))
    };
    let views: Vec<(&str, TensorView<'_>)> =
        tensors.iter().zip(stored.iter().map(Vec::as_slice)).map(view).collect::<Result<_>>()?;
    serialize(views, Some(metadata)).map_err(|error| Error::BadArgument(error.to_string()))
}

/// Writes a file, whole, in place of one that may be there.
///
/// # Errors
/// [`Error::Write`]; [`Error::BadFile`] of a path that names no file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy());
    let name =
        name.ok_or_else(|| Error::BadFile { path: path.to_owned(), reason: "it names no file".into() })?;
    files::replace(&files::make_folder(folder)?, &name, bytes)
}
