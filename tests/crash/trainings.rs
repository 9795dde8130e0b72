//! A small training, its run, and what has to hold of the run whatever has happened.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use safetensors::tensor::SafeTensors;
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A checkpoint after each of many short epochs, all of which stay.
const EPOCHS: &str = "epochs: 24";
/// Of those, the two newest stay and the best.
const BEST: &str = "epochs: 24\n checkpoint: best\n keep: 2\n patience: 20";
/// Checkpoints that replace each other, with batches of random starts.
const ITERATIONS: &str = "iterations: 72\n report_every: 3";

/// How long a command may take that has not much to do.
const DEADLINE: Duration = Duration::from_secs(120);

/// A way to train the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Epochs,
    Best,
    Iterations,
}

pub const KINDS: [Kind; 3] = [Kind::Epochs, Kind::Best, Kind::Iterations];

/// A temporary folder with a text, a model and perhaps its run.
pub struct Training {
    dir: TempDir,
}

/// What a training has made, but for what depends on the clock.
#[derive(Clone)]
pub struct Made {
    names: Vec<String>,
    tensors: BTreeMap<String, Vec<u8>>,
    position: Value,
    metrics: Vec<Map<String, Value>>,
}

impl Made {
    /// Says what differs. (Of tensors only which: they are long.)
    #[track_caller]
    pub fn assert_is(&self, expected: &Self, what: &str) {
        assert_eq!(self.names, expected.names, "files, {what}");
        assert_eq!(self.metrics, expected.metrics, "metrics, {what}");
        assert_eq!(self.position, expected.position, "position, {what}");
        let differing: Vec<&String> = self
            .tensors
            .keys()
            .filter(|name| self.tensors.get(*name) != expected.tensors.get(*name))
            .collect();
        assert!(
            differing.is_empty() && self.tensors.len() == expected.tensors.len(),
            "{differing:?}, {what}"
        );
    }
}

impl Training {
    pub fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        // Epochs of eight updates.
        let (batches, length) = match kind {
            Kind::Epochs => ("stream(rows: 2, steps: 5)", EPOCHS),
            Kind::Best => ("stream(rows: 2, steps: 5)", BEST),
            Kind::Iterations => {
                ("windows(length: 5, stride: 5, rows: 4, targets: each, start: random)", ITERATIONS)
            }
        };
        let model = format!(
            "data {{\n train: \"text.txt\" valid: \"text.txt\"\n tokens: words\n batches: {batches}\n}}\n\
             model {{\n tokens -> embedding(8) -> lstm(16) -> dropout(0.1) -> dense(vocab) -> softmax\n}}\n\
             train {{\n loss: cross_entropy\n optimizer: adam(rate: 0.02)\n clip: norm(5)\n init: uniform(0.1)\n {length}\n \
             report: perplexity\n}}\n"
        );
        fs::write(dir.path().join("tiny.lstm"), model).expect("a model file");
        let text = "the quick brown fox jumps over the lazy dog\n".repeat(10);
        fs::write(dir.path().join("text.txt"), text).expect("a text");
        Self { dir }
    }

    /// A training that has stopped halfway, and what it makes in the end.
    pub fn half(kind: Kind) -> (Self, Made) {
        let half = Self::new(kind);
        let args = [half.arguments(1), vec!["--steps".into(), "24".into()]].concat();
        let output =
            end(half.command(env!("CARGO_BIN_EXE_lstmc"), &args).spawn().expect("the command starts"));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        (half, Self::new(kind).finish(1))
    }

    /// A copy with its run, which knows no other place: its texts are where this training's were.
    pub fn copy(&self) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        copy(self.dir.path(), dir.path());
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// The arguments that begin the training, or go on with it where there is a run.
    pub fn arguments(&self, threads: u64) -> Vec<String> {
        let begin = ["train", "tiny.lstm", "--out", "run", "--threads"];
        let go_on = ["train", "--resume", "run", "--threads"];
        let words = if self.run().join("model.lstm").exists() { &go_on[..] } else { &begin };
        words.iter().map(|word| (*word).to_owned()).chain([threads.to_string()]).collect()
    }

    /// A command in the training's folder, with its outputs kept.
    pub fn command(&self, program: &str, args: &[String]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.path()).env("NO_COLOR", "1").env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn start(&self, threads: u64) -> Child {
        let mut command = self.command(env!("CARGO_BIN_EXE_lstmc"), &self.arguments(threads));
        command.spawn().expect("the command starts")
    }

    /// Trains to the end.
    #[track_caller]
    pub fn finish(&self, threads: u64) -> Made {
        let output = end(self.start(threads));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let newest = self.newest().expect("a finished training has a checkpoint");
        let (tensors, position) = whole(&newest);
        Made { names: self.names(), tensors, position, metrics: self.metrics() }
    }

    /// The newest checkpoint's bytes, if `latest` names one. A training may be going on.
    #[track_caller]
    pub fn newest(&self) -> Option<Vec<u8>> {
        let run = self.run();
        loop {
            let name = read(&run.join("latest"))?;
            let text = String::from_utf8(name.clone()).expect("`latest` is text");
            let path = run.join("checkpoints").join(format!("{}.safetensors", text.trim_end()));
            match read(&path) {
                None if read(&run.join("latest")).as_ref() != Some(&name) => {}
                found => {
                    return Some(
                        found.unwrap_or_else(|| panic!("`latest` names {text:?}, which is not there")),
                    );
                }
            }
        }
    }

    fn metrics(&self) -> Vec<Map<String, Value>> {
        let files =
            ["metrics.jsonl", "steps.jsonl"].map(|name| read(&self.run().join(name)).unwrap_or_default());
        let text = String::from_utf8(files.concat()).expect("metrics are text");
        let row = |line| {
            let mut row: Map<String, Value> =
                serde_json::from_str(line).expect("a line of metrics is an object");
            row.remove("words_per_second");
            row.remove("seconds");
            row
        };
        text.lines().map(row).collect()
    }

    /// The files that say what the run is, and its newest checkpoint.
    pub fn contents(&self) -> Vec<Option<Vec<u8>>> {
        let files = ["model.lstm", "vocab.json", "run.json", "metrics.jsonl", "steps.jsonl", "latest"];
        files.iter().map(|name| read(&self.run().join(name))).chain([self.newest()]).collect()
    }

    /// The names of all that is in the run's folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut all = Vec::new();
        for folder in [self.run(), self.run().join("checkpoints")] {
            // A training that was hardly begun has none.
            for entry in fs::read_dir(folder).into_iter().flatten() {
                all.push(entry.expect("an entry").file_name().to_string_lossy().into_owned());
            }
        }
        all.sort();
        all
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            fs::create_dir(&to).expect("a folder");
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

#[track_caller]
fn read(path: &Path) -> Option<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        other => Some(other.expect("a file can be read")),
    }
}

/// A checkpoint's tensors and its place in the training, if it is as it was written.
#[track_caller]
pub fn whole(bytes: &[u8]) -> (BTreeMap<String, Vec<u8>>, Value) {
    let (_, header) = SafeTensors::read_metadata(bytes).expect("a whole header");
    let entries = header.metadata().as_ref().expect("metadata");
    let sums: Value = serde_json::from_str(&entries["crc32"]).expect("checksums");
    assert_eq!(sums["entry"], crc32(entries["lstmc"].as_bytes()));
    let mut tensors = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(bytes).expect("a whole file").iter() {
        assert_eq!(sums["tensors"][name], crc32(view.data()), "{name}");
        tensors.insert(name.to_owned(), view.data().to_vec());
    }
    let about: Value = serde_json::from_str(&entries["lstmc"]).expect("what the checkpoint is");
    let mut position = about["position"].clone();
    position.as_object_mut().expect("an object").remove("seconds");
    position["totals"].as_object_mut().expect("an object").remove("seconds");
    (tensors, position)
}

/// zlib's, as docs/checkpoints.md says.
fn crc32(bytes: &[u8]) -> String {
    let shifted = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), shifted));
    format!("{:08x}", !sum)
}

/// The end of a command, which has to come.
#[track_caller]
pub fn end(mut child: Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("the command does not end: {:?}", child.wait_with_output());
        }
        sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("the command has ended")
}
