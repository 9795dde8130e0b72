//! What a run remembers of a text, so that another is not taken for it.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::number_of;

/// Which of a model's texts it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Train,
    Valid,
    Test,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "the training text",
            Self::Valid => "the validation text",
            Self::Test => "the test text",
        }
    }
}

/// One text, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub role: Role,
    /// The file, or the first of several.
    pub file: PathBuf,
    /// The other files, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<PathBuf>,
    pub bytes: u64,
    pub tokens: u64,
    /// BLAKE3 of the file's bytes, as `b3sum` prints it; of several files, or of a part, of the text that they make.
    pub blake3: String,
}

impl Record {
    pub fn new(role: Role, file: PathBuf, bytes: &[u8], tokens: u64) -> Self {
        Self { role, file, more: Vec::new(), bytes: bytes.len() as u64, tokens, blake3: digest(bytes) }
    }

    /// Whether both are of the same bytes.
    pub fn same_text(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.blake3 == other.blake3
    }
}

/// Which texts are read for a run. It says itself where they are, and may come from somebody else.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// Whatever it names: somebody has said so.
    Any,
    /// Those of its records. A text of which there is no record has to lie in the folder that was `named`.
    Recorded { records: &'a [Record], named: Option<&'a Path> },
}

/// Whether a path leads into a folder, by its words: links are not looked at.
pub fn is_inside(folder: &Path, path: &Path) -> bool {
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    path.strip_prefix(folder).is_ok_and(|rest| rest.components().all(plain))
}

/// Sizes and the beginning of the digest.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.blake3.get(..12).unwrap_or(&self.blake3);
        let (bytes, tokens) = (self.bytes as usize, self.tokens as usize);
        write!(f, "{}, {}, BLAKE3 {digest}...", number_of(bytes, "byte"), number_of(tokens, "token"))
    }
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_texts_of_one_length_apart() {
        let of = |text: &str| Record::new(Role::Train, "t".into(), text.as_bytes(), 2);
        assert!(of("a b").same_text(&of("a b")));
        assert!(!of("a b").same_text(&of("b a")));
        assert!(!of("a b").same_text(&of("a b ")));
    }

    #[test]
    fn what_leaves_a_folder_is_not_inside() {
        let inside = |folder: &str, path: &str| is_inside(folder.as_ref(), path.as_ref());
        for (folder, path) in
            [("a", "a/b.txt"), ("a", "a/./b/c"), (".", "./b"), ("", "b"), ("/a", "/a/b"), ("../a", "../a/b")]
        {
            assert!(inside(folder, path), "{path} is in {folder}");
        }
        for (folder, path) in [
            ("a", "a/../b"),
            ("a", "/etc/passwd"),
            ("", "/etc/passwd"),
            ("", "../b"),
            (".", "./../b"),
            ("a", "ab/c"),
        ] {
            assert!(!inside(folder, path), "{path} is not in {folder}");
        }
    }

    /// The digest of no bytes, from the BLAKE3 specification's test vectors.
    #[test]
    fn the_digest_is_blake3() {
        assert_eq!(digest(b""), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }

    #[test]
    fn json_keeps_everything() {
        let record = Record::new(Role::Valid, "a/b.txt".into(), b"a b", 2);
        let json = serde_json::to_string(&record).unwrap();
        assert!(
            json.starts_with(r#"{"role":"valid","file":"a/b.txt","bytes":3,"tokens":2,"blake3":""#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    }
}
