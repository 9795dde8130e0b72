//! What eval and predict read of a text: all of it, in its order.

use std::fmt::Write;

use crate::support::{Folder, Model, TINY};

/// A model without state, whose parameters stay as they are drawn: its loss on a text does not depend on batches.
const FIXED: Model = Model {
    model: "tokens -> embedding(8) -> dense(vocab) -> softmax",
    optimizer: "sgd(rate: 0)",
    length: "epochs: 1",
    more: "",
    ..TINY
};

/// `count` words out of seven, in no simple order.
fn words(count: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        let _ = write!(text, "w{} ", index * index % 7 + index % 3);
    }
    text
}

/// A folder with 400 words to train on and a validation text, trained with batches of this shape; and what `eval` says.
fn evaluated(batches: &'static str, valid: usize) -> (Folder, String) {
    let folder = Folder::new();
    folder.write("text.txt", words(400));
    folder.write("valid.txt", words(valid));
    let text = Model { batches, ..FIXED }.text().replace("valid: \"text.txt\"", "valid: \"valid.txt\"");
    folder.write("tiny.lstm", text);
    folder.train("run", &[]);
    let out = folder.ok(&["eval", "run", "--split", "valid", "--threads", "1"]);
    (folder, out)
}

fn value(out: &str, name: &str) -> f64 {
    let line = out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{out}"));
    line.trim().trim_end_matches(" %").parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
fn every_token_but_the_first_is_predicted_whatever_the_batches_are() {
    let (_, whole) = evaluated("stream(rows: 1, steps: 96)", 97);
    for batches in [
        "stream(rows: 8, steps: 6)",
        "stream(rows: 3, steps: 7)",
        "stream(rows: 20, steps: 19)",
        "windows(length: 6, stride: 6, rows: 8)",
        "windows(length: 7, stride: 7, rows: 5, shuffle: true)",
    ] {
        let (_, out) = evaluated(batches, 97);
        assert!(out.contains("(97 tokens, 96 predicted)"), "{batches}: {out}");
        for figure in ["loss", "perplexity", "accuracy"] {
            // Printed with at least two decimals; the sums are of the same numbers.
            assert!((value(&out, figure) - value(&whole, figure)).abs() < 0.011, "{batches}: {out}{whole}");
        }
    }
}

#[test]
fn all_windows_with_one_target_are_evaluated() {
    let folder = Folder::new();
    folder.write("text.txt", words(400));
    let model = "tokens -> embedding(8) -> last -> dense(vocab) -> softmax";
    let batches = "windows(length: 3, stride: 4, rows: 7, targets: last)";
    folder.write("tiny.lstm", Model { batches, model, ..FIXED }.text());
    folder.train("run", &[]);
    // Windows begin at 0, 4, ... 396.
    let out = folder.ok(&["eval", "run", "--threads", "1"]);
    assert!(out.contains("(400 tokens, 100 predicted)"), "{out}");
}

#[test]
fn a_validation_text_shorter_than_a_batch_is_evaluated() {
    for batches in ["stream(rows: 8, steps: 6)", "windows(length: 6, stride: 6, rows: 8)"] {
        let (folder, out) = evaluated(batches, 3);
        assert!(out.contains("(3 tokens, 2 predicted)"), "{batches}: {out}");
        assert!(folder.trained("run").metrics()[0]["valid_loss"].is_number());
        folder.write("valid.txt", "w0");
        let done = folder.run(&["train", "tiny.lstm", "--out", "short"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.err.contains("warning: the validation text offers nothing to predict"), "{done:?}");
        assert!(folder.trained("short").metrics()[0]["valid_loss"].is_null());
        let message = folder.refused(&["eval", "short", "--split", "valid"]);
        assert!(message.contains("1 token") && message.contains("from 2 on"), "{message}");
    }
}

/// The words before and the actual words of each line.
fn shown(out: &str, count: usize) -> Vec<(String, String)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().take_while(|cell| *cell != "%").collect();
        let [before @ .., actual, _probability] = &cells[..] else { panic!("{line}") };
        (before.join(" "), (*actual).to_owned())
    };
    out.lines().skip(1).take(count).map(row).collect()
}

#[test]
fn predict_follows_the_text_in_order() {
    let text: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    let all: Vec<(String, String)> =
        (1..12).map(|place| (text[..place].join(" "), text[place].clone())).collect();
    let folder = Folder::new();
    folder.write("text.txt", text.join(" "));
    let lstm = "tokens -> embedding(4) -> lstm(4) -> dense(vocab) -> softmax";
    folder.write("tiny.lstm", Model { batches: "stream(rows: 3, steps: 2)", model: lstm, ..FIXED }.text());
    folder.train("run", &[]);
    for count in [1, 5, 11] {
        let out = folder.ok(&["predict", "run", "--count", &count.to_string(), "--threads", "1"]);
        assert_eq!(shown(&out, count), all[..count], "{out}");
        assert!(out.contains(&format!("of {count} right")), "{out}");
    }
    assert!(folder.ok(&["predict", "run", "--count", "100"]).contains("of 11 right"));
    // Overlapping windows show each token once, by the window that has read most before it.
    let batches = "windows(length: 3, stride: 1, rows: 2)";
    folder.write("tiny.lstm", Model { batches, model: lstm, ..FIXED }.text());
    folder.train("windows", &[]);
    let out = folder.ok(&["predict", "windows", "--count", "11", "--threads", "1"]);
    let window = |place: usize| (text[place.max(3) - 3..place].join(" "), text[place].clone());
    assert_eq!(shown(&out, 11), (1..12).map(window).collect::<Vec<_>>(), "{out}");
}

#[test]
fn predict_and_generate_carry_the_same_state() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "60"]);
    let out = folder.ok(&["predict", "run", "--count", "17", "--threads", "1"]);
    let line = out.lines().nth(17).unwrap_or_default();
    let predicted = line.split_whitespace().rev().skip_while(|cell| *cell != "%").nth(2).unwrap_or_default();
    let words = crate::support::SENTENCE;
    let prompt = format!("{words} {}", words.rsplit_once(' ').unwrap().0);
    let written = folder.ok(&["generate", "run", "--prompt", &prompt, "--length", "1", "--greedy"]);
    assert_eq!(written.split_whitespace().next_back(), Some(predicted), "{out}{written}");
}
