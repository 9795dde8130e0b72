//! Words that a vocabulary does not have: how many, which, and what may be meant.

use std::collections::HashMap;
use std::fmt;

use lstmc_compiler::diag::nearest;

use super::{Token, Vocabulary};
use crate::error::number_of;

/// How many of them are shown.
const SHOWN: usize = 5;

/// The words of a text that its vocabulary does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What a token is called.
    unit: &'static str,
    /// How many tokens of the text they are.
    total: usize,
    /// Each of them and how often it is there, by falling frequency, then alphabetically.
    words: Vec<(String, usize)>,
    /// The first one, and its line in the text.
    first: (String, usize),
}

/// Collects them while a text is read.
pub(super) struct Collector<'t> {
    unit: &'static str,
    counts: HashMap<&'t str, usize>,
    first: Option<Token<'t>>,
}

impl<'t> Collector<'t> {
    pub fn new(unit: &'static str) -> Self {
        Self { unit, counts: HashMap::new(), first: None }
    }

    pub fn add(&mut self, token: Token<'t>) {
        *self.counts.entry(token.text).or_default() += 1;
        self.first.get_or_insert(token);
    }

    /// `None` if all words were known.
    pub fn finish(self) -> Option<Unknown> {
        let first = self.first?;
        let mut words: Vec<(String, usize)> =
            self.counts.into_iter().map(|(word, count)| (word.to_owned(), count)).collect();
        words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let total = words.iter().map(|(_, count)| count).sum();
        Some(Unknown { unit: self.unit, total, words, first: (first.text.to_owned(), first.line) })
    }
}

impl Unknown {
    /// How many tokens of the text they are.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The line of the first of them, counted from 1.
    pub fn line(&self) -> usize {
        self.first.1
    }

    /// The words of a prompt, each with the word of the vocabulary that may be meant.
    pub fn with_suggestions(&self, vocabulary: &Vocabulary) -> String {
        let shown = self.words.iter().take(SHOWN).map(|(word, _)| match meant(vocabulary, word) {
            Some(known) => format!("{} (did you mean {}?)", quoted(word), quoted(known)),
            None => quoted(word),
        });
        let (shown, more) = (shown.collect::<Vec<_>>().join(", "), self.words.len().saturating_sub(SHOWN));
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let noun = if self.words.len() == 1 { self.unit.to_owned() } else { format!("{}s", self.unit) };
        format!("the {noun} {shown}{more}")
    }
}

/// `14 words that the vocabulary does not have, 3 of them distinct: "zebra" 9 times, "gnu" 4 times, "yak" once`.
impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} that the vocabulary does not have", number_of(self.total, self.unit))?;
        if let [(word, _)] = self.words.as_slice() {
            return write!(f, ", {}", quoted(word));
        }
        if self.words.len() < self.total {
            write!(f, ", {} of them distinct", self.words.len())?;
        }
        let times = |count| if count == 1 { "once".into() } else { format!("{count} times") };
        let shown = self.words.iter().take(SHOWN).map(|(word, n)| format!("{} {}", quoted(word), times(*n)));
        write!(f, ": {}", shown.collect::<Vec<_>>().join(", "))?;
        match self.words.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// White space can be seen between the quotes.
fn quoted(word: &str) -> String {
    let shown = word.replace('\n', "\\n").replace('\t', "\\t");
    format!("\"{shown}\"")
}

/// The word that may be meant: the same in other letters' case, or one that is nearly spelt so; the more frequent first.
fn meant<'v>(vocabulary: &'v Vocabulary, word: &str) -> Option<&'v str> {
    let lower = word.to_lowercase();
    vocabulary
        .words()
        .find(|known| known.to_lowercase() == lower)
        .or_else(|| nearest(word, vocabulary.words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(words: &[&str]) -> Unknown {
        let mut found = Collector::new("word");
        words.iter().enumerate().for_each(|(at, word)| found.add(Token { text: word, line: at + 1 }));
        found.finish().expect("some")
    }

    #[test]
    fn they_are_counted_and_the_commonest_come_first() {
        assert_eq!(
            unknown(&["b", "a", "b"]).to_string(),
            "3 words that the vocabulary does not have, 2 of them distinct: \"b\" 2 times, \"a\" once"
        );
        assert_eq!(unknown(&["b"]).to_string(), "1 word that the vocabulary does not have, \"b\"");
        assert_eq!(unknown(&["b", "b"]).to_string(), "2 words that the vocabulary does not have, \"b\"");
        let many = unknown(&["a", "b", "c", "d", "e", "f", "g"]).to_string();
        assert!(
            many.starts_with("7 words that the vocabulary does not have: \"a\" once, \"b\" once")
                && many.ends_with("\"e\" once and 2 more"),
            "{many}"
        );
        assert_eq!(Collector::new("word").finish(), None);
    }

    #[test]
    fn another_case_is_meant_before_another_spelling() {
        let vocabulary = Vocabulary::build("hat had had hast mouse".split(' '), 0);
        let said = unknown(&["Had", "muose", "xyz"]).with_suggestions(&vocabulary);
        assert_eq!(
            said,
            "the words \"Had\" (did you mean \"had\"?), \"muose\" (did you mean \"mouse\"?), \"xyz\""
        );
        assert_eq!(unknown(&["\n"]).with_suggestions(&vocabulary), "the word \"\\n\"");
    }
}
