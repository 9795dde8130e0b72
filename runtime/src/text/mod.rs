//! From text to token ids: corpus files, tokenizers and the vocabulary.

mod corpus;
mod tokenizer;
mod vocabulary;

pub use corpus::{Corpus, encode, encode_file, read_text};
pub use tokenizer::{Token, Tokenizer};
pub use vocabulary::{UNKNOWN, Vocabulary};
