//! What a trained model is good for: eval, predict, generate.

use std::sync::OnceLock;

use crate::support::{Folder, Model, SENTENCE, TINY, number};

/// A model that knows [`SENTENCE`] by heart, as the run `run`, one that has hardly begun, as `raw`, and one between them,
/// as `half`.
fn trained() -> &'static Folder {
    static TRAINED: OnceLock<Folder> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = Folder::new();
        folder.train("run", &[]);
        folder.train("raw", &["--steps", "1"]);
        folder.train("half", &["--steps", "25"]);
        folder
    })
}

fn generate(run: &str, more: &[&str]) -> String {
    let out = trained().ok(&[&["generate", run, "--prompt", "the quick", "--threads", "1"], more].concat());
    out.trim_end().to_owned()
}

/// The value of a line that begins with `name`.
fn value(out: &str, name: &str) -> f64 {
    let line = out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{out}"));
    line.trim().trim_end_matches(" %").parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
fn eval_tells_perplexity_and_accuracy_of_any_split() {
    for split in ["train", "valid", "test"] {
        let out = trained().ok(&["eval", "run", "--split", split, "--threads", "1"]);
        assert!(value(&out, "perplexity") < 1.02, "{out}");
        assert_eq!(value(&out, "accuracy"), 100.0, "{out}");
    }
    let raw = trained().ok(&["eval", "raw", "--threads", "1"]);
    assert!(value(&raw, "perplexity") > 5.0, "{raw}");
    assert_eq!(raw, trained().ok(&["eval", "raw", "--threads", "3"]), "threads change nothing");
}

#[test]
fn eval_agrees_with_the_last_row_of_metrics() {
    let metrics = trained().trained("run").metrics();
    let row = &metrics[metrics.len() - 1];
    let out = trained().ok(&["eval", "run", "--split", "valid", "--threads", "1"]);
    assert!(out.contains(&format!("{:.4}", crate::support::number(row, "valid_loss"))), "{out} {row:?}");
}

#[test]
fn eval_compares_models_whatever_their_tokens() {
    let out = trained().ok(&["eval", "half", "--split", "valid", "--threads", "1"]);
    // Of nine words and the end of the line, which is no token of this model, in 44 characters.
    let loss = value(&out, "loss");
    assert!((value(&out, "ppl/word") - (loss * 90.0 / 100.0).exp()).abs() < 0.01, "{out}");
    assert!((value(&out, "bits/char") - loss * 90.0 / 440.0 / 2f64.ln()).abs() < 1e-3, "{out}");
    let metrics = trained().trained("run").metrics();
    let row = &metrics[metrics.len() - 1];
    let bits = number(row, "valid_loss") * 90.0 / 440.0 / 2f64.ln();
    assert!((number(row, "valid_bits_per_character") - bits).abs() < 1e-9, "{row:?}");
    let word = (number(row, "valid_loss") * 0.9).exp();
    assert!((number(row, "valid_word_perplexity") - word).abs() < 1e-9, "{row:?}");
}

#[test]
fn eval_compares_weights_of_several_formats() {
    let out = trained().ok(&["eval", "half", "--weights", "f32,bf16,int8", "--threads", "1"]);
    let mut rows = out.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        rows.next().unwrap(),
        ["weights", "loss", "perplexity", "accuracy", "ppl/word", "bits/char"],
        "{out}"
    );
    let rows: Vec<Vec<&str>> = rows.collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, ["f32", "bf16", "int8"], "{out}");
    let losses: Vec<f64> = rows.iter().map(|row| row[1].parse().unwrap()).collect();
    let alone = trained().ok(&["eval", "half", "--threads", "2"]);
    assert_eq!(value(&alone, "loss"), losses[0], "{alone}");
    for (row, weights) in rows[1..].iter().zip(["bf16", "int8"]) {
        let alone = trained().ok(&["eval", "half", "--weights", weights, "--threads", "2"]);
        assert_eq!(value(&alone, "loss"), row[1].parse::<f64>().unwrap(), "{alone}");
        assert!(alone.contains(&format!("weights     {weights}\n")), "{alone}");
        // Weights are off by 0.4 % at most, and the loss is a smooth function of them.
        assert!((row[1].parse::<f64>().unwrap() - losses[0]).abs() < 0.02 * losses[0], "{out}");
    }
    assert!(losses[1] != losses[0] && losses[2] != losses[1], "rounding moves the loss: {out}");
}

#[test]
fn a_text_known_by_heart_is_known_with_fewer_bits() {
    for weights in ["f32", "bf16", "int8"] {
        let out = generate("run", &["--greedy", "--length", "16", "--weights", weights]);
        assert_eq!(out, format!("{SENTENCE} {SENTENCE}"), "{weights}");
    }
}

#[test]
fn predict_shows_actual_beside_predicted() {
    let out = trained().ok(&["predict", "run", "--count", "5", "--split", "train", "--threads", "1"]);
    let mut lines = out.lines();
    assert!(lines.next().is_some_and(|header| header.contains("actual") && header.contains("predicted")));
    // The first row of the first batch.
    let words: Vec<&str> = SENTENCE.split(' ').collect();
    for (line, next) in lines.by_ref().take(5).zip(&words[1..]) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [.., actual, its, "%", predicted, probability, "%", "right"] = cells[..] else {
            panic!("{line}")
        };
        assert_eq!([actual, predicted, its], [*next, *next, probability], "{line}");
        assert!(probability.parse::<f64>().is_ok_and(|found| found > 90.0 && found <= 100.0), "{line}");
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert_eq!(lines.next(), Some("5 of 5 right"));
}

#[test]
fn greedy_generation_recites_the_text() {
    let out = generate("run", &["--greedy", "--length", "16"]);
    assert_eq!(out, format!("{SENTENCE} {SENTENCE}"));
    assert_eq!(out, generate("run", &["--greedy", "--length", "16"]));
    let threads =
        ["generate", "run", "--prompt", "the quick", "--greedy", "--length", "16", "--threads", "2"];
    assert_eq!(trained().ok(&threads).trim_end(), out);
}

#[test]
fn the_time_of_generation_is_said_beside_the_text() {
    let args =
        ["generate", "run", "--prompt", "the", "--greedy", "--length", "5", "--stats", "--threads", "1"];
    let done = trained().run(&args);
    assert_eq!(done.out.trim_end(), "the quick brown fox jumps over");
    assert!(done.err.starts_with("5 tokens in ") && done.err.ends_with(" each\n"), "{}", done.err);
}

#[test]
fn sampling_is_a_function_of_the_seed() {
    let hot = |seed| generate("raw", &["--temperature", "2", "--length", "30", "--seed", seed]);
    assert_eq!(hot("1"), hot("1"));
    assert_ne!(hot("1"), hot("2"));
    assert_eq!(hot("1").split(' ').count(), 32);
}

#[test]
fn the_most_likely_alone_is_greedy() {
    let greedy = generate("raw", &["--greedy", "--length", "12"]);
    for narrow in [["--top-k", "1"], ["--top-p", "0.0001"], ["--temperature", "0.00001"]] {
        let out = generate("raw", &[&narrow[..], &["--length", "12", "--seed", "7"]].concat());
        assert_eq!(out, greedy, "{narrow:?}");
    }
}

#[test]
fn few_likely_words_are_few_words() {
    let words = |more: &[&str]| {
        let out = generate("run", &[more, &["--temperature", "20", "--length", "40"]].concat());
        out.split(' ').skip(2).map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let all = words(&[]);
    assert_eq!(all.len(), 8, "at this heat any word is drawn: {all:?}");
    assert!(generate("run", &["--top-k", "1", "--temperature", "20", "--length", "7"]) == SENTENCE);
}

#[test]
fn a_model_of_windows_needs_a_window_of_prompt() {
    let folder = Folder::new();
    let batches = "windows(length: 3, stride: 1, rows: 4, targets: last)";
    let model = "tokens -> embedding(8) -> lstm(16) -> last -> dense(vocab) -> softmax";
    folder.write("tiny.lstm", crate::support::Model { batches, model, ..crate::support::TINY }.text());
    folder.train("run", &[]);
    let message = folder.refused(&["generate", "run", "--prompt", "the quick"]);
    assert!(message.contains("2 tokens") && message.contains("reads 3"), "{message}");
    let prompt = ["generate", "run", "--prompt", "the quick brown", "--greedy", "--length", "6"];
    assert_eq!(folder.ok(&prompt).trim_end(), SENTENCE);
}

#[test]
fn characters_are_generated_without_spaces_between() {
    let folder = Folder::new();
    folder.write("text.txt", "abcd".repeat(30));
    folder.write("tiny.lstm", crate::support::Model { tokens: "characters", ..crate::support::TINY }.text());
    folder.train("run", &[]);
    let out = folder.ok(&["generate", "run", "--prompt", "ab", "--greedy", "--length", "6"]);
    assert_eq!(out.trim_end(), "abcdabcd");
}

/// Where all words are equally likely the first of them is predicted, in training, by `eval` and by `predict`.
#[test]
fn of_equally_likely_words_the_first_is_predicted() {
    let folder = Folder::new();
    // Every second word is `a`, the most frequent, which has the first id.
    folder.write("text.txt", "a b a c a d a e ".repeat(8));
    let model = "tokens -> embedding(4) -> dense(vocab, init: zeros) -> softmax";
    let tiny = Model { model, optimizer: "sgd(rate: 0)", length: "epochs: 1", more: "", ..TINY };
    folder.write("tiny.lstm", tiny.text());
    folder.train("run", &[]);
    let row = &folder.trained("run").metrics()[0];
    for accuracy in [number(row, "train_accuracy"), number(row, "valid_accuracy")] {
        assert!((accuracy - 0.5).abs() < 0.05, "{row:?}");
    }
    let out = folder.ok(&["eval", "run", "--split", "valid", "--threads", "1"]);
    assert!((value(&out, "accuracy") - 50.0).abs() < 5.0, "{out}");
    let out = folder.ok(&["predict", "run", "--count", "20", "--threads", "1"]);
    let right = (8..=12).find(|right| out.contains(&format!("\n{right} of 20 right")));
    assert!(right.is_some(), "{out}");
}

/// A chain that ends in logits is everywhere what it is with softmax after it.
#[test]
fn logits_are_trained_and_used_as_with_softmax() {
    let folder = Folder::new();
    let model = "tokens -> embedding(8) -> lstm(16) -> dropout(0.1) -> dense(vocab)";
    folder.write("softmax.lstm", TINY.text());
    folder.write("logits.lstm", Model { model, ..TINY }.text());
    let outputs = ["softmax", "logits"].map(|name| {
        let file = format!("{name}.lstm");
        let out = folder.ok(&["check", &file, "--threads", "1"]);
        assert_eq!(out.contains("softmax (from logits)"), name == "logits", "{out}");
        folder.ok(&["train", &file, "--threads", "1", "--out", name]);
        folder.ok(&["gradcheck", &file]);
        let used = |args: &[&str]| folder.ok(&[args, &["--threads", "1"]].concat());
        [
            used(&["eval", name]).replace(name, "run"),
            used(&["predict", name]),
            used(&["generate", name, "--prompt", "the quick", "--seed", "3"]),
        ]
    });
    assert_eq!(outputs[0], outputs[1]);
    let [softmax, logits] = ["softmax", "logits"].map(|name| folder.trained(name).metrics());
    assert_eq!(number(&softmax[0], "train_loss"), number(&logits[0], "train_loss"));
}

/// What is neither logits nor a distribution is refused by every command, with what to write instead.
#[test]
fn a_result_that_is_neither_logits_nor_a_distribution_is_refused() {
    let folder = Folder::new();
    let model = "tokens -> embedding(8) -> dense(vocab, activation: sigmoid)";
    folder.write("tiny.lstm", Model { model, ..TINY }.text());
    for command in ["check", "train", "gradcheck", "profile"] {
        let message = folder.refused(&[command, "tiny.lstm"]);
        assert!(message.contains("E0312") && message.contains("`-> softmax`"), "{message}");
    }
}

/// A model whose parameters are finite and of no use: the loss is a number, the perplexity is none.
#[test]
fn a_perplexity_beyond_all_bounds_is_no_success() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    folder.trained("run").rewrite(&|name, values| {
        if name.starts_with("dense") {
            values.iter_mut().for_each(|value| *value *= 1e6);
        }
    });
    let done = folder.run(&["eval", "run", "--threads", "1", "--accept-unverified"]);
    assert!(done.out.contains("\nperplexity  inf\n"), "{done:?}");
    assert!(done.code == Some(1) && done.err.contains("beyond all bounds"), "{done:?}");
}
