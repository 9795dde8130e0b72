//! From text to token ids: corpus files, tokenizers and the vocabulary.

mod corpus;
mod tokenizer;
mod vocabulary;
mod writer;

pub use corpus::{Corpus, encode, encode_file, read_text};
pub use tokenizer::{Token, Tokenizer};
pub use vocabulary::{UNKNOWN, Vocabulary};
pub use writer::Writer;
