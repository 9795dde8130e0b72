//! A trained model as code that needs nothing else: what its users see, whichever back end makes it.
//!
//! A user has a block of memory, the model's `struct`, and functions on it. All that one step of a text leaves for the next lies at
//! its beginning, so that copying that much saves, forks or restores a text:
//!
//! ```text
//! float    state[..]    what the program carries, buffer by buffer, in the program's order
//! uint32_t recent[..]   the tokens that a step reads
//! uint32_t seen         how many of them there have been since the text's beginning
//! float    scratch[..]  what a step writes; its outputs last until the next one
//! uint32_t order[..]    what choosing a token needs
//! ```
//!
//! The parts that are no equations (`step.c`, `choose.c`, `encode.c`) are written in a few constructs of C99, in which every back end
//! reads them. `model_` and `MODEL_` stand for the model's own prefix there.

mod header;
mod layout;
pub mod syntax;

pub use header::{Extras, comment, header, macros};
pub use layout::{Carried, Layout, Place};

use crate::kernel::{Gemm, Item};
use crate::plan::Program;

/// How a text is cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// At white space.
    Words,
    /// Each character.
    Characters,
}

/// What is said of a model beside its program.
#[derive(Clone, Debug)]
pub struct About {
    /// What all its names begin with; see [`prefix`].
    pub prefix: String,
    /// What it is and where it comes from, in lines.
    pub notes: Vec<String>,
    /// By token id, from [`About::reserve`] on.
    pub words: Vec<String>,
    /// Ids below this stand for no word.
    pub reserve: usize,
    /// The token for words that are not there, if there is one.
    pub unknown: Option<u32>,
    /// What the end of a line is, if it is a token.
    pub newline: Option<u32>,
    /// None of subwords, which the model does not cut text into by itself.
    pub encoding: Option<Encoding>,
    /// What the seed of a choice is mixed with.
    pub purpose: u64,
}

/// No token.
const NONE: u32 = u32::MAX;

/// A name in C that a file or model of any name can have.
pub fn prefix(name: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = name.chars().map(word).collect();
    let name = name.trim_matches('_');
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || is_reserved(name) {
        format!("model_{name}").trim_end_matches('_').to_owned()
    } else {
        name.to_owned()
    }
}

/// Words of C and C++ and of the headers that are included.
fn is_reserved(name: &str) -> bool {
    const WORDS: [&str; 66] = [
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        "and",
        "bool",
        "catch",
        "class",
        "delete",
        "explicit",
        "export",
        "false",
        "friend",
        "main",
        "mutable",
        "namespace",
        "new",
        "not",
        "operator",
        "or",
        "private",
        "protected",
        "public",
        "template",
        "this",
        "throw",
        "true",
        "try",
        "typename",
        "using",
        "virtual",
        "xor",
        "concept",
        "memcpy",
        "malloc",
        "free",
    ];
    WORDS.contains(&name)
}

/// The numbers that the parts of [`source`] are written with, by name.
pub fn numbers(about: &About, layout: &Layout) -> Vec<(&'static str, u64)> {
    let token = |token: Option<u32>| u64::from(token.unwrap_or(NONE));
    vec![
        ("MODEL_NONE", u64::from(NONE)),
        ("MODEL_VOCABULARY", layout.vocabulary as u64),
        ("MODEL_FIRST", about.reserve as u64),
        ("MODEL_WORDS", about.words.len() as u64),
        ("MODEL_UNKNOWN", token(about.unknown)),
        ("MODEL_NEWLINE", token(about.newline)),
        ("MODEL_CHARACTERS", u64::from(about.encoding == Some(Encoding::Characters))),
        ("MODEL_WINDOW", layout.window as u64),
        ("MODEL_STATES", layout.carried.len().max(1) as u64),
        ("MODEL_SCRATCH", layout.scratch as u64),
        ("MODEL_PURPOSE", about.purpose),
    ]
}

/// The parts that a model has, in C, as they are written.
pub fn source_of(about: &About, extras: Extras) -> String {
    let parts = [include_str!("step.c"), include_str!("choose.c")];
    let encode = about.encoding.map(|_| include_str!("encode.c"));
    let allocating = extras.allocates.then_some(include_str!("new.c"));
    let parts: Vec<&str> = parts.into_iter().chain(encode).chain(allocating).collect();
    parts.join("\n")
}

/// [`source_of`] with the model's prefix.
pub fn source(about: &About) -> String {
    named(&source_of(about, Extras::default()), &about.prefix)
}

/// A text in which `model_`, `MODEL_` and `model` where it is a type stand for a prefix.
fn named(text: &str, prefix: &str) -> String {
    let mut out = String::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = text;
    while let Some(at) = rest.find(is_word) {
        let (before, word) = rest.split_at(at);
        let (word, after) = word.split_at(word.find(|c| !is_word(c)).unwrap_or(word.len()));
        out += before;
        match (word, word.strip_prefix("model_"), word.strip_prefix("MODEL_")) {
            ("model", ..) if is_type(after) => out += prefix,
            (_, Some(own), _) => out += &format!("{prefix}_{own}"),
            (_, _, Some(own)) => out += &format!("{}_{own}", prefix.to_uppercase()),
            _ => out += word,
        }
        rest = after;
    }
    out + rest
}

/// Whether a word is a type, by what stands after it: not the end of a comment.
fn is_type(after: &str) -> bool {
    !after.starts_with(" */") && [" *", " {", ";"].iter().any(|next| after.starts_with(next))
}

/// What the tables hold that the parts in C read.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The words' bytes, each with a zero behind it, and an empty word.
    pub text: Vec<u8>,
    /// Where each begins, and the empty one.
    pub starts: Vec<u32>,
    /// The words in the order of their bytes.
    pub sorted: Vec<u32>,
    /// Where the elements of each state end, and what they are at first; one at least.
    pub state_ends: Vec<u32>,
    pub state_starts: Vec<f32>,
}

impl Tables {
    /// # Errors
    /// Words that C cannot have: with a zero in them, or more bytes than 32 bits count.
    pub fn of(about: &About, layout: &Layout) -> Result<Self, String> {
        let (mut text, mut starts) = (vec![], vec![]);
        for word in about.words.iter().map(String::as_str).chain([""]) {
            if word.contains('\0') {
                return Err(format!("the vocabulary has {word:?}, and a string of C ends at a zero"));
            }
            starts.push(u32::try_from(text.len()).map_err(|_| "the vocabulary has more than 4 GiB")?);
            text.extend_from_slice(word.as_bytes());
            text.push(0);
        }
        let mut sorted: Vec<u32> = (0..about.words.len() as u32).collect();
        sorted.sort_by_key(|&word| &about.words[word as usize]);
        let mut end = 0;
        let mut end_of = |carried: &Carried| {
            end += carried.len as u32;
            end
        };
        let mut state_ends: Vec<u32> = layout.carried.iter().map(&mut end_of).collect();
        let mut state_starts: Vec<f32> = layout.carried.iter().map(|carried| carried.start).collect();
        if state_ends.is_empty() {
            (state_ends, state_starts) = (vec![0], vec![0.0]);
        }
        Ok(Self { text, starts, sorted, state_ends, state_starts })
    }

    /// What they take of read-only memory.
    pub fn bytes(&self) -> usize {
        self.text.len()
            + 4 * (self.starts.len() + self.sorted.len() + self.state_ends.len() + self.state_starts.len())
    }
}

/// Whether a program can be one of these, or why not.
///
/// # Errors
/// It draws random numbers.
pub fn check(program: &Program) -> Result<(), String> {
    let items = program.module.prologue.iter().chain(&program.module.items);
    if items.clone().any(is_random) {
        return Err("the model draws random numbers though it does not train".into());
    }
    Ok(())
}

/// A product has nothing that [`crate::target::Target::standalone`] does without.
///
/// # Panics
/// If it has.
pub fn check_product(gemm: &Gemm) {
    assert!(
        gemm.parts == 1 && gemm.prefix.is_none() && !gemm.has_fused_sums(),
        "internal error: a product of another target"
    );
}

fn is_random(item: &Item) -> bool {
    match item {
        Item::Kernel(kernel) => kernel.is_random(),
        Item::Loop(inner) => inner.items.iter().any(is_random),
        Item::Gemm(_) | Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_name_in_c_and_none_of_its_words() {
        for (name, expected) in [
            ("ptb-small", "ptb_small"),
            ("while", "model_while"),
            ("2", "model_2"),
            ("", "model"),
            ("--", "model"),
            ("Ünder.Run", "nder_run"),
        ] {
            assert_eq!(prefix(name), expected);
        }
    }

    #[test]
    fn only_the_models_names_get_the_prefix() {
        let text = "model *m = model_new(MODEL_WINDOW, remodel_1, a_MODEL_2); /* of a model */";
        let expected = "model_x *m = model_x_new(MODEL_X_WINDOW, remodel_1, a_MODEL_2); /* of a model */";
        assert_eq!(named(text, "model_x"), expected);
    }
}
