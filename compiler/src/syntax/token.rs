//! Tokens: their kinds, and what each looks like in a text.

use logos::Logos;

use crate::diag::Span;

/// The kind of a token. Words that open blocks (`data`, `layer`, ...) are ordinary names: only their place tells them apart.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r]+")]
#[logos(skip(r"//[^\n]*", allow_greedy = true))]
pub(super) enum Kind {
    #[token("\n")]
    Newline,
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Name,
    #[regex(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?%?")]
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
    /// A sign of another language, such as `=>` or text in single quotes. It is reported and never reaches the parser.
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
