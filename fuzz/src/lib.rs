//! What a stranger's files are read by, as functions of bytes: none may panic, run for long or take much memory, whatever the
//! bytes are. `fuzz_targets` calls them with bytes that libFuzzer makes up, `tests/fuzz.rs` with those in `corpus`.

#[path = "../../compiler/tests/support/checked.rs"]
mod checked;
mod files;
mod texts;

pub use files::{checkpoint, example_checkpoint, run, vocabulary, weights};
pub use texts::{graph, kernels, model, tokens};
