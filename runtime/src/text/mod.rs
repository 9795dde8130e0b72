//! From text to token ids: corpus files and what a run remembers of them, tokenizers and the vocabulary.

mod content;
mod corpus;
mod extent;
mod record;
mod source;
mod subwords;
mod texts;
mod tokenizer;
mod unknown;
mod vocabulary;
mod writer;

pub use content::append;
pub(crate) use content::decode;
pub(crate) use corpus::MODEL_BYTES;
pub use corpus::{Corpus, Encoded, encode, encode_prompt, encode_text, read_model, read_text, write_model};
pub use extent::Extent;
pub use record::{Expected, Record, Role};
pub(crate) use source::only_a_file;
pub use subwords::Subwords;
pub use texts::Texts;
pub use tokenizer::{Token, Tokenizer};
pub use unknown::Unknown;
pub use vocabulary::{UNKNOWN, Vocabulary};
pub use writer::Writer;
