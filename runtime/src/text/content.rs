//! What stands in the files of a text: joined, and cut where a part of it is wanted.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::texts::{Part, called};
use super::{Record, Role, source};
use crate::error::{Error, Result};

/// A text that was read.
#[derive(Debug)]
pub(super) struct Content {
    pub text: String,
    /// Each file, and how many lines there are before it; those before the first one are below zero where a part begins
    /// inside it.
    files: Vec<(PathBuf, isize)>,
    /// Its token count is not yet known.
    pub record: Record,
}

impl Content {
    /// Reads files one after the other, as [`append`] joins them.
    ///
    /// # Errors
    /// A file that is missing, unreadable or not UTF-8.
    pub fn read(role: Role, paths: &[PathBuf], part: Part) -> Result<Self> {
        if let ([path], Part::Whole) = (paths, part) {
            let bytes = source::read(path, role.name()).map_err(missing)?;
            let record = Record::new(role, absolute(path), &bytes, 0);
            let text = decode(path, bytes)?;
            return Ok(Self { text, files: vec![(path.clone(), 0)], record });
        }
        let (mut text, mut files) = (String::new(), Vec::new());
        for path in paths {
            let start = append(&mut text, &decode(path, source::read(path, role.name()).map_err(missing)?)?);
            files.push((path.clone(), start));
        }
        let range = match part {
            Part::Whole => 0..text.len(),
            Part::Of { role, valid, test } => range(&text, role, valid, test),
        };
        let before = line_ends(&text.as_bytes()[..range.start]) as isize;
        // A file that ends before the part begins is not in it.
        let ends = files.iter().skip(1).map(|&(_, start)| start).chain([text.len()]).collect::<Vec<_>>();
        let within =
            files.iter().zip(ends).filter(|&((_, start), end)| *start < range.end && end > range.start);
        let files: Vec<(PathBuf, isize)> = within
            .map(|((path, start), _)| (path.clone(), line_ends(&text.as_bytes()[..*start]) as isize - before))
            .collect();
        text.truncate(range.end);
        text.drain(..range.start);
        let (first, more) =
            paths.split_first().map_or((PathBuf::new(), &[][..]), |(first, more)| (absolute(first), more));
        let more = more.iter().map(|path| absolute(path)).collect();
        let record = Record { more, ..Record::new(role, first, text.as_bytes(), 0) };
        Ok(Self { text, files, record })
    }

    /// The file that a line of the text is in, and its line there, both counted from 1.
    pub fn place(&self, line: usize) -> (&Path, usize) {
        let before = |before: isize| before < line as isize;
        match self.files.iter().rev().find(|(_, lines)| before(*lines)).or(self.files.first()) {
            Some((path, lines)) => (path, (line as isize - lines).max(1) as usize),
            None => (Path::new(""), line),
        }
    }

    /// What it is called in messages.
    pub fn called(&self) -> PathBuf {
        called(&self.files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>())
    }
}

/// Adds a file to a text: between two there is the end of a line. Says where it begins.
pub fn append(text: &mut String, file: &str) -> usize {
    if !(text.is_empty() || text.ends_with(['\n', '\r'])) {
        text.push('\n');
    }
    let start = text.len();
    *text += file;
    start
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Where a part lies in a text from whose end these shares are cut off, the test part last.
fn range(text: &str, role: Role, valid: f64, test: f64) -> Range<usize> {
    let test_start = if test > 0.0 { cut(text, test, test) } else { text.len() };
    let valid_start = if valid > 0.0 { cut(text, valid + test, valid).min(test_start) } else { test_start };
    match role {
        Role::Train => 0..valid_start,
        Role::Valid => valid_start..test_start,
        Role::Test => test_start..text.len(),
    }
}

/// Where a part begins that reaches `from_end` of the text's bytes before its end and has the share `size` of them: at the
/// nearest beginning of a line; where that is half the part away, at the nearest word's; else at a character's.
fn cut(text: &str, from_end: f64, size: f64) -> usize {
    let bytes = text.as_bytes();
    let wanted = bytes.len() - ((bytes.len() as f64 * from_end).round() as usize).min(bytes.len());
    let room = (bytes.len() as f64 * size / 2.0) as usize;
    let (first, last) = (wanted.saturating_sub(room), (wanted + room).min(bytes.len()));
    let nearest = |begins: &dyn Fn(usize) -> bool| {
        let before = (first..=wanted).rev().find(|&at| begins(at));
        let after = (wanted..=last).find(|&at| begins(at));
        [before, after].into_iter().flatten().min_by_key(|at| at.abs_diff(wanted))
    };
    let line = |at: usize| {
        at > 0 && (bytes[at - 1] == b'\n' || bytes[at - 1] == b'\r' && bytes.get(at) != Some(&b'\n'))
    };
    let word = |at: usize| {
        at > 0
            && bytes[at - 1].is_ascii_whitespace()
            && bytes.get(at).is_some_and(|b| !b.is_ascii_whitespace())
    };
    let inside = |at: usize| at > 0 && at < bytes.len();
    nearest(&|at| inside(at) && line(at))
        .or_else(|| nearest(&|at| inside(at) && word(at)))
        .unwrap_or_else(|| text.floor_char_boundary(wanted))
}

/// A file's bytes as text, without a byte order mark.
pub(crate) fn decode(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..offset];
        let line = 1 + line_ends(before);
        Error::NotUtf8 { path: path.to_owned(), offset, line }
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// How many lines end in these bytes: with `"\n"`, `"\r\n"`, or a `'\r'` alone.
fn line_ends(bytes: &[u8]) -> usize {
    let ends = |&(at, &byte): &(usize, &u8)| match byte {
        b'\n' => true,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    bytes.iter().enumerate().filter(ends).count()
}

/// A model names the file, so it may be in another folder.
fn missing(error: Error) -> Error {
    match error {
        Error::MissingFile { what, path } => Error::MissingText { what, path },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parts(text: &str, valid: f64, test: f64) -> [&str; 3] {
        [Role::Train, Role::Valid, Role::Test].map(|role| &text[range(text, role, valid, test)])
    }

    #[test]
    fn a_text_is_cut_at_the_ends_of_lines() {
        let text = "line one\nline two\nline three\nline four\nlines\n";
        let [train, valid, test] = parts(text, 0.2, 0.2);
        assert_eq!((train, valid, test), ("line one\nline two\nline three\n", "line four\n", "lines\n"));
        assert_eq!(parts("a\r\nb\r\nc\r\n", 0.4, 0.0), ["a\r\nb\r\n", "c\r\n", ""]);
        assert_eq!(parts("a\rb\rc\r", 0.4, 0.0)[1], "c\r");
        assert_eq!(parts(text, 0.0, 0.0), [text, "", ""]);
        for (valid, test) in [(0.1, 0.0), (0.05, 0.1), (0.5, 0.4), (0.0, 0.3)] {
            assert_eq!(parts(text, valid, test).concat(), text, "nothing is lost");
        }
    }

    #[test]
    fn a_text_without_lines_is_cut_between_words_or_characters() {
        assert_eq!(
            parts("aaa bbb ccc ddd eee", 0.25, 0.0),
            ["aaa bbb ccc ", "ddd eee", ""],
            "as near before as behind"
        );
        assert_eq!(parts("猫猫猫猫猫猫猫猫猫猫", 0.25, 0.0)[1].chars().count(), 3);
        assert_eq!(parts("", 0.25, 0.25), ["", "", ""]);
    }

    #[test]
    fn files_are_read_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        let paths = [file("a", "a1\na2"), file("b", "\u{feff}b1\nb2\n"), file("c", "c1\n")];
        let whole = Content::read(Role::Train, &paths, Part::Whole).unwrap();
        assert_eq!(whole.text, "a1\na2\nb1\nb2\nc1\n");
        let place = |content: &Content, line| {
            let (path, line) = content.place(line);
            (path.file_name().unwrap().to_string_lossy().into_owned(), line)
        };
        let lines = [1, 2, 3, 4, 5].map(|line| place(&whole, line));
        assert_eq!(
            lines,
            [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)].map(|(name, line)| (name.into(), line))
        );
        assert_eq!(whole.record.more.len(), 2);
        let part = |role| Content::read(role, &paths, Part::Of { role, valid: 0.4, test: 0.0 }).unwrap();
        let valid = part(Role::Valid);
        assert_eq!((part(Role::Train).text.as_str(), valid.text.as_str()), ("a1\na2\nb1\n", "b2\nc1\n"));
        assert_eq!([1, 2].map(|line| place(&valid, line)), [("b".into(), 2), ("c".into(), 1)]);
        assert!(valid.called().display().to_string().ends_with("c"), "a is not in it: {:?}", valid.called());
        assert_ne!(valid.record.blake3, whole.record.blake3);
    }
}
