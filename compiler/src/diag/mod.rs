//! Diagnostics: what is wrong, where in the user's source, and if it is known, how to mend it.
//!
//! Every stage that can refuse a program returns [`Diagnostics`]; stages collect as many errors as they can before they
//! give up. Rendering (spans to lines and carets) happens in [`SourceMap::render`], so no stage formats text itself.

mod source_map;
mod suggest;
mod synonyms;
mod visible;
mod wording;

pub use source_map::SourceMap;
pub use suggest::{nearest, suggest};
#[cfg(test)]
pub(crate) use synonyms::targets;
pub use synonyms::{Place, hint, meant};
pub use visible::{is_command, visible, visible_json};
pub use wording::{count, list};

use std::ops::Range;

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
