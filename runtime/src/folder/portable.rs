//! Entries by their paths, looked at before they are opened: for systems without `openat`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Access, Kind};

#[derive(Debug)]
pub struct Handle(PathBuf);

impl Handle {
    pub fn open(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.is_dir() { Ok(Self(path.to_owned())) } else { Err(refused()) }
    }

    pub fn folder(&self, name: &str) -> io::Result<Self> {
        let path = self.0.join(name);
        if fs::symlink_metadata(&path)?.is_dir() { Ok(Self(path)) } else { Err(refused()) }
    }

    pub fn make_folder(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.0.join(name))
    }

    pub fn file(&self, name: &str, access: Access) -> io::Result<File> {
        if self.kind(name).is_ok_and(|kind| kind == Kind::Link) {
            return Err(refused());
        }
        let mut options = File::options();
        match access {
            Access::Read => options.read(true),
            Access::Append => options.append(true).create(true),
            Access::Update => options.read(true).write(true).create(true),
            Access::New => options.write(true).create_new(true),
        };
        options.open(self.0.join(name))
    }

    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    pub fn kind(&self, name: &str) -> io::Result<Kind> {
        let kind = fs::symlink_metadata(self.0.join(name))?.file_type();
        Ok(if kind.is_file() {
            Kind::File
        } else if kind.is_symlink() {
            Kind::Link
        } else {
            Kind::Other
        })
    }

    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// Folders cannot be opened as files everywhere.
    pub fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn refused() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}
