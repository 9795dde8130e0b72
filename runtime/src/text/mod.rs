//! From text to token ids: corpus files and what a run remembers of them, tokenizers and the vocabulary.

mod corpus;
mod record;
mod source;
mod tokenizer;
mod vocabulary;
mod writer;

pub use corpus::{Corpus, Paths, encode, encode_file, read_model, read_text};
pub(crate) use corpus::{MODEL_BYTES, decode};
pub use record::{Expected, Record, Role, is_inside};
pub use tokenizer::{Token, Tokenizer};
pub use vocabulary::{UNKNOWN, Vocabulary};
pub use writer::Writer;
