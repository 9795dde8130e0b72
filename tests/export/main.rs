//! What `lstmc export` writes, read by other programs: ONNX Runtime, compilers of C, Python and Node find the probabilities that
//! `lstmc predict` does.
//!
//! Where one of them is not there this is skipped, and says so. `.ci/run` has them all, and names Python's interpreter in
//! `LSTMC_PYTHON` and the tools in `LSTMC_TOOLS`: then they must be there.

#[path = "../../compiler/tests/support/checked.rs"]
mod checked;
mod code;
mod elsewhere;
mod expected;
mod onnx;
#[path = "../support/python.rs"]
mod python;
#[allow(dead_code)]
#[path = "../../compiler/tests/support/random_models.rs"]
mod random_models;
mod weights;
mod words;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Tokens, or windows, that each model reads.
const READ: usize = 100;

/// Sequences side by side.
const ROWS: usize = 2;

/// Models made up by chance.
const RANDOM: usize = 24;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A folder with a text under every name by which a model asks for one.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        let fable = fs::read_to_string(root().join("models/belling_the_cat.txt")).expect("the fable");
        for name in ["belling_the_cat.txt", "ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"] {
            fs::write(folder.path(name), fable.repeat(8)).expect("a text");
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, program: &str, args: &[&str]) -> String {
        let output = Command::new(program).args(args).current_dir(self.0.path()).output();
        succeeded(&output.expect("the program starts"))
    }

    /// A program of this folder that reads a text.
    fn piped(&self, program: &str, args: &[&str], text: &str) -> String {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.0.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
        succeeded(&child.wait_with_output().expect("it ends"))
    }

    fn lstmc(&self, args: &[&str]) -> String {
        self.command(env!("CARGO_BIN_EXE_lstmc"), args)
    }

    /// Trains a model for some steps into a run.
    fn train(&self, run: &str, text: &str, steps: &str) {
        fs::write(self.path("model.lstm"), text).expect("a model file");
        self.lstmc(&["train", "model.lstm", "--data", ".", "--out", run, "--steps", steps]);
    }

    /// What a run's engine finds, for a script to compare with what is in a file.
    fn expected(&self, name: &str, file: &str) -> Value {
        let rows: Vec<expected::Row> =
            (0..ROWS as u64).map(|seed| expected::row(&self.path(name), READ, seed)).collect();
        let values: Vec<u8> =
            rows.iter().flat_map(|row| &row.probabilities).flat_map(|value| value.to_le_bytes()).collect();
        let found = format!("{file}.expected");
        fs::write(self.path(&found), values).expect("what was found");
        let tokens: Vec<&Vec<u32>> = rows.iter().map(|row| &row.tokens).collect();
        json!({ "file": file, "window": rows[0].window, "tokens": tokens, "expected": found })
    }

    /// Has a script read the cases' tokens.
    fn compare(&self, python: &str, script: &str, cases: &[Value]) -> String {
        fs::write(self.path("cases.json"), Value::from(cases).to_string()).expect("the cases");
        let script = root().join("tests/export").join(script);
        self.command(python, &[&script.to_string_lossy(), "cases.json"])
    }
}

fn models(folder: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join(folder)).expect("the models");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "lstm"));
    paths.sort();
    let model = |path: PathBuf| {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let text = fs::read_to_string(&path).expect("a model");
        (name.unwrap_or_default(), text.replace("../belling", "belling"))
    };
    paths.into_iter().map(model).collect()
}

/// A model of layers on the fable.
fn small(layers: &str, chain: &str, more: &str) -> String {
    format!(
        "{layers}\ndata {{ train: \"belling_the_cat.txt\"\n tokens: words_and_punctuation\n \
         batches: stream(rows: 4, steps: 10) }}\nmodel {{ {chain} -> dense(vocab) }}\n\
         train {{ loss: cross_entropy\n optimizer: adam(rate: 0.01)\n init: uniform(0.3)\n {more}\n epochs: 1000 }}\n"
    )
}

/// Every operation of the language that stays in a model which does not train.
const ODD: &str = "
layer lookup(t: token, table: [rows, width]) { return table[t] + 0.001 * sum(number(t)) }
layer odd(x: [in], y: [in], units) {
    param W: [in, units]
    param R: [units, units]
    param a: [units] = 0.5
    state s: [units] = ones
    state n: [1] = 3
    u = x @ W + s @ R
    v = if u > 0 then min(u, 2) else max(a * u, -1)
    w = abs(v) ^ 1.5 + sqrt(0.1 + s * s) - log(1 + exp(-v))
    part = concat(w[1:units], w[0:1] * (n == 3), y[0:1] / (1 + max(y) ^ 2))
    even = (u <= v) + (u >= v) * (u != v) + (a < 0.4) * relu(a)
    next s = tanh(part[0:units] + 0.1 * even + mean(w) - 0.01 * sum(n))
    next n = if sum(next s) > 100 then n else n + 0.25
    return next s
}
layer readout(x: [in], table: [rows, in]) {
    return x @ transpose(table) + (if training then sum(random(x)) else 0)
}
";

const CLOCK: &str = "layer clock(x: [in]) { state n: [3] = 1; next n = 0.9 * n + 0.5; return next n }";

/// The chain of [`ODD`].
const CHAIN: &str = "param E: [vocab, 12]
    let a = tokens -> lookup(E)
    let b = a -> lstm(12)
    b -> odd(a, 12) -> readout(E)";

/// What the examples of docs/shipping.md are of: `runs/story`, which has learned a sentence.
fn story() -> Folder {
    let folder = Folder::new();
    let sentence =
        "the quick brown fox jumps over the lazy dog and then the other dog jumps over the brown fox\n";
    fs::write(folder.path("belling_the_cat.txt"), sentence.repeat(20)).expect("a text");
    folder.train("runs/story", &small("", "tokens -> embedding(16) -> lstm(48)", ""), "60");
    folder
}

/// The block of docs/shipping.md of this kind that begins so.
fn example(info: &str, start: &str) -> String {
    let found =
        blocks("docs/shipping.md").into_iter().find(|(its, text)| its == info && text.starts_with(start));
    found.unwrap_or_else(|| panic!("no block of {info} begins with {start}")).1.trim().to_owned()
}

/// The fenced blocks of a document with their info strings.
fn blocks(document: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(document)).expect("the document");
    let parts: Vec<&str> = text.split("```").collect();
    let block = |part: &&str| part.split_once('\n').map(|(info, text)| (info.to_owned(), text.to_owned()));
    parts.iter().skip(1).step_by(2).filter_map(block).collect()
}
