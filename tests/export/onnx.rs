//! ONNX files, in ONNX Runtime.

use std::fs;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::{CHAIN, CLOCK, Folder, ODD, RANDOM, example, models, python, random_models, small, story};

impl Folder {
    /// A run as ONNX.
    fn case(&self, name: &str, sequence: Option<&str>) -> Value {
        let file = format!("{name}-{}.onnx", sequence.unwrap_or("step"));
        let mut args = vec!["export", name, "--format", "onnx", "--out", &file];
        args.extend(sequence.iter().flat_map(|sequence| ["--sequence", *sequence]));
        self.lstmc(&args);
        self.expected(name, &file)
    }
}

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

#[test]
fn the_documents_example_writes_what_generate_does() {
    let Some(python) = python::with("onnxruntime, numpy") else { return };
    let folder = story();
    let commands = |start: &str| {
        let line = example("sh", start);
        let words = line.strip_prefix("lstmc ").expect("the command").replace("\"the quick\"", "the_quick");
        let words: Vec<String> = words.split(' ').map(|word| word.replace('_', " ")).collect();
        folder.lstmc(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // But for how large the file is.
    let lines = |text: &str| text.rsplit_once(": ").map(|(lines, _)| lines.to_owned());
    assert_eq!(lines(&commands("lstmc export runs/story --format onnx")), lines(&example("text", "input")));
    let safetensors = commands("lstmc export runs/story --format safetensors");
    assert_eq!(lines(&safetensors), lines(&example("text", "tensor")));
    let written = folder.command(&python, &["-c", &example("python", "import json")]);
    assert_eq!(written, commands("lstmc generate"));
    assert!(written.starts_with("the quick brown fox"), "{written}");
}
