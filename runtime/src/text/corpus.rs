//! A corpus: texts read, checked, and turned into ids.

use std::path::Path;

use lstmc_compiler::model::{Selection, TokenKind, Tokens};

use super::content::{Content, decode};
use super::texts::called;
use super::unknown::Collector;
use super::{Expected, Extent, Record, Role, Subwords, Texts, Tokenizer, Unknown, Vocabulary, source};
use crate::error::{Error, Result};
use crate::export;

/// The token ids of each split, with the vocabulary that they are ids of.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub vocabulary: Vocabulary,
    pub train: Vec<u32>,
    pub valid: Option<Vec<u32>>,
    pub test: Option<Vec<u32>>,
    /// How much text the validation text is.
    pub valid_extent: Option<Extent>,
    /// What a run keeps of each text.
    pub records: Vec<Record>,
    /// The words of each text that count as unknown, if there are any.
    pub unknown: Vec<(Role, Unknown)>,
}

/// The tokens of a text as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub ids: Vec<u32>,
    /// How much text they are.
    pub extent: Extent,
    /// The words among them that the vocabulary does not have, if there are any.
    pub unknown: Option<Unknown>,
}

impl Corpus {
    /// Reads the training text, builds the vocabulary from it as `selection` says, and reads the `others` that there are
    /// with that vocabulary.
    ///
    /// # Errors
    /// A file that is missing, unreadable, not UTF-8 or without tokens; words that the vocabulary cannot name.
    pub fn read(tokens: &Tokens, selection: &Selection, texts: &Texts, others: &[Role]) -> Result<Self> {
        let text = read(texts, Role::Train)?;
        let vocabulary = match &tokens.kind {
            TokenKind::Bpe(size) => Vocabulary::of_subwords(Subwords::learn(&text.text, *size)?),
            TokenKind::File(name) => Vocabulary::of_subwords(Subwords::read(&texts.beside(name))?),
            _ => {
                let tokenizer = Tokenizer::new(tokens);
                let words = tokenizer.tokens(&text.text).map(|token| token.text);
                Vocabulary::select(words, tokens.reserve, tokenizer.newline(), selection)
            }
        };
        let tokenizer = &Tokenizer::of(tokens, &vocabulary);
        let mut corpus = Self::empty(vocabulary);
        corpus.add(text, tokenizer, InRun::No)?;
        for &role in others.iter().filter(|&&role| texts.has(role)) {
            corpus.add(read(texts, role)?, tokenizer, InRun::No)?;
        }
        Ok(corpus)
    }

    /// Reads the texts with the vocabulary of a run that is taken up again.
    ///
    /// # Errors
    /// [`Error::ChangedText`] or [`Error::UnknownText`] of a text that is not one of those `expected`; as [`Corpus::read`].
    pub fn read_again(
        tokenizer: &Tokenizer,
        vocabulary: Vocabulary,
        expected: Expected<'_>,
        texts: &Texts,
        others: &[Role],
    ) -> Result<Self> {
        let mut corpus = Self::empty(vocabulary);
        for &role in [Role::Train].iter().chain(others).filter(|&&role| texts.has(role)) {
            corpus.add(read_expected(tokenizer, texts, role, expected)?, tokenizer, InRun::Yes)?;
        }
        Ok(corpus)
    }

    fn empty(vocabulary: Vocabulary) -> Self {
        Self {
            vocabulary,
            train: vec![],
            valid: None,
            test: None,
            valid_extent: None,
            records: vec![],
            unknown: vec![],
        }
    }

    fn add(&mut self, text: Content, tokenizer: &Tokenizer, in_run: InRun) -> Result<()> {
        let role = text.record.role;
        let (Encoded { ids, unknown, extent }, record) =
            encode_content(text, tokenizer, &self.vocabulary, in_run)?;
        match role {
            Role::Train => self.train = ids,
            Role::Valid => {
                self.valid = Some(ids);
                self.valid_extent = Some(extent);
            }
            Role::Test => self.test = Some(ids),
        }
        self.records.push(record);
        self.unknown.extend(unknown.map(|unknown| (role, unknown)));
        Ok(())
    }
}

/// Whether the vocabulary is that of a run, which nothing changes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InRun {
    Yes,
    No,
}

impl Record {
    /// The record of a text that is not encoded.
    ///
    /// # Errors
    /// A file that is missing, unreadable or not UTF-8; one that is not `expected`, as of [`Corpus::read_again`].
    pub fn read(tokenizer: &Tokenizer, role: Role, texts: &Texts, expected: Expected<'_>) -> Result<Self> {
        record(&read_expected(tokenizer, texts, role, expected)?, tokenizer)
    }
}

fn read(texts: &Texts, role: Role) -> Result<Content> {
    Content::read(role, &texts.paths(role)?, texts.part(role))
}

/// Reads a text that has to be one of those `expected`. One that cannot be is not looked at.
fn read_expected(
    tokenizer: &Tokenizer,
    texts: &Texts,
    role: Role,
    expected: Expected<'_>,
) -> Result<Content> {
    let Expected::Recorded { records, named } = expected else { return read(texts, role) };
    let before = records.iter().find(|record| record.role == role);
    if before.is_none() && !named.is_some_and(|folder| texts.are_inside(folder, role)) {
        return Err(Error::UnknownText { what: role.name(), path: called(&texts.named(role)) });
    }
    let text = read(texts, role)?;
    match before {
        Some(before) if !before.same_text(&text.record) => Err(Error::ChangedText {
            what: role.name(),
            path: text.called(),
            found: record(&text, tokenizer)?.to_string(),
            recorded: before.to_string(),
        }),
        _ => Ok(text),
    }
}

fn record(text: &Content, tokenizer: &Tokenizer) -> Result<Record> {
    let tokens = match tokenizer.subwords() {
        Some(subwords) => subwords.encode(&text.text)?.len(),
        None => tokenizer.tokens(&text.text).count(),
    };
    Ok(Record { tokens: tokens as u64, ..text.record.clone() })
}

fn encode_content(
    text: Content,
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
    in_run: InRun,
) -> Result<(Encoded, Record)> {
    let encoded = tokens(tokenizer, vocabulary, &text.text)?;
    if let (Some(unknown), None) = (&encoded.unknown, vocabulary.unknown()) {
        let (path, line) = text.place(unknown.line());
        let (place, unknown) = (path.display().to_string(), Box::new(unknown.clone()));
        return Err(Error::UnknownWords { place, line, unknown, in_run: in_run == InRun::Yes });
    }
    if encoded.ids.is_empty() {
        return Err(Error::EmptyCorpus { path: text.called() });
    }
    let tokens = encoded.ids.len() as u64;
    Ok((encoded, Record { tokens, ..text.record }))
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

/// Writes a model file, over one that is there only if that is said.
///
/// # Errors
/// [`Error::ModelExists`], [`Error::Write`].
pub fn write_model(path: &Path, text: &str, overwrite: bool) -> Result<()> {
    if !overwrite && path.exists() {
        return Err(Error::ModelExists { path: path.to_owned() });
    }
    export::write(path, text.as_bytes())
}

/// The ids and the record of a whole text, for a model that was trained.
///
/// # Errors
/// As [`Corpus::read_again`].
pub fn encode_text(
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
    (texts, role): (&Texts, Role),
    expected: Expected<'_>,
) -> Result<(Encoded, Record)> {
    let text = read_expected(tokenizer, texts, role, expected)?;
    encode_content(text, tokenizer, vocabulary, InRun::Yes)
}

/// The tokens of a text; `place` names it in errors.
///
/// # Errors
/// A word that is not in a vocabulary without a word for the unknown ones.
pub fn encode(tokenizer: &Tokenizer, vocabulary: &Vocabulary, text: &str, place: &str) -> Result<Encoded> {
    let mut encoded = tokens(tokenizer, vocabulary, text)?;
    match encoded.unknown.take_if(|_| vocabulary.unknown().is_none()) {
        Some(unknown) => {
            let (place, line, unknown) = (place.to_owned(), unknown.line(), Box::new(unknown));
            Err(Error::UnknownWords { place, line, unknown, in_run: true })
        }
        None => Ok(encoded),
    }
}

/// The tokens of a prompt. Its unknown words are for the caller to say.
///
/// # Errors
/// [`Error::UnknownPrompt`] of such words where the vocabulary has no word for them.
pub fn encode_prompt(tokenizer: &Tokenizer, vocabulary: &Vocabulary, text: &str) -> Result<Encoded> {
    let encoded = tokens(tokenizer, vocabulary, text)?;
    match (&encoded.unknown, vocabulary.unknown()) {
        (Some(unknown), None) => Err(Error::UnknownPrompt { words: unknown.with_suggestions(vocabulary) }),
        _ => Ok(encoded),
    }
}

/// Words without an id are left out where the vocabulary has no word for them.
fn tokens(tokenizer: &Tokenizer, vocabulary: &Vocabulary, text: &str) -> Result<Encoded> {
    if let Some(subwords) = tokenizer.subwords() {
        let ids = subwords.encode(text)?;
        return Ok(Encoded { extent: Extent::of(text, ids.len()), ids, unknown: None });
    }
    let mut found = Collector::new(tokenizer.unit());
    let stands_for_unknown = vocabulary.unknown();
    let mut ids = Vec::new();
    for token in tokenizer.tokens(text) {
        let known = vocabulary.known(token.text);
        if known.is_none() {
            found.add(token);
        }
        ids.extend(known.or(stands_for_unknown));
    }
    Ok(Encoded { extent: Extent::of(text, ids.len()), ids, unknown: found.finish() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lstmc_compiler::model::TokenKind;

    use super::*;

    fn words() -> Tokens {
        Tokens { kind: TokenKind::Words, newline: Some("<eos>".into()), reserve: 0 }
    }

    fn tokenizer() -> Tokenizer {
        Tokenizer::new(&words())
    }

    fn paths(train: &Path, valid: Option<&Path>) -> Texts {
        let name = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        Texts::files("".as_ref(), &name(train), valid.map(name).as_deref(), None)
    }

    fn corpus(train: &Path, valid: Option<&Path>) -> Result<Corpus> {
        Corpus::read(&words(), &Selection::default(), &paths(train, valid), &[Role::Valid])
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
        let corpus = corpus(&train, Some(&valid)).unwrap();
        // b twice; then <eos>, <unk>, a once each, in byte order.
        assert_eq!(corpus.train, [0, 3, 0, 2, 1]);
        assert_eq!(corpus.valid, Some(vec![3, 2, 1]));
        assert_eq!(corpus.test, None);
    }

    #[test]
    fn words_that_are_left_out_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (train, valid) = (file(&dir, "train", b"a a b c\n"), file(&dir, "valid", b"a z\nc\n"));
        let selection = Selection { unknown: Some("<unk>".into()), min_count: Some(2), most: None };
        let texts = paths(&train, Some(&valid));
        let corpus = Corpus::read(&words(), &selection, &texts, &[Role::Valid]).unwrap();
        assert_eq!(corpus.vocabulary.words().collect::<Vec<_>>(), ["<unk>", "a", "<eos>"]);
        assert_eq!((corpus.train, corpus.valid), (vec![1, 1, 0, 0, 2], Some(vec![1, 0, 2, 0, 2])));
        let found: Vec<_> = corpus.unknown.iter().map(|(role, unknown)| (*role, unknown.total())).collect();
        assert_eq!(found, [(Role::Train, 2), (Role::Valid, 2)]);
    }

    #[test]
    fn an_unknown_word_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let train = file(&dir, "train", b"a b\n");
        let valid = file(&dir, "valid", b"a\nb zebra\n");
        let error = corpus(&train, Some(&valid)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("valid has 1 word that the vocabulary does not have, \"zebra\""), "{said}");
        assert!(said.contains("the first is in line 2; write `unknown: \"<unk>\"`"), "{said}");
    }

    #[test]
    fn a_text_that_was_changed_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (train, valid) = (file(&dir, "train", b"a b a\n"), file(&dir, "valid", b"b a\n"));
        let first = corpus(&train, Some(&valid)).unwrap();
        let lengths: Vec<(Role, u64, u64)> =
            first.records.iter().map(|record| (record.role, record.bytes, record.tokens)).collect();
        assert_eq!(lengths, [(Role::Train, 6, 4), (Role::Valid, 4, 3)]);
        let again = |expected: Expected<'_>| {
            let texts = paths(&train, Some(&valid));
            Corpus::read_again(&tokenizer(), first.vocabulary.clone(), expected, &texts, &[Role::Valid])
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
        assert!(matches!(again(Expected::Any), Err(Error::UnknownWords { in_run: true, .. })));
    }

    #[test]
    fn a_text_without_a_record_lies_in_the_folder_that_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let (train, valid) = (file(&dir, "train", b"a b a\n"), file(&dir, "valid", b"b a\n"));
        let first = corpus(&train, None).unwrap();
        let again = |named, valid: &Path| {
            let expected = Expected::Recorded { records: &first.records, named };
            let texts = paths(&train, Some(valid));
            Corpus::read_again(&tokenizer(), first.vocabulary.clone(), expected, &texts, &[Role::Valid])
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
        let bad = |path: &Path| corpus(path, None).unwrap_err();
        assert!(matches!(bad(&dir.path().join("none")), Error::MissingText { .. }));
        assert!(matches!(bad(dir.path()), Error::Read { .. }));
        let blank = Tokens { newline: None, ..words() };
        let empty = file(&dir, "empty", b" \n \n");
        let error = Corpus::read(&blank, &Selection::default(), &paths(&empty, None), &[]);
        assert!(matches!(error, Err(Error::EmptyCorpus { .. })));
        let latin = file(&dir, "latin", b"a\nbc\xe9d\n");
        assert!(matches!(bad(&latin), Error::NotUtf8 { offset: 4, line: 2, .. }));
    }
}
