//! Untrusted text with control characters escaped, so that a terminal shows them and does not obey them.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal would obey a character and not show it: control characters other than tabs and line ends, and those
/// that change the direction of text.
pub fn is_command(c: char) -> bool {
    let turns_text = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns_text || c.is_control() && c != '\n' && c != '\t'
}

/// The text with `\u{1b}` and the like in place of what a terminal would obey.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_command) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push(&mut out, c));
    Cow::Owned(out)
}

fn push(out: &mut String, c: char) {
    match is_command(c) {
        true => out.extend(c.escape_unicode()),
        false => out.push(c),
    }
}

/// JSON with escapes in place of what a terminal would obey: a JSON text has such characters in strings only.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_command) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_command(c) {
            // All of them have four digits at most. Writing into memory does not fail.
            true => drop(write!(out, "\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A source text with escapes, and how they move its offsets. Line ends stay, `\n` as well as `\r\n`.
pub(super) struct Shown {
    pub text: String,
    /// The offset of each escaped character, and by how many bytes everything behind it has moved.
    moved: Vec<(usize, usize)>,
}

impl Shown {
    pub fn new(source: &str) -> Self {
        let (mut text, mut moved, mut by) = (String::with_capacity(source.len()), Vec::new(), 0);
        for (at, c) in source.char_indices() {
            if !is_command(c) || c == '\r' && source[at..].starts_with("\r\n") {
                text.push(c);
                continue;
            }
            let before = text.len();
            push(&mut text, c);
            by += text.len() - before - c.len_utf8();
            moved.push((at, by));
        }
        Self { text, moved }
    }

    /// Where in the shown text an offset of the source is.
    pub fn offset(&self, at: usize) -> usize {
        let before = self.moved.partition_point(|&(moved, _)| moved < at);
        at + before.checked_sub(1).map_or(0, |last| self.moved[last].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        assert_eq!(visible("\u{1b}[31mred\u{7}\u{9b}2J"), "\\u{1b}[31mred\\u{7}\\u{9b}2J");
        assert_eq!(visible("a\u{202e}b\u{2066}c\r\u{7f}"), "a\\u{202e}b\\u{2066}c\\u{d}\\u{7f}");
    }

    #[test]
    fn text_stays_text() {
        // Joiners and marks belong to letters.
        for text in ["a\n\tb", "é नमस्ते می‌خواهم", "👩‍💻 \u{200f}שלום"] {
            assert!(matches!(visible(text), Cow::Borrowed(found) if found == text), "{text}");
        }
    }

    #[test]
    fn json_stays_json() {
        assert_eq!(visible_json("{\"a\":\"\u{9b}\u{202e}é\"}"), "{\"a\":\"\\u009b\\u202eé\"}");
    }

    #[test]
    fn offsets_follow_what_is_moved() {
        let source = "a\u{1b}b\r\n\u{202e}c";
        let shown = Shown::new(source);
        assert_eq!(shown.text, "a\\u{1b}b\r\n\\u{202e}c");
        for part in ["a", "b", "\r", "\n", "c"] {
            let (from, to) = (source.find(part).unwrap(), shown.text.rfind(part).unwrap());
            assert_eq!(shown.offset(from), to, "{part:?}");
        }
        assert_eq!(shown.offset(source.len()), shown.text.len());
        assert_eq!(shown.offset(1), 1, "what is escaped begins where it was");
    }
}
