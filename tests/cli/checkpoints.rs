//! Which checkpoints stay, which one is used, and when a training ends before its time.

use std::fs;

use crate::support::{Folder, Model, TINY, number};

/// A folder with a model that learns its text by heart, and a text to validate on that has the same words in another order: from
/// some epoch on it only becomes worse.
fn overfitting(more: &'static str) -> Folder {
    let folder = Folder::new();
    folder
        .write("valid.txt", "the lazy fox jumps over the brown dog\nquick the dog over lazy fox\n".repeat(3));
    let text = Model { more, ..TINY }.text();
    folder.write("tiny.lstm", text.replace("valid: \"text.txt\"", "valid: \"valid.txt\""));
    folder
}

/// The epoch of the lowest validation loss.
fn best_of(folder: &Folder, run: &str) -> u64 {
    let mut rows = folder.trained(run).metrics();
    rows.retain(|row| row["valid_loss"].is_number());
    let best = rows.iter().min_by(|a, b| number(a, "valid_loss").total_cmp(&number(b, "valid_loss")));
    number(best.expect("a row"), "epoch") as u64
}

fn file(epoch: u64) -> String {
    format!("epoch-{epoch:02}.safetensors")
}

#[test]
fn a_training_ends_when_it_no_longer_gets_better_and_keeps_the_best() {
    let folder = overfitting("checkpoint: best\n patience: 3");
    let out = folder.train("run", &[]);
    let (run, best) = (folder.trained("run"), best_of(&folder, "run"));
    let last = run.metrics().len() as u64;
    assert!(1 < best && last == best + 3 && last < 40, "{best} of {last}: {out}");
    assert_eq!(run.checkpoints(), [file(best), file(last)]);
    let path = format!("run/checkpoints/{}", file(best));
    let (_, end) = out.split_once("stopped early, after 3 validations without a better loss: run\n").unwrap();
    let lines: Vec<&str> = end.lines().collect();
    assert!(
        lines[0].starts_with(&format!("best        epoch {best} of 40: validation perplexity ")),
        "{end}"
    );
    assert_eq!(
        lines[1..],
        [format!("checkpoint  {path}"), "next        lstmc eval run --checkpoint best".into()]
    );
    // The command that is named works, and so do all other ways to name it.
    for which in ["best", &best.to_string(), &path] {
        let shown = folder.ok(&["eval", "run", "--checkpoint", which, "--threads", "1"]);
        assert!(shown.contains(&format!("{path} (after {} updates)", 8 * best)), "{shown}");
        folder.ok(&["predict", "run", "--checkpoint", which, "--threads", "1"]);
        folder.ok(&["generate", "run", "--checkpoint", which, "--prompt", "the", "--threads", "1"]);
    }
    let newest = folder.ok(&["eval", "run", "--checkpoint", "newest", "--threads", "1"]);
    assert_eq!(newest, folder.ok(&["eval", "run", "--threads", "1"]));
    assert!(newest.contains(&file(last)), "{newest}");
    // Nothing is left to do, and the same is said.
    let again = folder.ok(&["train", "--resume", "run", "--threads", "1"]);
    assert!(again.ends_with(end), "{again}");
}

#[test]
fn patience_is_counted_on_after_a_stop() {
    let folder = overfitting("checkpoint: best\n patience: 3\n keep: 2");
    folder.train("whole", &[]);
    let (whole, best) = (folder.trained("whole"), best_of(&folder, "whole"));
    assert_eq!(whole.checkpoints(), [best, best + 2, best + 3].map(file));
    for cut in [3, 8 * best, 8 * best + 11] {
        let name = format!("cut-{cut}");
        folder.train(&name, &["--steps", &cut.to_string()]);
        folder.ok(&["train", "--resume", &name, "--threads", "1"]);
        let run = folder.trained(&name);
        assert_eq!((run.tensors(), run.checkpoints()), (whole.tensors(), whole.checkpoints()), "{name}");
    }
}

#[test]
fn what_checkpoints_there_are_is_said() {
    let folder = overfitting("keep: 2");
    folder.train("run", &["--epochs", "5", "--steps", "30"]);
    let refused = |which| folder.refused(&["eval", "run", "--checkpoint", which, "--threads", "1"]);
    let best = best_of(&folder, "run");
    assert!(best < 4, "the best of three: {best}");
    let there = if best > 1 { format!("best (epoch {best}), ") } else { String::new() };
    let there = format!("epochs 2 and 3, {there}newest (step 30)\n");
    for (which, what) in [
        ("1", "none of the checkpoints of \"run\" is of epoch 1; there are "),
        (
            "x.safetensors",
            "none of the checkpoints of \"run\" is the file \"x.safetensors\", which is not there",
        ),
    ] {
        let message = refused(which);
        assert!(message.contains(what) && message.ends_with(&there), "{message}");
    }
    let folder = Folder::new();
    folder.write("tiny.lstm", TINY.text().replace("valid: \"text.txt\"", ""));
    folder.train("run", &["--epochs", "2"]);
    let message = folder.refused(&["generate", "run", "--prompt", "the", "--checkpoint", "best"]);
    assert!(
        message.contains("is the best: nothing was validated; there are epochs 1 and 2, newest"),
        "{message}"
    );
    let message = folder.refused(&["train", "--resume", "run", "--checkpoint", "3"]);
    assert!(message.contains("is of epoch 3; there are epochs 1 and 2, newest"), "{message}");
}

#[test]
fn iterations_are_named_by_their_number() {
    let folder = Folder::new();
    let model = Model { length: "iterations: 20\n report_every: 4\n keep: 3\n checkpoint: best", ..TINY };
    folder.write("tiny.lstm", model.text());
    let out = folder.train("run", &[]);
    let names = folder.trained("run").checkpoints();
    let steps = ["step-000012", "step-000016", "step-000020"].map(|name| format!("{name}.safetensors"));
    assert!(steps.iter().all(|name| names.contains(name)) && names.len() <= 4, "{names:?}");
    assert!(out.contains("\nbest        step "), "{out}");
    let shown = folder.ok(&["eval", "run", "--checkpoint", "16", "--threads", "1"]);
    assert!(shown.contains("step-000016.safetensors (after 16 updates)"), "{shown}");
    let message = folder.refused(&["eval", "run", "--checkpoint", "17"]);
    assert!(message.contains("is of step 17; there are steps 12, 16 and 20, best (step "), "{message}");
}

#[test]
fn a_run_goes_on_from_an_older_checkpoint() {
    let folder = Folder::new();
    folder.train("run", &["--epochs", "4"]);
    let run = folder.trained("run");
    let (tensors, rows) = (run.tensors(), run.timeless());
    let out =
        folder.ok(&["train", "--resume", "run", "--checkpoint", "2", "--epochs", "4", "--threads", "1"]);
    assert!(out.contains("resumed     at step 16\n"), "{out}");
    assert!(
        out.contains("left behind epochs 3 and 4, whose checkpoints are named left-... from now on\n"),
        "{out}"
    );
    assert_eq!((run.tensors(), run.timeless()), (tensors, rows), "the same way again");
    let names = run.checkpoints();
    assert_eq!(names[..4], [1, 2, 3, 4].map(file));
    assert_eq!(names[4..], [3, 4].map(|epoch| format!("left-{}", file(epoch))));
    let left = format!("run/checkpoints/left-{}", file(3));
    let shown = folder.ok(&["eval", "run", "--checkpoint", &left, "--threads", "1"]);
    assert!(shown.contains("(after 24 updates)"), "{shown}");
    // Another run's checkpoint is not gone on from.
    folder.train("other", &["--epochs", "1", "--seed", "9"]);
    let path = format!("other/checkpoints/{}", file(1));
    let message = folder.refused(&["train", "--resume", "run", "--checkpoint", &path]);
    assert!(message.contains("was trained with seed 9"), "{message}");
    assert_eq!(run.checkpoints(), names);
}

#[test]
fn a_run_at_its_end_says_how_it_goes_on() {
    let folder = Folder::new();
    folder.train("run", &["--epochs", "2"]);
    for epochs in ["1", "2"] {
        let out = folder.ok(&["train", "--resume", "run", "--epochs", epochs, "--threads", "1"]);
        let line = "at its end  2 epochs are done: `lstmc train --resume run --epochs 3` makes one more\n";
        assert!(out.contains(line), "{out}");
    }
    let out = folder.ok(&["train", "--resume", "run", "--epochs", "3", "--threads", "1"]);
    assert!(!out.contains("at its end") && out.contains("epoch 3/3"), "{out}");
    folder.write("tiny.lstm", Model { length: "iterations: 10 report_every: 5", ..TINY }.text());
    folder.train("counted", &[]);
    let out = folder.ok(&["train", "--resume", "counted", "--threads", "1"]);
    assert!(
        out.contains("at its end  10 iterations are done: write a larger number into counted/model.lstm"),
        "{out}"
    );
}

#[test]
fn a_run_can_be_gone_on_with_from_its_first_moment() {
    let folder = Folder::new();
    folder.write("tiny.lstm", TINY.text().replace("rate: 0.02", "rate: 1e30"));
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run", "--threads", "1"]);
    assert!(message.contains("training has diverged"), "{message}");
    let run = folder.trained("run");
    assert_eq!(run.checkpoints(), ["step-000000.safetensors"]);
    // A run that has learned nothing is begun again, with another model.
    folder.write("tiny.lstm", TINY.text());
    folder.train("run", &["--epochs", "1"]);
    assert_eq!(run.checkpoints(), [file(1)]);
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run"]);
    assert!(message.contains("already holds a run"), "{message}");
}

#[test]
fn the_best_needs_something_to_validate_on() {
    let folder = overfitting("checkpoint: best");
    let valid = folder.path("valid.txt");
    fs::write(valid, "fox\n").unwrap();
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run"]);
    assert!(message.contains("the validation text offers nothing to predict"), "{message}");
    assert!(!folder.path("run").exists());
}
