//! Text to tokens.

use logos::Logos;

use super::foreign;
use super::token::{Kind, Token};
use crate::diag::{Diagnostic, SourceId, Span};

/// The tokens of a text, closed by [`Kind::End`]; line ends become [`Token::starts_line`]. Characters that begin
/// no token are reported and left out.
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

/// Keeps one of the errors in a line that have the same help.
fn once_a_line(errors: &mut Vec<Diagnostic>, text: &str) {
    let start = |error: &Diagnostic| error.labels[0].span.range().start;
    errors.sort_by_key(start);
    errors.dedup_by(|later, earlier| {
        let between = text.get(start(earlier)..start(later)).unwrap_or_default();
        later.help.is_some() && later.help == earlier.help && !between.contains('\n')
    });
}
