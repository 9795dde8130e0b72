//! How text is cut into tokens. [`Writer`] puts them together again.

use std::sync::Arc;

use lstmc_compiler::model::{TokenKind, Tokens};
use unicode_segmentation::UnicodeSegmentation;

use super::{Subwords, Vocabulary, Writer};

/// Cuts text as the `tokens` entry of a data block says.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    kind: TokenKind,
    newline: Option<String>,
    subwords: Option<Arc<Subwords>>,
}

/// A token and the line it stands in, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'t> {
    pub text: &'t str,
    pub line: usize,
}

impl Tokenizer {
    /// Of words or characters; subwords are those of a vocabulary ([`Tokenizer::of`]).
    pub fn new(tokens: &Tokens) -> Self {
        Self { kind: tokens.kind.clone(), newline: tokens.newline.clone(), subwords: None }
    }

    /// What cuts texts for a model with this vocabulary.
    pub fn of(tokens: &Tokens, vocabulary: &Vocabulary) -> Self {
        Self { subwords: vocabulary.subwords().cloned(), ..Self::new(tokens) }
    }

    pub(super) fn subwords(&self) -> Option<&Subwords> {
        self.subwords.as_deref()
    }

    /// What a token is called.
    pub fn unit(&self) -> &'static str {
        self.kind.unit()
    }

    /// The token that a line's end becomes, if it is one.
    pub fn newline(&self) -> Option<&str> {
        let own = (self.kind == TokenKind::Characters).then_some("\n");
        self.newline.as_deref().or(own)
    }

    /// The tokens of `text`, in order. Each end of a line becomes the newline token, if there is one: `"\n"`, `"\r\n"`, and a
    /// `'\r'` without `'\n'`. Subwords are not cut so, but made ids at once.
    pub fn tokens<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Token<'t>> {
        // Line by line, so that a large text's tokens are never all in memory.
        Lines { rest: text }.enumerate().flat_map(|(index, line)| self.line(index + 1, line))
    }

    /// The tokens of one line.
    fn line<'t>(&'t self, line: usize, Line { content, ends }: Line<'t>) -> Vec<Token<'t>> {
        let mut out = Vec::new();
        let mut push = |text| out.push(Token { text, line });
        match self.kind {
            TokenKind::Bpe(_) | TokenKind::File(_) => {}
            TokenKind::Words => content.split_whitespace().for_each(&mut push),
            TokenKind::WordsAndPunctuation => content.split_whitespace().for_each(|w| pieces(w, &mut push)),
            TokenKind::Characters => characters(content, &mut push),
        }
        if ends {
            self.newline().into_iter().for_each(&mut push);
        }
        out
    }

    /// Writes tokens one after the other, as text.
    pub fn writer(&self) -> Writer<'_> {
        Writer::new(&self.kind, self.newline.as_deref(), self.subwords())
    }

    /// The tokens as text.
    pub fn join<'w>(&self, tokens: impl IntoIterator<Item = &'w str>) -> String {
        let mut writer = self.writer();
        let text: String = tokens.into_iter().map(|token| writer.next(token)).collect();
        text + &writer.finish()
    }
}

/// A line without its end, and whether it has one.
struct Line<'t> {
    content: &'t str,
    ends: bool,
}

struct Lines<'t> {
    rest: &'t str,
}

impl<'t> Iterator for Lines<'t> {
    type Item = Line<'t>;

    fn next(&mut self) -> Option<Line<'t>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(at) = self.rest.find(['\n', '\r']) else {
            return Some(Line { content: std::mem::take(&mut self.rest), ends: false });
        };
        let (content, end) = self.rest.split_at(at);
        self.rest = end.strip_prefix("\r\n").unwrap_or(&end[1..]);
        Some(Line { content, ends: true })
    }
}

fn characters<'t>(text: &'t str, push: &mut impl FnMut(&'t str)) {
    for (at, c) in text.char_indices() {
        push(&text[at..at + c.len_utf8()]);
    }
}

/// Cuts what stands between white space at Unicode's word boundaries (UAX 29), so that a mark or a joiner stays with its
/// letter, and:
/// - an apostrophe or a hyphen between words joins them (`90's`, `hydro-quebec`),
/// - a point, a colon or a semicolon stands alone, but for a point inside a number (`3.5`),
/// - a marker such as `<unk>` is one token.
fn pieces<'t>(text: &'t str, push: &mut impl FnMut(&'t str)) {
    let segments: Vec<&str> = text.split_word_bounds().flat_map(at_separators).collect();
    let (mut at, mut index) = (0, 0);
    while index < segments.len() {
        let count = marker(&segments[index..]).unwrap_or_else(|| joined(&segments[index..]));
        let len: usize = segments[index..index + count].iter().map(|segment| segment.len()).sum();
        push(&text[at..at + len]);
        at += len;
        index += count;
    }
}

fn part_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word(segment: &str) -> bool {
    segment.starts_with(part_of_word)
}

/// A segment cut at the punctuation in it that stands alone here. It lies between letters or between digits.
fn at_separators(segment: &str) -> Vec<&str> {
    let mut cut = vec![];
    let mut start = 0;
    for (at, c) in segment.char_indices().skip(1) {
        let end = at + c.len_utf8();
        let stands_alone = match c {
            ':' | ';' | '\u{37e}' | '\u{fe13}' | '\u{fe14}' | '\u{fe54}' | '\u{fe55}' | '：' | '；' => true,
            '.' | '\u{2024}' | '\u{fe52}' | '．' => !segment[end..].starts_with(char::is_numeric),
            _ => false,
        };
        if stands_alone && end < segment.len() {
            cut.extend([&segment[start..at], &segment[at..end]]);
            start = end;
        }
    }
    cut.push(&segment[start..]);
    cut
}

/// How many of these segments are the first word: more than one where apostrophes or hyphens join them.
fn joined(segments: &[&str]) -> usize {
    let mut count = 1;
    while is_word(segments[0])
        && let Some(["\'" | "’" | "-", next]) = segments.get(count..count + 2)
        && is_word(next)
    {
        count += 2;
    }
    count
}

/// How many of these segments are a marker `<name>`, if they begin with one.
fn marker(segments: &[&str]) -> Option<usize> {
    match segments {
        ["<", name, ">", ..] if is_word(name) && !name.contains(['\'', '’', '.', ',']) => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(kind: TokenKind, newline: Option<&str>, text: &str) -> Vec<String> {
        let tokens = Tokens { kind, newline: newline.map(String::from), reserve: 0 };
        Tokenizer::new(&tokens).tokens(text).map(|t| t.text.to_owned()).collect()
    }

    #[test]
    fn words_split_at_white_space_and_each_newline_is_a_token() {
        let text = " no it was \n\n black\tmonday \n";
        let expected = ["no", "it", "was", "<eos>", "<eos>", "black", "monday", "<eos>"];
        assert_eq!(cut(TokenKind::Words, Some("<eos>"), text), expected);
        assert_eq!(cut(TokenKind::Words, None, text), ["no", "it", "was", "black", "monday"]);
    }

    #[test]
    fn a_last_line_without_its_newline_has_no_newline_token() {
        assert_eq!(cut(TokenKind::Words, Some("<eos>"), "a\nb"), ["a", "<eos>", "b"]);
    }

    #[test]
    fn punctuation_stands_alone_but_not_inside_words_and_numbers() {
        let text = "\"Don't,\" he said: hydro-quebec paid 3.5, (or 1,000) <unk>... a<b";
        let expected = [
            "\"",
            "Don't",
            ",",
            "\"",
            "he",
            "said",
            ":",
            "hydro-quebec",
            "paid",
            "3.5",
            ",",
            "(",
            "or",
            "1,000",
            ")",
            "<unk>",
            ".",
            ".",
            ".",
            "a",
            "<",
            "b",
        ];
        assert_eq!(cut(TokenKind::WordsAndPunctuation, None, text), expected);
    }

    #[test]
    fn characters_are_unicode_scalars() {
        assert_eq!(cut(TokenKind::Characters, None, "é \nß"), ["é", " ", "\n", "ß"]);
        assert_eq!(cut(TokenKind::Characters, Some("<eos>"), "a\n"), ["a", "<eos>"]);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let tokens = Tokens { kind: TokenKind::Words, newline: Some("<eos>".into()), reserve: 0 };
        let tokenizer = Tokenizer::new(&tokens);
        let lines: Vec<usize> = tokenizer.tokens("a\n\nb c").map(|t| t.line).collect();
        assert_eq!(lines, [1, 1, 2, 3, 3]);
    }

    #[test]
    fn marks_and_joiners_stay_with_their_letters() {
        let cut = |text| cut(TokenKind::WordsAndPunctuation, None, text);
        // Devanagari with a virama and vowel signs; Persian with a zero-width non-joiner; an accent of its own.
        assert_eq!(cut("नमस्ते, दुनिया।"), ["नमस्ते", ",", "दुनिया", "।"]);
        assert_eq!(cut("می\u{200c}خواهم."), ["می\u{200c}خواهم", "."]);
        assert_eq!(
            cut("cafe\u{301}-cre\u{300}me d'e\u{301}te\u{301}"),
            ["cafe\u{301}-cre\u{300}me", "d'e\u{301}te\u{301}"]
        );
        assert_eq!(cut("क्\u{200d}ष 👩\u{200d}👧!"), ["क्\u{200d}ष", "👩\u{200d}👧", "!"]);
        assert_eq!(cut("שָׁלוֹם"), ["שָׁלוֹם"]);
    }

    #[test]
    fn punctuation_between_letters_or_digits_stands_alone_or_joins() {
        let cut = |text| cut(TokenKind::WordsAndPunctuation, None, text);
        assert_eq!(
            cut("a.b e.g. x:y 1;2 3.5.2 1,000,"),
            ["a", ".", "b", "e", ".", "g", ".", "x", ":", "y", "1", ";", "2", "3.5.2", "1,000", ","]
        );
        assert_eq!(
            cut("the 90's rock-n-roll a--b -c 'tis dogs'"),
            ["the", "90's", "rock-n-roll", "a", "-", "-", "b", "-", "c", "'", "tis", "dogs", "'"]
        );
        assert_eq!(
            cut("snake_case <a_1>b <a.b> < c >"),
            ["snake_case", "<a_1>", "b", "<", "a", ".", "b", ">", "<", "c", ">"]
        );
    }

    #[test]
    fn a_line_ends_alike_however_it_is_written() {
        for kind in [TokenKind::Words, TokenKind::WordsAndPunctuation, TokenKind::Characters] {
            for newline in [None, Some("<eos>")] {
                let expected = cut(kind.clone(), newline, "a b\n\nc\nd");
                for text in ["a b\r\n\r\nc\r\nd", "a b\r\rc\rd", "a b\r\n\nc\rd"] {
                    assert_eq!(cut(kind.clone(), newline, text), expected, "{text:?}");
                }
                assert_eq!(cut(kind.clone(), newline, "a\r\n"), cut(kind.clone(), newline, "a\n"));
            }
        }
        let tokens = Tokens { kind: TokenKind::Words, newline: None, reserve: 0 };
        let tokenizer = Tokenizer::new(&tokens);
        let lines: Vec<usize> = tokenizer.tokens("a\r\n\r\nb\rc").map(|t| t.line).collect();
        assert_eq!(lines, [1, 3, 4]);
    }

    #[test]
    fn the_fable_has_its_112_symbols() {
        let fable = include_str!("../../../models/belling_the_cat.txt");
        let tokens = cut(TokenKind::WordsAndPunctuation, None, fable);
        let symbols: std::collections::HashSet<&String> = tokens.iter().collect();
        assert_eq!((tokens.len(), symbols.len()), (204, 112));
    }
}
