//! Files for other programs.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files;

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
