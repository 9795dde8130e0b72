//! `lstmc gradcheck`: every layer of the prelude, and every model that ships and is small enough.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Folder, Model, TINY};

/// Models that take minutes where the compiler is not optimised; their layers are in the others.
const LARGE: [&str; 5] = ["aesop-deep", "ptb-keras", "ptb-large", "ptb-medium", "tied"];

#[track_caller]
fn agrees(out: &str, parameters: usize) {
    let last = out.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("{parameters} of {parameters} parameters agree")), "{out}");
    assert_eq!(out.matches(" ok\n").count(), parameters, "{out}");
}

#[test]
fn every_layer_of_the_prelude() {
    let folder = Folder::new();
    let cases = [
        ("tokens -> embedding(4) -> lstm(5, forget_bias: 1) -> dense(vocab) -> softmax", 15),
        ("tokens -> embedding(4) -> gru(5) -> dense(vocab) -> softmax", 13),
        ("tokens -> embedding(4) -> rnn(5) -> dense(vocab) -> softmax", 6),
        ("tokens -> embedding(4) -> rnn(5, activation: relu) -> dense(vocab) -> softmax", 6),
        ("tokens -> embedding(4) -> dense(6, activation: relu) -> dense(vocab) -> softmax", 5),
        ("tokens -> embedding(4) -> dense(6, activation: tanh) -> dense(vocab) -> softmax", 5),
        ("tokens -> embedding(4) -> dense(6, activation: sigmoid) -> dense(vocab) -> softmax", 5),
        ("tokens -> embedding(4) -> dense(6, activation: linear) -> dense(vocab) -> softmax", 5),
        ("tokens -> scalar -> rnn(5) -> dense(vocab) -> softmax", 5),
        ("tokens -> embedding(4) -> dropout(0.5) -> rnn(5) -> dropout(0.3) -> dense(vocab) -> softmax", 6),
        ("tokens -> embedding(4) -> rnn(5) -> layer_norm -> dense(vocab) -> softmax", 8),
    ];
    for (model, parameters) in cases {
        for batches in [TINY.batches, "windows(length: 4, stride: 2, rows: 2, targets: each)"] {
            folder.write("layer.lstm", Model { model, batches, ..TINY }.text());
            agrees(&folder.ok(&["gradcheck", "layer.lstm"]), parameters);
        }
        let model = model.replace("-> dense(vocab)", "-> last -> dense(vocab)").leak();
        let batches = "windows(length: 4, stride: 2, rows: 2, targets: last)";
        folder.write("layer.lstm", Model { model, batches, ..TINY }.text());
        agrees(&folder.ok(&["gradcheck", "layer.lstm"]), parameters);
    }
}

#[test]
fn a_summed_loss_and_a_shared_table() {
    let folder = Folder::new();
    let text = "layer lookup(t: token, table: [rows, width]) { return table[t] }\n\
                layer readout(x: [in], table: [rows, in]) { return x @ transpose(table) }\n\
                data { train: \"text.txt\" tokens: words batches: stream(rows: 2, steps: 5) }\n\
                model { param E: [vocab, 4]\n tokens -> lookup(E) -> rnn(4) -> readout(E) -> softmax }\n\
                train { loss: cross_entropy(steps: sum) optimizer: sgd epochs: 1 }\n";
    folder.write("tied.lstm", text);
    agrees(&folder.ok(&["gradcheck", "tied.lstm"]), 4);
}

#[test]
fn models_that_ship() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let list = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|e| e == "lstm")).collect::<Vec<PathBuf>>()
    };
    let mut paths = list(&models);
    paths.extend(list(&models.join("cells")));
    paths.retain(|path| !LARGE.contains(&path.file_stem().unwrap().to_str().unwrap()));
    assert!(paths.len() >= 7, "{paths:?}");
    let folder = Folder::new();
    for path in paths {
        let out = folder.ok(&["gradcheck", path.to_str().unwrap()]);
        assert!(out.lines().count() > 5 && !out.contains("FAILED"), "{}: {out}", path.display());
    }
}
