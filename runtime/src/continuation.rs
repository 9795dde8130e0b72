//! What follows a prompt, as text: it ends before the texts that it is to stop at.

use crate::random::Random;
use crate::text::{Tokenizer, Vocabulary, Writer};

/// The seed of the n-th continuation of a prompt, of which the first has the seed itself. Any of them can be written again alone.
pub fn seed(seed: u64, index: u64) -> u64 {
    // As many bits as every reader of JSON keeps.
    if index == 0 { seed } else { Random::new(seed, "continuations").bits(index) >> 11 }
}

/// The text of one continuation, token by token. What may be the beginning of a stop text is held back until that is known.
#[derive(Debug)]
pub struct Continuation<'a> {
    writer: Writer<'a>,
    vocabulary: &'a Vocabulary,
    stops: &'a [String],
    held: String,
    stopped: bool,
}

impl<'a> Continuation<'a> {
    /// After a prompt; empty stop texts stop nothing.
    pub fn new(
        tokenizer: &'a Tokenizer,
        vocabulary: &'a Vocabulary,
        stops: &'a [String],
        prompt: &[u32],
    ) -> Self {
        let mut writer = tokenizer.writer();
        prompt.iter().for_each(|&id| drop(writer.next(&vocabulary.token(id))));
        Self { writer, vocabulary, stops, held: String::new(), stopped: false }
    }

    /// The text that is known to be there with one more token.
    pub fn next(&mut self, id: u32) -> String {
        if self.stopped {
            return String::new();
        }
        self.held += &self.writer.next(&self.vocabulary.token(id));
        let stops = || self.stops.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = stops().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            self.stopped = true;
            return std::mem::take(&mut self.held);
        }
        let begins = |at: usize| stops().any(|stop| stop.starts_with(&self.held[at..]));
        let places = self.held.char_indices().map(|(at, _)| at);
        let first = places.into_iter().find(|&at| begins(at)).unwrap_or(self.held.len());
        self.held.drain(..first).collect()
    }

    /// Whether a stop text was there, which is not written, nor what follows it.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// What was held back, when no more tokens come.
    pub fn rest(self) -> String {
        if self.stopped { String::new() } else { self.held + &self.writer.finish() }
    }
}

/// The tokens of a prompt as text.
pub fn prompt(tokenizer: &Tokenizer, vocabulary: &Vocabulary, ids: &[u32]) -> String {
    let words: Vec<String> = ids.iter().map(|&id| vocabulary.token(id)).collect();
    tokenizer.join(words.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::model::{TokenKind, Tokens};

    use super::*;

    /// What is written of a text after each token, and whether it was stopped.
    fn written(kind: TokenKind, text: &str, stops: &[&str]) -> (Vec<String>, bool) {
        let tokenizer = Tokenizer::new(&Tokens { kind, newline: None, reserve: 0 });
        let tokens: Vec<&str> = tokenizer.tokens(text).map(|token| token.text).collect();
        let vocabulary = Vocabulary::build(tokens.iter().copied(), 0);
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut continuation = Continuation::new(&tokenizer, &vocabulary, &stops, &[]);
        let mut out: Vec<String> =
            tokens.iter().map(|token| continuation.next(vocabulary.known(token).unwrap())).collect();
        let stopped = continuation.stopped();
        out.push(continuation.rest());
        (out, stopped)
    }

    #[test]
    fn text_ends_before_what_it_stops_at() {
        let (out, stopped) = written(TokenKind::Words, "a b c d", &["c"]);
        assert_eq!((out.concat().as_str(), stopped), ("a b ", true));
        let (out, stopped) = written(TokenKind::Words, "a b c d", &["x", "", "c d", "b c"]);
        assert_eq!((out.concat().as_str(), stopped), ("a ", true));
        let (out, stopped) = written(TokenKind::Characters, "ababac", &["abac"]);
        assert_eq!((out.concat().as_str(), stopped), ("ab", true));
    }

    #[test]
    fn what_may_be_a_stop_waits_until_that_is_known() {
        let (out, stopped) = written(TokenKind::Characters, "xabyab", &["abc"]);
        assert_eq!((out, stopped), (["x", "", "", "aby", "", "", "ab"].map(str::to_owned).into(), false));
        let (out, _) = written(TokenKind::Characters, "xyz", &[]);
        assert_eq!(out, ["x", "y", "z", ""]);
    }

    #[test]
    fn the_first_seed_is_the_given_one_and_others_differ() {
        assert_eq!(seed(7, 0), 7);
        let seeds: std::collections::BTreeSet<u64> = (0..100).map(|index| seed(7, index)).collect();
        assert_eq!(seeds.len(), 100);
        assert!(seeds.iter().all(|&seed| seed < 1 << 53));
        assert_ne!(seed(7, 1), seed(8, 1));
    }
}
