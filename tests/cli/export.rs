//! `lstmc export`: what it writes where, and what it refuses. (What is in the files is for `tests/export.rs`.)

use crate::support::{Folder, Model, TINY};

#[test]
fn it_writes_a_file_here_or_where_it_is_told() {
    let folder = Folder::new();
    folder.train("tiny-run", &["--steps", "2"]);
    let printed = folder.ok(&["export", "tiny-run", "--format", "onnx"]);
    assert!(printed.contains("state       lstm_1.h -> lstm_1.h.next [batch, 16]\n"), "{printed}");
    assert!(printed.contains("wrote       tiny-run.onnx: "), "{printed}");
    let first = std::fs::read(folder.path("tiny-run.onnx")).expect("the file");
    // It is replaced, by the same bytes.
    folder.ok(&["export", "tiny-run", "--format", "onnx"]);
    assert!(std::fs::read(folder.path("tiny-run.onnx")).expect("the file") == first);
    folder.ok(&["export", "tiny-run", "--format", "onnx", "--checkpoint", "2", "--out", "new/it.onnx"]);
    assert!(folder.path("new/it.onnx").exists());
    folder.ok(&["export", "tiny-run", "--format", "safetensors"]);
    assert!(folder.path("tiny-run.safetensors").exists());
    let printed = folder.ok(&["export", "tiny-run", "--format", "onnx", "--sequence", "dynamic"]);
    assert!(printed.starts_with("input       tokens [batch, steps]\n"), "{printed}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let folder = Folder::new();
    folder.train("tiny-run", &["--steps", "0"]);
    let said = folder.refused(&["export", "tiny-run", "--format", "safetensors", "--sequence", "3"]);
    assert!(said.contains("--sequence goes with --format onnx"), "{said}");
    let said = folder.refused(&["export", "tiny", "--format", "onnx"]);
    assert!(said.contains("is not a run; there are tiny-run"), "{said}");
    for wrong in ["0", "all"] {
        let done = folder.run(&["export", "tiny-run", "--format", "onnx", "--sequence", wrong]);
        assert!(done.code == Some(2) && done.err.contains("or `dynamic`"), "{}", done.err);
    }
    let window = Model {
        batches: "windows(length: 3, stride: 1, rows: 2, targets: last)",
        model: "tokens -> embedding(8) -> lstm(16) -> last -> dense(vocab)",
        ..TINY
    };
    folder.write("tiny.lstm", window.text());
    folder.train("window", &["--steps", "0"]);
    let said = folder.refused(&["export", "window", "--format", "onnx", "--sequence", "3"]);
    assert!(said.contains("after each window of 3"), "{said}");
    let noisy = "layer noisy(x: [in]) { return x + random(x) }\n";
    let model = Model { model: "tokens -> embedding(8) -> noisy -> dense(vocab)", ..TINY };
    folder.write("tiny.lstm", format!("{noisy}{}", model.text()));
    folder.train("noisy", &["--steps", "0"]);
    let said = folder.refused(&["export", "noisy", "--format", "onnx"]);
    assert!(said.contains("cannot be said in ONNX: the model draws random numbers"), "{said}");
    assert!(!folder.path("noisy.onnx").exists());
}
