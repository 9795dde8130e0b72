//! Where a model's texts lie: files, patterns of files, and parts of the training text.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, glob_with};
use lstmc_compiler::model::{self, Data};

use super::Role;
use super::record::is_inside;
use crate::error::{Error, Result};

/// Where the texts of a corpus are. Nothing is looked for before it is read.
#[derive(Clone, Debug)]
pub struct Texts {
    /// What the names are relative to.
    folder: PathBuf,
    train: Vec<String>,
    valid: Option<Held>,
    test: Option<Held>,
}

#[derive(Clone, Debug)]
enum Held {
    Files(Vec<String>),
    /// A share of the training text, from its end.
    Last(f64),
}

/// What of its files a text is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    Whole,
    /// Of a text from whose end these shares are cut off for validation and for the test.
    Of {
        role: Role,
        valid: f64,
        test: f64,
    },
}

impl Texts {
    pub fn of(data: &Data, folder: &Path) -> Self {
        let names = |files: &[model::File]| files.iter().map(|file| file.path.clone()).collect();
        let held = |held: &model::Held| match held {
            model::Held::Files(files) => Held::Files(names(files)),
            model::Held::Last(share) => Held::Last(*share),
        };
        let (valid, test) = (data.valid.as_ref().map(held), data.test.as_ref().map(held));
        Self { folder: folder.to_owned(), train: names(&data.train), valid, test }
    }

    /// A file for each text, in one folder.
    pub fn files(folder: &Path, train: &str, valid: Option<&str>, test: Option<&str>) -> Self {
        let held = |name: Option<&str>| name.map(|name| Held::Files(vec![name.to_owned()]));
        Self {
            folder: folder.to_owned(),
            train: vec![train.to_owned()],
            valid: held(valid),
            test: held(test),
        }
    }

    /// Whether there is such a text.
    pub fn has(&self, role: Role) -> bool {
        match role {
            Role::Train => true,
            Role::Valid => self.valid.is_some(),
            Role::Test => self.test.is_some(),
        }
    }

    /// Where a file of this name lies that the texts are cut with.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn part(&self, role: Role) -> Part {
        let share = |held: &Option<Held>| match held {
            Some(Held::Last(share)) => *share,
            _ => 0.0,
        };
        let (valid, test) = (share(&self.valid), share(&self.test));
        match self.names(role) {
            Some(_) if role != Role::Train => Part::Whole,
            _ if valid == 0.0 && test == 0.0 => Part::Whole,
            _ => Part::Of { role, valid, test },
        }
    }

    /// The files that are named for a text; none for a part of the training text.
    fn names(&self, role: Role) -> Option<&[String]> {
        let held = |held| match held {
            &Some(Held::Files(ref names)) => Some(names.as_slice()),
            _ => None,
        };
        match role {
            Role::Train => Some(&self.train),
            Role::Valid => held(&self.valid),
            Role::Test => held(&self.test),
        }
    }

    /// The names of a text's files, as they are written, in the folder.
    pub(super) fn named(&self, role: Role) -> Vec<PathBuf> {
        self.names(role).unwrap_or(&self.train).iter().map(|name| self.folder.join(name)).collect()
    }

    /// Whether a text's names lead into a folder, by their words.
    pub fn are_inside(&self, folder: &Path, role: Role) -> bool {
        self.named(role).iter().all(|path| is_inside(folder, path))
    }

    /// The files of a text in their order: as they are named, and those of a pattern by their names.
    ///
    /// # Errors
    /// [`Error::NoMatch`]; a file that is there twice.
    pub fn paths(&self, role: Role) -> Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for name in self.names(role).unwrap_or(&self.train) {
            for path in self.matching(role, name)? {
                let same = |other: &PathBuf| *other == path || same_file(other, &path);
                if paths.iter().any(same) {
                    let what = role.name();
                    let reason =
                        format!("{what} has this file twice: name it once, or leave it out of the pattern");
                    return Err(Error::BadFile { path, reason });
                }
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// A file of this name, or those that a pattern matches.
    fn matching(&self, role: Role, name: &str) -> Result<Vec<PathBuf>> {
        let path = self.folder.join(name);
        if !name.contains(['*', '?', '[']) || path.exists() {
            return Ok(vec![path]);
        }
        // The folder is what it is called, whatever signs it has.
        let pattern = match Path::new(name).is_absolute() {
            true => PathBuf::from(name),
            false => Path::new(&Pattern::escape(&self.folder.to_string_lossy())).join(name),
        };
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let found = glob_with(&pattern.to_string_lossy(), options)
            .map_err(|error| Error::BadFile { path: path.clone(), reason: format!("no pattern: {error}") })?;
        // What cannot be looked into has no files for us.
        let mut files: Vec<PathBuf> = found.flatten().filter(|path| path.is_file()).collect();
        files.sort();
        if files.is_empty() { Err(Error::NoMatch { what: role.name(), path }) } else { Ok(files) }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    a.file_name() == b.file_name() && matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What several files are called in messages: the first of them, and how many more there are.
pub(super) fn called(paths: &[PathBuf]) -> PathBuf {
    match paths {
        [] => PathBuf::new(),
        [path] => path.clone(),
        [first, second] => format!("{}, {}", first.display(), second.display()).into(),
        [first, more @ ..] => format!("{} and {} more files", first.display(), more.len()).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn texts(folder: &Path, train: &[&str]) -> Texts {
        let train = train.iter().map(|name| (*name).to_owned()).collect();
        Texts { folder: folder.to_owned(), train, valid: Some(Held::Last(0.1)), test: None }
    }

    #[test]
    fn files_come_in_the_order_in_which_they_are_named() {
        // The folder's own name has signs of patterns.
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("[a]*");
        fs::create_dir_all(folder.join("parts")).unwrap();
        for name in ["z.txt", "x[1].txt", "parts/b.txt", "parts/a.txt", "parts/.hidden.txt"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let found = |names: &[&str]| {
            let paths = texts(&folder, names).paths(Role::Train)?;
            let name = |path: &PathBuf| path.strip_prefix(&folder).unwrap().display().to_string();
            Ok::<_, Error>(paths.iter().map(name).collect::<Vec<_>>())
        };
        assert_eq!(found(&["z.txt", "parts/*.txt"]).unwrap(), ["z.txt", "parts/a.txt", "parts/b.txt"]);
        assert_eq!(found(&["x[1].txt", "none.txt"]).unwrap(), ["x[1].txt", "none.txt"], "names of files");
        assert_eq!(found(&["*"]).unwrap(), ["x[1].txt", "z.txt"], "no folders");
        assert!(matches!(found(&["parts/*.md"]), Err(Error::NoMatch { .. })));
        let twice = found(&["parts/b.txt", "parts/*.txt"]).unwrap_err().to_string();
        assert!(twice.contains("b.txt") && twice.contains("twice"), "{twice}");
        let twice = found(&["z.txt", "./z.txt"]).unwrap_err().to_string();
        assert!(twice.contains("twice"), "{twice}");
        assert!(found(&["a[.txt"]).unwrap_err().to_string().contains("no pattern"));
    }

    #[test]
    fn a_part_is_of_the_training_files() {
        let texts = texts("folder".as_ref(), &["a.txt"]);
        assert_eq!(texts.paths(Role::Valid).unwrap(), [Path::new("folder/a.txt")]);
        let part = |role| Part::Of { role, valid: 0.1, test: 0.0 };
        assert_eq!(
            [Role::Train, Role::Valid].map(|role| texts.part(role)),
            [Role::Train, Role::Valid].map(part)
        );
        assert!(texts.has(Role::Valid) && !texts.has(Role::Test));
    }
}
