//! The lock on a run's folder: one process at a time writes a run.
//!
//! It is an advisory lock on the file `lock`, which the system takes away when the process ends, however it ends. So the
//! file itself means nothing, and stays; it says who has the lock. A process that only reads a run needs no lock.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::folder::Folder;

const FILE: &str = "lock";

/// How often a new holder is given time to write its name, and how long.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// A folder is locked while this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    exclusive: bool,
}

impl Lock {
    /// Locks a folder. A file system that has no locks gives one that keeps no other process out.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process has the lock; [`Error::Write`].
    pub fn take(folder: &Folder) -> Result<Self> {
        let failed = |source| Error::write(&folder.join(FILE), source);
        // What a holder has written is not to be cut off before the lock is ours.
        let mut file = folder.update(FILE).map_err(failed)?;
        let exclusive = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => false,
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy { path: folder.path().to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        };
        let name = format!("{} {}\n", std::process::id(), host());
        file.set_len(0).and_then(|()| file.write_all(name.as_bytes())).map_err(failed)?;
        Ok(Self { file, exclusive })
    }

    /// Whether no other process can write the run meanwhile.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only what the file says: the lock goes with the file.
        let _ = self.file.set_len(0);
    }
}

fn host() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// Who has the lock, in words, as far as the file tells.
fn holder(file: &mut File) -> String {
    for look in 0..LOOKS {
        if look > 0 {
            thread::sleep(PAUSE);
        }
        let mut text = String::new();
        // On some systems a file that another process has locked cannot be read.
        if file.rewind().and_then(|()| file.read_to_string(&mut text)).is_err() {
            break;
        }
        if let Some(name) = named(&text, &host()) {
            return name;
        }
    }
    "another process".into()
}

fn named(text: &str, here: &str) -> Option<String> {
    let (process, host) = text.strip_suffix('\n')?.split_once(' ')?;
    let process: u32 = process.parse().ok()?;
    Some(if host == here {
        format!("process {process}")
    } else {
        format!("process {process} on host {host}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::folder;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let (_dir, folder) = folder();
        let first = Lock::take(&folder).unwrap();
        assert!(first.is_exclusive());
        let error = Lock::take(&folder).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Busy { .. }), "{text}");
        assert!(text.contains(&format!("by process {}:", std::process::id())), "{text}");
        drop(first);
        Lock::take(&folder).unwrap();
    }

    /// As a process leaves it that was killed.
    #[test]
    fn a_file_without_a_lock_means_nothing() {
        let (dir, folder) = folder();
        std::fs::write(dir.path().join(FILE), "1 elsewhere\n").unwrap();
        Lock::take(&folder).unwrap();
    }

    #[test]
    fn holders_are_named_with_their_host_where_it_is_another() {
        assert_eq!(named("12 here\n", "here").as_deref(), Some("process 12"));
        assert_eq!(named("12 there\n", "here").as_deref(), Some("process 12 on host there"));
        for half_written in ["", "12", "12 he", "x here\n"] {
            assert_eq!(named(half_written, "here"), None, "{half_written:?}");
        }
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let (dir, folder) = folder();
        std::fs::remove_dir(dir.path()).unwrap();
        assert!(matches!(Lock::take(&folder), Err(Error::Write { .. })));
    }
}
