//! What makes an update: its rate, the batches that it is made of, and the mean of what updates leave.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{Folder, Model, TINY, number};

fn folder(more: &'static str) -> Folder {
    let folder = Folder::new();
    folder.write("tiny.lstm", Model { more, ..TINY }.text());
    folder
}

fn reals(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The parameters of a run's newest checkpoint.
fn params(folder: &Folder, run: &str) -> BTreeMap<String, Vec<f32>> {
    let tensors = folder.trained(run).tensors();
    let own = tensors.into_iter().filter(|(name, _)| !name.contains('/'));
    own.map(|(name, bytes)| (name, reals(&bytes))).collect()
}

/// The largest difference between two sets of tensors.
#[track_caller]
fn apart(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>) -> f32 {
    assert!(a.keys().eq(b.keys()), "{:?} {:?}", a.keys(), b.keys());
    let pairs = a.values().flatten().zip(b.values().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Trains a whole run and one that is stopped after these updates, which has to come to the same.
#[track_caller]
fn goes_on_to_the_same(folder: &Folder, cuts: &[u64]) {
    folder.train("whole", &["--epochs", "4"]);
    let whole = folder.trained("whole");
    for cut in cuts {
        let name = format!("cut-{cut}");
        folder.train(&name, &["--epochs", "4", "--steps", &cut.to_string()]);
        folder.ok(&["train", "--resume", &name, "--epochs", "4", "--threads", "2"]);
        let run = folder.trained(&name);
        assert_eq!(run.tensors(), whole.tensors(), "{name}");
        let mut rows = run.timeless();
        rows.retain(|row| number(row, "step") % 8.0 == 0.0);
        assert_eq!(rows, whole.timeless(), "{name}");
    }
}

#[track_caller]
fn rates(folder: &Folder, run: &str) -> Vec<f64> {
    folder.trained(run).metrics().iter().map(|row| number(row, "learning_rate")).collect()
}

#[test]
fn a_cosine_after_a_warmup() {
    let folder = folder("schedule: warmup(steps: 12), cosine(to: 0)");
    goes_on_to_the_same(&folder, &[5, 16, 21]);
    // Epochs of eight updates, of which the last is shown: the 8th, and 3, 11 and 19 of the 20 after the warmup.
    let half = |done: f64| 0.02 * 0.5 * (1.0 + (std::f64::consts::PI * done / 20.0).cos());
    let expected = [0.02 * 8.0 / 12.0, half(3.0), half(11.0), half(19.0)];
    for (found, expected) in rates(&folder, "whole").into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-15, "{found} {expected}");
    }
    let out = folder.train("shown", &["--epochs", "1"]);
    assert!(out.contains("  rate 0.0133  "), "{out}");
}

#[test]
fn a_plateau_cuts_the_rate_and_is_counted_on() {
    // The rate is so high that the loss on the other text soon no longer falls.
    let folder = folder("schedule: plateau(0.5, patience: 2)");
    folder
        .write("valid.txt", "the lazy fox jumps over the brown dog\nquick the dog over lazy fox\n".repeat(3));
    let text = fs::read_to_string(folder.path("tiny.lstm")).unwrap();
    folder.write("tiny.lstm", text.replace("valid: \"text.txt\"", "valid: \"valid.txt\""));
    let epochs = ["--epochs", "14"];
    folder.train("whole", &epochs);
    let whole = folder.trained("whole");
    let (found, rows) = (rates(&folder, "whole"), whole.metrics());
    let (mut best, mut waited, mut rate) = (f64::INFINITY, 0, 0.02);
    for (found, row) in found.iter().zip(&rows) {
        assert_eq!(*found, rate, "{rows:?}");
        if number(row, "valid_loss") < best {
            (best, waited) = (number(row, "valid_loss"), 0);
        } else {
            waited += 1;
        }
        if waited == 2 {
            (rate, waited) = (rate * 0.5, 0);
        }
    }
    assert!(rate < 0.01, "it was cut twice at least: {found:?}");
    let first = found.iter().position(|rate| *rate < 0.02).unwrap() as u64;
    for cut in [8 * first - 3, 8 * first, 8 * first + 3] {
        let name = format!("cut-{cut}");
        folder.train(&name, &[&epochs[..], &["--steps", &cut.to_string()]].concat());
        folder.ok(&[&["train", "--resume", &name, "--threads", "1"], &epochs[..]].concat());
        assert_eq!(folder.trained(&name).tensors(), whole.tensors(), "{name}");
    }
}

/// Windows of five tokens, of which an epoch reads sixteen; no dropout, whose numbers belong to a batch.
const WINDOWS: Model = Model {
    batches: "windows(length: 5, stride: 5, rows: 8)",
    model: "tokens -> embedding(8) -> lstm(16) -> dense(vocab) -> softmax",
    optimizer: "momentum(rate: 0.5)",
    more: "clip: norm(0.3)",
    ..TINY
};

#[test]
fn several_batches_are_one_of_as_many_rows() {
    let folder = Folder::new();
    let trained = |name: &str, batches, more, length| {
        folder.write("tiny.lstm", Model { batches, more, length, ..WINDOWS }.text());
        folder.train(name, &[]);
        params(&folder, name)
    };
    let few = "windows(length: 5, stride: 5, rows: 2)";
    let whole = trained("whole", WINDOWS.batches, WINDOWS.more, "epochs: 6");
    let sums = trained("sums", few, "clip: norm(0.3)\n accumulate: 4", "epochs: 6");
    let without = trained("without", few, WINDOWS.more, "epochs: 6");
    let start = trained("start", WINDOWS.batches, WINDOWS.more, "iterations: 1\n report_every: 1");
    // Twelve updates whose sums are taken in another order: each rounds a gradient of up to 0.3 by some 2^-22 of it. Clipping each
    // batch's gradients, or their sum in place of the mean, would be seen.
    let (away, moved) = (apart(&whole, &sums), apart(&whole, &start));
    assert!(away < 1e-5 && moved > 0.1, "{away} {moved}");
    assert!(apart(&whole, &without) > 1e-2);
    // Any number of threads comes to the same bits.
    folder.write(
        "tiny.lstm",
        Model { batches: few, more: "clip: norm(0.3)\n accumulate: 4", ..WINDOWS }.text(),
    );
    let train = |threads| {
        let name = format!("threads-{threads}");
        folder.ok(&["train", "tiny.lstm", "--epochs", "3", "--threads", threads, "--out", &name]);
        folder.trained(&name).tensors()
    };
    assert_eq!(train("1"), train("2"));
}

#[test]
fn a_sum_of_gradients_is_kept_over_a_stop() {
    let folder = folder("clip: norm(5)\n accumulate: 3\n schedule: cosine(to: 0.1)");
    // Epochs of eight batches: an update is made of batches of two epochs too.
    goes_on_to_the_same(&folder, &[1, 2, 3, 8, 13]);
    // The rate is that of the update that an epoch's last batch is part of, of ten in all.
    let rate =
        |update: f64| 0.02 * (0.1 + 0.9 * 0.5 * (1.0 + (std::f64::consts::PI * (update - 1.0) / 10.0).cos()));
    for (found, update) in rates(&folder, "whole").into_iter().zip([3.0, 6.0, 8.0]) {
        assert!((found - rate(update)).abs() < 1e-15, "{found} {update}");
    }
    // A batch that completes no update changes no parameter.
    folder.train("two", &["--steps", "2"]);
    folder.train("none", &["--steps", "0"]);
    assert_eq!(params(&folder, "two"), params(&folder, "none"));
    folder.train("three", &["--steps", "3"]);
    assert!(apart(&params(&folder, "three"), &params(&folder, "none")) > 1e-3);
}

#[test]
fn the_mean_of_the_weights_is_what_is_used() {
    let folder = folder("clip: norm(5)\n weights: average(after: 2)");
    folder.train("run", &["--epochs", "3", "--steps", "8"]);
    let mut all = Vec::new();
    for step in 9..=24 {
        let step = step.to_string();
        folder.ok(&["train", "--resume", "run", "--epochs", "3", "--steps", &step, "--threads", "1"]);
        all.push(params(&folder, "run"));
    }
    folder.train("whole", &["--epochs", "3"]);
    let whole = folder.trained("whole");
    assert_eq!(folder.trained("run").tensors(), whole.tensors(), "the same after sixteen stops");
    // Sixteen numbers of up to 1, each taken in with a rounding of 2^-24.
    let mean_of = |name: &str| -> Vec<f32> {
        let mut sums = vec![0.0; all[0][name].len()];
        for params in &all {
            sums.iter_mut().zip(&params[name]).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        sums.iter().map(|sum| (sum / all.len() as f64) as f32).collect()
    };
    let expected: BTreeMap<String, Vec<f32>> =
        all[0].keys().map(|name| (name.clone(), mean_of(name))).collect();
    let tensors = whole.tensors();
    let kept: BTreeMap<String, Vec<f32>> = all[0]
        .keys()
        .map(|name| (name.clone(), reals(&tensors[&format!("optimizer/{name}/param.mean")])))
        .collect();
    assert!(apart(&kept, &expected) < 2e-6, "{}", apart(&kept, &expected));
    assert!(apart(&kept, &params(&folder, "whole")) > 1e-2, "the last ones are others");
    // Validation measures the mean, `eval` too, and the training goes on from the last ones.
    let loss = number(&whole.metrics()[2], "valid_loss");
    let shown = folder.ok(&["eval", "whole", "--split", "valid", "--threads", "1"]);
    assert!(shown.contains(&format!("loss        {loss:.4}\n")), "{loss}: {shown}");
    folder.write("plain.lstm", Model { more: "clip: norm(5)", ..TINY }.text());
    folder.ok(&["train", "plain.lstm", "--epochs", "3", "--threads", "1", "--out", "plain"]);
    assert_eq!(params(&folder, "plain"), params(&folder, "whole"), "training itself is the same");
    let plain = number(&folder.trained("plain").metrics()[2], "valid_loss");
    assert!((plain - loss).abs() > 1e-3, "{plain} {loss}");
    // Before the mean is taken there is none.
    let [before, after] = ["plain", "whole"].map(|run| folder.trained(run).timeless()[0].clone());
    assert_eq!(before, after);
    folder.ok(&["generate", "whole", "--prompt", "the", "--threads", "1"]);
}
