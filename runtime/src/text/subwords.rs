//! Subwords: pieces of text that are tokens, learned from a text (byte-pair encoding) or described by a file.
//!
//! The work is that of the crate `tokenizers`; here is what a run keeps of it, and how its tokens become text again.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::de::IgnoredAny;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::utils::parallelism::set_parallelism;
use tokenizers::{DecoderWrapper, Tokenizer, step_decode_stream};

use super::source;
use crate::error::{Error, Result};

/// The longest file that describes a tokenizer.
const FILE_BYTES: u64 = 256 << 20;
/// The most ids that one can have.
const IDS: usize = 1 << 24;

/// A tokenizer of subwords.
#[derive(Clone)]
pub struct Subwords {
    inner: Tokenizer,
    /// The tokens as the tokenizer spells them, in the order of their ids.
    pieces: Vec<String>,
    /// All of it, as text.
    json: String,
}

impl Subwords {
    /// Learns at most `size` tokens from a text: each byte, and then again and again the pair of tokens that is most frequent
    /// in words (of equally frequent ones the pair with the smaller ids), while there is one that is there twice.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn learn(text: &str, size: usize) -> Result<Self> {
        // The processors belong to training.
        set_parallelism(false);
        let bytes = ByteLevel::new(false, true, true);
        let mut inner = Tokenizer::new(BPE::default());
        inner.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));
        let trainer = BpeTrainer::builder()
            .vocab_size(size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut trainer = TrainerWrapper::BpeTrainer(trainer);
        let text = with_plain_ends(text);
        inner.train(&mut trainer, text.split_inclusive('\n')).map_err(failed)?;
        let json = inner.to_string(false).map_err(failed)?;
        Self::parse(json).map_err(|reason| Error::Tokenizer { reason })
    }

    /// Reads the file of a tokenizer, as the crate `tokenizers` writes it.
    ///
    /// # Errors
    /// A file that is missing, unreadable or no tokenizer.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = source::read_up_to(FILE_BYTES, path, "the tokenizer")?;
        let bad = |reason| Error::BadFile { path: path.to_owned(), reason };
        let json = String::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
        Self::parse(json).map_err(bad)
    }

    pub(super) fn parse(json: String) -> std::result::Result<Self, String> {
        set_parallelism(false);
        let no_tokenizer = |error: &dyn fmt::Display| format!("it is no tokenizer: {error}");
        // The crate takes for granted that it is JSON, and panics if not.
        serde_json::from_str::<IgnoredAny>(&json).map_err(|error| no_tokenizer(&error))?;
        let read = guarded(|| Tokenizer::from_bytes(&json)).map_err(|reason| no_tokenizer(&reason))?;
        let mut inner = read.map_err(|error| no_tokenizer(&error))?;
        // A text is read as it is, whatever was set for sentences in batches.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        let vocabulary = inner.get_vocab(true);
        let len = vocabulary.values().max().map_or(0, |&id| id as usize + 1);
        if len == 0 || len > IDS {
            return Err(format!("it has {len} tokens"));
        }
        let mut pieces: Vec<String> = (0..len).map(|id| format!("<no token {id}>")).collect();
        vocabulary.into_iter().for_each(|(piece, id)| pieces[id as usize] = piece);
        Ok(Self { inner, pieces, json })
    }

    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    pub fn json(&self) -> &str {
        &self.json
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] of a text that the tokenizer cannot cut, as one of whole words without a word for unknown ones.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoded = guarded(|| self.inner.encode_fast(with_plain_ends(text), false));
        let encoding = encoded.map_err(|reason| Error::Tokenizer { reason })?.map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// A token for people: what it stands for in a text, as far as that can be said of it alone.
    pub(super) fn show(&self, id: u32) -> String {
        let spelled =
            || self.pieces.get(id as usize).map_or(String::new(), |piece| piece.replace('\u{2581}', " "));
        match self.inner.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => {
                self.inner.decode(&[id], false).unwrap_or_else(|_| spelled())
            }
            _ => spelled(),
        }
    }
}

/// A file that somebody else has made may have the crate come to a point that it does not expect.
fn guarded<T>(action: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(action))
        .map_err(|_| "the crate that reads tokenizers gave up on it".to_owned())
}

fn failed(error: tokenizers::Error) -> Error {
    Error::Tokenizer { reason: error.to_string() }
}

/// A line ends alike, however it is written.
fn with_plain_ends(text: &str) -> Cow<'_, str> {
    match text.contains('\r') {
        true => text.replace("\r\n", "\n").replace('\r', "\n").into(),
        false => text.into(),
    }
}

impl PartialEq for Subwords {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Subwords {}

impl fmt::Debug for Subwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subwords({} tokens)", self.pieces.len())
    }
}

/// Tokens that become text one after the other. The bytes of a character may be of several tokens: they are written when all
/// of them are there.
#[derive(Clone, Debug)]
pub(super) struct Stream<'t> {
    subwords: &'t Subwords,
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl<'t> Stream<'t> {
    pub fn new(subwords: &'t Subwords) -> Self {
        Self { subwords, ids: Vec::new(), prefix: String::new(), prefix_index: 0 }
    }

    /// What can be written once this token is there.
    pub fn next(&mut self, piece: &str) -> String {
        let inner = &self.subwords.inner;
        let Some(id) = inner.token_to_id(piece) else { return piece.to_owned() };
        let step = step_decode_stream(
            inner,
            vec![id],
            false,
            &mut self.ids,
            &mut self.prefix,
            &mut self.prefix_index,
        );
        step.ok().flatten().unwrap_or_default()
    }

    /// What is left at the end: bytes that are no whole character.
    pub fn finish(self) -> String {
        let rest = self.subwords.inner.decode(&self.ids, false).unwrap_or_default();
        rest.strip_prefix(self.prefix.as_str()).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "the mouse and the mice, the mouse and the cat\nthe other mouse\n";

    #[test]
    fn what_is_learned_is_a_function_of_the_text() {
        let (first, again) = (Subwords::learn(TEXT, 280).unwrap(), Subwords::learn(TEXT, 280).unwrap());
        assert_eq!(first, again);
        assert!(first.pieces().len() > 256 && first.pieces().len() <= 280, "{first:?}");
        assert!(first.pieces().iter().any(|piece| piece == "\u{120}mouse"), "{:?}", first.pieces());
        assert_ne!(first, Subwords::learn(TEXT, 260).unwrap());
        assert_eq!(Subwords::parse(first.json().to_owned()).unwrap(), first);
    }

    #[test]
    fn any_text_is_cut_and_put_together_again() {
        let subwords = Subwords::learn(TEXT, 300).unwrap();
        for text in ["the mouse", " two  spaces\n\n", "猫 é 👩\u{200d}👧!", ""] {
            let ids = subwords.encode(text).unwrap();
            let mut stream = Stream::new(&subwords);
            let mut written: String =
                ids.iter().map(|&id| stream.next(&subwords.pieces()[id as usize])).collect();
            written += &stream.finish();
            assert_eq!(written, text);
        }
        assert_eq!(subwords.encode("a\r\nb\rc").unwrap(), subwords.encode("a\nb\nc").unwrap());
    }

    #[test]
    fn a_character_is_written_when_it_is_whole() {
        let subwords = Subwords::learn(TEXT, 257).unwrap();
        let ids = subwords.encode("猫!").unwrap();
        assert_eq!(ids.len(), 4, "three bytes and one");
        let pieces: Vec<&str> = ids.iter().map(|&id| subwords.pieces()[id as usize].as_str()).collect();
        let mut stream = Stream::new(&subwords);
        assert_eq!([0, 1, 2, 3].map(|n| stream.next(pieces[n])), ["", "", "猫", "!"]);
        let mut stream = Stream::new(&subwords);
        assert_eq!([stream.next("a"), stream.next(pieces[0])], ["a", ""]);
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(subwords.show(subwords.encode(" ").unwrap()[0]), " ");
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        let no = Subwords::parse("{}".into()).unwrap_err();
        assert!(no.contains("it is no tokenizer"), "{no}");
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Subwords::read(&dir.path().join("none")), Err(Error::MissingFile { .. })));
    }

    /// A run may come from somebody else, and what cuts its texts with it.
    #[test]
    fn no_changed_tokenizer_makes_a_reader_panic() {
        let whole = Subwords::learn(TEXT, 290).unwrap().json().to_owned();
        let mut state = 1u64;
        let mut next = |below: usize| {
            // Knuth's linear congruence; the upper bits are random enough for this.
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below.max(1)
        };
        let pieces = [
            "",
            "0",
            "-1",
            "4294967295",
            "1e99",
            "null",
            "true",
            "\"\"",
            "[]",
            "{}",
            "\"a\"",
            ",",
            "\u{120}",
        ];
        let cases = std::env::var("LSTMC_CASES").map_or(200, |cases| cases.parse().unwrap());
        let mut read = 0;
        for _ in 0..cases {
            let mut json = whole.clone();
            for _ in 0..=next(3) {
                let cuts: Vec<usize> =
                    json.match_indices([',', ':', '[', ']', '{', '}', '"']).map(|(at, _)| at).collect();
                let first = next(cuts.len());
                let last = (first + next(4)).min(cuts.len() - 1);
                json.replace_range(
                    cuts[first] + 1..cuts[last].max(cuts[first] + 1),
                    pieces[next(pieces.len())],
                );
            }
            let Ok(subwords) = Subwords::parse(json) else { continue };
            read += 1;
            for text in ["the mouse", "zebra \n", "猫"] {
                let Ok(ids) = subwords.encode(text) else { continue };
                let mut stream = Stream::new(&subwords);
                for id in ids {
                    let _ = (
                        subwords.show(id),
                        subwords.pieces().get(id as usize).map(|piece| stream.next(piece)),
                    );
                }
                let _ = stream.finish();
            }
        }
        assert!(read > 0, "some are tokenizers still");
    }
}
