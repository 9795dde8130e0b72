//! What people and machines get wrong: a clear message, an exit code, and nothing half-written.

use std::fs;

use crate::support::{Folder, Model, TINY, names};

/// `train` refuses `tiny.lstm` with all of `parts` in its message, and leaves no folder.
#[track_caller]
fn refuses(folder: &Folder, parts: &[&str]) {
    let before = folder.names();
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run", "--threads", "1"]);
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    assert_eq!(folder.names(), before, "{message}");
}

#[test]
fn texts_that_cannot_be_trained_on() {
    let cases: [(&[u8], &[&str]); 4] = [
        (b"", &["text.txt", "holds no tokens"]),
        (b" \n\n \t\n", &["text.txt", "holds no tokens"]),
        (b"the fox\ncaf\xe9 au lait\n", &["text.txt", "not UTF-8", "line 2", "byte 11"]),
        (b"the quick brown fox\n", &["training text is too short", "4 tokens", "at least 12"]),
    ];
    for (bytes, parts) in cases {
        let folder = Folder::new();
        folder.write("text.txt", bytes);
        refuses(&folder, parts);
    }
    let folder = Folder::new();
    fs::remove_file(folder.path("text.txt")).unwrap();
    refuses(&folder, &["cannot find the training text", "text.txt", "--data"]);
    fs::create_dir(folder.path("text.txt")).unwrap();
    refuses(&folder, &["cannot read", "text.txt"]);
}

#[test]
fn other_texts_are_looked_at_before_training() {
    let folder = Folder::new();
    folder.write("tiny.lstm", TINY.text().replace("valid: \"text.txt\"", "valid: \"valid.txt\""));
    refuses(&folder, &["cannot find the validation text", "valid.txt"]);
    folder.write("valid.txt", "the dog jumps over\nthe zebra\n");
    refuses(
        &folder,
        &["valid.txt has 1 word that", "\"zebra\"", "line 2", "`unknown: \"<unk>\"`", "`min_count: 2`"],
    );
}

#[test]
fn an_unknown_word_of_a_vocabulary_with_unk_is_unk() {
    let folder = Folder::new();
    folder.write("text.txt", "the quick <unk> fox\n".repeat(20));
    folder.train("run", &["--epochs", "2"]);
    let done = folder.run(&["generate", "run", "--prompt", "the Quick zebra", "--length", "3"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let said = "the words \"Quick\" (did you mean \"quick\"?), \"zebra\", and reads <unk> in place of them";
    assert!(done.err.contains(said), "{}", done.err);
}

#[test]
fn words_that_the_prompt_may_not_have() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    let message = folder.refused(&["generate", "run", "--prompt", "The zebra"]);
    let said = "does not know the words \"The\" (did you mean \"the\"?), \"zebra\"";
    assert!(message.contains(said), "{message}");
    let message = folder.refused(&["generate", "run", "--prompt", ""]);
    assert!(message.contains("longer prompt"), "{message}");
}

#[test]
fn model_files_that_are_none() {
    let folder = Folder::new();
    for command in ["check", "train", "gradcheck"] {
        let message = folder.refused(&[command, "missing.lstm"]);
        assert!(message.contains("cannot find the model file \"missing.lstm\""), "{message}");
        folder.write("bytes.lstm", b"data {\n\xff\n}");
        let message = folder.refused(&[command, "bytes.lstm"]);
        assert!(message.contains("bytes.lstm") && message.contains("not UTF-8"), "{message}");
        folder.write("empty.lstm", b"");
        folder.refused(&[command, "empty.lstm"]);
        let message = folder.refused(&[command, "."]);
        assert!(message.contains("cannot read \".\""), "{message}");
    }
}

#[test]
fn shapes_that_do_not_fit() {
    let folder = Folder::new();
    let layer = |body: &str, call: &str| {
        let text = format!("layer own(x: [in], units) {{\n{body}\n}}\n{}", TINY.text());
        text.replace("lstm(16)", call)
    };
    let cases = [
        (layer("param W: [units, in]\nreturn x @ W", "own(16)"), "`x @ W`"),
        (layer("param W: [in, units]\nreturn x + x @ W", "own(16)"), "[8]"),
        (layer("param b: [units]\nreturn x * b", "own(16)"), "[16]"),
        (layer("return x[0:units]", "own(16)"), "16"),
        (layer("state h: [units] = zeros\nnext h = x\nreturn h", "own(16)"), "`h`"),
        (TINY.text().replace("dense(vocab)", "dense(7)"), "vocab"),
        (TINY.text().replace("lstm(16)", "last -> lstm(16)"), "last"),
        (TINY.text().replace("lstm(16)", "lstm(0)"), "size"),
    ];
    for (text, part) in cases {
        folder.write("tiny.lstm", &text);
        refuses(&folder, &[part, "error[E", "tiny.lstm:", "^"]);
    }
}

#[test]
fn models_beyond_the_machine() {
    let folder = Folder::new();
    folder.write("tiny.lstm", TINY.text().replace("lstm(16)", "lstm(3000000000)"));
    refuses(&folder, &["3000000000", "error[E"]);
    folder.write("tiny.lstm", TINY.text().replace("lstm(16)", "lstm(60000)"));
    refuses(&folder, &["[60000, 60000]", "too large"]);
    // A hundred billion parameters, each tensor of a size that is allowed.
    let layers = ["lstm(40000)"; 10].join(" -> ");
    folder.write("tiny.lstm", TINY.text().replace("lstm(16)", &layers));
    refuses(&folder, &["TiB of memory", "is available", "smaller model"]);
    let checked = folder.run(&["check", "tiny.lstm"]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.out.contains("TiB at the peak") && checked.err.contains("TiB of memory"), "{checked:?}");
}

#[test]
fn folders_that_hold_no_run() {
    let folder = Folder::new();
    for command in [&["eval"][..], &["predict"], &["generate", "--prompt", "the"], &["train", "--resume"]] {
        for name in ["missing", "text.txt", "."] {
            let message = folder.refused(&[command, &[name]].concat());
            assert!(message.contains("is not a run") && message.contains("model.lstm"), "{message}");
        }
    }
}

#[test]
fn a_run_is_no_model_file() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    for command in ["train", "check", "gradcheck"] {
        let message = folder.refused(&[command, "run"]);
        for part in ["is a run, not a model file", "lstmc train --resume run", "run/model.lstm"] {
            assert!(message.contains(part), "{message}");
        }
    }
}

/// What Windows editors write.
#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_text() {
    let folder = Folder::new();
    let [plain, other] = [TINY.text(), TINY.text().replace('\n', "\r\n")];
    folder.train("plain", &["--steps", "3"]);
    let text = fs::read_to_string(folder.path("text.txt")).unwrap();
    for file in [format!("\u{feff}{plain}"), other.clone(), format!("\u{feff}{other}")] {
        folder.write("tiny.lstm", file);
        folder.write("text.txt", format!("\u{feff}{}", text.replace('\n', "\r\n")));
        let out = folder.train("windows", &["--steps", "3"]);
        assert!(out.contains("8 distinct words"), "{out}");
        assert_eq!(folder.trained("windows").tensors(), folder.trained("plain").tensors());
        folder.ok(&["train", "tiny.lstm", "--resume", "windows", "--steps", "4", "--threads", "1"]);
        fs::remove_dir_all(folder.path("windows")).unwrap();
    }
    folder.write("tiny.lstm", format!("\u{feff}{}", other.replace("lstm(16)", "lstn(16)")));
    let message = folder.refused(&["check", "tiny.lstm"]);
    assert!(message.contains("tiny.lstm:7:") && !message.contains('\r'), "{message:?}");
}

#[test]
fn a_run_is_not_overwritten() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    let before = folder.trained("run").tensors();
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run"]);
    assert!(message.contains("already holds a run") && message.contains("--resume"), "{message}");
    assert_eq!(folder.trained("run").tensors(), before);
}

#[test]
fn checkpoints_that_are_cut_short_or_gone() {
    let folder = Folder::new();
    folder.train("run", &["--epochs", "1"]);
    let run = folder.trained("run");
    let whole = fs::read(run.latest()).unwrap();
    let using: [&[&str]; 3] =
        [&["eval", "run"], &["train", "--resume", "run"], &["generate", "run", "--prompt", "the"]];
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(run.latest(), &whole[..length]).unwrap();
        for args in using {
            let message = folder.refused(args);
            assert!(message.contains("epoch-01") && message.contains("not a whole checkpoint"), "{message}");
        }
        assert_eq!(fs::read(run.latest()).unwrap().len(), length, "it is left as it was");
    }
    fs::remove_file(run.latest()).unwrap();
    let message = folder.refused(&["eval", "run"]);
    assert!(message.contains("cannot find the checkpoint"), "{message}");
    fs::remove_file(run.0.join("latest")).unwrap();
    let message = folder.refused(&["eval", "run"]);
    assert!(message.contains("has no checkpoint yet"), "{message}");
}

#[test]
fn checkpoints_of_another_model_or_vocabulary() {
    let folder = Folder::new();
    folder.train("run", &["--epochs", "1"]);
    let run = folder.trained("run");
    folder.write("run/model.lstm", TINY.text().replace("lstm(16)", "lstm(12)"));
    for args in [&["eval", "run"][..], &["train", "--resume", "run"]] {
        let message = folder.refused(args);
        assert!(message.contains("belongs to another model"), "{message}");
        assert!(message.contains("lstm_1.W_i is [8, 16], not [8, 12]"), "{message}");
    }
    folder.write("run/model.lstm", TINY.text());
    // The same number of words, but others.
    let text = fs::read_to_string(folder.path("text.txt")).unwrap();
    folder.write("text.txt", text.replace("fox", "cat"));
    let message = folder.refused(&["train", "--resume", "run"]);
    assert!(message.contains("is not the one that this run was begun with"), "{message}");
    folder.write("text.txt", &text);
    let words = fs::read_to_string(run.0.join("vocab.json")).unwrap();
    folder.write("run/vocab.json", words.replace("fox", "cat"));
    let message = folder.refused(&["eval", "run"]);
    assert!(message.contains("another vocabulary") && message.contains("vocab.json"), "{message}");
    folder.write("run/vocab.json", "[");
    let message = folder.refused(&["eval", "run"]);
    assert!(message.contains("vocab.json"), "{message}");
    folder.write("run/vocab.json", &words);
    folder.ok(&["eval", "run", "--threads", "1"]);
    folder.write("other.lstm", TINY.text().replace("40", "41"));
    let message = folder.refused(&["train", "other.lstm", "--resume", "run"]);
    assert!(message.contains("other.lstm is not the model that run was begun with"), "{message}");
}

#[test]
fn folders_that_cannot_be_written() {
    let folder = Folder::new();
    let before = folder.names();
    let message = folder.refused(&["train", "tiny.lstm", "--out", "text.txt/run"]);
    assert!(
        message.contains("cannot write \"text.txt/run") && message.contains("; name a folder"),
        "{message}"
    );
    assert_eq!(message.matches("os error").count(), 1, "said once: {message}");
    assert_eq!(folder.names(), before);
}

#[test]
fn a_loss_that_is_no_number_stops_and_the_last_checkpoint_stands() {
    let folder = Folder::new();
    let more = "schedule: decay(1e40, after: 2)";
    folder.write("tiny.lstm", Model { optimizer: "sgd(rate: 0.1)", more, ..TINY }.text());
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run", "--threads", "1"]);
    assert!(message.contains("the loss became") && message.contains("diverged"), "{message}");
    assert!(message.contains("epoch 3") && message.contains("lower the rate"), "{message}");
    let run = folder.trained("run");
    assert_eq!(run.checkpoints(), ["epoch-01.safetensors", "epoch-02.safetensors"]);
    assert!(run.latest().ends_with("epoch-02.safetensors"));
    assert_eq!(run.metrics().len(), 2);
    let log = fs::read_to_string(run.0.join("log.txt")).unwrap();
    assert!(log.contains("the loss became"), "{log}");
    folder.ok(&["eval", "run", "--threads", "1"]);
}

/// Trains into `run` where no file may grow beyond some blocks of 512 or 1024 bytes; without the signal, a write that
/// exceeds them is an error like any other.
#[cfg(unix)]
fn with_small_files(folder: &Folder, blocks: u32) -> crate::support::Done {
    let train = format!("exec '{}' train tiny.lstm --out run --threads 1", env!("CARGO_BIN_EXE_lstmc"));
    let mut shell = std::process::Command::new("sh");
    let shell = shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; {train}")]);
    let shell = shell.current_dir(folder.path("")).env("RUST_BACKTRACE", "0");
    crate::support::done(shell.output().expect("a shell"))
}

#[cfg(unix)]
#[test]
fn metrics_that_do_not_fit() {
    let folder = Folder::new();
    fs::create_dir(folder.path("run")).unwrap();
    fs::File::create(folder.path("run/metrics.jsonl")).unwrap().set_len(100 << 10).unwrap();
    let done = with_small_files(&folder, 100);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("cannot write") && done.err.contains("metrics.jsonl"), "{}", done.err);
    assert_eq!(folder.trained("run").checkpoints(), ["step-000000.safetensors"], "what it starts from");
}

#[cfg(unix)]
#[test]
fn a_checkpoint_that_does_not_fit() {
    let folder = Folder::new();
    // The checkpoint has some 22 KiB.
    let done = with_small_files(&folder, 12);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.err.contains("cannot write") && done.err.contains("step-000000.safetensors"),
        "{}",
        done.err
    );
    assert_eq!(names(&folder.path("run/checkpoints")), [""; 0], "nothing half-written");
    assert!(!folder.path("run/latest").exists());
}
