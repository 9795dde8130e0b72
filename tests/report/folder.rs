//! A folder to train in, and the report of what was trained.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::html::{Page, parse};

/// A model of words, with what the report can show.
pub const WORDS: &str = "data { train: \"text.txt\" valid: \"held.txt\" tokens: words unknown: \"<unk>\" batches: stream(rows: 2, steps: 5) }
model { tokens -> embedding(8) -> lstm(16) -> dropout(0.1) -> dense(vocab) -> softmax }
train { loss: cross_entropy optimizer: adam(rate: 0.02) clip: norm(5) schedule: decay(0.9, after: 2) epochs: 12 }
";

/// A folder with a text and models.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        let sentence = "the quick brown fox jumps over the lazy dog\n";
        folder.write("text.txt", &sentence.repeat(10));
        folder.write("held.txt", &"the lazy dog jumps over the quick brown wolf\n".repeat(6));
        folder.write("words.lstm", WORDS);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file in a temporary folder");
    }

    pub fn run(&self, args: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_lstmc")).args(args).current_dir(self.0.path()).output();
        output.expect("the command starts")
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("the command writes UTF-8")
    }

    pub fn train(&self, model: &str, run: &str, more: &[&str]) {
        self.ok(&[&["train", model, "--out", run, "--threads", "1"], more].concat());
    }

    /// The report's text and what is in it.
    #[track_caller]
    pub fn report(&self, args: &[&str]) -> (String, Page) {
        let out = self.ok(&[&["report", "--threads", "1", "--profile", "3"], args].concat());
        let page = fs::read_to_string(self.path("report.html")).expect("the report");
        assert_eq!(out, format!("wrote       report.html: {} bytes\n", count(page.len())));
        let parsed = parse(&page);
        (page, parsed)
    }
}

/// `1,234,567`
fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

pub fn trained() -> Folder {
    let folder = Folder::new();
    folder.train("words.lstm", "run", &[]);
    folder
}
