//! The parser's core: the token cursor, errors and recovery. The grammar is in `blocks`, `statements`, `expressions`.
//!
//! A statement ends with its line or at `;`, but a line ends only where no bracket is open and the grammar could end, so
//! a line that closes with an operator goes on in the next one, and so does a chain whose next line begins with `->`.

use super::ast::{File, Item, Name};
use super::lexer::lex;
use super::token::{Kind, Token};
use crate::diag::{Diagnostic, Diagnostics, SourceId, Span};

/// An error was reported; the caller recovers or passes it on.
pub(super) struct Failed;

pub(super) type Parsed<T> = Result<T, Failed>;

/// How deep brackets, signs, powers and conditions may nest.
const MAX_NESTING: usize = 48;

pub(super) struct Parser<'s> {
    pub text: &'s str,
    source: SourceId,
    tokens: Vec<Token>,
    at: usize,
    /// Open parentheses and brackets: inside them, lines do not end.
    brackets: Vec<Token>,
    nesting: usize,
    /// Operations in the expression that is being read.
    pub operations: usize,
    errors: Vec<Diagnostic>,
    /// How many of the errors, at the front, are the lexer's.
    lexical: usize,
}

impl<'s> Parser<'s> {
    pub fn new(source: SourceId, text: &'s str) -> Self {
        let (tokens, errors) = lex(source, text);
        let lexical = errors.len();
        Self { text, source, tokens, at: 0, brackets: Vec::new(), nesting: 0, operations: 0, errors, lexical }
    }

    /// `file = item*`
    pub fn file(mut self, item: impl Fn(&mut Self) -> Parsed<Item>) -> Result<File, Diagnostics> {
        let mut items = Vec::new();
        while self.kind() != Kind::End {
            let before = self.at;
            match item(&mut self) {
                Ok(item) => items.push(item),
                Err(Failed) => self.skip_to_item(before),
            }
        }
        if self.errors.is_empty() {
            Ok(File { items, span: Span::new(self.source, 0..self.text.len()) })
        } else {
            self.errors.sort_by_key(|error| error.labels[0].span.start);
            Err(Diagnostics(self.errors))
        }
    }

    pub fn token(&self) -> Token {
        self.peek(0)
    }

    /// The `n`-th token from here; the last one repeats.
    pub fn peek(&self, n: usize) -> Token {
        self.tokens[(self.at + n).min(self.tokens.len() - 1)]
    }

    pub fn kind(&self) -> Kind {
        self.token().kind
    }

    pub fn span(&self) -> Span {
        self.token().span
    }

    /// The span of the token before this one.
    pub fn previous(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    /// The source text of a span.
    pub fn slice(&self, span: Span) -> &'s str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// Whether a statement may end before this token because a new line begins.
    pub fn at_line_start(&self) -> bool {
        self.brackets.is_empty() && self.token().starts_line
    }

    pub fn advance(&mut self) -> Token {
        let token = self.token();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        match token.kind {
            Kind::OpenParen | Kind::OpenBracket => self.brackets.push(token),
            Kind::CloseParen | Kind::CloseBracket => drop(self.brackets.pop()),
            _ => {}
        }
        token
    }

    /// Takes the token if it is of this kind.
    pub fn eat(&mut self, kind: Kind) -> bool {
        let found = self.kind() == kind;
        if found {
            self.advance();
        }
        found
    }

    /// Takes the token if it is of this kind and does not begin a new line.
    pub fn eat_on_line(&mut self, kind: Kind) -> bool {
        !self.at_line_start() && self.eat(kind)
    }

    pub fn expect(&mut self, kind: Kind) -> Parsed<Token> {
        match kind {
            _ if self.kind() == kind => Ok(self.advance()),
            Kind::CloseParen | Kind::CloseBracket => self.not_closed(kind.describe()),
            _ => self.expected(kind.describe()),
        }
    }

    pub fn name(&mut self, what: &str) -> Parsed<Name> {
        if self.kind() != Kind::Name {
            return self.expected(what);
        }
        let span = self.advance().span;
        Ok(Name { text: self.slice(span).to_owned(), span })
    }

    /// Whether the `n`-th token from here is this word.
    pub fn is_word(&self, n: usize, word: &str) -> bool {
        let token = self.peek(n);
        token.kind == Kind::Name && self.slice(token.span) == word
    }

    pub fn expected<T>(&mut self, what: &str) -> Parsed<T> {
        let error = self.unexpected(what);
        self.fail(error)
    }

    /// As [`Self::expected`], with help on what to write instead.
    pub fn expected_but<T>(&mut self, what: &str, help: impl Into<String>) -> Parsed<T> {
        let error = self.unexpected(what).help(help);
        self.fail(error)
    }

    fn unexpected(&self, what: &str) -> Diagnostic {
        let token = self.token();
        let found = match token.kind {
            Kind::Name | Kind::Number | Kind::Text => format!("`{}`", self.slice(token.span)),
            kind => kind.describe().to_owned(),
        };
        let error = Diagnostic::error("E0104", token.span, format!("expected {what}, found {found}"));
        match token.kind {
            Kind::CloseParen | Kind::CloseBracket if self.brackets.is_empty() => {
                error.at("no bracket is open here")
            }
            _ => error,
        }
    }

    /// Reports that `what` is expected inside brackets. If a new line has begun since the bracket was opened, the mistake is
    /// not here but in the line that lacks its closing bracket, and the error points there.
    fn not_closed<T>(&mut self, what: &str) -> Parsed<T> {
        let Some(open) = self.brackets.last().copied() else {
            return self.expected(what);
        };
        let bracket = if open.kind == Kind::OpenBracket { "[" } else { "(" };
        let Some(last) = self.end_of_opened_line() else {
            let error = self.unexpected(what).label(open.span, format!("this `{bracket}` is open"));
            return self.fail(match self.kind() {
                Kind::Assign => error.help("an argument is named with `:`, as in `rate: 0.1`"),
                _ => error,
            });
        };
        let error = Diagnostic::error("E0105", open.span, format!("this `{bracket}` is not closed"));
        let end = Span { start: last.end, ..last };
        self.fail(error.label(end, format!("expected {what} here")))
    }

    /// The last token before the new line that the parser has run into, if a statement begins there: at this token, or
    /// at the name before it, which was read as if it went on with the expression.
    fn end_of_opened_line(&self) -> Option<Span> {
        let before = |n: usize| self.at.checked_sub(n).map(|at| self.tokens[at]);
        if self.token().starts_line {
            return before(1).map(|token| token.span);
        }
        let heads = [Kind::Assign, Kind::Colon, Kind::OpenBrace];
        match before(1) {
            Some(name) if name.starts_line && name.kind == Kind::Name && heads.contains(&self.kind()) => {
                before(2).map(|token| token.span)
            }
            _ => None,
        }
    }

    /// Reports an error that the caller has to recover from.
    pub fn fail<T>(&mut self, error: Diagnostic) -> Parsed<T> {
        self.report(error);
        Err(Failed)
    }

    /// Adds an error, unless the lexer has found one before it on the same line: then this one follows from it.
    pub fn report(&mut self, error: Diagnostic) {
        let start = error.labels[0].span.range().start;
        let follows = |lexical: &Diagnostic| {
            let from = lexical.labels[0].span.range().start;
            self.text.get(from..start).is_some_and(|between| !between.contains('\n'))
        };
        if !self.errors[..self.lexical].iter().any(follows) {
            self.errors.push(error);
        }
    }

    /// Runs `rule` one level deeper, unless that is too deep.
    pub fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == MAX_NESTING {
            let message = format!("this is nested more than {MAX_NESTING} levels deep");
            let error = Diagnostic::error("E0106", self.span(), message);
            return self.fail(error.help("give a part of the expression a name of its own"));
        }
        self.nesting += 1;
        let result = rule(self);
        self.nesting -= 1;
        result
    }

    /// `element ("," element)* ","?` up to `close`, which is taken.
    pub fn list<T>(
        &mut self,
        close: Kind,
        element: impl Fn(&mut Self) -> Parsed<T>,
    ) -> Parsed<(Vec<T>, Span)> {
        let mut elements = Vec::new();
        while self.kind() != close {
            elements.push(element(self)?);
            if !self.eat(Kind::Comma) {
                break;
            }
        }
        if self.kind() != close {
            return self.not_closed(&format!("`,` or {}", close.describe()));
        }
        Ok((elements, self.advance().span))
    }

    /// `"{" element* "}"`, going on with the next element after an error.
    pub fn block<T>(&mut self, element: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        if self.kind() != Kind::OpenBrace {
            return self.expected_but("`{`", "what belongs to a block stands between `{` and `}`");
        }
        let open = self.advance().span;
        let mut elements = Vec::new();
        loop {
            while self.eat(Kind::Semicolon) {}
            if self.eat(Kind::CloseBrace) {
                return Ok(elements);
            }
            if self.kind() == Kind::End || self.at_item() {
                let error = Diagnostic::error("E0105", self.span(), "a block is not closed before this");
                self.report(error.at("expected `}`").label(open, "the block opens here"));
                return Ok(elements);
            }
            let before = self.at;
            match element(self) {
                Ok(element) => elements.push(element),
                Err(Failed) => self.skip_to_statement(before),
            }
        }
    }

    /// Whether a line begins here that can only be the head of a new item.
    fn at_item(&self) -> bool {
        if !self.token().starts_line {
            return false;
        }
        let block = ["data", "model", "train"].iter().any(|word| self.is_word(0, word));
        let definition = self.is_word(0, "layer") || self.is_word(0, "optimizer");
        (block && self.peek(1).kind == Kind::OpenBrace)
            || (definition && self.peek(1).kind == Kind::Name && self.peek(2).kind == Kind::OpenParen)
    }

    /// After an error in a statement that began at `before`: on to the next line, `;` or the block's end.
    fn skip_to_statement(&mut self, before: usize) {
        self.brackets.clear();
        if self.at == before {
            self.advance();
        }
        let mut depth = 0usize;
        loop {
            match self.kind() {
                Kind::End => break,
                Kind::CloseBrace if depth == 0 => break,
                Kind::Semicolon if depth == 0 => break,
                // A line that goes on with the one before belongs to the mistake.
                Kind::Arrow | Kind::Then | Kind::Else => {}
                _ if depth == 0 && self.token().starts_line => break,
                Kind::OpenBrace => depth += 1,
                Kind::CloseBrace => depth -= 1,
                _ => {}
            }
            self.advance();
        }
        self.brackets.clear();
    }

    /// After an error in the head of an item: on to the next item.
    fn skip_to_item(&mut self, before: usize) {
        if self.at == before {
            self.advance();
        }
        while self.kind() != Kind::End && !self.at_item() {
            self.advance();
        }
        self.brackets.clear();
    }
}
