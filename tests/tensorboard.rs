//! What `lstmc train --tensorboard` writes, read by its description, and by TensorBoard itself where Python has it (`.ci/run` sees
//! to that).

#[path = "tensorboard/events.rs"]
mod events;
#[path = "support/python.rs"]
mod python;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};
use tempfile::TempDir;

use events::{Event, by_tag, read};

const MODEL: &str = "// A model.
data { train: \"text.txt\" valid: \"text.txt\" tokens: words batches: stream(rows: 2, steps: 5) }
model { tokens -> embedding(8) -> lstm(16) -> dense(vocab) -> softmax }
train { loss: cross_entropy optimizer: adam(rate: 0.02) clip: norm(5) init: uniform(0.1) epochs: 4 }
";

/// Epochs are of so many updates.
const EPOCH: u64 = 8;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("tiny.lstm"), MODEL).expect("a model file");
        let text = "the quick brown fox jumps over the lazy dog\n".repeat(10);
        fs::write(folder.path().join("text.txt"), text).expect("a text");
        Self(folder)
    }

    fn lstmc(&self, args: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_lstmc")).args(args).current_dir(self.0.path()).output();
        let output = output.expect("the command starts");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }

    fn run(&self) -> PathBuf {
        self.0.path().join("run")
    }

    fn lines(&self, name: &str) -> Vec<Map<String, Value>> {
        let text = fs::read_to_string(self.run().join(name)).expect("a file of the run");
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }
}

/// The event files of a run, in the order of their names.
fn files(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).expect("a run").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.to_string_lossy().contains("tfevents")).collect();
    files.sort();
    files
}

/// What a tag should have of a file's lines, in `f32` as event files have it.
fn expected(lines: &[Map<String, Value>], key: &str) -> Vec<(u64, f32)> {
    let value = |line: &Map<String, Value>| {
        Some((line["step"].as_u64().expect("a step"), line.get(key)?.as_f64()? as f32))
    };
    lines.iter().filter_map(value).collect()
}

/// Every tag has what the run's own files have, each step once.
fn check(folder: &Folder, found: &BTreeMap<String, Vec<(u64, f32)>>) {
    let (rows, points) = (folder.lines("metrics.jsonl"), folder.lines("steps.jsonl"));
    for (tag, lines, key) in [
        ("update/loss", &points, "train_loss"),
        ("update/accuracy", &points, "train_accuracy"),
        ("update/learning_rate", &points, "learning_rate"),
        ("update/gradient_norm", &points, "gradient_norm"),
        ("update/words_per_second", &points, "words_per_second"),
        ("epoch", &rows, "epoch"),
        ("loss/train", &rows, "train_loss"),
        ("loss/valid", &rows, "valid_loss"),
        ("perplexity/train", &rows, "train_perplexity"),
        ("perplexity/valid", &rows, "valid_perplexity"),
        ("perplexity/valid_word", &rows, "valid_word_perplexity"),
        ("bits_per_character/valid", &rows, "valid_bits_per_character"),
        ("accuracy/train", &rows, "train_accuracy"),
        ("accuracy/valid", &rows, "valid_accuracy"),
    ] {
        let (found, expected) = (&found[tag], expected(lines, key));
        assert!(!expected.is_empty() && *found == expected, "{tag}: {found:?}, and not {expected:?}");
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{tag}");
    }
    assert_eq!(found.len(), 14, "{:?}", found.keys());
}

#[test]
fn files_have_the_runs_figures_with_checksums() {
    let folder = Folder::new();
    folder.lstmc(&["train", "tiny.lstm", "--out", "run", "--tensorboard"]);
    let files = files(&folder.run());
    assert_eq!(files.len(), 1);
    let events = read(&files[0]);
    assert_eq!(events[0].version.as_deref(), Some("brain.Event:2"));
    assert_eq!((events[1].starts, events[1].step), (true, 1));
    // Since 2020, if the machine's clock is right; not in another unit than seconds.
    assert!(events.iter().all(|event| event.time > 1.5e9 && event.time < 1e11));
    check(&folder, &by_tag(&events));
    let texts: Vec<(u64, &String, &String)> = events
        .iter()
        .flat_map(|event| event.texts.iter().map(|(tag, text)| (event.step, tag, text)))
        .collect();
    let indented: String = MODEL.lines().map(|line| format!("    {line}\n")).collect();
    assert_eq!(texts[0], (0, &"model".to_owned(), &indented));
    let predictions: Vec<u64> = texts[1..].iter().map(|(step, _, _)| *step).collect();
    assert_eq!(predictions, (1..=4).map(|epoch| epoch * EPOCH).collect::<Vec<_>>());
    assert!(
        texts[1..].iter().all(|(_, tag, text)| *tag == "prediction" && text.contains("] -> ")),
        "{texts:?}"
    );
}

#[test]
fn a_run_without_it_has_none() {
    let folder = Folder::new();
    folder.lstmc(&["train", "tiny.lstm", "--out", "run", "--epochs", "1"]);
    folder.lstmc(&["train", "--resume", "run", "--epochs", "2"]);
    assert!(files(&folder.run()).is_empty());
    // It may begin later.
    folder.lstmc(&["train", "--resume", "run", "--epochs", "3", "--tensorboard"]);
    let events = read(&files(&folder.run())[0]);
    let steps: Vec<u64> = by_tag(&events)["loss/train"].iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [3 * EPOCH]);
}

/// Stopped in the middle of an epoch, then taken up at an earlier epoch, where a record was being written.
fn taken_up() -> Folder {
    let folder = Folder::new();
    folder.lstmc(&["train", "tiny.lstm", "--out", "run", "--tensorboard", "--steps", "19"]);
    let file = &files(&folder.run())[0];
    let mut bytes = fs::read(file).expect("an event file");
    bytes.extend_from_slice(&bytes.clone()[..30]);
    fs::write(file, bytes).expect("an event file");
    folder.lstmc(&["train", "--resume", "run", "--checkpoint", "1"]);
    folder
}

#[test]
fn a_run_that_goes_on_has_each_step_once() {
    let folder = taken_up();
    let files = files(&folder.run());
    assert_eq!(files.len(), 2);
    let [first, second] = [read(&files[0]), read(&files[1])];
    assert!(first.iter().all(|event| event.step <= EPOCH));
    let start = second.iter().find(|event| event.starts).expect("a session's start");
    assert_eq!(start.step, EPOCH + 1, "for those who have read the first file as it was");
    let all: Vec<Event> = first.into_iter().chain(second).collect();
    check(&folder, &by_tag(&all));
}

#[test]
fn tensorboard_reads_it() {
    let Some(python) = python::with("tensorboard") else { return };
    let folder = taken_up();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tensorboard/read.py");
    let output = Command::new(python).arg(script).arg(folder.run()).output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("what the script says");
    let pairs = |values: &Value| -> Vec<(u64, f32)> {
        let pair =
            |pair: &Value| (pair[0].as_u64().expect("a step"), pair[1].as_f64().expect("a value") as f32);
        values.as_array().expect("pairs").iter().map(pair).collect()
    };
    let scalars = found["scalars"].as_object().expect("tags").iter();
    check(&folder, &scalars.map(|(tag, values)| (tag.clone(), pairs(values))).collect());
    let model = found["texts"]["model"][0][1].as_str().expect("a text");
    assert!(model.contains("    model { tokens -> embedding(8)"), "{model}");
    assert_eq!(found["texts"]["prediction"].as_array().map(Vec::len), Some(4), "{found}");
}
