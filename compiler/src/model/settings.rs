//! Reading `key: value` settings and keyed arguments, with a suggestion for whatever is misspelt.

use crate::diag::{Diagnostic, Place, Span, meant, nearest, suggest};
use crate::syntax::ast::{Arg, Expr, ExprKind, Settings};

use super::eval::{Scope, Value};
use super::{data, train};

/// What was given for the keys of a block or a call; several values only where a block's entry lists them.
pub(super) struct Keyed<'a> {
    /// How a message names the whole: `the data block`, `stream`.
    what: String,
    span: Span,
    given: Vec<Given<'a>>,
    /// What was given for unknown keys, under those that they may mean: these are not missing then.
    guessed: Vec<Given<'a>>,
}

/// A key, where it is written, and its values.
type Given<'a> = (String, Span, Vec<&'a Expr>);

impl<'a> Keyed<'a> {
    /// The entries of the data or train block, which has these keys.
    pub fn block(block: &'a Settings, place: Place, keys: &[&str], errors: &mut Vec<Diagnostic>) -> Self {
        let what = if place == Place::Data { "the data block" } else { "the train block" };
        let mut keyed =
            Keyed { what: what.to_owned(), span: block.span, given: Vec::new(), guessed: Vec::new() };
        for entry in &block.entries {
            let value = entry.values.iter().collect();
            keyed.give(place, &entry.key.text, entry.key.span, value, keys, errors);
        }
        keyed.with_guesses()
    }

    /// The arguments of a call; those without a name take the keys in order.
    pub fn call(
        what: &str,
        span: Span,
        args: &'a [Arg],
        keys: &[&str],
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut keyed = Keyed { what: format!("`{what}`"), span, given: Vec::new(), guessed: Vec::new() };
        for (i, arg) in args.iter().enumerate() {
            let value = vec![&arg.value];
            match (&arg.name, keys.get(i)) {
                (Some(name), _) => {
                    keyed.give(Place::Argument, &name.text, name.span, value, keys, errors);
                }
                (None, Some(key)) => {
                    keyed.give(Place::Argument, key, arg.value.span, value, keys, errors);
                }
                (None, None) => {
                    let message = format!("`{what}` takes {} here", count(keys.len(), "argument"));
                    errors.push(Diagnostic::error("E0210", arg.value.span, message).at("one too many"));
                    break;
                }
            }
        }
        keyed.with_guesses()
    }

    fn with_guesses(mut self) -> Self {
        for guess in std::mem::take(&mut self.guessed) {
            if self.key_span(&guess.0).is_none() {
                self.given.push(guess);
            }
        }
        self
    }

    fn give(
        &mut self,
        place: Place,
        key: &str,
        span: Span,
        value: Vec<&'a Expr>,
        keys: &[&str],
        errors: &mut Vec<Diagnostic>,
    ) {
        let (unknown, twice, noun) = match place {
            Place::Argument => ("E0210", "E0210", "argument"),
            _ => ("E0402", "E0403", "key"),
        };
        let other = match place {
            Place::Data if train::KEYS.contains(&key) => Some("train"),
            Place::Train if data::KEYS.contains(&key) => Some("data"),
            _ => None,
        };
        if !keys.contains(&key) {
            let error = Diagnostic::error(unknown, span, format!("{} has no {noun} `{key}`", self.what));
            errors.push(match other {
                Some(block) => error.help(format!("`{key}` belongs into the {block} block")),
                None => suggest(error, place, key, keys.iter().copied(), "it has"),
            });
            if let Some(guess) = meant(place, key, keys).or_else(|| nearest(key, keys.iter().copied())) {
                self.guessed.push((guess.to_owned(), span, value));
            }
        } else if let Some((_, first, _)) = self.given.iter().find(|(given, ..)| given == key) {
            let message = format!("{} is given `{key}` twice", self.what);
            errors.push(Diagnostic::error(twice, span, message).label(*first, "first here"));
        } else {
            self.given.push((key.to_owned(), span, value));
        }
    }

    /// Where the key is written.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.given.iter().find(|(given, ..)| given == key).map(|&(_, span, _)| span)
    }

    /// All values given for the key; empty if it is not there.
    pub fn list(&self, key: &str) -> &[&'a Expr] {
        self.given.iter().find(|(given, ..)| given == key).map_or(&[], |(_, _, values)| values)
    }

    /// The one value given for the key.
    pub fn get(&self, key: &str, errors: &mut Vec<Diagnostic>) -> Option<&'a Expr> {
        let values = self.list(key);
        if let Some(second) = values.get(1) {
            errors.push(Diagnostic::error("E0405", second.span, format!("`{key}` takes one value")));
        }
        values.first().copied()
    }

    /// As [`Self::get`]; an error if the key is missing.
    pub fn require(&self, key: &str, help: &str, errors: &mut Vec<Diagnostic>) -> Option<&'a Expr> {
        if self.key_span(key).is_none() {
            let error = Diagnostic::error("E0404", self.span, format!("{} has no `{key}`", self.what));
            errors.push(error.help(help));
        }
        self.get(key, errors)
    }
}

/// `1 argument`, `2 arguments`.
pub(super) fn count(n: usize, noun: &str) -> String {
    match n {
        0 => format!("no {noun}"),
        1 => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}

/// The name and arguments of `name` or `name(args)`.
pub(super) fn head(expr: &Expr) -> Option<(&str, Span, &[Arg])> {
    match &expr.kind {
        ExprKind::Name(name) => Some((name, expr.span, &[])),
        ExprKind::Call(name, args) => Some((&name.text, name.span, args)),
        _ => None,
    }
}

/// `name` or `name(args)`, where the name is one of these.
pub(super) fn choice<'a>(
    key: &str,
    expr: &'a Expr,
    choices: &[&'static str],
    errors: &mut Vec<Diagnostic>,
) -> Option<(&'static str, &'a [Arg])> {
    let found = head(expr);
    let known = found.and_then(|(name, _, args)| {
        choices.iter().find(|choice| **choice == name).map(|choice| (*choice, args))
    });
    if known.is_none() {
        let (word, span) = match (&expr.kind, found) {
            (ExprKind::Text(text), _) => (text.as_str(), expr.span),
            (_, found) => found.map_or(("", expr.span), |(name, span, _)| (name, span)),
        };
        let error = Diagnostic::error("E0405", span, format!("`{expr}` is no value for `{key}`"));
        errors.push(match (choices.contains(&word), key, word) {
            (true, ..) => error.help(format!("names stand without quotes: `{key}: {word}`")),
            (false, "batches", "") => error.help("such as `batches: stream(rows: 20, steps: 35)`"),
            (false, "schedule", "") => error.help("such as `schedule: decay(0.5, after: 4)`"),
            _ => suggest(error, place_of(key), word, choices.iter().copied(), "it can be"),
        });
    }
    known
}

/// What kind of word a key's value is.
fn place_of(key: &str) -> Place {
    match key {
        "loss" => Place::Loss,
        "tokens" => Place::Tokens,
        "batches" => Place::Batches,
        _ => Place::Value,
    }
}

/// As [`choice`], for values without arguments.
pub(super) fn word(
    key: &str,
    expr: &Expr,
    choices: &[&'static str],
    errors: &mut Vec<Diagnostic>,
) -> Option<&'static str> {
    let (word, args) = choice(key, expr, choices, errors)?;
    match args.first() {
        None => Some(word),
        Some(arg) => {
            errors.push(Diagnostic::error("E0405", arg.value.span, format!("`{word}` takes no arguments")));
            None
        }
    }
}

/// A text in quotes, not empty.
pub(super) fn text(key: &str, expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<String> {
    match &expr.kind {
        ExprKind::Text(text) if !text.is_empty() => Some(text.clone()),
        ExprKind::Text(_) => {
            errors.push(Diagnostic::error("E0406", expr.span, format!("`{key}` is empty")));
            None
        }
        _ => {
            let error = Diagnostic::error("E0405", expr.span, format!("`{key}` is a text in quotes"));
            let written = if let ExprKind::Name(name) = &expr.kind { name } else { "..." };
            errors.push(error.at(format!("not `{expr}`")).help(format!("write `{key}: \"{written}\"`")));
            None
        }
    }
}

/// A number that can be computed from numbers alone.
pub(super) fn number(key: &str, expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<f64> {
    let mut scope = Scope::constants();
    scope.wanted = Place::Value;
    let value = scope.eval(expr);
    errors.append(&mut scope.errors);
    match value {
        Ok(Value::Number(value)) => Some(value),
        Ok(other) => {
            let message = format!("`{key}` is a number, and `{expr}` is {}", scope.describe(&other));
            errors.push(Diagnostic::error("E0405", expr.span, message));
            None
        }
        Err(_) => None,
    }
}

/// A number above 0.
pub(super) fn positive(key: &str, expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<f64> {
    let value = number(key, expr, errors)?;
    if value > 0.0 {
        return Some(value);
    }
    errors.push(Diagnostic::error("E0406", expr.span, format!("`{key}` must be above 0")));
    None
}

/// A whole number from `least` on, below 2^31.
pub(super) fn whole(key: &str, expr: &Expr, least: usize, errors: &mut Vec<Diagnostic>) -> Option<usize> {
    let value = number(key, expr, errors)?;
    let size = as_size(value).filter(|&size| size >= least);
    if size.is_none() {
        let message = format!("`{key}` must be a whole number from {least} to 2147483647");
        let shown = crate::syntax::number(value);
        errors.push(Diagnostic::error("E0406", expr.span, message).at(format!("this is {shown}")));
    }
    size
}

/// A number as a size or count below 2^31, if it is one.
pub(super) fn as_size(value: f64) -> Option<usize> {
    let fits = value.fract() == 0.0 && (0.0..2_147_483_648.0).contains(&value);
    fits.then_some(value as usize)
}
