//! Writing files so that a crash, a full disk or a second reader never sees half of one.
//!
//! A file is written under a name of its own beside its place, and then put there. A process that is killed meanwhile leaves
//! such a file, which the next one that writes in the folder removes.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Error, Result};
use crate::folder::Folder;

/// What the names of files begin with that are being written.
const WRITING: &str = ".writing-";

/// The same of checkpoints of version 0.1: six letters and digits follow.
const BEFORE: &str = ".tmp";

/// A file's bytes; `what` names it in errors.
///
/// # Errors
/// [`Error::MissingFile`]; [`Error::Read`].
pub fn read(folder: &Folder, name: &str, what: &'static str) -> Result<Vec<u8>> {
    read_up_to(u64::MAX, folder, name, what)
}

/// [`read`] of a file that has so many bytes at most.
///
/// # Errors
/// As [`read`]; [`Error::BadFile`] of a longer one.
pub fn read_up_to(most: u64, folder: &Folder, name: &str, what: &'static str) -> Result<Vec<u8>> {
    let failed = |source| Error::read(&folder.join(name), what, source);
    let mut file = folder.read(name).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > most {
        return Err(Error::too_long(&folder.join(name), what, length, most));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve(length as usize).map_err(|error| failed(error.into()))?;
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Replaces a file by `bytes`, or leaves it as it was.
///
/// # Errors
/// [`Error::Write`]: an unwritable folder, a full disk.
pub fn replace(folder: &Folder, name: &str, bytes: &[u8]) -> Result<()> {
    let mut writing = Writing::begin(folder, name)?;
    writing.file().write_all(bytes).map_err(|source| Error::write(&folder.join(name), source))?;
    writing.publish()
}

/// A file that is being written, and is removed unless it is published.
#[derive(Debug)]
pub struct Writing<'f> {
    folder: &'f Folder,
    /// What it is to be called.
    name: &'f str,
    /// What it is called meanwhile.
    temporary: String,
    file: File,
}

impl<'f> Writing<'f> {
    /// # Errors
    /// [`Error::Write`].
    pub fn begin(folder: &'f Folder, name: &'f str) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let temporary = format!("{WRITING}{}-{}", process::id(), COUNT.fetch_add(1, Relaxed));
            match folder.new_file(&temporary) {
                Ok(file) => return Ok(Self { folder, name, temporary, file }),
                // A process of the same number has left it.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::write(&folder.join(name), error)),
            }
        }
    }

    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Syncs the finished file and gives it its name, then syncs the folder so that the name lasts.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn publish(self) -> Result<()> {
        let Self { folder, name, .. } = self;
        let placed = self.file.sync_all().and_then(|()| folder.rename(&self.temporary, name));
        placed.and_then(|()| folder.sync()).map_err(|source| Error::write(&folder.join(name), source))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        // Of one that was published there is no file of this name.
        let _ = self.folder.remove(&self.temporary);
    }
}

/// Removes what killed processes were writing in a folder that no other process writes in.
///
/// # Errors
/// [`Error::Read`]; [`Error::Write`].
pub fn sweep(folder: &Folder) -> Result<()> {
    let failed = |cause| Error::Read { path: folder.path().to_owned(), cause };
    let names = folder.names().map_err(failed)?;
    names
        .iter()
        .filter(|name| is_temporary(name) && folder.has_file(name))
        .try_for_each(|name| remove(folder, name))
}

fn is_temporary(name: &str) -> bool {
    let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match (name.strip_prefix(WRITING), name.strip_prefix(BEFORE)) {
        (Some(rest), _) => !rest.is_empty() && rest.split('-').all(word),
        (_, Some(rest)) => rest.len() == 6 && word(rest),
        _ => false,
    }
}

/// Adds a line at the end of a file; if that fails, the file is as it was.
///
/// # Errors
/// [`Error::Write`].
pub fn append_line(folder: &Folder, name: &str, line: &str) -> Result<()> {
    let failed = |source| Error::write(&folder.join(name), source);
    append(&mut folder.append(name).map_err(failed)?, line).map_err(failed)
}

fn append(file: &mut File, line: &str) -> std::io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(format!("{line}\n").as_bytes()).inspect_err(|_| {
        // The write's own error says more than one from taking half a line back.
        let _ = file.set_len(before);
    })
}

/// Makes a folder and those above it, and opens it.
///
/// # Errors
/// [`Error::Write`].
pub fn make_folder(path: &Path) -> Result<Folder> {
    let made = fs::create_dir_all(path).and_then(|()| Folder::open(path));
    made.map_err(|source| Error::write(path, source))
}

/// Removes a file, if it is there.
///
/// # Errors
/// [`Error::Write`].
pub fn remove(folder: &Folder, name: &str) -> Result<()> {
    match folder.remove(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::write(&folder.join(name), error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::folder;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let (dir, folder) = folder();
        replace(&folder, "a", b"one").unwrap();
        replace(&folder, "a", b"two").unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"two");
        let mut unfinished = Writing::begin(&folder, "a").unwrap();
        unfinished.file().write_all(b"th").unwrap();
        assert_eq!(folder.names().unwrap().len(), 2);
        drop(unfinished);
        assert_eq!(read(&folder, "a", "it").unwrap(), b"two");
        assert_eq!(folder.names().unwrap(), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_mode_of_any_other() {
        let (dir, folder) = folder();
        let (ours, plain) = (dir.path().join("ours"), dir.path().join("plain"));
        replace(&folder, "ours", b"one").unwrap();
        fs::write(&plain, b"one").unwrap();
        let mode = |path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
        assert_eq!(mode(ours), mode(plain));
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_with_the_path() {
        let (dir, folder) = folder();
        fs::remove_dir(dir.path()).unwrap();
        let error = replace(&folder, "a", b"x").unwrap_err();
        assert!(matches!(&error, Error::Write { path, .. } if *path == dir.path().join("a")), "{error}");
    }

    #[test]
    fn lines_are_appended() {
        let (dir, folder) = folder();
        append_line(&folder, "log", "a").unwrap();
        append_line(&folder, "log", "b").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("log")).unwrap(), "a\nb\n");
    }

    /// `/dev/full` fails every write with ENOSPC, as a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_has_its_own_message() {
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let error = Error::write("log".as_ref(), append(&mut full, "a").unwrap_err());
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }

    #[test]
    fn only_what_was_being_written_is_swept_away() {
        let (dir, folder) = folder();
        let ours = [".writing-12-0", ".writing-aB3dE6", ".tmpaB3dE6"];
        let others = [
            ".writing-",
            ".writing-notes.txt",
            ".tmp",
            ".tmpaB3dE67",
            ".tmp-notes",
            "a.safetensors",
            "writing-1",
        ];
        ours.iter().chain(&others).for_each(|name| fs::write(dir.path().join(name), "x").unwrap());
        fs::create_dir(dir.path().join(".writing-13-0")).unwrap();
        sweep(&folder).unwrap();
        let mut left: Vec<&str> = others.into_iter().chain([".writing-13-0"]).collect();
        left.sort_unstable();
        assert_eq!(folder.names().unwrap(), left);
    }
}
