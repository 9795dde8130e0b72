//! Diagnostics: what went wrong, where in the user's own source, and where it can be said, the fix.
//!
//! Every stage that can refuse a program returns [`Diagnostics`]; stages collect as many errors as they can before they
//! give up. Rendering (spans to lines and carets) happens in [`SourceMap::render`], so no stage formats text itself.

mod suggest;
mod synonyms;

pub use suggest::{list, nearest, suggest};
#[cfg(test)]
pub(crate) use synonyms::targets;
pub use synonyms::{Place, hint, meant};

use std::io::Write;
use std::ops::Range;

use codespan_reporting::diagnostic as report;
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;

/// Which source text a [`Span`] points into: the prelude's files and the user's model file are all in one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SourceId(pub u32);

/// A byte range of one source text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Span {
    pub source: SourceId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        Self { source, start: range.start as u32, end: range.end as u32 }
    }

    /// The smallest span that covers both. Both must lie in the same source.
    pub fn to(self, other: Span) -> Span {
        Span { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One error, with a stable code such as `E0203`, a primary span, further labelled spans and a help line.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub code: &'static str,
    pub message: String,
    pub labels: Vec<Label>,
    pub help: Option<String>,
}

/// A span of source with a text beside it; the first label of a diagnostic is its primary one.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

impl Diagnostic {
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        let label = Label { span, text: String::new() };
        Self { code, message: message.into(), labels: vec![label], help: None }
    }

    /// The text beside the primary caret.
    pub fn at(mut self, text: impl Into<String>) -> Self {
        self.labels[0].text = text.into();
        self
    }

    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// One or more errors, in the order in which they were found.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

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

    /// All diagnostics as text, with ANSI colours or without, each with a blank line after it.
    pub fn render(&self, diagnostics: &Diagnostics, colour: bool) -> String {
        let config = term::Config::default();
        let mut out =
            if colour { term::termcolor::Buffer::ansi() } else { term::termcolor::Buffer::no_color() };
        for diagnostic in &diagnostics.0 {
            let labels = diagnostic.labels.iter().enumerate().map(|(i, label)| {
                let style = if i == 0 { report::LabelStyle::Primary } else { report::LabelStyle::Secondary };
                report::Label::new(style, label.span.source.0 as usize, label.span.range())
                    .with_message(&label.text)
            });
            let item = report::Diagnostic::error()
                .with_code(diagnostic.code)
                .with_message(&diagnostic.message)
                .with_labels(labels.collect())
                .with_notes(diagnostic.help.iter().map(|help| format!("help: {help}")).collect());
            // Writing into memory fails only for a span outside its file, which is then said without it.
            if term::emit_to_write_style(&mut out, &config, &self.files, &item).is_err() {
                let text = format!("error[{}]: {}\n\n", diagnostic.code, diagnostic.message);
                let _ = out.write_all(text.as_bytes());
            }
        }
        String::from_utf8_lossy(out.as_slice()).into_owned()
    }
}
