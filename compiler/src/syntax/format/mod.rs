//! A source text in the layout of the language's own examples.
//!
//! It works on tokens, and on what lies between them: comments are in no tree. The tree says where statements begin. Where a line
//! ends inside a statement is left as it was written; everything else follows from the tokens: one statement a line in a block of
//! several lines, indentation by four, at most one empty line, one space or none between two tokens, a chain's arrows and the
//! comments behind lines under each other.

mod align;
mod lines;
mod pieces;
mod spaces;

use self::lines::lines;
use self::pieces::{Begins, Piece, Start, pieces};
use super::ast::{File, Item, ModelStatement, Statement};
use super::parse;
use super::print::print;
use crate::diag::{Diagnostics, SourceId, SourceMap, Span};

/// Why a text has no other layout.
#[derive(Debug)]
pub enum Unformatted {
    /// It has errors, and is no source.
    Wrong(Diagnostics),
    /// The layout would be of another source, which it never should be.
    Changed,
}

/// The text in its layout; the same again gives the same.
///
/// # Errors
/// As [`parse`]; [`Unformatted::Changed`].
pub fn format(sources: &SourceMap, id: SourceId) -> Result<String, Unformatted> {
    let file = parse(sources, id).map_err(Unformatted::Wrong)?;
    let text = sources.text(id);
    let found = pieces(id, text, &starts(&file));
    let formatted = align::text(lines(&found));
    let mut again = SourceMap::default();
    let id = again.add("formatted", &formatted);
    let other = parse(&again, id).map_err(|_| Unformatted::Changed)?;
    // Nothing but white space is other.
    let same = words(&pieces(id, &formatted, &[])) == words(&found) && print(&other) == print(&file);
    if same { Ok(formatted) } else { Err(Unformatted::Changed) }
}

/// All that is written, without the white space between.
fn words<'t>(pieces: &[Piece<'t>]) -> Vec<&'t str> {
    let of = |piece: &Piece<'t>| {
        let comments = piece.before.iter().map(|comment| comment.text);
        comments.chain([piece.text]).collect::<Vec<_>>()
    };
    pieces.iter().flat_map(of).collect()
}

/// Where items and statements begin, in the order of the text.
fn starts(file: &File) -> Vec<Start> {
    let item = |span: &Span| Start { at: span.range().start, before: false, what: Begins::Item };
    let mut starts = vec![];
    for one in &file.items {
        match one {
            Item::Data(settings) | Item::Train(settings) => {
                starts.push(item(&settings.span));
                starts.extend(settings.entries.iter().map(|entry| statement(&entry.span)));
            }
            Item::Model(block) => {
                starts.push(item(&block.span));
                starts.extend(block.statements.iter().map(|one| match one {
                    ModelStatement::Param(declaration) => statement(&declaration.span),
                    ModelStatement::Let(name, _) => word_before(&name.span),
                    ModelStatement::Output(chain) => statement(&chain.span),
                }));
            }
            Item::Layer(definition) | Item::Optimizer(definition) => {
                starts.push(item(&definition.span));
                starts.extend(definition.body.iter().map(|one| match one {
                    Statement::Param(declaration) | Statement::State(declaration) => {
                        statement(&declaration.span)
                    }
                    Statement::Assign(name, _) => statement(&name.span),
                    Statement::Next(name, _) => word_before(&name.span),
                    Statement::Return(_, span) => statement(span),
                }));
            }
        }
    }
    starts
}

fn statement(span: &Span) -> Start {
    Start { at: span.range().start, before: false, what: Begins::Statement }
}

/// Of the word before a name, such as `let`, the tree does not have the place.
fn word_before(span: &Span) -> Start {
    Start { before: true, ..statement(span) }
}
