//! PTX text as tokens, each with its line. Comments are gone; an opcode with its modifiers is one word.

/// A word, a string or a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'t> {
    pub text: &'t str,
    pub line: usize,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub line: usize,
    pub message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

fn in_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let bytes = text.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut found = vec![];
    while at < bytes.len() {
        let start = at;
        let error = |message: &str| ParseError { line, message: message.into() };
        match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
                continue;
            }
            c if c.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'/' if bytes[at..].starts_with(b"//") => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            b'/' if bytes[at..].starts_with(b"/*") => {
                let end = text[at..].find("*/").ok_or_else(|| error("a comment without end"))?;
                line += text[at..at + end].matches('\n').count();
                at += end + 2;
                continue;
            }
            b'"' => at += 2 + text[at + 1..].find('"').ok_or_else(|| error("a string without end"))?,
            c if in_word(c) => {
                while at < bytes.len() && (in_word(bytes[at]) || bytes[at..].starts_with(b"::")) {
                    at += if bytes[at] == b':' { 2 } else { 1 };
                }
            }
            c if c.is_ascii_punctuation() => at += 1,
            _ => return Err(error("a character that has no meaning in PTX")),
        }
        found.push(Token { text: &text[start..at], line });
    }
    Ok(found)
}

/// Reads tokens in order.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
}

impl<'t> Cursor<'t> {
    pub fn new(text: &'t str) -> Result<Self, ParseError> {
        Ok(Self { tokens: tokens(text)?, at: 0 })
    }

    /// The line of the next token, or of the last.
    pub fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    pub fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line(), message: message.into() }
    }

    pub fn peek(&self) -> &'t str {
        self.tokens.get(self.at).map_or("", |token| token.text)
    }

    pub fn peek_second(&self) -> &'t str {
        self.tokens.get(self.at + 1).map_or("", |token| token.text)
    }

    pub fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub fn next(&mut self) -> &'t str {
        let text = self.peek();
        self.at += 1;
        text
    }

    pub fn take(&mut self, text: &str) -> bool {
        let found = self.peek() == text;
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        if self.take(text) {
            return Ok(());
        }
        Err(self.error(format!("`{text}` expected, `{}` found", self.peek())))
    }

    pub fn number(&mut self) -> Result<u64, ParseError> {
        let text = self.peek();
        let number = integer(text).ok_or_else(|| self.error(format!("a number expected, `{text}` found")))?;
        self.at += 1;
        Ok(number)
    }

    pub fn skip_line(&mut self) {
        let line = self.line();
        while !self.done() && self.line() == line {
            self.at += 1;
        }
    }
}

/// An unsigned integer in decimal, hexadecimal, octal or binary.
pub(crate) fn integer(text: &str) -> Option<u64> {
    let text = text.strip_suffix('U').unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    if let Some(binary) = text.strip_prefix("0b").or(text.strip_prefix("0B")) {
        return u64::from_str_radix(binary, 2).ok();
    }
    if text.len() > 1 && text.starts_with('0') && text.bytes().all(|c| c.is_ascii_digit()) {
        return u64::from_str_radix(text, 8).ok();
    }
    text.parse().ok()
}
