//! The vocabulary: which word has which id.

use std::collections::HashMap;
use std::sync::Arc;

use lstmc_compiler::model::Selection;
use serde::{Deserialize, Serialize};

use super::Subwords;
use crate::random::hash;

/// What stands for words that are not in the vocabulary, if the training text has it and the model names no other.
pub const UNKNOWN: &str = "<unk>";

/// Words, and how often a text has each.
type Counted<'t> = Vec<(&'t str, usize)>;

/// Words and their ids. Ids below [`Vocabulary::reserved`] stand for no word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Vocabulary {
    reserve: usize,
    words: Vec<String>,
    /// What the model names for words that are not there.
    unknown: Option<String>,
    /// What the words are subwords of.
    subwords: Option<Arc<Subwords>>,
    ids: HashMap<String, u32>,
}

/// The form of `vocab.json`: the n-th word has id `reserve + n`.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    reserve: usize,
    words: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
    /// A tokenizer of subwords, as it is written into a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokenizer: Option<String>,
}

impl TryFrom<Stored> for Vocabulary {
    type Error = String;

    /// Refuses what [`Vocabulary::select`] never makes: more ids than there can be, a word with two of them, and a word for
    /// the unknown ones that is not there.
    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { reserve, words, .. } = &stored;
        if reserve.checked_add(words.len()).is_none_or(|len| len > u32::MAX as usize) {
            return Err(format!(
                "{} words after {reserve} reserved ids are more than there can be",
                words.len()
            ));
        }
        let subwords = stored.tokenizer.clone().map(Subwords::parse).transpose()?;
        if subwords.as_ref().is_some_and(|subwords| subwords.pieces() != words || *reserve > 0) {
            return Err("the words are not those of its tokenizer".into());
        }
        let vocabulary = Self { subwords: subwords.map(Arc::new), ..Self::of(stored) };
        if vocabulary.ids.len() < vocabulary.words.len() {
            return Err("a word is there twice".into());
        }
        if let Some(unknown) = &vocabulary.unknown
            && !vocabulary.ids.contains_key(unknown)
        {
            return Err(format!("the word for unknown ones, {unknown:?}, is not there"));
        }
        Ok(vocabulary)
    }
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Self {
        Self {
            reserve: vocabulary.reserve,
            words: vocabulary.words,
            unknown: vocabulary.unknown,
            tokenizer: vocabulary.subwords.map(|subwords| subwords.json().to_owned()),
        }
    }
}

impl Vocabulary {
    fn of(Stored { reserve, words, unknown, .. }: Stored) -> Self {
        let ids = words.iter().enumerate().map(|(i, word)| (word.clone(), (reserve + i) as u32)).collect();
        Self { reserve, words, unknown, subwords: None, ids }
    }

    /// Ids by falling frequency, then alphabetically (by byte), after `reserve` ids for no word.
    pub fn build<'t>(tokens: impl IntoIterator<Item = &'t str>, reserve: usize) -> Self {
        Self::select(tokens, reserve, None, &Selection::default())
    }

    /// As [`Vocabulary::build`], without the words that are not selected: these count as the unknown word, which has an id
    /// whatever its frequency, as has `newline` if the text has it.
    pub fn select<'t>(
        tokens: impl IntoIterator<Item = &'t str>,
        reserve: usize,
        newline: Option<&str>,
        selection: &Selection,
    ) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for token in tokens {
            *counts.entry(token).or_default() += 1;
        }
        let unknown = selection.unknown.as_deref();
        let (mut kept, others): (Counted<'_>, Counted<'_>) =
            counts.into_iter().partition(|&(word, _)| Some(word) == newline || Some(word) == unknown);
        if let Some(unknown) = unknown
            && !kept.iter().any(|&(word, _)| word == unknown)
        {
            kept.push((unknown, 0));
        }
        let mut others = sorted(others);
        let room = selection.most.map_or(others.len(), |most| most.saturating_sub(kept.len()));
        let least = selection.min_count.unwrap_or(1);
        let chosen = others.iter().take(room).take_while(|&&(_, count)| count >= least).count();
        let left: usize = others.drain(chosen..).map(|(_, count)| count).sum();
        kept.iter_mut().filter(|(word, _)| Some(*word) == unknown).for_each(|(_, count)| *count += left);
        kept.append(&mut others);
        let words = sorted(kept).into_iter().map(|(word, _)| word.to_owned()).collect();
        Self::of(Stored { reserve, words, unknown: selection.unknown.clone(), tokenizer: None })
    }

    /// Words with ids from `reserve` on, and which of them counts for those that are not there.
    ///
    /// # Errors
    /// A word that is there twice, more than there can be ids, an unknown word that is not there, in words.
    pub fn of_words(words: Vec<String>, reserve: usize, unknown: Option<String>) -> Result<Self, String> {
        Self::try_from(Stored { reserve, words, unknown, tokenizer: None })
    }

    /// The tokens of a tokenizer, with its ids.
    pub fn of_subwords(subwords: Subwords) -> Self {
        let words = subwords.pieces().to_vec();
        let vocabulary = Self::of(Stored { reserve: 0, words, unknown: None, tokenizer: None });
        Self { subwords: Some(Arc::new(subwords)), ..vocabulary }
    }

    /// What the words are subwords of, if they are.
    pub fn subwords(&self) -> Option<&Arc<Subwords>> {
        self.subwords.as_ref()
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

    /// All words, in the order of their ids.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// The id of `word` itself.
    pub fn known(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// The id that words have which are not there: that of the word which the model names for them, or of `<unk>`.
    pub fn unknown(&self) -> Option<u32> {
        if self.subwords.is_some() {
            return None;
        }
        self.known(self.unknown.as_deref().unwrap_or(UNKNOWN))
    }

    /// The id of `word`, or what unknown words have.
    pub fn id(&self, word: &str) -> Option<u32> {
        self.known(word).or_else(|| self.unknown())
    }

    /// The word of an id; reserved ids and ids out of range have none.
    pub fn word(&self, id: u32) -> Option<&str> {
        self.words.get((id as usize).checked_sub(self.reserve)?).map(String::as_str)
    }

    /// The word of an id, or the id itself in angle brackets.
    pub fn token(&self, id: u32) -> String {
        self.word(id).map_or_else(|| format!("<{id}>"), String::from)
    }

    /// [`Vocabulary::token`] for people: of a subword, the text that it stands for.
    pub fn show(&self, id: u32) -> String {
        match &self.subwords {
            Some(subwords) => subwords.show(id),
            None => self.token(id),
        }
    }

    /// Says in a few letters which vocabulary this is.
    pub fn fingerprint(&self) -> String {
        let mut bytes = (self.reserve as u64).to_le_bytes().to_vec();
        for word in &self.words {
            bytes.extend_from_slice(word.as_bytes());
            bytes.push(0);
        }
        if let Some(unknown) = &self.unknown {
            bytes.push(0);
            bytes.extend_from_slice(unknown.as_bytes());
        }
        if let Some(subwords) = &self.subwords {
            bytes.extend_from_slice(subwords.json().as_bytes());
        }
        format!("{:016x}", hash(&bytes))
    }
}

/// By falling frequency, then alphabetically (by byte).
fn sorted(mut words: Counted<'_>) -> Counted<'_> {
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(text: &str, selection: &Selection) -> Vocabulary {
        Vocabulary::select(text.split(' '), 1, Some("<eos>"), selection)
    }

    fn unknown(min_count: Option<usize>, most: Option<usize>) -> Selection {
        Selection { unknown: Some("<unk>".into()), min_count, most }
    }

    #[test]
    fn rare_words_count_as_the_unknown_one() {
        let text = "a a a b b c d <eos>";
        let found = selected(text, &unknown(Some(2), None));
        assert_eq!(found.words().collect::<Vec<_>>(), ["a", "<unk>", "b", "<eos>"], "c and d are two");
        assert_eq!([found.id("a"), found.id("c"), found.id("z")], [Some(1), Some(2), Some(2)]);
        assert_eq!((found.known("c"), found.unknown()), (None, Some(2)));
        let found = selected(text, &unknown(None, Some(3)));
        assert_eq!(found.words().collect::<Vec<_>>(), ["<unk>", "a", "<eos>"], "three, these two among them");
        let all = selected(text, &unknown(None, None));
        assert_eq!(all.words().last(), Some("<unk>"), "seen never, and there");
        assert_eq!(
            selected("a <unk> <unk>", &unknown(None, None)).words().next(),
            Some("<unk>"),
            "its own too"
        );
    }

    #[test]
    fn the_unknown_word_is_kept() {
        let found = selected("a a b", &unknown(Some(2), None));
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(json, r#"{"reserve":1,"words":["a","<unk>"],"unknown":"<unk>"}"#);
        assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), found);
        let lost = json.replace(",\"<unk>\"]", "]");
        assert!(serde_json::from_str::<Vocabulary>(&lost).unwrap_err().to_string().contains("is not there"));
        assert_ne!(found.fingerprint(), Vocabulary::build(["a", "a", "<unk>"], 1).fingerprint());
    }

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
