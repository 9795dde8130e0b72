//! Corpus files: read, checked, and turned into ids.

use std::fs;
use std::path::Path;

use super::{Tokenizer, Vocabulary};
use crate::error::{Error, Result};

/// The token ids of each split, with the vocabulary built from the training text.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub vocabulary: Vocabulary,
    pub train: Vec<u32>,
    pub valid: Option<Vec<u32>>,
    pub test: Option<Vec<u32>>,
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
        let text = read_corpus(train, "the training text")?;
        let vocabulary = Vocabulary::build(tokenizer.tokens(&text).map(|token| token.text), reserve);
        if vocabulary.len() == reserve {
            return Err(Error::EmptyCorpus { path: train.to_owned() });
        }
        let train = encode(tokenizer, &vocabulary, &text, &train.display().to_string())?;
        let other = |path: Option<&Path>, what| {
            path.map(|path| encode_file(tokenizer, &vocabulary, path, what)).transpose()
        };
        let valid = other(valid, "the validation text")?;
        let test = other(test, "the test text")?;
        Ok(Self { vocabulary, train, valid, test })
    }
}

/// A file's text, without the byte order mark that some editors put before it; `what` names it in errors.
///
/// # Errors
/// A file that is missing, unreadable or not UTF-8 (with the position of the first bad byte).
pub fn read_text(path: &Path, what: &'static str) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, what, source))?;
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

/// [`read_text`] of a file that a model names.
fn read_corpus(path: &Path, what: &'static str) -> Result<String> {
    read_text(path, what).map_err(|error| match error {
        Error::MissingFile { what, path } => Error::MissingText { what, path },
        other => other,
    })
}

/// The ids of a whole file.
///
/// # Errors
/// As [`read_text`] and [`encode`]; a file without tokens.
pub fn encode_file(
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
    path: &Path,
    what: &'static str,
) -> Result<Vec<u32>> {
    let ids = encode(tokenizer, vocabulary, &read_corpus(path, what)?, &path.display().to_string())?;
    if ids.is_empty() {
        return Err(Error::EmptyCorpus { path: path.to_owned() });
    }
    Ok(ids)
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
