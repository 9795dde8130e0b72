//! Signs of other languages. Each is reported, and then read as what was probably meant, so that one mistake gives one
//! message.

use super::token::Kind;
use crate::diag::{Diagnostic, Span};

/// Signs of other languages, what they are read as, and what is written here instead.
const SIGNS: [(&[&str], Kind, &str); 17] = [
    (&["=>", "==>", "-->", "|>", ">>", "|", "→", "⇒", "⟶", "▶"], Kind::Arrow, "layers are joined with `->`"),
    (&["**", "²", "³"], Kind::Caret, "a power is written with `^`: `x ^ 2`"),
    (
        &["×", "·", "⋅", "∗", "⊙", "∘", "⊗"],
        Kind::Star,
        "`a * b` multiplies element by element, `x @ W` by a matrix",
    ),
    (&["÷"], Kind::Slash, "a quotient is written `a / b`"),
    (&["−", "–", "—"], Kind::Minus, "this is another character than the minus of the keyboard: write `-`"),
    (&["≤"], Kind::LessEqual, "write `<=`"),
    (&["≥"], Kind::GreaterEqual, "write `>=`"),
    (&["≠", "!==", "<>"], Kind::NotEqual, "unequal is written `!=`"),
    (&["==="], Kind::Equal, "equal is written `==`"),
    (&["&&", "&"], Kind::Star, "a comparison is 1 or 0: multiply two of them for `and`: `(a < b) * (c < d)`"),
    (
        &["||"],
        Kind::Plus,
        "a comparison is 1 or 0: take the larger of two of them for `or`: `max(a < b, c < d)`",
    ),
    (&["!"], Kind::Minus, "a comparison is 1 or 0: `1 - c` is `not c`; unequal is written `!=`"),
    (
        &["+=", "-=", "*=", "/=", "^=", "@="],
        Kind::Assign,
        "a name has one value: write `y = x + 1`, or for a state `next s = s + 1`",
    ),
    (&[":="], Kind::Assign, "an equation is written with `=`, a setting with `:`"),
    (&["%"], Kind::Slash, "there is no remainder; a percentage is written without a space: `10%`"),
    (&["?"], Kind::Plus, "a choice is written `if c then a else b`"),
    (&["~"], Kind::Minus, "a comparison is 1 or 0: `1 - c` is `not c`"),
];

/// The error about a token of another language, and the kind of token that it is read as, if any.
pub(super) fn sign(span: Span, text: &str) -> (Option<Kind>, Diagnostic) {
    let found = text.get(span.range()).unwrap_or_default();
    let error = means_nothing(span, found);
    if let Some(&(_, kind, help)) = SIGNS.iter().find(|(signs, ..)| signs.contains(&found)) {
        return match path_around(span, text) {
            Some(path) => (Some(kind), error.help(path)),
            None => (Some(kind), error.help(help)),
        };
    }
    if found.starts_with('#') {
        let error = Diagnostic::error("E0101", first(span, text), "`#` means nothing here");
        return (None, error.help("a comment begins with `//`"));
    }
    if found.starts_with("/*") {
        let error = Diagnostic::error("E0101", first(span, text), "`/*` means nothing here");
        return (None, error.help("a comment runs from `//` to the end of its line"));
    }
    let inner = found.trim_matches(['\'', '“', '”', '„', '‟', '‘', '’', '‚', '«', '»', '`']);
    let error = Diagnostic::error("E0101", span, format!("`{found}` means nothing here"));
    let before = text[..span.range().start].trim_end();
    let is_text = ["train:", "valid:", "test:", "newline:"].iter().any(|key| before.ends_with(key));
    let is_name = !inner.is_empty() && inner.chars().all(is_word);
    let help = match is_name && !is_text {
        true => format!("names stand without quotes: `{inner}`"),
        false => format!("text stands in double quotes: `\"{inner}\"`"),
    };
    (Some(Kind::Text), error.help(help))
}

/// The error about characters that begin no token.
pub(super) fn unknown(span: Span, text: &str) -> Diagnostic {
    let found = text.get(span.range()).unwrap_or_default();
    if let Some(strange) = found.chars().find(|c| c.is_control() || c.is_whitespace() || is_invisible(*c)) {
        let message = format!("the character U+{:04X} means nothing here", u32::from(strange));
        let error = Diagnostic::error("E0101", span, message);
        return error.help("it looks like a space or like nothing: delete it, or type a space");
    }
    let error = means_nothing(span, found);
    if let Some(path) = path_around(span, text) {
        return error.help(path);
    }
    match found {
        "." => error.help(dot(span, text)),
        "'" | "`" | "‘" | "’" | "“" | "”" => error.help("text stands in double quotes: `\"...\"`"),
        "σ" => error.help("write `sigmoid(x)`"),
        _ if found.chars().all(|c| !c.is_ascii() && c.is_alphabetic()) => {
            error.help("names are of the letters a to z and A to Z, digits and `_`")
        }
        _ => error,
    }
}

fn means_nothing(span: Span, found: &str) -> Diagnostic {
    Diagnostic::error("E0101", span, format!("`{found}` means nothing here"))
}

/// Spaces of no width and marks of direction, which an editor does not show.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// The first character of what was found, or the two of `/*`.
fn first(span: Span, text: &str) -> Span {
    let length = if text[span.range()].starts_with("/*") { 2 } else { 1 };
    Span { end: span.start + length, ..span }
}

/// Modules of other libraries: the `nn` of `nn.Linear`.
const MODULES: [&str; 12] =
    ["nn", "torch", "F", "tf", "keras", "layers", "np", "jnp", "jax", "math", "optim", "self"];

/// Help about a `.` that is not in a number: a digit is missing, or a name of another language is qualified.
fn dot(span: Span, text: &str) -> String {
    let (before, after) = (word_before(span, text), word_after(span, text));
    let digits = |word: &str| word.bytes().all(|b| b.is_ascii_digit());
    match (before, after) {
        ("", digits_after) if !digits_after.is_empty() && digits(digits_after) => {
            format!("a number begins with a digit: `0.{digits_after}`")
        }
        (digits_before, "") if !digits_before.is_empty() && digits(digits_before) => {
            format!("a number ends with a digit: `{digits_before}.0`")
        }
        (name, "T") if !name.is_empty() => format!("write `x @ transpose({name})`"),
        (name, rest) if MODULES.contains(&name) && !rest.is_empty() => format!("write `{rest}` alone"),
        (name, rest) if !name.is_empty() && !rest.is_empty() && !digits(name) => {
            format!("names have no points; a function is called as `{rest}({name})`")
        }
        _ => "a number begins and ends with a digit: `0.5`, `1.0`".to_owned(),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn word_before(span: Span, text: &str) -> &str {
    let before = &text[..span.range().start];
    &before[before.trim_end_matches(is_word).len()..]
}

fn word_after(span: Span, text: &str) -> &str {
    let after = &text[span.range().end..];
    &after[..after.len() - after.trim_start_matches(is_word).len()]
}

/// Help if the span lies in a path without quotes, as in `train: data/story.txt`.
fn path_around(span: Span, text: &str) -> Option<String> {
    let start = text[..span.range().start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let at = span.range().start - start;
    // The last key before it whose value is a path.
    let keys = ["train:", "valid:", "test:"];
    let (from, key) = keys.iter().filter_map(|key| Some((line[..at].rfind(key)?, *key))).max()?;
    let value = line[from + key.len()..].trim_start();
    let path = value.split([' ', '\t', ';', ',', '}']).next().unwrap_or_default();
    let inside = at < line.len() - value.len() + path.len();
    let quoted = path.starts_with(['"', '\'']);
    (inside && !quoted && !path.is_empty())
        .then(|| format!("a path stands in double quotes: `{key} \"{path}\"`"))
}
