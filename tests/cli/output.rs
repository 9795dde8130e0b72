//! What is printed: for terminals, pipes and logs, in few lines, with advice that works.

use std::fs;

use crate::support::{Folder, Model, TINY};

/// What a terminal would obey rather than show.
fn commands(text: &str) -> bool {
    text.contains(|c: char| c.is_control() && !"\n\t".contains(c) || "\u{202e}\u{2066}".contains(c))
}

#[test]
fn nothing_that_a_terminal_obeys_is_printed() {
    const EVIL: &str = "evil\u{1b}[2J\u{7}\u{9b}31m\u{202e}";
    let folder = Folder::new();
    folder.write("text.txt", format!("the quick {EVIL} fox\n").repeat(20));
    let check = |args: &[&str], code: i32, shown: bool| {
        let done = folder.run(args);
        assert_eq!(done.code, Some(code), "{args:?}: {}{}", done.out, done.err);
        assert!(!commands(&done.out) && !commands(&done.err), "{args:?}: {:?} {:?}", done.out, done.err);
        let both = done.out + &done.err;
        assert_eq!(both.contains("\\u{1b}[2J") || both.contains("\\u001b[2J"), shown, "{args:?}: {both}");
    };
    // Samples of iterations are of the text.
    let batches = "windows(length: 3, stride: 1, rows: 1, targets: last)";
    let model = "tokens -> embedding(8) -> lstm(16) -> last -> dense(vocab) -> softmax";
    let length = "iterations: 30\n report_every: 1";
    folder.write("tiny.lstm", Model { batches, model, length, ..TINY }.text());
    check(&["train", "tiny.lstm", "--out", "run", "--threads", "1"], 0, true);
    check(&["train", "tiny.lstm", "--out", "json", "--threads", "1", "--json"], 0, true);
    check(&["predict", "run", "--threads", "1"], 0, true);
    // Errors with words, paths, arguments and lines of a model file.
    check(&["generate", "run", "--prompt", &format!("{EVIL}x")], 1, true);
    check(&["eval", EVIL], 1, true);
    check(&["check", EVIL], 1, true);
    check(&["train", "tiny.lstm", "--out", &format!("text.txt/{EVIL}")], 1, true);
    check(&["eval", "run", "--split", EVIL], 2, false);
    check(&["eval", "run", "--data", EVIL], 1, true);
    folder.write("evil.lstm", TINY.text().replace("lstm(16)", &format!("\"{EVIL}\"")));
    check(&["check", "evil.lstm"], 1, true);
    folder.write("evil.lstm", TINY.text().replace("text.txt", EVIL));
    check(&["check", "evil.lstm"], 1, true);
    check(&["emit", "evil.lstm", "--stage", "tokens"], 0, true);
    let log = fs::read_to_string(folder.path("run/log.txt")).unwrap();
    assert!(!commands(&log), "{log:?}");
}

/// A file or a pipe gets the text as it is; line ends and tabs are text everywhere.
#[test]
fn written_text_is_the_text_where_no_terminal_reads_it() {
    let folder = Folder::new();
    folder.write("text.txt", "ab\t\u{1b}c\n".repeat(40));
    folder.write("tiny.lstm", Model { tokens: "characters", ..TINY }.text());
    folder.train("run", &["--steps", "1"]);
    let out =
        folder.ok(&["generate", "run", "--prompt", "ab\t\u{1b}c\na", "--length", "0", "--threads", "1"]);
    assert_eq!(out, "ab\t\u{1b}c\na\n");
}

#[test]
fn every_epoch_has_its_line() {
    let folder = Folder::new();
    let out = folder.train("run", &[]);
    let log = fs::read_to_string(folder.path("run/log.txt")).unwrap();
    for epoch in 1..=40 {
        let line = format!("epoch {epoch:>2}/40  ");
        assert_eq!(out.lines().filter(|found| found.starts_with(&line)).count(), 1, "{epoch}: {out}");
        assert_eq!(log.matches(&line).count(), 1, "{epoch}: {log}");
    }
}

#[test]
fn speed_is_that_of_the_models_tokens() {
    for (tokens, unit) in
        [("words", "words"), ("words_and_punctuation", "tokens"), ("characters", "characters")]
    {
        let folder = Folder::new();
        folder.write("tiny.lstm", Model { tokens, ..TINY }.text());
        let out = folder.train("run", &["--epochs", "1"]);
        let units = |ending: &str| {
            ["words", "tokens", "characters"].map(|unit| out.contains(&format!(" {unit}{ending}")))
        };
        assert_eq!(units("/s  "), ["words", "tokens", "characters"].map(|other| other == unit), "{out}");
        assert_eq!(units("\n"), units("/s  "), "the vocabulary: {out}");
    }
}

#[test]
fn one_is_singular() {
    let folder = Folder::new();
    folder.write("text.txt", "a ".repeat(30));
    folder.write("tiny.lstm", Model { batches: "stream(rows: 1, steps: 1)", ..TINY }.text());
    let out = folder.ok(&["check", "tiny.lstm", "--threads", "1"]);
    assert!(out.contains("vocabulary  1 id\n") && out.contains(" 1 row of 1 step, "), "{out}");
    let out = folder.train("run", &["--steps", "1"]);
    assert!(out.contains(" 1 distinct word\n") && out.contains("for 1 thread\n"), "{out}");
    let out = folder.ok(&["eval", "run", "--threads", "1"]);
    assert!(out.contains("(after 1 update)"), "{out}");
    folder.write("text.txt", "a");
    let message = folder.refused(&["train", "tiny.lstm"]);
    assert!(message.contains("has 1 token, and 1 row of 1 step needs at least 2"), "{message}");
    assert!(message.contains("use more text") && !message.contains("fewer"), "{message}");
}

#[test]
fn a_file_that_is_no_model_has_a_few_errors() {
    let folder = Folder::new();
    folder.write(
        "prose.lstm",
        format!("data {{\n{}}}\n", "it was the best of times: it was the worst;\n".repeat(2000)),
    );
    let message = folder.refused(&["check", "prose.lstm"]);
    let errors = message.matches("error[E").count();
    assert!((1..=20).contains(&errors), "{errors}");
    assert!(message.lines().count() < 200, "{} lines", message.lines().count());
    let last = message.lines().last().unwrap();
    assert!(last.starts_with("and ") && last.ends_with(" more errors"), "{last}");
    // All of it in one line.
    folder.write("line.lstm", format!("data {{{}}}", "text: [1, 2 3], ".repeat(20_000)));
    let message = folder.refused(&["check", "line.lstm"]);
    assert!(message.len() < 10_000, "{} bytes", message.len());
}

/// What a message says to do can be done.
#[test]
fn advice_about_runs_and_model_files_works() {
    let folder = Folder::new();
    fs::create_dir(folder.path("texts")).unwrap();
    fs::rename(folder.path("text.txt"), folder.path("texts/text.txt")).unwrap();
    folder.train("run", &["--data", "texts", "--steps", "1"]);
    for command in
        [&["profile", "--steps", "1"][..], &["check"], &["emit", "--stage", "graph"], &["gradcheck"]]
    {
        let message = folder.refused(&[command, &["run"]].concat());
        assert!(message.contains("its model, run/model.lstm"), "{message}");
        folder.ok(&[command, &["run/model.lstm"]].concat());
    }
    let message = folder.refused(&["train", "run"]);
    assert!(message.contains("`lstmc train --resume run`"), "{message}");
    folder.ok(&["train", "--resume", "run", "--steps", "2", "--threads", "1"]);
    folder.ok(&["train", "run/model.lstm", "--steps", "1", "--threads", "1", "--out", "second"]);
}

#[test]
fn names_that_are_nearly_right() {
    let folder = Folder::new();
    folder.write("base.lstm", TINY.text());
    for name in ["base", "other"] {
        folder.train(&format!("runs/{name}"), &["--steps", "0"]);
    }
    for (args, part) in [
        (&["eval", "runs/bse"][..], "did you mean runs/base?"),
        (&["eval", "base"], "did you mean runs/base?"),
        (&["train", "--resume", "runs/oter"], "did you mean runs/other?"),
        (&["eval", "runs/something"], "there are runs/base, runs/other"),
        (&["eval", "runs"], "runs is a folder of runs, not a run; name one of them: runs/base, runs/other"),
        (&["generate", "runs", "--prompt", "a"], "name one of them: runs/base, runs/other"),
        (&["train", "base"], "did you mean base.lstm?"),
        (&["check", "bsae.lstm"], "did you mean base.lstm?"),
        (&["check", "something.lstm"], "there are base.lstm, tiny.lstm"),
    ] {
        let message = folder.refused(args);
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

/// Advice names nothing that is already there.
#[test]
fn advice_is_not_what_was_done() {
    let folder = Folder::new();
    let failing = |more: &'static str, batches: &'static str| {
        folder.write("tiny.lstm", Model { optimizer: "sgd(rate: 0.1)", more, batches, ..TINY }.text());
        let _ = fs::remove_dir_all(folder.path("run"));
        folder.refused(&["train", "tiny.lstm", "--out", "run", "--threads", "1"])
    };
    let message = failing("schedule: decay(1e40, after: 1)", TINY.batches);
    assert!(message.contains("lower the rate") && message.contains("clip: norm(5.0)"), "{message}");
    let message = failing("schedule: decay(1e40, after: 1)\n clip: norm(5)", TINY.batches);
    assert!(message.contains("lower the rate") && !message.contains("clip the gradients"), "{message}");
    let short = |batches: &'static str| failing("", batches);
    assert!(short("stream(rows: 1, steps: 500)").contains("use fewer steps, or more text"));
    assert!(short("stream(rows: 500, steps: 1)").contains("use fewer rows, or more text"));
    let length = "iterations: 10\n report_every: 5";
    folder.write("tiny.lstm", Model { length, ..TINY }.text());
    let epochs = ["train", "tiny.lstm", "--epochs", "3"];
    assert!(folder.refused(&epochs).contains("use --steps"));
    assert!(folder.refused(&[&epochs[..], &["--steps", "3"]].concat()).contains("leave --epochs out"));
    let missing = |args: &[&str]| folder.refused(&[&["check", "tiny.lstm"], args].concat());
    fs::remove_file(folder.path("text.txt")).unwrap();
    let message = missing(&[]);
    assert!(message.contains("--data") && message.contains("--vocab"), "{message}");
    let message = missing(&["--data", "."]);
    assert!(!message.contains("--data") && !message.contains("--vocab"), "{message}");
    let message = folder.refused(&["train", "tiny.lstm", "--out", "tiny.lstm/run", "--data", "."]);
    assert!(!message.contains("--data"), "{message}");
}
