//! Runs that are not lost and not mixed: one process at a time writes a run, and goes on only with what it was made of.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::support::{Done, Folder, Model, TINY, done};

const LONG: [&str; 2] = ["--epochs", "1000000"];

/// A training that goes on until it is stopped. It is in the run's folder when this returns.
struct Training(Child);

impl Training {
    fn begin(folder: &Folder, args: &[&str]) -> Self {
        let mut command = folder.command(&[&["train", "--threads", "1"], args].concat());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the command starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = out.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("epoch ")));
        assert!(first.is_some(), "{args:?} ended before its first epoch");
        // The reader stops, and training goes on.
        Self(child)
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn all(folder: &Folder, commands: &[&[&str]]) -> Vec<Done> {
    let spawn = |args: &&[&str]| {
        let mut command = folder.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts")
    };
    let children: Vec<Child> = commands.iter().map(spawn).collect();
    children.into_iter().map(|child| done(child.wait_with_output().expect("the command ends"))).collect()
}

#[test]
fn trainings_at_the_same_time_are_runs_of_their_own() {
    let folder = Folder::new();
    let train: &[&str] = &["train", "tiny.lstm", "--epochs", "5", "--threads", "1"];
    let done = all(&folder, &[train; 4]);
    assert!(done.iter().all(|done| done.code == Some(0)), "{done:?}");
    assert_eq!(crate::support::names(&folder.path("runs")), ["tiny", "tiny-2", "tiny-3", "tiny-4"]);
    for name in ["tiny", "tiny-2", "tiny-3", "tiny-4"] {
        let run = folder.trained(&format!("runs/{name}"));
        let steps: Vec<String> = run.metrics().iter().map(|row| row["step"].to_string()).collect();
        assert_eq!(steps, ["8", "16", "24", "32", "40"], "{name}");
        assert!(done.iter().any(|done| done.out.contains(&format!("finished: runs/{name}\n"))), "{done:?}");
    }
}

#[test]
fn a_folder_is_given_to_one_training() {
    let folder = Folder::new();
    let train: &[&str] = &["train", "tiny.lstm", "--epochs", "300", "--threads", "1", "--out", "run"];
    let done = all(&folder, &[train; 3]);
    let codes = |code| done.iter().filter(|done| done.code == Some(code)).count();
    assert_eq!((codes(0), codes(1)), (1, 2), "{done:?}");
    for refused in done.iter().filter(|done| done.code == Some(1)) {
        let message = &refused.err;
        assert!(
            message.contains("is being written by process") || message.contains("already holds a run"),
            "{message}"
        );
    }
    assert_eq!(folder.trained("run").metrics().len(), 300);
}

#[test]
fn a_run_that_is_being_trained_can_be_read_and_not_written() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "3"]);
    let training = Training::begin(&folder, &[&["--resume", "run"], &LONG[..]].concat());
    let holder = format!("\"run\" is being written by process {}", training.id());
    for args in [&["train", "--resume", "run"][..], &["train", "tiny.lstm", "--out", "run"]] {
        let message = folder.refused(args);
        assert!(message.contains(&holder), "{message}");
    }
    folder.ok(&["eval", "run", "--threads", "1"]);
    folder.ok(&["predict", "run", "--threads", "1"]);
    folder.ok(&["generate", "run", "--prompt", "the", "--threads", "1"]);
    drop(training);
    // The lock goes with the process, however it ended.
    folder.ok(&["train", "--resume", "run", "--steps", "1", "--threads", "1"]);
    let steps: Vec<f64> =
        folder.trained("run").metrics().iter().map(|row| crate::support::number(row, "step")).collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
}

/// As a killed process leaves it: all of the folder but a checkpoint.
#[test]
fn a_run_without_a_checkpoint_can_be_gone_on_with_or_begun_again() {
    let folder = Folder::new();
    folder.train("whole", &["--epochs", "2", "--seed", "5"]);
    let whole = folder.trained("whole");
    let killed = |name: &str| {
        folder.train(name, &["--epochs", "1", "--seed", "5"]);
        let run = folder.trained(name);
        fs::remove_dir_all(run.0.join("checkpoints")).unwrap();
        fs::remove_file(run.0.join("latest")).unwrap();
        run
    };
    let run = killed("resumed");
    let message = folder.refused(&["eval", "resumed"]);
    assert!(
        message.contains("has no checkpoint yet") && message.contains("--resume \"resumed\""),
        "{message}"
    );
    folder.ok(&["train", "--resume", "resumed", "--epochs", "2", "--threads", "1"]);
    assert_eq!((run.tensors(), run.timeless()), (whole.tensors(), whole.timeless()));
    let run = killed("again");
    folder.train("again", &["--epochs", "2", "--seed", "5"]);
    assert_eq!((run.tensors(), run.timeless()), (whole.tensors(), whole.timeless()));
    // The default is always a new folder.
    folder.ok(&["train", "tiny.lstm", "--steps", "0", "--threads", "1"]);
    folder.ok(&["train", "tiny.lstm", "--steps", "0", "--threads", "1"]);
    assert_eq!(crate::support::names(&folder.path("runs")), ["tiny", "tiny-2"]);
}

#[test]
fn no_steps_save_the_initial_parameters() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "0", "--epochs", "2"]);
    let run = folder.trained("run");
    assert_eq!(run.checkpoints(), ["step-000000.safetensors"]);
    assert!(run.metrics().is_empty());
    let out = folder.ok(&["eval", "run", "--threads", "1"]);
    assert!(out.contains("(after 0 updates)"), "{out}");
    folder.ok(&["generate", "run", "--prompt", "the", "--threads", "1"]);
    folder.ok(&["train", "--resume", "run", "--epochs", "2", "--threads", "1"]);
    folder.train("whole", &["--epochs", "2"]);
    assert_eq!(run.tensors(), folder.trained("whole").tensors());
}

/// Resumes `run`, which must be refused with all of `parts`; its checkpoint stays, and `--accept-changes` goes on.
#[track_caller]
fn refused_unless_accepted(folder: &Folder, parts: &[&str]) -> String {
    let resume = ["train", "--resume", "run", "--epochs", "4", "--threads", "1"];
    let before = folder.trained("run").tensors();
    let message = folder.refused(&resume);
    for part in parts.iter().chain(&["--accept-changes"]) {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    assert_eq!(folder.trained("run").tensors(), before);
    folder.ok(&[&resume[..], &["--accept-changes"]].concat())
}

/// A folder with texts of their own for training, validation and test, and a run of 13 updates.
fn with_texts() -> Folder {
    let folder = Folder::new();
    let text = fs::read_to_string(folder.path("text.txt")).unwrap();
    for name in ["train.txt", "valid.txt", "test.txt"] {
        folder.write(name, &text);
    }
    let model = TINY.text().replace("train: \"text.txt\"", "train: \"train.txt\"");
    let model = model.replace("valid: \"text.txt\"", "valid: \"valid.txt\"");
    folder.write("tiny.lstm", model.replace("test: \"text.txt\"", "test: \"test.txt\""));
    folder.train("run", &["--epochs", "4", "--steps", "13"]);
    folder
}

#[test]
fn a_run_knows_its_texts() {
    let folder = with_texts();
    let run = fs::read_to_string(folder.path("run/run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    let texts = run["texts"].as_array().unwrap();
    let roles: Vec<&str> = texts.iter().map(|text| text["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["train", "valid", "test"]);
    for text in texts {
        assert_eq!((&text["bytes"], &text["tokens"]), (&440.into(), &90.into()), "{text}");
        assert_eq!(text["blake3"].as_str().unwrap().len(), 64);
    }
}

#[test]
fn another_text_is_not_taken_for_the_runs_own() {
    let text = fs::read_to_string(Folder::new().path("text.txt")).unwrap();
    let shorter = text.lines().take(6).map(|line| format!("{line}\n")).collect::<String>();
    let reversed: String =
        text.lines().map(|line| line.rsplit(' ').collect::<Vec<_>>().join(" ") + "\n").collect();
    let other = text.replace("fox", "cat");
    for (name, what) in [("train", "training"), ("valid", "validation"), ("test", "test")] {
        for (changed, found) in [(&shorter, "264 bytes, 54 tokens"), (&reversed, "440 bytes, 90 tokens")] {
            let folder = with_texts();
            folder.write(&format!("{name}.txt"), changed);
            let file = format!("{name}.txt\" is not the one that this run was begun with");
            let was = "and that had 440 bytes, 90 tokens, BLAKE3 ";
            let out = refused_unless_accepted(&folder, &[&format!("the {what} text"), &file, found, was]);
            assert!(out.contains(&format!("changed     the {what} text has {found}, BLAKE3 ")), "{out}");
            let log = fs::read_to_string(folder.path("run/log.txt")).unwrap();
            assert!(log.contains(&format!("changed: the {what} text has")), "{log}");
            // It is the run's own from then on.
            folder.ok(&["train", "--resume", "run", "--epochs", "5", "--threads", "1"]);
        }
    }
    // A new word cannot be read with the run's vocabulary, and that is what is said.
    let folder = with_texts();
    folder.write("train.txt", other);
    let resume = ["train", "--resume", "run", "--epochs", "4", "--threads", "1"];
    let message = folder.refused(&resume);
    assert!(message.contains("train.txt\" is not the one") && !message.contains("vocab.json"), "{message}");
    let message = folder.refused(&[&resume[..], &["--accept-changes"]].concat());
    assert!(
        message.contains("\"cat\"; the first is in line 1") && message.contains("train.txt has"),
        "{message}"
    );
    assert!(!message.contains("vocab.json"), "{message}");
}

#[test]
fn a_shorter_text_moves_the_run_in_its_epoch_and_says_so() {
    let folder = with_texts();
    folder.write("train.txt", format!("{}\n", crate::support::SENTENCE).repeat(6));
    let out = refused_unless_accepted(&folder, &["54 tokens"]);
    assert!(out.contains("changed     an epoch has 5 batches, and had 8"), "{out}");
}

#[test]
fn a_run_of_before_texts_were_recorded_goes_on() {
    let folder = with_texts();
    let settings = fs::read_to_string(folder.path("run/run.json")).unwrap();
    let mut settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    settings.as_object_mut().unwrap().remove("texts");
    folder.write("run/run.json", settings.to_string());
    let resume = ["train", "--resume", "run", "--epochs", "4", "--threads", "1"];
    let message = folder.refused(&resume);
    assert!(message.contains("has no record of having read it"), "{message}");
    let out = folder.ok(&[&resume[..], &["--accept-changes"]].concat());
    assert!(out.contains("the texts cannot be checked"), "{out}");
    let out = folder.ok(&[&resume[..4], &["5"], &resume[5..]].concat());
    assert!(!out.contains("cannot be checked"), "{out}");
}

#[test]
fn the_vocabulary_is_the_runs_own() {
    let folder = with_texts();
    let resume = ["train", "--resume", "run", "--epochs", "4", "--threads", "1"];
    let path = folder.path("run/vocab.json");
    let words = fs::read_to_string(&path).unwrap();
    folder.write("run/vocab.json", words.replace("fox", "cat"));
    let message = folder.refused(&resume);
    assert!(message.contains("another vocabulary") && message.contains("vocab.json"), "{message}");
    fs::remove_file(&path).unwrap();
    for args in [&resume[..], &["eval", "run"]] {
        let message = folder.refused(args);
        assert!(message.contains("the run \"run\" has no vocab.json any more"), "{message}");
    }
    assert!(!path.exists(), "it is not made anew");
    folder.write("run/vocab.json", &words);
    folder.ok(&resume);
}

#[test]
fn what_was_changed_in_the_runs_model_is_said() {
    let folder = with_texts();
    let model = fs::read_to_string(folder.path("run/model.lstm")).unwrap();
    let resume = ["train", "--resume", "run", "--epochs", "4", "--threads", "1"];
    // Only a comment and layout.
    let model = format!("// mine\n{}", model.replace("\n train", "\n    train"));
    folder.write("run/model.lstm", &model);
    let out = folder.ok(&[&resume[..], &["--steps", "14"]].concat());
    assert!(!out.contains("changed"), "{out}");
    folder.write("run/model.lstm", model.replace("rate: 0.02", "rate: 0.01"));
    let done = folder.run(&["eval", "run", "--threads", "1"]);
    assert!(done.code == Some(0) && done.err.contains("is `optimizer: adam(rate: 0.01)`"), "{done:?}");
    let out = folder.ok(&[&resume[..], &["--steps", "15"]].concat());
    let said = "is `optimizer: adam(rate: 0.01)`, and was `optimizer: adam(rate: 0.02)`";
    assert!(
        out.contains("changed     the model since the last checkpoint: line ") && out.contains(said),
        "{out}"
    );
    // Said once: the next checkpoint has it.
    let out = folder.ok(&[&resume[..], &["--steps", "16"]].concat());
    assert!(!out.contains("changed"), "{out}");
    let model = fs::read_to_string(folder.path("run/model.lstm")).unwrap();
    folder.write("run/model.lstm", model.replace("steps: 5", "steps: 4"));
    let out = refused_unless_accepted(
        &folder,
        &["`batches` of run/model.lstm was changed after 16 updates", "steps: 4"],
    );
    assert!(out.contains("an epoch has 11 batches, and had 8"), "{out}");
    folder.write("run/model.lstm", model.replace("tokens: words", "tokens: characters"));
    let message = folder.refused(&[&resume[..], &["--accept-changes"]].concat());
    assert!(message.contains("`tokens` is not what this run was trained with"), "{message}");
}

#[test]
fn the_seed_is_that_of_the_checkpoint() {
    let folder = with_texts();
    let settings = fs::read_to_string(folder.path("run/run.json")).unwrap();
    folder.write("run/run.json", settings.replace("\"seed\":0", "\"seed\":1"));
    let message = folder.refused(&["train", "--resume", "run"]);
    for part in ["run/run.json says seed 1", "step-000013", "was trained with seed 0"] {
        assert!(message.contains(part), "{message}");
    }
}

/// Trains with an output that is closed after `lines` lines.
fn with_a_short_reader(folder: &Folder, lines: usize, more: &[&str]) -> Option<i32> {
    let train = ["train", "tiny.lstm", "--threads", "1", "--epochs", "60", "--out", "run"];
    let mut command = folder.command(&[&train[..], more].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the command starts");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    assert_eq!(out.lines().take(lines).count(), lines);
    child.wait().expect("the command ends").code()
}

#[test]
fn training_goes_on_without_a_reader() {
    for (lines, more) in [(0, &[][..]), (1, &[]), (1, &["--json"]), (7, &["--json"])] {
        let folder = Folder::new();
        assert_eq!(with_a_short_reader(&folder, lines, more), Some(0));
        let run = folder.trained("run");
        assert!(run.latest().ends_with("epoch-60.safetensors"));
        assert_eq!(run.metrics().len(), 60);
        let log = fs::read_to_string(run.0.join("log.txt")).unwrap();
        assert!(log.contains("epoch 60/60") && log.ends_with("finished\n"), "{log}");
    }
    // The exit code is that of the training.
    let folder = Folder::new();
    let more = "schedule: decay(1e40, after: 1)";
    folder.write("tiny.lstm", Model { optimizer: "sgd(rate: 0.1)", more, ..TINY }.text());
    assert_eq!(with_a_short_reader(&folder, 1, &[]), Some(1));
}

/// `eval | head` and the like: the result is what it is, and so is the exit code.
#[test]
fn readers_that_have_had_enough_are_no_error() {
    let folder = Folder::new();
    folder.train("run", &["--epochs", "1"]);
    for args in [
        &["check", "tiny.lstm"][..],
        &["emit", "tiny.lstm", "--stage", "asm"],
        &["eval", "run"],
        &["predict", "run"],
        &["predict", "run", "--json"],
        &["score", "run", "text.txt", "--tokens", "--json"],
        &["generate", "run", "--prompt", "the", "--length", "5000"],
        &["generate", "run", "--prompt", "the", "--count", "50", "--json"],
        &["gradcheck", "tiny.lstm"],
    ] {
        let mut child = folder.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let done = done(child.wait_with_output().unwrap());
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{args:?}");
    }
    let layers = ["lstm(40000)"; 10].join(" -> ");
    folder.write("large.lstm", TINY.text().replace("lstm(16)", &layers));
    let mut child = folder.command(&["check", "large.lstm"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = done(child.wait_with_output().unwrap());
    assert!(done.code == Some(1) && done.err.contains("TiB of memory"), "{done:?}");
}
