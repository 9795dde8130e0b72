//! Source texts, and diagnostics rendered with the lines that they point to.

use std::io::Write;

use codespan_reporting::diagnostic as report;
use codespan_reporting::files::{Files, SimpleFiles};
use codespan_reporting::term;

use super::visible::{Shown, visible};
use super::{Diagnostic, Diagnostics, Label, SourceId, Span};

/// The longest line that is shown, in bytes: a file that is not a model may be a single line.
const LONGEST_LINE: usize = 1000;

/// The source texts that spans point into, by [`SourceId`] in the order in which they were added.
#[derive(Clone, Debug)]
pub struct SourceMap {
    files: SimpleFiles<String, String>,
    count: u32,
}

impl Default for SourceMap {
    fn default() -> Self {
        Self { files: SimpleFiles::new(), count: 0 }
    }
}

impl SourceMap {
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        self.files.add(name.into(), text.into());
        self.count += 1;
        SourceId(self.count - 1)
    }

    pub fn text(&self, id: SourceId) -> &str {
        self.files.get(id.0 as usize).map_or("", |file| file.source())
    }

    /// All diagnostics as text, with ANSI colours or without, each with a blank line after it. Control characters are escaped,
    /// in messages as in the source. An error in a line that is too long to be shown is given by line and column.
    pub fn render(&self, diagnostics: &Diagnostics, colour: bool) -> String {
        let config = term::Config::default();
        let mut out =
            if colour { term::termcolor::Buffer::ansi() } else { term::termcolor::Buffer::no_color() };
        let (files, shown) = self.shown();
        for diagnostic in &diagnostics.0 {
            let fits = |label: &Label| self.line(label.span).len() <= LONGEST_LINE;
            let labels = diagnostic.labels.iter().enumerate().map(|(i, label)| {
                let style = if i == 0 { report::LabelStyle::Primary } else { report::LabelStyle::Secondary };
                let (source, range) = (label.span.source.0 as usize, label.span.range());
                let at = |offset: usize| shown.get(source).map_or(offset, |shown| shown.offset(offset));
                report::Label::new(style, source, at(range.start)..at(range.end))
                    .with_message(visible(&label.text))
            });
            let labels = if diagnostic.labels.iter().all(fits) { labels.collect() } else { Vec::new() };
            let place = labels.is_empty().then(|| self.place(diagnostic)).flatten();
            let help = diagnostic.help.iter().map(|help| format!("help: {}", visible(help)));
            let item = report::Diagnostic::error()
                .with_code(diagnostic.code)
                .with_message(visible(&diagnostic.message))
                .with_labels(labels)
                .with_notes(place.into_iter().chain(help).collect());
            // This fails only for a span outside its file: then the error is shown without its source.
            if term::emit_to_write_style(&mut out, &config, &files, &item).is_err() {
                let text = format!("error[{}]: {}\n\n", diagnostic.code, visible(&diagnostic.message));
                let _ = out.write_all(text.as_bytes());
            }
        }
        String::from_utf8_lossy(out.as_slice()).into_owned()
    }

    /// The files with control characters escaped, and how that moves the offsets in each.
    fn shown(&self) -> (SimpleFiles<String, String>, Vec<Shown>) {
        let (mut files, mut shown) = (SimpleFiles::new(), Vec::new());
        for file in (0..self.count as usize).filter_map(|index| self.files.get(index).ok()) {
            let mut source = Shown::new(file.source());
            files.add(visible(file.name()).into_owned(), std::mem::take(&mut source.text));
            shown.push(source);
        }
        (files, shown)
    }

    /// The line that a span begins in.
    fn line(&self, span: Span) -> &str {
        let text = self.text(span.source);
        let (before, after) = text.split_at_checked(span.start as usize).unwrap_or((text, ""));
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = after.find('\n').map_or(text.len(), |at| before.len() + at);
        &text[start..end]
    }

    /// `at cell.lstm:7:28`, of the first label.
    fn place(&self, diagnostic: &Diagnostic) -> Option<String> {
        let label = diagnostic.labels.first()?;
        let (file, start) = (label.span.source.0 as usize, label.span.start as usize);
        let place = self.files.location(file, start).ok()?;
        let name = self.files.get(file).ok()?.name().clone();
        let text = if label.text.is_empty() { String::new() } else { format!(": {}", label.text) };
        let place = format!("at {name}:{}:{}{text}", place.line_number, place.column_number);
        Some(visible(&place).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::is_command;

    fn rendered(name: &str, text: &str, part: &str) -> String {
        let mut map = SourceMap::default();
        let id = map.add(name, text);
        let start = text.find(part).unwrap();
        let span = Span::new(id, start..start + part.len());
        let diagnostic = Diagnostic::error("E0101", span, format!("`{part}` is wrong")).at("here");
        map.render(&diagnostic.into(), false)
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_in_a_diagnostic() {
        let text = rendered("a\u{1b}.lstm", "x \u{1b}[2J = \u{202e}y\u{7}z\r\n", "y\u{7}z");
        assert!(!text.contains(is_command), "{text:?}");
        let [source, caret] = ["x \\u{1b}[2J = \\u{202e}y\\u{7}z", "^^^^^^^ here"].map(|part| {
            let line = text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{text}"));
            line.find(if part.contains('^') { "^" } else { "y" }).unwrap()
        });
        assert_eq!(source, caret, "the caret is under what is wrong: {text}");
        assert!(text.contains("a\\u{1b}.lstm:1:"), "{text}");
    }

    #[test]
    fn a_line_that_is_too_long_is_told_by_its_place() {
        let long = format!("{}\n{} y", "a", "x ".repeat(1000));
        let text = rendered("a.lstm", &long, "y");
        assert!(text.len() < 200 && text.contains("at a.lstm:2:2002: here"), "{text}");
    }
}
