//! Texts and model files as they lie on the disk, wherever that is. (What belongs to a run is read through its folder.)

use std::fs::{self, FileType, Metadata};
use std::path::Path;

use crate::error::{Error, Result};

/// A file's bytes; `what` names it in errors. A pipe or a device may have no end, and is no text.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Read`]; [`Error::BadFile`] of what is not a file.
pub fn read(path: &Path, what: &'static str) -> Result<Vec<u8>> {
    read_up_to(u64::MAX, path, what)
}

/// [`read`] of a file that has so many bytes at most.
///
/// # Errors
/// As [`read`]; [`Error::BadFile`] of a longer one.
pub fn read_up_to(most: u64, path: &Path, what: &'static str) -> Result<Vec<u8>> {
    let found = only_a_file(path, what)?;
    if found.is_file() && found.len() > most {
        return Err(Error::too_long(path, what, found.len(), most));
    }
    fs::read(path).map_err(|source| Error::read(path, what, source))
}

/// Refuses what may have no end, before it is opened: that alone can take for ever.
///
/// # Errors
/// As [`read`].
pub fn only_a_file(path: &Path, what: &'static str) -> Result<Metadata> {
    let found = fs::metadata(path).map_err(|source| Error::read(path, what, source))?;
    match endless(found.file_type()) {
        Some(kind) => {
            let reason = format!("it is {kind}; {what} has to be a file");
            Err(Error::BadFile { path: path.to_owned(), reason })
        }
        None => Ok(found),
    }
}

/// What a thing is called that may have no end.
#[cfg(unix)]
fn endless(kind: FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    let names = [
        (kind.is_fifo(), "a pipe"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
    ];
    names.into_iter().find_map(|(is, name)| is.then_some(name))
}

#[cfg(not(unix))]
fn endless(_kind: FileType) -> Option<&'static str> {
    None
}
