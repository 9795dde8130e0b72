//! What `lstmc export` writes, read by other programs: ONNX Runtime finds the probabilities that `lstmc predict` does.
//!
//! They are Python's, and where it or they are not there this is skipped, and says so. `.ci/run` has them, and names the
//! interpreter in `LSTMC_PYTHON`: then they must be there.

#[path = "../compiler/tests/support/checked.rs"]
mod checked;
#[path = "export/expected.rs"]
mod expected;
#[path = "support/python.rs"]
mod python;
#[allow(dead_code)]
#[path = "../compiler/tests/support/random_models.rs"]
mod random_models;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
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

    fn lstmc(&self, args: &[&str]) -> String {
        self.command(env!("CARGO_BIN_EXE_lstmc"), args)
    }

    /// Trains a model for some steps into a run.
    fn train(&self, run: &str, text: &str, steps: &str) {
        fs::write(self.path("model.lstm"), text).expect("a model file");
        self.lstmc(&["train", "model.lstm", "--data", ".", "--out", run, "--steps", steps]);
    }

    /// A run as ONNX.
    fn case(&self, name: &str, sequence: Option<&str>) -> Value {
        let file = format!("{name}-{}.onnx", sequence.unwrap_or("step"));
        let mut args = vec!["export", name, "--format", "onnx", "--out", &file];
        args.extend(sequence.iter().flat_map(|sequence| ["--sequence", *sequence]));
        self.lstmc(&args);
        self.expected(name, &file)
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

#[test]
fn shipped_models_and_cells() {
    let Some(python) = python::with("onnx, onnxruntime, numpy") else { return };
    let folder = Folder::new();
    let mut cases = vec![];
    for (name, text) in models("models").into_iter().chain(models("models/cells")) {
        folder.train(&name, &text, "1");
        cases.push(folder.case(&name, None));
    }
    assert!(cases.len() > 11, "{}", cases.len());
    println!("{}", folder.compare(&python, "runtime.py", &cases));
}

#[test]
fn the_preludes_layers_and_ones_own() {
    let Some(python) = python::with("onnx, onnxruntime, numpy") else { return };
    let folder = Folder::new();
    let embedded = "tokens -> embedding(12)";
    let models = [
        ("gru", small("", &format!("{embedded} -> gru(16)"), "")),
        (
            "rnn",
            small("", &format!("{embedded} -> rnn(16, activation: relu) -> layer_norm -> dropout(0.3)"), ""),
        ),
        ("none", small("", embedded, "")),
        // Its loop reads nothing of the text.
        ("clock", small(CLOCK, "tokens -> scalar -> clock", "")),
        ("mean", small("", &format!("{embedded} -> lstm(16) -> lstm(16)"), "weights: average(after: 1)")),
        ("odd", small(ODD, CHAIN, "").replace(" -> dense(vocab) }", " }")),
        ("number", small("", "tokens -> scalar -> lstm(16, forget_bias: 1) -> softmax -> dense(9)", "")),
    ];
    let mut cases = vec![];
    for (name, text) in &models {
        folder.train(name, text, "5");
        cases.extend([None, Some("5"), Some("dynamic")].map(|sequence| folder.case(name, sequence)));
    }
    println!("{}", folder.compare(&python, "runtime.py", &cases));
}

/// Cells made up by chance, the same ones each time.
#[test]
fn random_models() {
    let Some(python) = python::with("onnx, onnxruntime, numpy") else { return };
    let (folder, mut runner) = (Folder::new(), TestRunner::deterministic());
    let mut cases = vec![];
    for number in 0..RANDOM {
        let model = random_models::models().new_tree(&mut runner).expect("a model").current();
        let words: Vec<String> = (0..model.vocab).map(|word| format!("w{word}")).collect();
        fs::write(folder.path("t"), (words.join(" ") + "\n").repeat(20)).expect("a text");
        let name = format!("random-{number}");
        folder.train(&name, &model.text, "2");
        cases.push(folder.case(&name, None));
        if !model.text.contains("targets: last") {
            cases.push(folder.case(&name, Some("dynamic")));
        }
    }
    println!("{}", folder.compare(&python, "runtime.py", &cases));
}

/// The names and shapes that an export prints.
fn tensors(printed: &str) -> Vec<&str> {
    printed.lines().filter_map(|line| line.strip_prefix("tensor      ")).collect()
}

#[test]
fn an_lstm_has_pytorchs_names() {
    let folder = Folder::new();
    let chain =
        "tokens -> embedding(12) -> dropout(0.5) -> lstm(16, forget_bias: 1) -> dropout(0.5) -> lstm(16)";
    folder.train("two", &small("", chain, "weights: average(after: 1)"), "5");
    let aesop = models("models").into_iter().find(|(name, _)| name == "aesop").expect("aesop").1;
    folder.train("aesop", &aesop.replace("512", "24"), "5");
    // The prelude's equations under another name.
    let renamed = fs::read_to_string(root().join("compiler/prelude/layers.lstm")).expect("the prelude");
    let own = renamed[renamed.find("layer lstm(").expect("lstm")..].split("\n}\n").next().expect("its end");
    let own = format!("{}\n}}\n", own.replacen("lstm", "cell", 1));
    folder.train("renamed", &small(&own, "tokens -> embedding(12) -> cell(16)", ""), "5");
    let mut cases = vec![];
    for name in ["two", "aesop", "renamed"] {
        let file = format!("{name}.safetensors");
        let printed = folder.lstmc(&["export", name, "--format", "safetensors"]);
        assert!(printed.contains("names       PyTorch's"), "{printed}");
        if name == "two" {
            let names = tensors(&printed);
            assert_eq!(names[1..3], ["lstm.weight_ih_l0 [64, 12]", "lstm.weight_hh_l0 [64, 16]"]);
            assert_eq!(names.len(), 1 + 8 + 2, "{names:?}");
        }
        cases.push(folder.expected(name, &file));
    }
    if let Some(python) = python::with("numpy") {
        println!("{}", folder.compare(&python, "pytorch.py", &cases));
    }
}

/// Another model's parameters are those of its checkpoint.
#[test]
fn other_models_have_their_own_names() {
    let folder = Folder::new();
    let changed = "layer lstm(x: [in], units) {\n param W_i: [in, units]\n state h: [units]\n next h = tanh(x @ W_i + h)\n return next h }";
    let embedded = "tokens -> embedding(12)";
    let models = [
        ("changed", small(changed, &format!("{embedded} -> lstm(16)"), ""), "lstm_1.W_i [12, 16]"),
        ("gru", small("", &format!("{embedded} -> gru(16)"), ""), "gru_1.R_z [16, 16]"),
        ("widths", small("", &format!("{embedded} -> lstm(16) -> lstm(8)"), ""), "lstm_2.R_f [8, 8]"),
        ("normed", small("", &format!("{embedded} -> lstm(16) -> layer_norm"), ""), "layer_norm_1.gain [16]"),
        ("deep", small("", &format!("{embedded} -> lstm(16) -> dense(9)"), ""), "dense_2.W [9, 79]"),
        ("inside", small("", &format!("{embedded} -> lstm(16) -> softmax"), ""), "lstm_1.R_f [16, 16]"),
        ("none", small("", embedded, ""), "embedding_1.E [79, 12]"),
    ];
    for (name, text, expected) in &models {
        folder.train(name, text, "2");
        let printed = folder.lstmc(&["export", name, "--format", "safetensors"]);
        assert!(printed.contains("names       the model's own"), "{printed}");
        let vocab = expected::vocabulary(&folder.path(name)).to_string();
        assert!(tensors(&printed).contains(&expected.replace("79", &vocab).as_str()), "{printed}");
        let bytes = fs::read(folder.path(&format!("{name}.safetensors"))).expect("the file");
        let found = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        assert_eq!(found.len(), tensors(&printed).len());
        for (param, values) in expected::parameters(&folder.path(name)) {
            let stored: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert!(found.tensor(&param).expect("a parameter").data() == stored, "{name}: {param}");
        }
    }
}

/// The fenced blocks of a document with their info strings.
fn blocks(document: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(document)).expect("the document");
    let parts: Vec<&str> = text.split("```").collect();
    let block = |part: &&str| part.split_once('\n').map(|(info, text)| (info.to_owned(), text.to_owned()));
    parts.iter().skip(1).step_by(2).filter_map(block).collect()
}

#[test]
fn the_documents_example_writes_what_generate_does() {
    let Some(python) = python::with("onnxruntime, numpy") else { return };
    let folder = Folder::new();
    let sentence =
        "the quick brown fox jumps over the lazy dog and then the other dog jumps over the brown fox\n";
    fs::write(folder.path("belling_the_cat.txt"), sentence.repeat(20)).expect("a text");
    let text = small("", "tokens -> embedding(16) -> lstm(48)", "");
    folder.train("runs/story", &text, "60");
    let blocks = blocks("docs/shipping.md");
    let of = |info: &str, start: &str| {
        let mut found = blocks.iter().filter(|(its, text)| its == info && text.starts_with(start));
        found.next().unwrap_or_else(|| panic!("no block of {info} begins with {start}")).1.trim().to_owned()
    };
    let commands = |start: &str| {
        let line = of("sh", start);
        let words = line.strip_prefix("lstmc ").expect("the command").replace("\"the quick\"", "the_quick");
        let words: Vec<String> = words.split(' ').map(|word| word.replace('_', " ")).collect();
        folder.lstmc(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // But for how large the file is.
    let lines = |text: &str| text.rsplit_once(": ").map(|(lines, _)| lines.to_owned());
    assert_eq!(lines(&commands("lstmc export runs/story --format onnx")), lines(&of("text", "input")));
    let safetensors = commands("lstmc export runs/story --format safetensors");
    assert_eq!(lines(&safetensors), lines(&of("text", "tensor")));
    let written = folder.command(&python, &["-c", &of("python", "import json")]);
    assert_eq!(written, commands("lstmc generate"));
    assert!(written.starts_with("the quick brown fox"), "{written}");
}
