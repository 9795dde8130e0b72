//! Text to syntax tree.
//!
//! Promises: every node has a [`Span`](crate::diag::Span); the tree is what was written, with nothing resolved. The parser
//! reports several errors per run and recurses to a fixed depth only, so no text makes it panic or overflow the stack.

pub mod ast;
mod blocks;
mod display;
mod expressions;
mod foreign;
mod format;
mod lexer;
mod parser;
mod print;
mod statements;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use display::number;
pub use format::{Unformatted, format};
pub use print::{print, print_tokens};

use self::parser::Parser;
use crate::diag::{Diagnostic, Diagnostics, SourceId, SourceMap, Span};

/// Longest text that is read, in bytes; a model file has a few thousand.
const MAX_BYTES: usize = 1 << 20;

/// The syntax tree of one source text.
///
/// # Errors
/// All lexical and syntactic errors that were found (codes `E01xx`), in the order of the text.
pub fn parse(sources: &SourceMap, id: SourceId) -> Result<ast::File, Diagnostics> {
    let text = sources.text(id);
    if text.len() > MAX_BYTES {
        let message = format!("this file has {} bytes; a model file has at most {MAX_BYTES}", text.len());
        return Err(Diagnostic::error("E0108", Span::new(id, 0..0), message).into());
    }
    Parser::new(id, text).file(Parser::item)
}
