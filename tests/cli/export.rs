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
    for form in ["c", "o"] {
        let said = folder.refused(&["export", "noisy", "--format", form]);
        assert!(said.contains("draws random numbers though it does not train"), "{said}");
        assert!(!folder.path(&format!("noisy.{form}")).exists() && !folder.path("noisy.h").exists());
    }
    for (args, expected) in [
        (&["c", "--weights", "bf16"][..], "C has weights in f32 or int8"),
        (&["c", "--cpu", "native"], "--cpu goes with --format so, a and o"),
        (&["c", "--sequence", "2"], "--sequence goes with --format onnx: code reads a token at a time"),
        (&["onnx", "--weights", "int8"], "--weights goes with --format c, so, a and o"),
        (&["safetensors", "--cpu", "aarch64"], "--cpu goes with --format so, a and o"),
    ] {
        let said = folder.refused(&[&["export", "tiny-run", "--format"], args].concat());
        assert!(said.contains(expected), "{said}");
    }
}

/// Code is called as its file, whatever that is called; nothing of it needs another program but a shared library.
#[test]
fn code_is_written_under_any_name() {
    let folder = Folder::new();
    folder.train("tiny-run", &["--steps", "2"]);
    let printed = folder.ok(&["export", "tiny-run", "--format", "c"]);
    assert!(
        printed.starts_with("functions   tiny_run_init, tiny_run_step, tiny_run_sample, tiny_run_word"),
        "{printed}"
    );
    for (name, prefix) in
        [("while", "model_while"), ("2-a", "model_2_a"), ("Größe", "gr__e"), ("..", "model")]
    {
        let file = format!("out/{name}.o");
        folder.ok(&["export", "tiny-run", "--format", "o", "--out", &file]);
        let header = std::fs::read_to_string(folder.path(&format!("out/{name}.h"))).expect("a header");
        assert!(header.contains(&format!("void {prefix}_init({prefix} *m);")), "{name}: {header}");
        folder.ok(&["export", "tiny-run", "--format", "c", "--out", &format!("out/{name}.c")]);
        let source = std::fs::read_to_string(folder.path(&format!("out/{name}.c"))).expect("the source");
        let defined = source.matches(&format!("void {prefix}_init({prefix} *m)\n")).count();
        assert!(defined == 1 && source.contains(&format!("#include \"{name}.h\"")), "{name}");
    }
    let said = folder.refused(&["export", "tiny-run", "--format", "c", "--out", "a\"b.c"]);
    assert!(said.contains("give another with --out"), "{said}");
    let mut linking = folder.command(&["export", "tiny-run", "--format", "so"]);
    let done = crate::support::done(linking.env("CC", "no-such-compiler").output().expect("it starts"));
    assert!(
        done.code == Some(1) && done.err.contains("write --format a or o, which need none"),
        "{}",
        done.err
    );
    assert!(!folder.path("libtiny_run.so").exists());
    // What is computed of parameters alone is a number of the file, and C has none for infinity.
    let endless =
        "layer endless(x: [in]) { param z: [in] = zeros\n param W: [in, in]\n return x + (1 / z) @ W }\n";
    let model = Model { model: "tokens -> embedding(8) -> endless -> dense(vocab)", ..TINY };
    folder.write("tiny.lstm", format!("{endless}{}", model.text()));
    folder.train("endless", &["--steps", "0"]);
    let said = folder.refused(&["export", "endless", "--format", "c"]);
    assert!(said.contains("holds numbers that are not finite"), "{said}");
}
