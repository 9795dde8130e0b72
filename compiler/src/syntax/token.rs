//! Text to tokens.

use logos::Logos;

use super::foreign;
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
    /// What only other languages write, such as `=>` or text in single quotes; it is reported and never reaches the parser.
    #[regex(r"=>|==>|-->|\|>|>>|<>|\*\*|[-+*/^@:]=|===|!==|&&?|\|\|?|!|%|\?|~")]
    #[regex(r"[→⇒⟶▶²³×·⋅∗⊙∘⊗÷−–—≤≥≠]")]
    #[regex(r"#[^\n]*", allow_greedy = true)]
    #[regex(r"/\*([^*]|\*+[^*/])*\*+/")]
    #[regex(r"'[^'\n]*'|`[^`\n]*`|[“”„‟«»][^“”„‟«»\n]*[“”«»]|[‘’‚][^‘’‚\n]*[‘’]")]
    Foreign,
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
            Kind::Foreign => "a sign of another language",
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
            Ok(Kind::Foreign) => {
                let (meant, error) = foreign::sign(span, text);
                errors.push(error);
                if let Some(kind) = meant {
                    tokens.push(Token { kind, span, starts_line });
                    starts_line = false;
                }
            }
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
    errors.extend(unknown.into_iter().map(|span| foreign::unknown(span, text)));
    once_a_line(&mut errors, text);
    let end = Span::new(source, text.len()..text.len());
    tokens.push(Token { kind: Kind::End, span: end, starts_line: true });
    (tokens, errors)
}

/// Leaves one of the errors of a line that have the same cure.
fn once_a_line(errors: &mut Vec<Diagnostic>, text: &str) {
    let start = |error: &Diagnostic| error.labels[0].span.range().start;
    errors.sort_by_key(start);
    errors.dedup_by(|later, earlier| {
        let between = text.get(start(earlier)..start(later)).unwrap_or_default();
        later.help.is_some() && later.help == earlier.help && !between.contains('\n')
    });
}
