//! From text to token ids: corpus files and what a run remembers of them, tokenizers and the vocabulary.

mod corpus;
mod record;
mod source;
mod tokenizer;
mod unknown;
mod vocabulary;
mod writer;

pub use corpus::{Corpus, Encoded, Paths, encode, encode_file, encode_prompt, read_model, read_text};
pub(crate) use corpus::{MODEL_BYTES, decode};
pub use record::{Expected, Record, Role, is_inside};
pub use tokenizer::{Token, Tokenizer};
pub use unknown::Unknown;
pub use vocabulary::{UNKNOWN, Vocabulary};
pub use writer::Writer;
