//! A folder to run the command in, and what a run leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A sentence that needs state: what follows "the" depends on what came before.
pub const SENTENCE: &str = "the quick brown fox jumps over the lazy dog";

/// A small model of [`SENTENCE`], with its blocks to be replaced.
pub struct Model {
    pub tokens: &'static str,
    pub batches: &'static str,
    pub model: &'static str,
    pub optimizer: &'static str,
    pub length: &'static str,
    pub more: &'static str,
}

pub const TINY: Model = Model {
    tokens: "words",
    batches: "stream(rows: 2, steps: 5)",
    model: "tokens -> embedding(8) -> lstm(16) -> dropout(0.1) -> dense(vocab) -> softmax",
    optimizer: "adam(rate: 0.02)",
    length: "epochs: 40",
    more: "clip: norm(5)",
};

impl Model {
    pub fn text(&self) -> String {
        let Self { tokens, batches, model, optimizer, length, more } = self;
        format!(
            "data {{\n train: \"text.txt\" valid: \"text.txt\" test: \"text.txt\"\n tokens: {tokens}\n batches: {batches}\n}}\n\
             model {{\n {model}\n}}\n\
             train {{\n loss: cross_entropy\n optimizer: {optimizer}\n {more}\n init: uniform(0.1)\n {length}\n \
             report: perplexity, accuracy\n}}\n"
        )
    }
}

/// A temporary folder with `text.txt` and `tiny.lstm` in it.
pub struct Folder(TempDir);

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        folder.write("text.txt", format!("{SENTENCE}\n").repeat(10));
        folder.write("tiny.lstm", TINY.text());
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a file in a temporary folder");
    }

    /// The command, to be run in the folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lstmc"));
        command.args(args).current_dir(self.0.path()).env("NO_COLOR", "1").env("RUST_BACKTRACE", "0");
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        done(self.command(args).output().expect("the command starts"))
    }

    /// Runs what must succeed; its output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}\n{}", done.err, done.out);
        done.out
    }

    /// Runs what must fail with exit code 1; its message.
    #[track_caller]
    pub fn refused(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, Some(1), "{args:?}: {}\n{}", done.err, done.out);
        assert!(done.err.starts_with("error"), "{args:?}: {}", done.err);
        done.err
    }

    /// Trains `tiny.lstm` on one thread into the run `out`.
    #[track_caller]
    pub fn train(&self, out: &str, more: &[&str]) -> String {
        self.ok(&[&["train", "tiny.lstm", "--threads", "1", "--out", out], more].concat())
    }

    pub fn trained(&self, run: &str) -> Run {
        Run(self.path(run))
    }

    /// The names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

pub fn done(output: Output) -> Done {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command writes UTF-8");
    let done = Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    assert!(!done.err.contains("panicked"), "{}", done.err);
    done
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The folder of a run.
pub struct Run(pub PathBuf);

impl Run {
    pub fn metrics(&self) -> Vec<Map<String, Value>> {
        let text = fs::read_to_string(self.0.join("metrics.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of metrics is an object")).collect()
    }

    /// The metrics without what depends on the clock.
    pub fn timeless(&self) -> Vec<Map<String, Value>> {
        let mut rows = self.metrics();
        for row in &mut rows {
            row.remove("words_per_second");
            row.remove("seconds");
        }
        rows
    }

    pub fn checkpoints(&self) -> Vec<String> {
        names(&self.0.join("checkpoints"))
    }

    /// The newest checkpoint's path.
    pub fn latest(&self) -> PathBuf {
        let name = fs::read_to_string(self.0.join("latest")).expect("a checkpoint");
        self.0.join("checkpoints").join(format!("{}.safetensors", name.trim()))
    }

    /// Every tensor of the newest checkpoint, bit for bit.
    pub fn tensors(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = fs::read(self.latest()).expect("the newest checkpoint");
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        tensors.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect()
    }

    /// Writes the newest checkpoint anew, as another program would: with what `change` makes of its tensors, and without
    /// checksums.
    pub fn rewrite(&self, change: &dyn Fn(&str, &mut [f32])) {
        let bytes = fs::read(self.latest()).expect("the newest checkpoint");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let mut entries = header.metadata().clone().expect("metadata");
        entries.retain(|name, _| name == "lstmc");
        let stored = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let changed = stored.iter().map(|(name, view)| {
            let mut values: Vec<f32> =
                view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            change(name, &mut values);
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, view.shape().to_vec(), data)
        });
        let changed: Vec<_> = changed.collect();
        let views = changed.iter().map(|(name, shape, data)| {
            (*name, TensorView::new(Dtype::F32, shape.clone(), data).expect("a tensor as large as before"))
        });
        let written = safetensors::serialize(views, Some(entries)).expect("a safetensors file");
        fs::write(self.latest(), written).expect("the newest checkpoint");
    }
}

/// A number of a row.
#[track_caller]
pub fn number(row: &Map<String, Value>, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} is not a number in {row:?}"))
}
