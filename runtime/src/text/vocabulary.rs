//! The vocabulary: which word has which id.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::random::hash;

/// What stands for words that are not in the vocabulary, if the training text has it.
pub const UNKNOWN: &str = "<unk>";

/// Words and their ids. Ids below [`Vocabulary::reserved`] stand for no word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Vocabulary {
    reserve: usize,
    words: Vec<String>,
    ids: HashMap<String, u32>,
}

/// The form of `vocab.json`: the n-th word has id `reserve + n`.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    reserve: usize,
    words: Vec<String>,
}

impl TryFrom<Stored> for Vocabulary {
    type Error = String;

    /// Refuses what [`Vocabulary::build`] never makes: more ids than there can be, and a word with two of them.
    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { reserve, words } = &stored;
        if reserve.checked_add(words.len()).is_none_or(|len| len > u32::MAX as usize) {
            return Err(format!(
                "{} words after {reserve} reserved ids are more than there can be",
                words.len()
            ));
        }
        let vocabulary = Self::of(stored);
        if vocabulary.ids.len() < vocabulary.words.len() {
            return Err("a word is there twice".into());
        }
        Ok(vocabulary)
    }
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Self {
        Self { reserve: vocabulary.reserve, words: vocabulary.words }
    }
}

impl Vocabulary {
    fn of(Stored { reserve, words }: Stored) -> Self {
        let ids = words.iter().enumerate().map(|(i, word)| (word.clone(), (reserve + i) as u32)).collect();
        Self { reserve, words, ids }
    }

    /// Ids by falling frequency, then alphabetically (by byte), after `reserve` ids for no word.
    pub fn build<'t>(tokens: impl IntoIterator<Item = &'t str>, reserve: usize) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for token in tokens {
            *counts.entry(token).or_default() += 1;
        }
        let mut words: Vec<(&str, usize)> = counts.into_iter().collect();
        words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        Self::of(Stored { reserve, words: words.into_iter().map(|(word, _)| word.to_owned()).collect() })
    }

    /// Number of ids, the reserved ones included.
    pub fn len(&self) -> usize {
        self.reserve + self.words.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn reserved(&self) -> usize {
        self.reserve
    }

    /// The id of `word`, or of `<unk>` if the vocabulary has that.
    pub fn id(&self, word: &str) -> Option<u32> {
        self.ids.get(word).or_else(|| self.ids.get(UNKNOWN)).copied()
    }

    /// The word of an id; reserved ids and ids out of range have none.
    pub fn word(&self, id: u32) -> Option<&str> {
        self.words.get((id as usize).checked_sub(self.reserve)?).map(String::as_str)
    }

    /// The word of an id, or the id itself in angle brackets.
    pub fn show(&self, id: u32) -> String {
        self.word(id).map_or_else(|| format!("<{id}>"), String::from)
    }

    /// Says in a few letters which vocabulary this is.
    pub fn fingerprint(&self) -> String {
        let mut bytes = (self.reserve as u64).to_le_bytes().to_vec();
        for word in &self.words {
            bytes.extend_from_slice(word.as_bytes());
            bytes.push(0);
        }
        format!("{:016x}", hash(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fall_with_frequency_and_ties_are_alphabetical() {
        let vocabulary = Vocabulary::build("c b b a c d".split(' '), 0);
        let words: Vec<_> = (0..4).map(|id| vocabulary.word(id).unwrap()).collect();
        assert_eq!(words, ["b", "c", "a", "d"]);
        assert_eq!(vocabulary.id("a"), Some(2));
    }

    #[test]
    fn reserved_ids_come_first_and_have_no_word() {
        let vocabulary = Vocabulary::build(["x"], 2);
        assert_eq!(vocabulary.len(), 3);
        assert_eq!(vocabulary.id("x"), Some(2));
        assert_eq!((vocabulary.word(0), vocabulary.word(2), vocabulary.word(3)), (None, Some("x"), None));
        assert_eq!(vocabulary.show(1), "<1>");
    }

    #[test]
    fn what_is_never_written_is_not_read() {
        let read = |text: &str| serde_json::from_str::<Vocabulary>(text).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"reserve":2,"words":["x"]}"#), Ok(Vocabulary::build(["x"], 2)));
        for reserve in [u64::MAX, u64::from(u32::MAX)] {
            let error = read(&format!(r#"{{"reserve":{reserve},"words":["x"]}}"#)).unwrap_err();
            assert!(error.contains("more than there can be"), "{error}");
        }
        assert!(read(r#"{"reserve":0,"words":["x","y","x"]}"#).unwrap_err().contains("twice"));
    }

    #[test]
    fn unknown_words_are_unk_where_there_is_one() {
        assert_eq!(Vocabulary::build(["a"], 0).id("b"), None);
        assert_eq!(Vocabulary::build(["a", "a", "<unk>"], 0).id("b"), Some(1));
    }

    #[test]
    fn json_keeps_everything() {
        let vocabulary = Vocabulary::build("a \" é".split(' '), 1);
        let json = serde_json::to_string(&vocabulary).unwrap();
        assert_eq!(json, r#"{"reserve":1,"words":["\"","a","é"]}"#);
        assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocabulary);
    }

    #[test]
    fn fingerprints_tell_vocabularies_apart() {
        let of = |words: &[&str], reserve| Vocabulary::build(words.iter().copied(), reserve).fingerprint();
        assert_eq!(of(&["a", "b"], 0), of(&["b", "a"], 0));
        assert_ne!(of(&["a", "b"], 0), of(&["ab"], 0));
        assert_ne!(of(&["a"], 0), of(&["a"], 1));
    }
}
