//! Corpus files: read, checked, and turned into ids.

use std::path::Path;

use super::record::is_inside;
use super::{Expected, Record, Role, Tokenizer, Vocabulary, source};
use crate::error::{Error, Result};

/// The token ids of each split, with the vocabulary that they are ids of.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub vocabulary: Vocabulary,
    pub train: Vec<u32>,
    pub valid: Option<Vec<u32>>,
    pub test: Option<Vec<u32>>,
    /// What a run keeps of each text.
    pub records: Vec<Record>,
}

/// Where the texts of a corpus are.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    pub train: &'a Path,
    pub valid: Option<&'a Path>,
    pub test: Option<&'a Path>,
}

impl Corpus {
    /// Reads the training text, builds the vocabulary from it, and reads the other texts with that vocabulary.
    ///
    /// # Errors
    /// A file that is missing, unreadable, not UTF-8 or without tokens; a word that the vocabulary cannot name.
    pub fn read(
        tokenizer: &Tokenizer,
        reserve: usize,
        train: &Path,
        valid: Option<&Path>,
        test: Option<&Path>,
    ) -> Result<Self> {
        let text = Text::read(Role::Train, train)?;
        let vocabulary = Vocabulary::build(tokenizer.tokens(&text.content).map(|token| token.text), reserve);
        let (ids, record) = text.encode(tokenizer, &vocabulary)?;
        let corpus = Self { vocabulary, train: ids, valid: None, test: None, records: vec![record] };
        corpus.with_others(tokenizer, Expected::Any, Paths { train, valid, test })
    }

    /// Reads the texts with the vocabulary of a run that is taken up again.
    ///
    /// # Errors
    /// [`Error::ChangedText`] or [`Error::UnknownText`] of a text that is not one of those `expected`; as [`Corpus::read`].
    pub fn read_again(
        tokenizer: &Tokenizer,
        vocabulary: Vocabulary,
        expected: Expected<'_>,
        paths: Paths<'_>,
    ) -> Result<Self> {
        let text = Text::expected(tokenizer, Role::Train, paths.train, expected)?;
        let (ids, record) = text.encode(tokenizer, &vocabulary)?;
        let corpus = Self { vocabulary, train: ids, valid: None, test: None, records: vec![record] };
        corpus.with_others(tokenizer, expected, paths)
    }

    fn with_others(
        mut self,
        tokenizer: &Tokenizer,
        expected: Expected<'_>,
        paths: Paths<'_>,
    ) -> Result<Self> {
        let mut other = |role, path: Option<&Path>| -> Result<Option<Vec<u32>>> {
            let Some(path) = path else { return Ok(None) };
            let text = Text::expected(tokenizer, role, path, expected)?;
            let (ids, record) = text.encode(tokenizer, &self.vocabulary)?;
            self.records.push(record);
            Ok(Some(ids))
        };
        self.valid = other(Role::Valid, paths.valid)?;
        self.test = other(Role::Test, paths.test)?;
        Ok(self)
    }
}

impl Record {
    /// The record of a text that is not encoded.
    ///
    /// # Errors
    /// A file that is missing, unreadable or not UTF-8; one that is not `expected`, as of [`Corpus::read_again`].
    pub fn read(tokenizer: &Tokenizer, role: Role, path: &Path, expected: Expected<'_>) -> Result<Self> {
        Ok(Text::expected(tokenizer, role, path, expected)?.record(tokenizer))
    }
}

/// A text that was read and is not yet in ids.
struct Text<'p> {
    path: &'p Path,
    /// Its token count is not yet known.
    record: Record,
    content: String,
}

impl<'p> Text<'p> {
    fn read(role: Role, path: &'p Path) -> Result<Self> {
        let bytes = source::read(path, role.name()).map_err(missing)?;
        let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let record = Record::new(role, file, &bytes, 0);
        Ok(Self { path, record, content: decode(path, bytes)? })
    }

    /// Reads a text that has to be one of those `expected`. One that cannot be is not looked at.
    fn expected(tokenizer: &Tokenizer, role: Role, path: &'p Path, expected: Expected<'_>) -> Result<Self> {
        let before = match expected {
            Expected::Any => None,
            Expected::Recorded { records, named } => {
                let before = records.iter().find(|record| record.role == role);
                if before.is_none() && !named.is_some_and(|folder| is_inside(folder, path)) {
                    return Err(Error::UnknownText { what: role.name(), path: path.to_owned() });
                }
                before
            }
        };
        let text = Self::read(role, path)?;
        match before {
            Some(before) if !before.same_text(&text.record) => Err(Error::ChangedText {
                what: role.name(),
                path: path.to_owned(),
                found: text.record(tokenizer).to_string(),
                recorded: before.to_string(),
            }),
            _ => Ok(text),
        }
    }

    fn record(&self, tokenizer: &Tokenizer) -> Record {
        Record { tokens: tokenizer.tokens(&self.content).count() as u64, ..self.record.clone() }
    }

    fn encode(self, tokenizer: &Tokenizer, vocabulary: &Vocabulary) -> Result<(Vec<u32>, Record)> {
        let ids = encode(tokenizer, vocabulary, &self.content, &self.path.display().to_string())?;
        if ids.is_empty() {
            return Err(Error::EmptyCorpus { path: self.path.to_owned() });
        }
        let tokens = ids.len() as u64;
        Ok((ids, Record { tokens, ..self.record }))
    }
}

/// A file's text, without the byte order mark that some editors put before it; `what` names it in errors.
///
/// # Errors
/// A file that is missing, unreadable or not UTF-8 (with the position of the first bad byte).
pub fn read_text(path: &Path, what: &'static str) -> Result<String> {
    decode(path, source::read(path, what)?)
}

/// The most that a model file can have. People write them, and programs that write larger ones have written something else.
pub(crate) const MODEL_BYTES: u64 = 4 << 20;

/// [`read_text`] of a model file.
///
/// # Errors
/// As [`read_text`]; a file that is too long to be one.
pub fn read_model(path: &Path, what: &'static str) -> Result<String> {
    decode(path, source::read_up_to(MODEL_BYTES, path, what)?)
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

/// The ids and the record of a whole file, for a model that was trained.
///
/// # Errors
/// As [`Corpus::read_again`].
pub fn encode_file(
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
    (role, path): (Role, &Path),
    expected: Expected<'_>,
) -> Result<(Vec<u32>, Record)> {
    Text::expected(tokenizer, role, path, expected)?.encode(tokenizer, vocabulary)
}

/// The ids of a text; `place` names it in errors.
///
/// # Errors
/// A word that is not in a vocabulary without `<unk>`.
pub fn encode(tokenizer: &Tokenizer, vocabulary: &Vocabulary, text: &str, place: &str) -> Result<Vec<u32>> {
    let id = |token: super::Token<'_>| {
        vocabulary.id(token.text).ok_or_else(|| Error::UnknownWord {
            word: token.text.to_owned(),
            place: place.to_owned(),
            line: token.line,
        })
    };
    tokenizer.tokens(text).map(id).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lstmc_compiler::model::{TokenKind, Tokens};

    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::new(&Tokens { kind: TokenKind::Words, newline: Some("<eos>".into()), reserve: 0 })
    }

    fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_corpus_has_its_vocabulary_from_the_training_text() {
        let dir = tempfile::tempdir().unwrap();
        let train = file(&dir, "train", b"b a b <unk>\n");
        let valid = file(&dir, "valid", b"a z\n");
        let corpus = Corpus::read(&tokenizer(), 0, &train, Some(&valid), None).unwrap();
        // b twice; then <eos>, <unk>, a once each, in byte order.
        assert_eq!(corpus.train, [0, 3, 0, 2, 1]);
        assert_eq!(corpus.valid, Some(vec![3, 2, 1]));
        assert_eq!(corpus.test, None);
    }

    #[test]
    fn an_unknown_word_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let train = file(&dir, "train", b"a b\n");
        let valid = file(&dir, "valid", b"a\nb zebra\n");
        let error = Corpus::read(&tokenizer(), 0, &train, Some(&valid), None).unwrap_err();
        let Error::UnknownWord { word, line, .. } = &error else { panic!("{error}") };
        assert_eq!((word.as_str(), *line), ("zebra", 2));
        assert!(error.to_string().contains("valid, line 2"));
    }

    #[test]
    fn a_text_that_was_changed_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (train, valid) = (file(&dir, "train", b"a b a\n"), file(&dir, "valid", b"b a\n"));
        let first = Corpus::read(&tokenizer(), 0, &train, Some(&valid), None).unwrap();
        let lengths: Vec<(Role, u64, u64)> =
            first.records.iter().map(|record| (record.role, record.bytes, record.tokens)).collect();
        assert_eq!(lengths, [(Role::Train, 6, 4), (Role::Valid, 4, 3)]);
        let again = |expected: Expected<'_>| {
            let paths = Paths { train: &train, valid: Some(&valid), test: None };
            Corpus::read_again(&tokenizer(), first.vocabulary.clone(), expected, paths)
        };
        let recorded = Expected::Recorded { records: &first.records, named: None };
        assert_eq!(again(recorded).unwrap().train, first.train);
        // The same words and the same length, in another order.
        fs::write(&valid, "a b\n").unwrap();
        let error = again(recorded).unwrap_err();
        assert!(matches!(&error, Error::ChangedText { path, .. } if *path == valid), "{error}");
        assert!(error.to_string().contains("4 bytes, 3 tokens"), "{error}");
        assert_eq!(
            again(Expected::Any).unwrap().valid,
            Some(vec![first.train[0], first.train[1], first.train[3]])
        );
        // The vocabulary stays that of the run, though the text would make another.
        fs::write(&train, "b b a\n").unwrap();
        assert_eq!(again(Expected::Any).unwrap().vocabulary, first.vocabulary);
        fs::write(&train, "a c\n").unwrap();
        assert!(matches!(again(Expected::Any), Err(Error::UnknownWord { word, .. }) if word == "c"));
    }

    #[test]
    fn a_text_without_a_record_lies_in_the_folder_that_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let (train, valid) = (file(&dir, "train", b"a b a\n"), file(&dir, "valid", b"b a\n"));
        let first = Corpus::read(&tokenizer(), 0, &train, None, None).unwrap();
        let again = |named, valid: &Path| {
            let expected = Expected::Recorded { records: &first.records, named };
            let paths = Paths { train: &train, valid: Some(valid), test: None };
            Corpus::read_again(&tokenizer(), first.vocabulary.clone(), expected, paths)
        };
        assert!(matches!(again(None, &valid), Err(Error::UnknownText { path, .. }) if path == valid));
        assert_eq!(again(Some(dir.path()), &valid).unwrap().records.len(), 2);
        let outside = dir.path().join("../valid");
        assert!(
            matches!(again(Some(dir.path()), &outside), Err(Error::UnknownText { .. })),
            "it is not looked for"
        );
    }

    #[test]
    fn bad_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let read = |path: &Path| Corpus::read(&tokenizer(), 0, path, None, None).unwrap_err();
        assert!(matches!(read(&dir.path().join("none")), Error::MissingText { .. }));
        assert!(matches!(read(dir.path()), Error::Read { .. }));
        let blank = Tokenizer::new(&Tokens { kind: TokenKind::Words, newline: None, reserve: 0 });
        let empty = file(&dir, "empty", b" \n \n");
        assert!(matches!(Corpus::read(&blank, 0, &empty, None, None), Err(Error::EmptyCorpus { .. })));
        let latin = file(&dir, "latin", b"a\nbc\xe9d\n");
        assert!(matches!(read(&latin), Error::NotUtf8 { offset: 4, line: 2, .. }));
    }
}
