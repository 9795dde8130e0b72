//! A folder whose entries are reached through it alone: by their plain names, and never through a link.
//!
//! A run may come from somebody else. A link in it must not lead what is read, written or removed to another place, so the
//! folder stays open, and its entries are opened relative to it. Only the path of the folder itself may have links in it.

#[cfg(not(unix))]
#[path = "folder/portable.rs"]
mod system;
#[cfg(unix)]
#[path = "folder/unix.rs"]
mod system;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use self::system::Handle;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    /// Writing at the end; made if it is not there.
    Append,
    /// Reading and writing; made if it is not there.
    Update,
    /// Writing; it must not be there.
    New,
}

/// What an entry is, links not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Other,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: Handle,
}

impl Folder {
    /// Opens the folder at `path`, which may be a link to it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), handle: Handle::open(path)? })
    }

    /// Where it was when it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry, for messages.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a folder in this one.
    pub fn folder(&self, name: &str) -> io::Result<Self> {
        let handle = self.handle.folder(plain(name)?).map_err(|error| self.explained(name, error))?;
        Ok(Self { path: self.join(name), handle })
    }

    /// Makes a folder in this one, if there is none.
    pub fn make_folder(&self, name: &str) -> io::Result<()> {
        match self.handle.make_folder(plain(name)?) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Opens a file to be read.
    pub fn read(&self, name: &str) -> io::Result<File> {
        self.file(name, Access::Read)
    }

    /// Opens a file to be written at its end, and makes it if it is not there.
    pub fn append(&self, name: &str) -> io::Result<File> {
        self.file(name, Access::Append)
    }

    /// Opens a file to be read and written, and makes it if it is not there.
    pub fn update(&self, name: &str) -> io::Result<File> {
        self.file(name, Access::Update)
    }

    /// Makes a file. It has the mode of any file that the process makes.
    pub fn new_file(&self, name: &str) -> io::Result<File> {
        self.file(name, Access::New)
    }

    fn file(&self, name: &str, access: Access) -> io::Result<File> {
        let file = self.handle.file(plain(name)?, access).map_err(|error| self.explained(name, error))?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
    }

    /// Gives a file another name, in place of the file that has it.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.handle.rename(plain(from)?, plain(to)?)
    }

    /// Removes a file, or a link but not what it leads to.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.handle.remove(plain(name)?)
    }

    /// Whether there is an entry of this name, whatever it is. What cannot be looked at may be there.
    pub fn has(&self, name: &str) -> io::Result<bool> {
        match plain(name).and_then(|name| self.handle.kind(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            found => found.map(|_| true),
        }
    }

    /// Whether a name is that of a file, and not of a link to one.
    pub fn has_file(&self, name: &str) -> bool {
        plain(name).and_then(|name| self.handle.kind(name)).is_ok_and(|kind| kind == Kind::File)
    }

    /// The names of all entries, sorted; those that are not UTF-8 are left out.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.handle.names()?;
        names.sort();
        Ok(names)
    }

    /// Writes the folder itself to the disk, so that names last.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync()
    }

    /// Why an entry could not be opened, where the system's words would not say that it is a link.
    fn explained(&self, name: &str, error: io::Error) -> io::Error {
        match self.handle.kind(name) {
            Ok(Kind::Link) => io::Error::other(
                "it is a link, and what belongs to a run is read and written in its own folder only; put there what the \
                 link leads to",
            ),
            Ok(Kind::Other) if error.kind() != io::ErrorKind::PermissionDenied => not_a_file(),
            _ => error,
        }
    }
}

fn not_a_file() -> io::Error {
    io::Error::other("it is not a file")
}

/// A name that leads nowhere but into the folder.
fn plain(name: &str) -> io::Result<&str> {
    match name {
        "" | "." | ".." => Err(io::ErrorKind::InvalidInput.into()),
        _ if name.contains(['/', '\\', '\0']) => Err(io::ErrorKind::InvalidInput.into()),
        _ => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};

    use super::*;
    use crate::testing::folder;

    #[test]
    fn files_are_made_read_renamed_and_removed() {
        let (dir, folder) = folder();
        folder.new_file("a").unwrap().write_all(b"1").unwrap();
        assert_eq!(folder.new_file("a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        folder.append("a").unwrap().write_all(b"2").unwrap();
        folder.rename("a", "b").unwrap();
        let mut text = String::new();
        folder.read("b").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "12");
        folder.make_folder("c").unwrap();
        folder.make_folder("c").unwrap();
        folder.folder("c").unwrap().update("d").unwrap();
        assert!(dir.path().join("c/d").exists());
        assert_eq!(folder.names().unwrap(), ["b", "c"]);
        assert!(folder.has("c").unwrap() && !folder.has_file("c") && folder.has_file("b"));
        folder.remove("b").unwrap();
        assert!(!folder.has("b").unwrap());
        assert_eq!(folder.read("b").unwrap_err().kind(), io::ErrorKind::NotFound);
        folder.sync().unwrap();
    }

    #[test]
    fn names_do_not_lead_out_of_the_folder() {
        let (dir, folder) = folder();
        fs::write(dir.path().join("a"), "").unwrap();
        folder.make_folder("c").unwrap();
        let inner = folder.folder("c").unwrap();
        for name in ["../a", "..", ".", "", "/etc/passwd", "b/../../a", "a\0"] {
            assert!(inner.read(name).is_err(), "{name:?}");
            assert!(inner.append(name).is_err(), "{name:?}");
            assert!(inner.remove(name).is_err(), "{name:?}");
            assert!(inner.folder(name).is_err(), "{name:?}");
            assert!(inner.rename(name, "x").is_err() && inner.rename("x", name).is_err(), "{name:?}");
        }
        assert!(dir.path().join("a").exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let (dir, folder) = folder();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("a"), "outside").unwrap();
        symlink(outside.path().join("a"), dir.path().join("file")).unwrap();
        symlink(outside.path().join("new"), dir.path().join("dangling")).unwrap();
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        for name in ["file", "dangling"] {
            for error in [folder.read(name), folder.append(name), folder.update(name)].map(Result::unwrap_err)
            {
                assert!(error.to_string().starts_with("it is a link"), "{name}: {error}");
            }
        }
        assert!(folder.folder("folder").unwrap_err().to_string().starts_with("it is a link"));
        // The link itself is replaced and removed.
        folder.new_file("own").unwrap();
        folder.rename("own", "file").unwrap();
        folder.remove("dangling").unwrap();
        assert_eq!(fs::read_to_string(outside.path().join("a")).unwrap(), "outside");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        // The folder's own path may be one.
        assert!(Folder::open(&dir.path().join("folder")).unwrap().has_file("a"));
    }

    /// A pipe would be waited for.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_not_a_file_is_not_opened() {
        let (dir, folder) = folder();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("pipe"), 0o600.into()).unwrap();
        folder.make_folder("c").unwrap();
        for name in ["pipe", "c"] {
            for error in [folder.read(name), folder.append(name), folder.update(name)].map(Result::unwrap_err)
            {
                assert_eq!(error.to_string(), "it is not a file", "{name}");
            }
        }
    }
}
