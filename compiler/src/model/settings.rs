//! The values of settings and of their arguments: words, texts and numbers.

use super::scope::{Scope, Value};
use super::sizes::{LIMIT, as_size};
use crate::diag::{Diagnostic, Place, Span, suggest};
use crate::syntax::ast::{Arg, Expr, ExprKind};

/// The name and arguments of `name` or `name(args)`.
pub(super) fn head(expr: &Expr) -> Option<(&str, Span, &[Arg])> {
    match &expr.kind {
        ExprKind::Name(name) => Some((name, expr.span, &[])),
        ExprKind::Call(name, args) => Some((&name.text, name.span, args)),
        _ => None,
    }
}

/// What a setting can be: words, and what they mean.
pub(super) type Choices<'c, T> = &'c [(&'static str, T)];

/// A word that was chosen.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a, T> {
    pub word: &'static str,
    pub value: T,
    pub args: &'a [Arg],
}

/// `name` or `name(args)`, where the name is one of these.
pub(super) fn choice<'a, T: Copy>(
    key: &str,
    expr: &'a Expr,
    choices: Choices<'_, T>,
    errors: &mut Vec<Diagnostic>,
) -> Option<Chosen<'a, T>> {
    let found = head(expr);
    let words = || choices.iter().map(|(word, _)| *word);
    let known = found.and_then(|(name, _, args)| {
        let chosen = choices.iter().find(|(word, _)| *word == name);
        chosen.map(|&(word, value)| Chosen { word, value, args })
    });
    if known.is_none() {
        let (word, span) = match (&expr.kind, found) {
            (ExprKind::Text(text), _) => (text.as_str(), expr.span),
            (_, found) => found.map_or(("", expr.span), |(name, span, _)| (name, span)),
        };
        let error = Diagnostic::error("E0405", span, format!("`{expr}` is not a value for `{key}`"));
        errors.push(match (words().any(|known| known == word), key, word) {
            (true, ..) => error.help(format!("names stand without quotes: `{key}: {word}`")),
            (false, "batches", "") => error.help("such as `batches: stream(rows: 20, steps: 35)`"),
            (false, "schedule", "") => error.help("such as `schedule: decay(0.5, after: 4)`"),
            _ => suggest(error, place_of(key), word, words(), "it can be"),
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
pub(super) fn word<T: Copy>(
    key: &str,
    expr: &Expr,
    choices: Choices<'_, T>,
    errors: &mut Vec<Diagnostic>,
) -> Option<T> {
    let Chosen { word, value, args } = choice(key, expr, choices, errors)?;
    match args.first() {
        None => Some(value),
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

/// A whole number from `least` on, below [`LIMIT`].
pub(super) fn whole(key: &str, expr: &Expr, least: usize, errors: &mut Vec<Diagnostic>) -> Option<usize> {
    let value = number(key, expr, errors)?;
    let size = as_size(value).filter(|&size| size >= least);
    if size.is_none() {
        let message = format!("`{key}` must be a whole number from {least} to {}", LIMIT - 1);
        let shown = crate::syntax::number(value);
        errors.push(Diagnostic::error("E0406", expr.span, message).at(format!("this is {shown}")));
    }
    size
}
