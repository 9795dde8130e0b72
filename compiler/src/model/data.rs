//! The `data` block.

use super::keyed::{self, Keyed};
use super::settings::{Chosen, choice, head, number, text, whole, word};
use super::sizes;
use super::{BatchKind, Batches, Data, File, Held, Selection, Start, Targets, TokenKind, Tokens};
use crate::diag::{Diagnostic, Span, count};
use crate::syntax::ast::{Arg, Expr, Settings};

/// The typed `data` block, or `None` with what is wrong with it in `errors`.
pub(super) fn read(block: &Settings, errors: &mut Vec<Diagnostic>) -> Option<Data> {
    let keyed = Keyed::block(block, &keyed::DATA, errors);
    let train = match keyed.list("train") {
        [] => {
            keyed.require("train", "such as `train: \"story.txt\"`", errors);
            None
        }
        exprs => files("train", exprs, errors),
    };
    let [valid, test] = ["valid", "test"].map(|key| match keyed.list(key) {
        [] => None,
        exprs => Some(held(key, exprs, errors)),
    });
    rest_is_left(&keyed, [&valid, &test], errors);
    let tokens =
        keyed.require("tokens", "`words`, `words_and_punctuation`, `characters` or `bpe(4000)`", errors);
    let tokens = tokens.and_then(|expr| read_tokens(expr, errors));
    let selection = read_selection(&keyed, tokens.as_ref(), errors);
    let batches = keyed.require("batches", "such as `batches: stream(rows: 20, steps: 35)`", errors);
    let batches = batches.and_then(|expr| read_batches(expr, errors));
    Some(Data {
        train: train?,
        valid: flatten(valid)?,
        test: flatten(test)?,
        tokens: tokens?,
        selection: selection?,
        batches: batches?,
    })
}

/// `None` only for a value that was given and is wrong.
fn flatten<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

/// Paths of files, each named once.
fn files(key: &str, exprs: &[&Expr], errors: &mut Vec<Diagnostic>) -> Option<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    let mut right = true;
    for expr in exprs {
        if let Some((name @ "last", span, _)) = head(expr) {
            let error = Diagnostic::error("E0405", span, format!("`{name}` is not a value for `{key}` here"));
            errors.push(match key {
                "train" => error.help("a part is cut off the training text: `valid: last(10%)`"),
                _ => error.help("a text is either files or a part of the training text"),
            });
            right = false;
            continue;
        }
        let Some(path) = text(key, expr, errors) else {
            right = false;
            continue;
        };
        if let Some(first) = files.iter().find(|file| file.path == path) {
            let error = Diagnostic::error("E0403", expr.span, format!("`{key}` names \"{path}\" twice"));
            errors.push(error.label(first.span, "first here"));
            right = false;
        }
        files.push(File { path, span: expr.span });
    }
    right.then_some(files)
}

/// Files, or `last(share)`.
fn held(key: &str, exprs: &[&Expr], errors: &mut Vec<Diagnostic>) -> Option<Held> {
    let [expr] = exprs else { return files(key, exprs, errors).map(Held::Files) };
    let Some(("last", _, args)) = head(expr) else { return files(key, exprs, errors).map(Held::Files) };
    let keyed = Keyed::call("last", expr.span, args, &["share"], errors);
    let share_expr = keyed.require("share", "such as `last(10%)`", errors)?;
    let share = number("share", share_expr, errors)?;
    if share > 0.0 && share < 1.0 {
        return Some(Held::Last(share));
    }
    let error = Diagnostic::error("E0406", share_expr.span, "a share is above 0 and below 100%");
    errors.push(match share {
        share if share > 1.0 && share < 100.0 => {
            error.help(format!("write `last({}%)`", crate::syntax::number(share)))
        }
        _ => error.help("such as `last(10%)`"),
    });
    None
}

/// Reports parts that leave nothing of the training text.
fn rest_is_left(keyed: &Keyed<'_>, held: [&Option<Option<Held>>; 2], errors: &mut Vec<Diagnostic>) {
    let share = |held: &Option<Option<Held>>| match held {
        Some(Some(Held::Last(share))) => *share,
        _ => 0.0,
    };
    let [valid, test] = held.map(share);
    if let (true, Some(span)) = (valid + test >= 1.0, keyed.key_span("test")) {
        let message = "`valid` and `test` together leave nothing of the text to train on";
        errors.push(
            Diagnostic::error("E0406", span, message).help("such as `valid: last(10%)` and `test: last(5%)`"),
        );
    }
}

fn read_tokens(expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<Tokens> {
    type Read = fn(Span, &[Arg], &mut Vec<Diagnostic>) -> Option<Tokens>;
    let kinds: [(_, Read); 5] = [
        ("words", |span, args, errors| lines("words", TokenKind::Words, span, args, errors)),
        ("words_and_punctuation", |span, args, errors| {
            lines("words_and_punctuation", TokenKind::WordsAndPunctuation, span, args, errors)
        }),
        ("characters", |span, args, errors| lines("characters", TokenKind::Characters, span, args, errors)),
        ("bpe", bpe),
        ("tokenizer", tokenizer),
    ];
    let Chosen { value: read, args, .. } = choice("tokens", expr, &kinds, errors)?;
    read(expr.span, args, errors)
}

/// Tokens that are cut line by line.
fn lines(
    word: &str,
    kind: TokenKind,
    span: Span,
    args: &[Arg],
    errors: &mut Vec<Diagnostic>,
) -> Option<Tokens> {
    let keyed = Keyed::call(word, span, args, &["newline", "reserve"], errors);
    let newline = keyed.get("newline", errors).map(|expr| text("newline", expr, errors));
    let reserve = keyed.get("reserve", errors).map(|expr| whole("reserve", expr, 0, errors));
    Some(Tokens { kind, newline: flatten(newline)?, reserve: flatten(reserve)?.unwrap_or(0) })
}

/// The 256 bytes are tokens, and there is to be one more at least.
const LEAST_SUBWORDS: usize = 257;

fn bpe(span: Span, args: &[Arg], errors: &mut Vec<Diagnostic>) -> Option<Tokens> {
    let keyed = Keyed::call("bpe", span, args, &["size"], errors);
    let size = keyed.require("size", "how many tokens there are to be, such as `bpe(4000)`", errors)?;
    let size = whole("size", size, LEAST_SUBWORDS, errors)?;
    Some(Tokens { kind: TokenKind::Bpe(size), newline: None, reserve: 0 })
}

fn tokenizer(span: Span, args: &[Arg], errors: &mut Vec<Diagnostic>) -> Option<Tokens> {
    let keyed = Keyed::call("tokenizer", span, args, &["file"], errors);
    let file = keyed.require("file", "such as `tokenizer(\"tokenizer.json\")`", errors)?;
    let file = text("file", file, errors)?;
    Some(Tokens { kind: TokenKind::File(file), newline: None, reserve: 0 })
}

/// `unknown`, `min_count` and `vocabulary`.
fn read_selection(
    keyed: &Keyed<'_>,
    tokens: Option<&Tokens>,
    errors: &mut Vec<Diagnostic>,
) -> Option<Selection> {
    let unknown = keyed.get("unknown", errors).map(|expr| text("unknown", expr, errors));
    let min_count = keyed.get("min_count", errors).map(|expr| whole("min_count", expr, 1, errors));
    let most = keyed.get("vocabulary", errors).map(|expr| whole("vocabulary", expr, 2, errors));
    let span = |key| keyed.key_span(key);
    let own = tokens.filter(|tokens| matches!(tokens.kind, TokenKind::Bpe(_) | TokenKind::File(_)));
    let given = span("unknown").or(span("min_count")).or(span("vocabulary"));
    if let (Some(_), Some(span)) = (own, given) {
        let error =
            Diagnostic::error("E0410", span, "subwords have a vocabulary of their own, which has all words");
        errors.push(
            error.help("leave out `unknown`, `min_count` and `vocabulary`, or use `words` or `characters`"),
        );
        return None;
    }
    match (&unknown, span("min_count").or(span("vocabulary"))) {
        (None, Some(span)) => {
            let message = "words are left out of the vocabulary, and nothing says what they count as";
            errors.push(Diagnostic::error("E0404", span, message).help("write `unknown: \"<unk>\"` too"));
        }
        (Some(Some(unknown)), _) if tokens.is_some_and(|tokens| tokens.newline.as_ref() == Some(unknown)) => {
            let span = keyed.list("unknown").first().map_or(Span::default(), |expr| expr.span);
            let message =
                format!("`{unknown}` is what a line's end becomes, and cannot be an unknown word too");
            errors.push(Diagnostic::error("E0410", span, message).help("such as `unknown: \"<unk>\"`"));
        }
        _ => {}
    }
    Some(Selection { unknown: flatten(unknown)?, min_count: flatten(min_count)?, most: flatten(most)? })
}

fn read_batches(expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<Batches> {
    type Read = fn(Span, &[Arg], &mut Vec<Diagnostic>) -> Option<Batches>;
    let kinds: [(_, Read); 2] = [("stream", stream), ("windows", windows)];
    let Chosen { value: read, args, .. } = choice("batches", expr, &kinds, errors)?;
    read(expr.span, args, errors)
}

fn stream(span: Span, args: &[Arg], errors: &mut Vec<Diagnostic>) -> Option<Batches> {
    let keyed = Keyed::call("stream", span, args, &["rows", "steps"], errors);
    let help = "such as `stream(rows: 20, steps: 35)`";
    let rows = keyed.require("rows", help, errors).and_then(|expr| whole("rows", expr, 1, errors));
    let steps = keyed.require("steps", help, errors).and_then(|expr| whole("steps", expr, 1, errors));
    let (rows, steps) = (rows?, steps?);
    let batches = Batches { kind: BatchKind::Stream, rows, steps, span };
    fits(&batches, errors).then_some(batches)
}

fn windows(span: Span, args: &[Arg], errors: &mut Vec<Diagnostic>) -> Option<Batches> {
    let keys = ["length", "stride", "rows", "targets", "start", "shuffle", "carry"];
    let keyed = Keyed::call("windows", span, args, &keys, errors);
    let help = "such as `windows(length: 30, stride: 30, rows: 20)`";
    let length = keyed.require("length", help, errors).and_then(|expr| whole("length", expr, 1, errors));
    let stride = keyed.require("stride", help, errors).and_then(|expr| whole("stride", expr, 1, errors));
    let rows = keyed.get("rows", errors).map(|expr| whole("rows", expr, 1, errors));
    let kinds = [("each", Targets::Each), ("last", Targets::Last)];
    let targets = keyed.get("targets", errors).map(|expr| word("targets", expr, &kinds, errors));
    let kinds = [("first", Start::First), ("random", Start::Random)];
    let start = keyed.get("start", errors).map(|expr| word("start", expr, &kinds, errors));
    let shuffle = keyed.get("shuffle", errors).map(|expr| truth("shuffle", expr, errors));
    let carry = keyed.get("carry", errors).map(|expr| truth("carry", expr, errors));

    let start = flatten(start)?.unwrap_or(Start::First);
    let shuffle = flatten(shuffle)?.unwrap_or(false);
    if let (true, Start::Random, Some(span)) = (shuffle, start, keyed.key_span("shuffle")) {
        let message = "windows from a random start follow each other, so they cannot be shuffled";
        let error = Diagnostic::error("E0410", span, message);
        errors.push(error.help("leave out `shuffle`, or write `start: first`"));
    }
    let targets = flatten(targets)?.unwrap_or(Targets::Each);
    let (steps, stride, rows) = (length?, stride?, flatten(rows)?.unwrap_or(1));
    if let (Some(true), Some(span)) = (flatten(carry)?, keyed.key_span("carry")) {
        errors.push(carried(span, steps, stride, rows));
    }
    let kind = BatchKind::Windows { stride, targets, start, shuffle };
    let batches = Batches { kind, rows, steps, span };
    fits(&batches, errors).then_some(batches)
}

/// Reports a batch with too many tokens.
fn fits(batches: &Batches, errors: &mut Vec<Diagnostic>) -> bool {
    let fits = batches.rows.checked_mul(batches.steps).is_some_and(|tokens| tokens < sizes::LIMIT);
    if !fits {
        let (rows, tokens) = (count(batches.rows, "row"), count(batches.steps, "token"));
        let message = format!("a batch of {rows} of {tokens} is too large");
        errors.push(
            Diagnostic::error("E0311", batches.span, message).help("a batch has fewer than 2^31 tokens"),
        );
    }
    fits
}

/// Why state cannot be carried from window to window.
fn carried(span: Span, length: usize, stride: usize, rows: usize) -> Diagnostic {
    let error = Diagnostic::error("E0408", span, "recurrent state cannot be carried over these windows");
    let stream =
        format!("`stream(rows: {rows}, steps: {length})` carries it: there each row is one contiguous text");
    if rows > 1 {
        let why = format!(
            "window k lies in row k mod {rows}, so row r of the next batch does not continue row r of this one, \
             but the window {rows} further on"
        );
        error.at(why).help(stream)
    } else if stride != length {
        let why =
            format!("a window does not begin where the one before ended: length {length}, stride {stride}");
        error.at(why).help(stream)
    } else {
        error.at("state starts afresh in every window").help(stream)
    }
}

fn truth(key: &str, expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<bool> {
    word(key, expr, &[("true", true), ("false", false)], errors)
}
