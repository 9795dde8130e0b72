//! How text is cut into tokens, and how tokens are put together again.

use lstmc_compiler::model::{TokenKind, Tokens};

/// Cuts text as the `tokens` entry of a data block says.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    kind: TokenKind,
    newline: Option<String>,
}

/// A token and the line it stands in, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'t> {
    pub text: &'t str,
    pub line: usize,
}

impl Tokenizer {
    pub fn new(tokens: &Tokens) -> Self {
        Self { kind: tokens.kind, newline: tokens.newline.clone() }
    }

    /// The tokens of `text`, in order. Each `'\n'` becomes the newline token, if there is one.
    pub fn tokens<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Token<'t>> {
        // Line by line, so that a large text's tokens are never all in memory.
        text.split_inclusive('\n').enumerate().flat_map(|(index, line)| self.line(index + 1, line))
    }

    /// The tokens of one line, its end included if it has one.
    fn line<'t>(&'t self, line: usize, with_end: &'t str) -> Vec<Token<'t>> {
        let mut out = Vec::new();
        let content = with_end.strip_suffix('\n').unwrap_or(with_end);
        let mut push = |text| out.push(Token { text, line });
        match self.kind {
            TokenKind::Words => content.split_whitespace().for_each(&mut push),
            TokenKind::WordsAndPunctuation => content.split_whitespace().for_each(|w| pieces(w, &mut push)),
            TokenKind::Characters => characters(content, &mut push),
        }
        if content.len() < with_end.len() {
            match &self.newline {
                Some(newline) => push(newline),
                None if self.kind == TokenKind::Characters => push("\n"),
                None => {}
            }
        }
        out
    }

    /// `token` as it reads after `previous`: with the space between them, if any. A newline token reads as a new line.
    pub fn after(&self, previous: Option<&str>, token: &str) -> String {
        if self.newline.as_deref() == Some(token) {
            return "\n".into();
        }
        let starts_line = previous.is_none_or(|p| self.newline.as_deref() == Some(p));
        let closes = self.kind == TokenKind::WordsAndPunctuation
            && matches!(token, "." | "," | ";" | ":" | "!" | "?" | ")" | "]" | "}");
        match self.kind {
            TokenKind::Characters => token.into(),
            _ if starts_line || closes => token.into(),
            _ => format!(" {token}"),
        }
    }

    /// The tokens as text.
    pub fn join<'w>(&self, tokens: impl IntoIterator<Item = &'w str>) -> String {
        let mut previous = None;
        tokens.into_iter().fold(String::new(), |mut text, token| {
            text += &self.after(previous, token);
            previous = Some(token);
            text
        })
    }
}

fn characters<'t>(text: &'t str, push: &mut impl FnMut(&'t str)) {
    for (at, c) in text.char_indices() {
        push(&text[at..at + c.len_utf8()]);
    }
}

/// Cuts a word at its punctuation. What is neither letter nor digit stands alone, but for an apostrophe, a hyphen, a
/// point or a comma inside a word or number (`don't`, `hydro-quebec`, `3.5`), `_`, and markers such as `<unk>`.
fn pieces<'t>(word: &'t str, push: &mut impl FnMut(&'t str)) {
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let len =
            if part_of_word(first) { word_len(rest) } else { marker_len(rest).unwrap_or(first.len_utf8()) };
        push(&rest[..len]);
        rest = &rest[len..];
    }
}

fn part_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_len(text: &str) -> usize {
    let mut len = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let joins = matches!(c, '\'' | '’' | '-' | '.' | ',')
            && at > 0
            && chars.peek().is_some_and(|&(_, next)| match c {
                '.' | ',' => next.is_ascii_digit() && text[..at].ends_with(|p: char| p.is_ascii_digit()),
                _ => part_of_word(next),
            });
        if !part_of_word(c) && !joins {
            break;
        }
        len = at + c.len_utf8();
    }
    len
}

/// The length of `<name>` at the start of `text`.
fn marker_len(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('<')?;
    let end = inner.find('>')?;
    (end > 0 && inner[..end].chars().all(part_of_word)).then_some(end + 2)
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
    fn joining_reads_like_text() {
        let tokens = |kind| Tokens { kind, newline: Some("<eos>".into()), reserve: 0 };
        let words = ["a", "mouse", ",", "said", "<eos>", "he", "."];
        let plain = Tokenizer::new(&tokens(TokenKind::Words)).join(words);
        assert_eq!(plain, "a mouse , said\nhe .");
        let punctuated = Tokenizer::new(&tokens(TokenKind::WordsAndPunctuation)).join(words);
        assert_eq!(punctuated, "a mouse, said\nhe.");
        assert_eq!(Tokenizer::new(&tokens(TokenKind::Characters)).join(["a", "b", "<eos>", "c"]), "ab\nc");
    }
}
