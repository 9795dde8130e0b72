//! Trained runs as Rust programs use them, beside what the command says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lstmc_runtime::run::{Scored, Writing};
use lstmc_runtime::run_dir::Choice;
use lstmc_runtime::sample::Sampler;
use lstmc_runtime::{Error, Run};
use serde_json::Value;
use tempfile::TempDir;

#[allow(dead_code, reason = "only its `main` is not used here")]
#[path = "../examples/use_a_run.rs"]
mod example;

const SENTENCE: &str = "the quick brown fox jumps over the lazy dog";

fn command(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lstmc"));
    let output = command.args(args).current_dir(folder).output().expect("the command starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn train(folder: &Path, name: &str, batches: &str, layers: &str) {
    let model = format!(
        "data {{ train: \"text.txt\" tokens: words(newline: \"<eos>\") batches: {batches} }}\n\
         model {{ tokens -> embedding(8) -> lstm(16) {layers} -> dense(vocab) }}\n\
         train {{ loss: cross_entropy optimizer: adam(rate: 0.02) init: uniform(0.1) epochs: 6 }}"
    );
    fs::write(folder.join("text.txt"), format!("{SENTENCE}\n").repeat(10)).expect("a text");
    fs::write(folder.join(format!("{name}.lstm")), model).expect("a model");
    command(folder, &["train", &format!("{name}.lstm"), "--threads", "1"]);
}

/// A run with state that is carried, and one that reads three words.
fn runs() -> [PathBuf; 2] {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        train(folder.path(), "stream", "stream(rows: 2, steps: 5)", "");
        train(folder.path(), "last", "windows(length: 3, stride: 1, rows: 4, targets: last)", "-> last");
        folder
    });
    ["stream", "last"].map(|name| folder.path().join("runs").join(name))
}

fn lines() -> Vec<String> {
    let words: Vec<&str> = SENTENCE.split(' ').collect();
    (0..200)
        .map(|at| words.iter().cycle().skip(at).take(at % 23).copied().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn what_comes_next_is_a_distribution_and_what_generation_draws_from() {
    for path in runs() {
        let mut run = Run::open(&path).unwrap();
        let next = run.next_probabilities("fox jumps over the").unwrap();
        let sum: f32 = next.probabilities().iter().sum();
        assert!((sum - 1.0).abs() < 1e-4);
        let top = next.top(3);
        assert_eq!((top.len(), next.of(&top[0].0)), (3, Some(top[0].1)));
        assert!(top[0].1 >= top[1].1 && next.of("zebra").is_none() && next.unknown.is_none());
        let first = top[0].0.clone();
        let greedy = Writing { length: 1, sampler: Sampler::greedy(), ..Writing::default() };
        assert_eq!(run.generate("fox jumps over the", &greedy).unwrap().text.trim(), first);
        assert!(run.next_probabilities("fox jumps over a").is_err(), "{path:?}");
    }
}

#[test]
fn many_texts_have_the_scores_of_each() {
    for path in runs() {
        let mut run = Run::options().threads(1).open(&path).unwrap();
        let lines = lines();
        let together = run.score_all(&lines, 2).unwrap();
        let mut run = Run::options().threads(2).open(&path).unwrap();
        let mut most = 0f64;
        for (line, scored) in lines.iter().zip(&together) {
            let alone = run.score(line).unwrap();
            assert_eq!(alone.tokens.len(), scored.tokens.len());
            let off = (alone.log_probability - scored.log_probability).abs();
            most = most.max(off / scored.log_probability.abs().max(1.0));
            assert!(scored.tokens.iter().all(|token| token.top.len() == 2));
            let names =
                |scored: &Scored| scored.tokens.iter().map(|one| one.token.clone()).collect::<Vec<_>>();
            assert_eq!(names(&alone), names(scored));
        }
        assert!(most < 1e-5, "{most}");
        let text = &lines[22];
        let expected: Vec<&str> = match path.ends_with("stream") {
            true => text.split(' ').chain(["<eos>"]).collect(),
            false => text.split(' ').chain(["<eos>"]).skip(2).collect(),
        };
        let names: Vec<&str> = together[22].tokens.iter().map(|one| one.token.as_str()).collect();
        assert_eq!(names, expected);
    }
}

#[test]
fn scores_are_those_of_the_command() {
    for path in runs() {
        let lines = lines();
        fs::write(path.with_extension("txt"), lines.join("\n")).unwrap();
        let file = path.with_extension("txt");
        let out =
            command(Path::new("."), &["score", &path.to_string_lossy(), &file.to_string_lossy(), "--json"]);
        let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let scored = Run::open(&path).unwrap().score_all(&lines, 0).unwrap();
        assert_eq!(rows.len(), scored.len());
        for (row, scored) in rows.iter().zip(scored) {
            assert_eq!(row["log_probability"].as_f64(), Some(scored.log_probability), "{row}");
            assert_eq!(row["perplexity"].as_f64(), scored.perplexity, "{row}");
        }
    }
}

#[test]
fn text_is_that_of_the_command_and_ends_where_it_is_to() {
    for path in runs() {
        let mut run = Run::open(&path).unwrap();
        let sampler = Sampler { temperature: 1.5, top_k: Some(8), top_p: None, seed: 3 };
        let how = Writing { length: 30, sampler, stop: vec![] };
        let written = run.generate("the quick brown", &how).unwrap();
        assert_eq!((written.tokens, written.stopped), (30, false));
        let args = [
            "--prompt",
            "the quick brown",
            "--length",
            "30",
            "--temperature",
            "1.5",
            "--top-k",
            "8",
            "--seed",
            "3",
        ];
        let out = command(Path::new("."), &[&["generate", &path.to_string_lossy()], &args[..]].concat());
        assert_eq!(out, format!("the quick brown{}\n", written.text));
        let word = written.text.split_whitespace().nth(4).unwrap().to_owned();
        let how = Writing { stop: vec!["zebra".into(), word.clone()], ..how };
        let stopped = run.generate("the quick brown", &how).unwrap();
        assert!(stopped.stopped && stopped.tokens <= 30 && !stopped.text.contains(&word), "{stopped:?}");
        assert!(written.text.starts_with(&stopped.text), "{written:?} {stopped:?}");
    }
}

#[test]
fn several_runs_are_used_at_once() {
    let alone: Vec<_> =
        runs().iter().map(|path| Run::open(path).unwrap().score_all(&lines(), 0).unwrap()).collect();
    let used: Vec<_> = runs()
        .into_iter()
        .chain(runs())
        .map(|path| std::thread::spawn(move || Run::open(path).unwrap().score_all(&lines(), 0).unwrap()))
        .collect();
    for (at, used) in used.into_iter().enumerate() {
        assert_eq!(used.join().unwrap(), alone[at % 2]);
    }
}

#[test]
fn what_cannot_be_is_an_error() {
    let [stream, last] = runs();
    let missing = stream.with_file_name("nowhere");
    assert!(matches!(Run::open(&missing), Err(Error::NotARun { .. })));
    let choice = |which| Run::options().checkpoint(which).open(&stream);
    assert!(matches!(choice(Choice::Number(77)), Err(Error::NoSuchCheckpoint { .. })));
    assert!(choice(Choice::Number(2)).unwrap().checkpoint().ends_with("epoch-02.safetensors"));
    let mut run = Run::open(&stream).unwrap();
    assert!(matches!(run.score("the zebra"), Err(Error::UnknownWords { line: 1, .. })));
    assert!(matches!(run.score_all(&["the", "the zebra"], 0), Err(Error::UnknownWords { line: 2, .. })));
    assert!(matches!(run.generate("", &Writing::default()), Err(Error::ShortPrompt { .. })));
    assert!(matches!(
        Run::open(last).unwrap().next_probabilities("the"),
        Err(Error::ShortPrompt { needed: 3, .. })
    ));
}

#[test]
fn the_example_uses_a_run() {
    let [stream, _] = runs();
    let out = example::report(&stream, "the quick").unwrap();
    assert!(out.starts_with("the quick ...\n") && out.contains(" nats in 3 tokens\n"), "{out}");
    assert_eq!(out.matches(", most likely [(").count(), 6, "{out}");
    assert!(out.contains("\nthe quick ") && out.ends_with('\n'), "{out}");
}
