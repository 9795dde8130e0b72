//! What is between two tokens of a line.

use super::super::token::Kind;
use super::pieces::Piece;

/// Where two tokens stand.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Whether the innermost open bracket is `[`: a `:` there is that of a slice.
    pub in_square: bool,
    /// Whether the first one is a sign before a value, and no operation of two.
    pub after_sign: bool,
}

/// Whether there is a space between them.
pub fn is_apart(before: &Piece<'_>, token: &Piece<'_>, place: Place) -> bool {
    match (before.kind, token.kind) {
        (_, Kind::Comma | Kind::Semicolon | Kind::CloseParen | Kind::CloseBracket | Kind::Colon)
        | (Kind::OpenParen | Kind::OpenBracket, _)
        | (Kind::OpenBrace, Kind::CloseBrace) => false,
        (Kind::Colon, _) => !place.in_square,
        _ if place.after_sign => false,
        // Of a call; `where` is a word before a value.
        (Kind::Name, Kind::OpenParen) => before.text == "where",
        (Kind::Name | Kind::CloseParen | Kind::CloseBracket, Kind::OpenBracket) => false,
        _ => true,
    }
}

/// Whether a `-` behind this token is a sign: nothing that it could be taken from is before it.
pub fn is_sign_behind(before: &Piece<'_>) -> bool {
    !matches!(
        before.kind,
        Kind::Name | Kind::Number | Kind::Text | Kind::OpenText | Kind::CloseParen | Kind::CloseBracket
    )
}
