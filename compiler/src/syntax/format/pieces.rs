//! Tokens with what lies before them: comments, and where lines end.

use super::super::lexer::lex;
use super::super::token::Kind;
use crate::diag::SourceId;

/// A comment.
#[derive(Clone, Copy, Debug)]
pub struct Comment<'t> {
    /// From `//` on, without white space at its end.
    pub text: &'t str,
    /// Whether nothing else is before it in its line.
    pub alone: bool,
    /// Whether an empty line is before it.
    pub spaced: bool,
}

/// A token with what is before it.
#[derive(Clone, Debug)]
pub struct Piece<'t> {
    pub kind: Kind,
    pub text: &'t str,
    pub before: Vec<Comment<'t>>,
    /// Whether it is the first of its line.
    pub starts_line: bool,
    /// Whether an empty line is before it, behind its comments.
    pub spaced: bool,
    pub begins: Option<Begins>,
}

/// What begins with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    Item,
    Statement,
}

/// Where something begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The beginning of a token.
    pub at: usize,
    /// Whether it is the token before that one which begins it.
    pub before: bool,
    pub what: Begins,
}

/// All tokens of a text without errors; the last one is its end. `starts` are in the order of the text.
pub fn pieces<'t>(id: SourceId, text: &'t str, starts: &[Start]) -> Vec<Piece<'t>> {
    let mut from = 0;
    let mut all: Vec<Piece<'t>> = vec![];
    let mut starts = starts.iter().peekable();
    for token in lex(id, text).0 {
        let range = token.span.range();
        let between = text.get(from..range.start).unwrap_or_default();
        let (before, spaced) = comments(between, all.is_empty());
        from = range.end;
        let begins = starts.next_if(|start| start.at == range.start);
        let own = begins.filter(|start| !start.before).map(|start| start.what);
        if let (Some(start), Some(last)) = (begins.filter(|start| start.before), all.last_mut()) {
            last.begins = Some(start.what);
        }
        let text = text.get(range).unwrap_or_default();
        all.push(Piece {
            kind: token.kind,
            text,
            before,
            starts_line: token.starts_line,
            spaced,
            begins: own,
        });
    }
    all
}

/// The comments between two tokens, and whether there is an empty line behind them. There is no token before the first one.
fn comments(between: &str, first: bool) -> (Vec<Comment<'_>>, bool) {
    let mut found = vec![];
    let mut spaced = false;
    let ends = between.matches('\n').count();
    for (number, line) in between.split('\n').enumerate() {
        let text = line.trim();
        let alone = number > 0 || first;
        if text.starts_with("//") {
            found.push(Comment { text, alone, spaced });
            spaced = false;
        } else if alone && number < ends {
            // What is before the first line end follows a token, what is behind the last one is before a token.
            spaced = true;
        }
    }
    (found, spaced)
}
