//! Reading files, and writing them so that a crash, a full disk or a second reader never sees half of one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result, bytes};

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
    let failed = |source| Error::read(path, what, source);
    let bad = |reason| Err(Error::BadFile { path: path.to_owned(), reason });
    // Before it is opened: that alone can take for ever.
    let found = fs::metadata(path).map_err(failed)?;
    if let Some(kind) = endless(found.file_type()) {
        return bad(format!("it is {kind}; {what} has to be a file"));
    }
    if found.is_file() && found.len() > most {
        let [found, most] = [found.len(), most].map(bytes);
        return bad(format!("it has {found}, and {what} has {most} at most"));
    }
    fs::read(path).map_err(failed)
}

/// What a thing is called that may have no end.
#[cfg(unix)]
fn endless(kind: fs::FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    let names = [
        (kind.is_fifo(), "a pipe"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
    ];
    names.into_iter().find_map(|(is, name)| is.then_some(name))
}

#[cfg(not(unix))]
fn endless(_kind: fs::FileType) -> Option<&'static str> {
    None
}

/// Replaces the file at `path` by `bytes`, or leaves it as it was.
///
/// # Errors
/// [`Error::Write`]: an unwritable folder, a full disk.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = beside(path)?;
    file.write_all(bytes).map_err(|source| Error::write(path, source))?;
    publish(file.into_temp_path(), path)
}

/// A new file in the folder of `path`, removed unless published. Who may read it is left to the process's mask, as for
/// any file that is created.
pub fn beside(path: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path)).map_err(|source| Error::write(path, source))
}

/// Syncs a finished file and gives it its name, then syncs the folder so that the name lasts.
pub fn publish(file: TempPath, path: &Path) -> Result<()> {
    let failed = |source| Error::write(path, source);
    File::open(&file).and_then(|file| file.sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(path)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> Result<()> {
    File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(|source| Error::write(path, source))
}

/// Folders cannot be opened as files elsewhere.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> Result<()> {
    Ok(())
}

/// Adds a line at the end of a file; if that fails, the file is as it was.
///
/// # Errors
/// [`Error::Write`].
pub fn append_line(path: &Path, line: &str) -> Result<()> {
    let failed = |source| Error::write(path, source);
    let mut file = File::options().append(true).create(true).open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?.len();
    file.write_all(format!("{line}\n").as_bytes()).map_err(|source| {
        // The write's own error says more than one from taking half a line back.
        let _ = file.set_len(before);
        failed(source)
    })
}

/// Makes a folder and those above it.
///
/// # Errors
/// [`Error::Write`].
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::write(path, source))
}

/// Removes a file, if it is there.
///
/// # Errors
/// [`Error::Write`].
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::write(path, error)),
        _ => Ok(()),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_mode_of_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, plain) = (dir.path().join("ours"), dir.path().join("plain"));
        replace(&ours, b"one").unwrap();
        fs::write(&plain, b"one").unwrap();
        let mode = |path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
        assert_eq!(mode(ours), mode(plain));
    }

    #[test]
    fn a_missing_folder_is_an_error_with_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/a");
        let error = replace(&path, b"x").unwrap_err();
        assert!(matches!(&error, Error::Write { path: p, .. } if *p == path), "{error}");
    }

    #[test]
    fn lines_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        append_line(&path, "a").unwrap();
        append_line(&path, "b").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    }

    /// `/dev/full` fails every write with ENOSPC, as a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_has_its_own_message() {
        let error = append_line(Path::new("/dev/full"), "a").unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
}
