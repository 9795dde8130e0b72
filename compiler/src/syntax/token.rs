//! Text to tokens.

use logos::Logos;

use crate::diag::{Diagnostic, SourceId, Span};

/// What a token is. Block names (`data`, `layer`, ...) are ordinary names, told apart by where they stand.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r]+")]
#[logos(skip(r"//[^\n]*", allow_greedy = true))]
pub(super) enum Kind {
    #[token("\n")]
    Newline,
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Name,
    #[regex(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")]
    Number,
    #[regex(r#""[^"\n]*""#)]
    Text,
    #[regex(r#""[^"\n]*"#)]
    OpenText,
    #[token("param")]
    Param,
    #[token("state")]
    State,
    #[token("next")]
    Next,
    #[token("return")]
    Return,
    #[token("let")]
    Let,
    #[token("if")]
    If,
    #[token("then")]
    Then,
    #[token("else")]
    Else,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    #[token("(")]
    OpenParen,
    #[token(")")]
    CloseParen,
    #[token("[")]
    OpenBracket,
    #[token("]")]
    CloseBracket,
    #[token(":")]
    Colon,
    #[token(";")]
    Semicolon,
    #[token(",")]
    Comma,
    #[token("->")]
    Arrow,
    #[token("=")]
    Assign,
    #[token("@")]
    At,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("^")]
    Caret,
    #[token("<")]
    Less,
    #[token("<=")]
    LessEqual,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterEqual,
    #[token("==")]
    Equal,
    #[token("!=")]
    NotEqual,
    /// After the last token of the text.
    End,
}

impl Kind {
    /// How the kind is named in a message.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Kind::Newline => "the end of the line",
            Kind::Name => "a name",
            Kind::Number => "a number",
            Kind::Text | Kind::OpenText => "a text in quotes",
            Kind::Param => "`param`",
            Kind::State => "`state`",
            Kind::Next => "`next`",
            Kind::Return => "`return`",
            Kind::Let => "`let`",
            Kind::If => "`if`",
            Kind::Then => "`then`",
            Kind::Else => "`else`",
            Kind::OpenBrace => "`{`",
            Kind::CloseBrace => "`}`",
            Kind::OpenParen => "`(`",
            Kind::CloseParen => "`)`",
            Kind::OpenBracket => "`[`",
            Kind::CloseBracket => "`]`",
            Kind::Colon => "`:`",
            Kind::Semicolon => "`;`",
            Kind::Comma => "`,`",
            Kind::Arrow => "`->`",
            Kind::Assign => "`=`",
            Kind::At => "`@`",
            Kind::Plus => "`+`",
            Kind::Minus => "`-`",
            Kind::Star => "`*`",
            Kind::Slash => "`/`",
            Kind::Caret => "`^`",
            Kind::Less => "`<`",
            Kind::LessEqual => "`<=`",
            Kind::Greater => "`>`",
            Kind::GreaterEqual => "`>=`",
            Kind::Equal => "`==`",
            Kind::NotEqual => "`!=`",
            Kind::End => "the end of the file",
        }
    }
}

/// A token, and whether it is the first of its line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Span,
    pub starts_line: bool,
}

/// The tokens of a text, closed by [`Kind::End`]; line ends become [`Token::starts_line`]. What is no token is reported
/// and left out.
pub(super) fn lex(source: SourceId, text: &str) -> (Vec<Token>, Vec<Diagnostic>) {
    let mut tokens = Vec::new();
    let mut unknown: Vec<Span> = Vec::new();
    let mut errors = Vec::new();
    let mut starts_line = true;
    for (kind, range) in Kind::lexer(text).spanned() {
        let span = Span::new(source, range);
        match kind {
            Ok(Kind::Newline) => starts_line = true,
            Ok(kind) => {
                if kind == Kind::OpenText {
                    errors.push(
                        Diagnostic::error("E0102", span, "this text has no closing quote")
                            .help("a text in quotes ends on its own line; there are no escapes in it"),
                    );
                }
                tokens.push(Token { kind, span, starts_line });
                starts_line = false;
            }
            Err(()) => match unknown.last_mut() {
                Some(last) if last.end == span.start => *last = last.to(span),
                _ => unknown.push(span),
            },
        }
    }
    errors.extend(unknown.into_iter().map(|span| unknown_text(span, text)));
    let end = Span::new(source, text.len()..text.len());
    tokens.push(Token { kind: Kind::End, span: end, starts_line: true });
    (tokens, errors)
}

fn unknown_text(span: Span, text: &str) -> Diagnostic {
    let found = text.get(span.range()).unwrap_or_default();
    let error = Diagnostic::error("E0101", span, format!("`{found}` means nothing here"));
    match found {
        "." => error.help("a number begins and ends with a digit: `0.5`, `1.0`"),
        "'" => error.help("text stands in double quotes: `\"...\"`"),
        "#" => error.help("a comment begins with `//`"),
        "!" => error.help("unequal is written `!=`"),
        _ => error,
    }
}
