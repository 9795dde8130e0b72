//! Every command line in the documents and in `--help` is one that the command takes.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::{Cli, parse};

/// How a document starts the command.
const STARTS: [&str; 2] = ["lstmc ", "cargo run --release -- "];

fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    paths.extend(
        fs::read_dir(root.join("docs")).expect("the documents").map(|entry| entry.expect("one").path()),
    );
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let read = |path: &Path| fs::read_to_string(path).expect("a document");
    paths.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

/// The arguments of a command line as a shell splits them; `None` if it starts something else.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = STARTS.iter().find_map(|start| line.trim().strip_prefix(start))?;
    // What follows is for the shell.
    let line = line.split(" > ").next()?;
    let mut words = vec!["lstmc".to_owned()];
    for (at, part) in line.split('"').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    // In a table, capitals stand for what the reader has.
    words.iter_mut().filter(|word| *word == "STAGE").for_each(|word| "graph".clone_into(word));
    Some(words)
}

/// What is wrong with a command line. A text may name a command without its arguments.
fn fault(words: &[String], in_text: bool) -> Option<String> {
    let error = parse(words).err()?;
    match error.kind() {
        ErrorKind::DisplayHelp => None,
        ErrorKind::MissingRequiredArgument if in_text && words.len() == 2 => None,
        _ => Some(format!("{}: {error}", words.join(" "))),
    }
}

#[test]
fn every_example_of_the_documents_parses() {
    let mut faults = vec![];
    let mut seen = 0;
    for (path, text) in documents() {
        let mut fenced = false;
        for line in text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
                continue;
            }
            // In a text, what stands between backquotes.
            let step = if fenced { 1 } else { 2 };
            let parts: Vec<&str> = if fenced { vec![line] } else { line.split('`').skip(1).collect() };
            for words in parts.into_iter().step_by(step).filter_map(arguments) {
                seen += 1;
                faults.extend(fault(&words, !fenced).map(|fault| format!("{path}: {fault}")));
            }
        }
    }
    assert!(seen > 20, "only {seen} command lines were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_example_of_the_help_parses() {
    let mut faults = vec![];
    let command = Cli::command();
    for command in command.get_subcommands().chain([&command]) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<Vec<String>> = help.lines().filter_map(arguments).collect();
        assert!(!lines.is_empty(), "{} has no example", command.get_name());
        faults.extend(lines.iter().filter_map(|words| fault(words, false)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn faults_are_seen() {
    let words = |line: &str| arguments(line).expect("a command line");
    assert_eq!(words("lstmc generate RUN --prompt \"a b\""), ["lstmc", "generate", "RUN", "--prompt", "a b"]);
    assert!(arguments("cargo test --workspace").is_none());
    assert!(fault(&words("lstmc train --rezume runs/a"), true).is_some());
    assert!(fault(&words("lstmc train"), true).is_none() && fault(&words("lstmc train"), false).is_some());
}
