//! `lstmc fmt`: what it changes, shows and leaves alone. (What the layout is, is for `compiler/tests/format.rs`.)

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::{Done, Folder, TINY, done};

const UGLY: &str = "data{train:\"text.txt\"  // a text\n tokens:words batches:stream(rows:2,steps:5)}\n";
const PRETTY: &str = "data {\n    train: \"text.txt\"    // a text\n    tokens: words\n    batches: stream(rows: 2, steps: 5)\n}\n";

fn read(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path(name)).expect("a file")
}

/// Formats standard input.
fn piped(folder: &Folder, args: &[&str], text: &str) -> Done {
    let mut command = folder.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
    done(child.wait_with_output().expect("it ends"))
}

#[test]
fn files_are_formatted_where_they_are() {
    let folder = Folder::new();
    folder.write("ugly.lstm", UGLY);
    folder.write("pretty.lstm", PRETTY);
    folder.write("other.txt", UGLY);
    assert_eq!(folder.ok(&["fmt", "ugly.lstm", "pretty.lstm"]), "formatted   ugly.lstm\n");
    assert_eq!(read(&folder, "ugly.lstm"), PRETTY);
    // All that are here.
    assert_eq!(folder.ok(&["fmt"]), "formatted   tiny.lstm\n");
    assert_eq!(folder.ok(&["fmt"]), "");
    assert_eq!(read(&folder, "other.txt"), UGLY);
    // It is the model that it was.
    folder.train("run", &["--steps", "2"]);
    let formatted = folder.trained("run").tensors();
    folder.write("tiny.lstm", TINY.text());
    folder.train("again", &["--steps", "2"]);
    assert!(formatted == folder.trained("again").tensors());
    // In a folder.
    fs::create_dir(folder.path("models")).expect("a folder");
    assert!(folder.refused(&["fmt", "models"]).contains("models has no files that end in .lstm"));
    folder.write("models/a.lstm", UGLY.replace('\n', "\r\n"));
    assert_eq!(folder.ok(&["fmt", "models"]), "formatted   models/a.lstm\n");
    assert_eq!(read(&folder, "models/a.lstm"), PRETTY);
    assert!(folder.refused(&["fmt", "missing.lstm"]).contains("cannot find the model file \"missing.lstm\""));
}

#[test]
fn what_would_be_changed_is_shown() {
    let folder = Folder::new();
    folder.write("ugly.lstm", UGLY);
    folder.write("pretty.lstm", PRETTY);
    let found = folder.run(&["fmt", "--check", "pretty.lstm", "ugly.lstm"]);
    assert_eq!((found.code, found.err.as_str()), (Some(1), ""));
    let expected =
        "--- ugly.lstm\n+++ ugly.lstm, formatted\n@@ -1,2 +1,5 @@\n-data{train:\"text.txt\"  // a text\n";
    assert!(found.out.starts_with(expected), "{}", found.out);
    assert!(found.out.contains("+    tokens: words\n") && !found.out.contains("pretty"), "{}", found.out);
    assert_eq!(read(&folder, "ugly.lstm"), UGLY);
    assert_eq!(folder.ok(&["fmt", "--check", "pretty.lstm"]), "");
}

#[test]
fn standard_input_is_formatted() {
    let folder = Folder::new();
    let found = piped(&folder, &["fmt", "-"], UGLY);
    assert_eq!((found.code, found.out.as_str()), (Some(0), PRETTY));
    let found = piped(&folder, &["fmt", "-", "--check"], UGLY);
    assert!(found.code == Some(1) && found.out.starts_with("--- standard input\n"), "{}", found.out);
    let found = piped(&folder, &["fmt", "-", "--check"], PRETTY);
    assert_eq!((found.code, found.out.as_str()), (Some(0), ""));
    let found = piped(&folder, &["fmt", "-"], "data {");
    assert!(found.code == Some(1) && found.out.is_empty(), "{}", found.out);
    assert!(found.err.contains("standard input:1:7"), "{}", found.err);
    let found = piped(&folder, &["fmt", "-", "tiny.lstm"], UGLY);
    assert!(found.code == Some(1) && found.err.contains("stands alone"), "{}", found.err);
}

#[test]
fn a_file_with_errors_is_left_alone_and_others_are_not() {
    let folder = Folder::new();
    let wrong = "data{tokens:=words}\n";
    folder.write("a.lstm", wrong);
    folder.write("b.lstm", UGLY);
    let found = folder.run(&["fmt", "a.lstm", "b.lstm"]);
    assert_eq!((found.code, found.out.as_str()), (Some(1), "formatted   b.lstm\n"));
    assert!(found.err.contains("error[E0101]") && found.err.contains("a.lstm:1:"), "{}", found.err);
    assert_eq!((read(&folder, "a.lstm").as_str(), read(&folder, "b.lstm").as_str()), (wrong, PRETTY));
}

#[cfg(unix)]
#[test]
fn a_link_stays_one() {
    let folder = Folder::new();
    folder.write("ugly.lstm", UGLY);
    std::os::unix::fs::symlink("ugly.lstm", folder.path("link.lstm")).expect("a link");
    folder.ok(&["fmt", "link.lstm"]);
    assert!(fs::symlink_metadata(folder.path("link.lstm")).expect("the link").is_symlink());
    assert_eq!(read(&folder, "ugly.lstm"), PRETTY);
}
