//! Tokens as lines: where one ends, and how far it is indented.

use super::super::token::Kind;
use super::pieces::{Begins, Piece};
use super::spaces::{Place, is_apart, is_sign_behind};

/// By how much a block or what goes on in the next line is indented.
const INDENT: usize = 4;

/// A line of the text.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Whether an empty line is before it.
    pub spaced: bool,
    pub indent: usize,
    /// Its tokens, or a comment that is alone in it.
    pub text: String,
    /// The comment behind its tokens.
    pub comment: Option<String>,
    /// Which statement of the text it is a part of; none of a comment alone, and of the end of a block.
    pub statement: Option<usize>,
    /// Where arrows of a chain begin in `text`.
    pub arrows: Vec<usize>,
}

impl Line {
    fn column(&self) -> usize {
        self.indent + self.text.chars().count()
    }
}

/// The statement, or the head of an item, that is being written.
#[derive(Clone, Copy, Debug, Default)]
struct Statement {
    number: usize,
    indent: usize,
    /// The column of a chain's first arrow.
    arrow: Option<usize>,
    /// The column of the first value of a setting.
    value: Option<usize>,
    /// Whether `where` of a definition's head begins a line.
    where_apart: bool,
}

struct Writer<'p, 't> {
    pieces: &'p [Piece<'t>],
    lines: Vec<Line>,
    statement: Statement,
    /// Of each open parenthesis or bracket: which it is, and how far what is in it is indented.
    brackets: Vec<(Kind, usize)>,
    /// Of each open block whether it has several lines.
    blocks: Vec<bool>,
    after_sign: bool,
}

/// The lines of a text.
pub fn lines(pieces: &[Piece<'_>]) -> Vec<Line> {
    let mut writer = Writer {
        pieces,
        lines: vec![],
        statement: Statement::default(),
        brackets: vec![],
        blocks: vec![],
        after_sign: false,
    };
    (0..pieces.len()).for_each(|at| writer.piece(at));
    writer.lines
}

impl Writer<'_, '_> {
    fn piece(&mut self, at: usize) {
        let piece = &self.pieces[at];
        let before = at.checked_sub(1).map(|before| &self.pieces[before]);
        if piece.begins.is_some() {
            let indent = if self.blocks.is_empty() { 0 } else { INDENT };
            self.statement = Statement { number: self.statement.number + 1, indent, ..Statement::default() };
        }
        let breaks = self.breaks(piece, before);
        let indent = self.indent(piece, before);
        self.comments(piece, before, indent);
        if piece.kind == Kind::End {
            return;
        }
        if breaks {
            if before.is_some_and(|before| before.kind == Kind::CloseParen) && piece.text == "where" {
                self.statement.where_apart = true;
            }
            let first = before.is_none_or(|before| before.kind == Kind::OpenBrace) && piece.before.is_empty();
            let item =
                piece.begins == Some(Begins::Item) && piece.before.iter().all(|comment| !comment.alone);
            let spaced = (piece.spaced || item) && !first && piece.begins.is_some();
            let statement = (piece.kind != Kind::CloseBrace).then_some(self.statement.number);
            self.lines.push(Line { spaced, indent, statement, ..Line::default() });
        } else if let Some(before) = before {
            let in_square = self.brackets.last().is_some_and(|(kind, _)| *kind == Kind::OpenBracket);
            if is_apart(before, piece, Place { in_square, after_sign: self.after_sign })
                && let Some(line) = self.lines.last_mut()
            {
                line.text.push(' ');
            }
        }
        self.put(at);
    }

    /// Whether a token begins a line.
    fn breaks(&self, piece: &Piece<'_>, before: Option<&Piece<'_>>) -> bool {
        let Some(before) = before else { return true };
        let several = self.blocks.last().copied();
        match piece.kind {
            _ if !piece.before.is_empty() || piece.begins == Some(Begins::Item) => true,
            Kind::OpenBrace => self.statement.where_apart,
            Kind::CloseBrace => several == Some(true),
            Kind::Semicolon => false,
            _ if before.kind == Kind::OpenBrace || piece.begins.is_some() => several == Some(true),
            _ => piece.starts_line,
        }
    }

    /// How far a line that begins with a token is indented.
    fn indent(&self, piece: &Piece<'_>, before: Option<&Piece<'_>>) -> usize {
        let statement = &self.statement;
        let base = statement.indent;
        if piece.begins.is_some() {
            return base;
        }
        match (piece.kind, self.brackets.last()) {
            (Kind::End | Kind::OpenBrace | Kind::CloseBrace, _) => 0,
            (Kind::CloseParen | Kind::CloseBracket, Some((_, inside))) => inside.saturating_sub(INDENT),
            (_, Some((_, inside))) => *inside,
            (Kind::Arrow, None) => statement.arrow.unwrap_or(base + INDENT),
            _ if before.is_some_and(|before| before.kind == Kind::Comma) => {
                statement.value.unwrap_or(base + INDENT)
            }
            _ => base + INDENT,
        }
    }

    /// Writes the comments before a token, which is in a line that is indented so far.
    fn comments(&mut self, piece: &Piece<'_>, before: Option<&Piece<'_>>, indent: usize) {
        // What is left to be said in a block is said inside it.
        let indent = if piece.kind == Kind::CloseBrace { INDENT } else { indent };
        let mut first = before.is_none_or(|before| before.kind == Kind::OpenBrace);
        let mut item = piece.begins == Some(Begins::Item) && before.is_some();
        for comment in &piece.before {
            match self.lines.last_mut() {
                Some(line) if !comment.alone => line.comment = Some(comment.text.to_owned()),
                _ => {
                    let spaced = (comment.spaced || item) && !first;
                    self.lines.push(Line {
                        spaced,
                        indent,
                        text: comment.text.to_owned(),
                        ..Line::default()
                    });
                    (first, item) = (false, false);
                }
            }
        }
    }

    /// Writes a token into the line.
    fn put(&mut self, at: usize) {
        let piece = &self.pieces[at];
        let Some(line) = self.lines.last_mut() else { return };
        let column = line.column();
        if piece.kind == Kind::Arrow && self.brackets.is_empty() {
            self.statement.arrow.get_or_insert(column);
            line.arrows.push(line.text.len());
        }
        line.text += piece.text;
        let before = at.checked_sub(1).map(|before| &self.pieces[before]);
        self.after_sign = piece.kind == Kind::Minus && before.is_none_or(is_sign_behind);
        match piece.kind {
            Kind::OpenParen | Kind::OpenBracket => {
                let from = self.statement.arrow.unwrap_or(line.indent);
                self.brackets.push((piece.kind, from + INDENT));
            }
            Kind::CloseParen | Kind::CloseBracket => _ = self.brackets.pop(),
            Kind::OpenBrace => self.blocks.push(self.is_long(at)),
            Kind::CloseBrace => _ = self.blocks.pop(),
            Kind::Colon if self.brackets.is_empty() => {
                self.statement.value.get_or_insert(column + 2);
            }
            _ => {}
        }
    }

    /// Whether the block that opens here has several lines: it is written so, or has comments.
    fn is_long(&self, open: usize) -> bool {
        for piece in &self.pieces[open + 1..] {
            if piece.starts_line || !piece.before.is_empty() {
                return !(piece.kind == Kind::CloseBrace && piece.before.is_empty() && self.is_empty(open));
            }
            if piece.kind == Kind::CloseBrace {
                return false;
            }
        }
        false
    }

    fn is_empty(&self, open: usize) -> bool {
        self.pieces.get(open + 1).is_some_and(|piece| piece.kind == Kind::CloseBrace)
    }
}
