//! How likely texts are: score, and what predict says of probabilities.

use std::io::Write;
use std::process::Stdio;
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{Done, Folder, Model, SENTENCE, TINY, done};

/// Two models of [`SENTENCE`] that are not sure of it: as the run `run` one whose lines' ends are tokens, as `plain` one that
/// has no such token.
fn trained() -> &'static Folder {
    static TRAINED: OnceLock<Folder> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = Folder::new();
        folder.train("plain", &["--steps", "40"]);
        folder.write("tiny.lstm", Model { tokens: "words(newline: \"<eos>\")", ..TINY }.text());
        folder.train("run", &["--steps", "40"]);
        folder
    })
}

/// The command with a standard input.
pub fn with_input(folder: &Folder, args: &[&str], input: &str) -> Done {
    let mut command = folder.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    // It may have ended before it has read all.
    let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("the command ends");
    writer.join().expect("all is written");
    done(output)
}

/// The objects that `score --json` writes of an input.
#[track_caller]
fn scored(folder: &Folder, args: &[&str], input: &str) -> Vec<Value> {
    let done = with_input(folder, &[&["score"], args, &["--json"]].concat(), input);
    assert_eq!(done.code, Some(0), "{done:?}");
    done.out.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

fn real(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} of {row}"))
}

fn places(row: &Value) -> &[Value] {
    row["places"].as_array().expect("places")
}

fn words(row: &Value) -> Vec<&str> {
    places(row).iter().map(|place| place["token"].as_str().expect("a token")).collect()
}

#[test]
fn each_line_has_its_log_probability() {
    let rows = scored(trained(), &["run", "--tokens"], &format!("{SENTENCE}\nthe lazy\n"));
    assert_eq!(words(&rows[1]), ["the", "lazy", "<eos>"], "the first word and the end too");
    assert_eq!(words(&rows[0]).len(), 10);
    for row in &rows {
        let places = row["places"].as_array().unwrap();
        let sum: f64 = places.iter().map(|place| real(place, "log_probability")).sum();
        assert!((sum - real(row, "log_probability")).abs() < 1e-4, "{row}");
        let perplexity = (-real(row, "log_probability") / places.len() as f64).exp();
        assert!((perplexity - real(row, "perplexity")).abs() < 1e-9 * perplexity, "{row}");
        for place in places {
            let (p, log) = (real(place, "probability"), real(place, "log_probability"));
            assert!((p - log.exp()).abs() < 1e-6 && p <= 1.0, "{place}");
        }
    }
    // Without a token for the end of a line there is nothing before the first word, nor after the last.
    let rows = scored(trained(), &["plain", "--tokens"], "the lazy dog\nthe\n\n");
    assert_eq!(words(&rows[0]), ["lazy", "dog"]);
    for row in &rows[1..] {
        assert!(row["tokens"] == 0 && row["log_probability"] == 0.0 && row["perplexity"].is_null(), "{row}");
    }
}

#[test]
fn scores_are_those_of_predict_and_eval() {
    let folder = trained();
    let rows = scored(folder, &["plain", "--whole", "--tokens", "text.txt"], "");
    let out = folder.ok(&["predict", "plain", "--json", "--count", "1000"]);
    let predicted: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places = rows[0]["places"].as_array().unwrap();
    assert_eq!(places.len(), predicted.len());
    for (at, (place, one)) in places.iter().zip(&predicted).enumerate() {
        assert_eq!(
            (&place["token"], &one["at"], &one["read"]),
            (&one["actual"], &(at + 1).into(), &(at + 1).into())
        );
        let [score, seen] = [place, one].map(|row| real(row, "probability"));
        assert!((score - seen).abs() < 1e-5 * seen, "{place} {one}");
        assert!(seen <= real(one, "predicted_probability"));
    }
    // With one row `eval` reads as `score --whole` does.
    let rows_1 = Folder::new();
    rows_1.write("tiny.lstm", Model { batches: "stream(rows: 1, steps: 5)", ..TINY }.text());
    rows_1.train("one", &["--steps", "40"]);
    let whole = scored(&rows_1, &["one", "--whole", "text.txt"], "");
    let eval = rows_1.ok(&["eval", "one"]);
    let loss = -real(&whole[0], "log_probability") / whole[0]["tokens"].as_f64().unwrap();
    assert!(eval.contains(&format!("loss        {loss:.4}\n")), "{eval} {loss}");
}

#[test]
fn neighbours_do_not_change_a_line() {
    let mut lines: Vec<String> =
        (1..150).map(|n| format!("{SENTENCE} ").repeat(n % 7) + "the lazy fox").collect();
    lines.push(SENTENCE.repeat(60).replace("dogthe", "dog the"));
    lines.push(String::new());
    let together = scored(trained(), &["run", "--tokens", "--threads", "1"], &lines.join("\n"));
    assert_eq!(together.len(), lines.len() - 1, "a last line that is empty and has no end is none");
    for at in [0, 3, 77, 149] {
        let alone = scored(trained(), &["run", "--tokens", "--threads", "2"], &lines[at]);
        assert_eq!(together[at]["line"], at + 1);
        for key in ["text", "tokens", "log_probability", "perplexity", "places"] {
            assert_eq!(alone[0][key], together[at][key], "line {at}");
        }
    }
    let sum = |row: &Value| real(row, "log_probability");
    assert!(sum(&together[0]) != sum(&together[1]), "other lines have other numbers");
}

#[test]
fn windows_score_what_their_targets_are() {
    let folder = Folder::new();
    let lines = format!("{SENTENCE}\nthe quick brown\nthe quick\n");
    let each = "windows(length: 4, stride: 2, rows: 3)";
    folder.write("tiny.lstm", Model { batches: each, ..TINY }.text());
    folder.train("each", &["--epochs", "2"]);
    let rows = scored(&folder, &["each", "--tokens"], &lines);
    let all: Vec<&str> = SENTENCE.split(' ').collect();
    assert_eq!([words(&rows[0]), words(&rows[1]), words(&rows[2])], [&all[1..], &all[1..3], &all[1..2]]);
    // The window from the third word on has read "brown fox jumps" of what comes before "over".
    let window = scored(&folder, &["each", "--tokens"], "brown fox jumps over the\n");
    assert_eq!(places(&rows[0])[4..=5], places(&window[0])[2..=3]);
    let last = "windows(length: 3, stride: 2, rows: 4, targets: last)";
    let model = "tokens -> embedding(8) -> lstm(16) -> last -> dense(vocab) -> softmax";
    folder.write("tiny.lstm", Model { batches: last, model, ..TINY }.text());
    folder.train("last", &["--epochs", "2"]);
    let rows = scored(&folder, &["last", "--tokens"], &lines);
    assert_eq!(words(&rows[0]), all[3..], "every word that has three before it, whatever the stride");
    assert!(words(&rows[1]).is_empty() && words(&rows[2]).is_empty());
    let window = scored(&folder, &["last", "--tokens"], "fox jumps over the\n");
    assert_eq!(places(&rows[0])[3], places(&window[0])[0]);
}

#[test]
fn people_see_a_table_and_the_total() {
    let done = with_input(trained(), &["score", "run", "-"], &format!("{SENTENCE}\n\nthe dog"));
    let lines: Vec<Vec<&str>> = done.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["log-probability", "perplexity", "tokens", "text"], "{done:?}");
    assert_eq!((lines[1][2], lines[1][3..].join(" ")), ("10", SENTENCE.to_owned()));
    assert_eq!((lines[2][2], lines[2].len()), ("1", 3), "an empty line has its end: {done:?}");
    assert_eq!((lines.len(), lines[3][2]), (4, "3"));
    assert!(done.err.starts_with("3 lines, 14 tokens, perplexity "), "{done:?}");
    let done = with_input(trained(), &["score", "plain", "--top-k", "2"], "the lazy\n\n");
    let cells: Vec<&str> = done.out.lines().nth(2).unwrap_or_default().split_whitespace().collect();
    let ["lazy", its, "%", first, p, "%", second, q, "%"] = cells[..] else { panic!("{done:?}") };
    let [its, p, q] = [its, p, q].map(|p| p.parse::<f64>().unwrap());
    assert!(p >= q && p >= its && first != second, "{done:?}");
    assert!(done.out.lines().nth(3).unwrap().trim_end().ends_with('0'), "an empty line: {done:?}");
}

#[test]
fn alternatives_are_the_most_likely_tokens() {
    let rows = scored(trained(), &["run", "--top-k", "3"], "the lazy\n");
    for place in rows[0]["places"].as_array().unwrap() {
        let top: Vec<f64> =
            place["top"].as_array().unwrap().iter().map(|one| real(one, "probability")).collect();
        assert_eq!(top.len(), 3);
        assert!(top.is_sorted_by(|a, b| a >= b), "{place}");
        let own = place["top"].as_array().unwrap().iter().find(|one| one["token"] == place["token"]);
        if let Some(own) = own {
            assert!((real(own, "probability") - real(place, "probability")).abs() < 1e-6, "{place}");
        }
    }
    let out = trained().ok(&["predict", "run", "--top-k", "2", "--count", "3", "--json"]);
    for line in out.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["top"][0]["token"], row["predicted"], "{row}");
        assert_eq!(row["top"][0]["probability"], row["predicted_probability"], "{row}");
    }
    let table = trained().ok(&["predict", "run", "--top-k", "2", "--count", "3"]);
    assert!(table.lines().next().unwrap().ends_with("most likely"), "{table}");
}

#[test]
fn files_are_read_in_order_and_named() {
    let folder = trained();
    folder.write("a.txt", "the lazy\r\nthe quick\r\n");
    folder.write("b.txt", "the dog");
    let rows = scored(folder, &["run", "b.txt", "-", "a.txt"], "over the\n");
    let places: Vec<_> = rows.iter().map(|row| (row["file"].as_str(), row["line"].as_u64())).collect();
    let expected = [("b.txt", 1), ("", 1), ("a.txt", 1), ("a.txt", 2)]
        .map(|(file, line)| (Some(file).filter(|file| !file.is_empty()), Some(line)));
    assert_eq!(places, expected);
    let best = folder.ok(&["score", "run", "a.txt", "--checkpoint", "newest"]);
    assert_eq!(best.lines().count(), 3);
    assert!(folder.refused(&["score", "run", "a.txt", "--checkpoint", "99"]).contains("99"));
}

#[test]
fn what_cannot_be_scored_is_said_after_what_can() {
    let folder = trained();
    folder.write("zebra.txt", "the lazy dog\nthe fox\nthe zebra\nthe dog\n");
    folder.write("latin.txt", b"the lazy dog\nthe f\xf6x\n");
    for (file, lines, said) in [
        ("zebra.txt", 2, ["zebra.txt\" has 1 word", "\"zebra\"", "line 3"]),
        ("latin.txt", 1, ["latin.txt", "not UTF-8", "(line 2)"]),
        ("nowhere.txt", 0, ["cannot find", "the text", "nowhere.txt"]),
    ] {
        let done = folder.run(&["score", "run", file, "--json"]);
        assert_eq!((done.code, done.out.lines().count()), (Some(1), lines), "{done:?}");
        assert!(done.err.contains("error: ") && said.iter().all(|said| done.err.contains(said)), "{done:?}");
    }
    let done = with_input(folder, &["score", "run"], "the\nzebra\n");
    assert!(done.code == Some(1) && done.err.contains("standard input has 1 word"), "{done:?}");
    assert!(done.err.contains("line 2"), "{done:?}");
}

#[test]
fn unknown_words_are_counted_where_the_model_has_a_word_for_them() {
    let folder = Folder::new();
    let model = TINY.text().replace(" tokens: words\n", " tokens: words\n unknown: \"<unk>\"\n");
    folder.write("tiny.lstm", model);
    folder.train("run", &["--steps", "3"]);
    let rows = scored(&folder, &["run", "--tokens"], "the zebra fox\nthe fox\n");
    assert_eq!([&rows[0]["unknown"], &rows[1]["unknown"]], [1, 0]);
    assert_eq!(words(&rows[0]), ["<unk>", "fox"]);
    let done = with_input(&folder, &["score", "run"], "the zebra fox\n");
    assert!(done.err.contains("; 1 word that the vocabulary does not have, read as <unk>"), "{done:?}");
}

#[test]
fn subwords_are_scored_and_written_as_text() {
    let folder = Folder::new();
    folder.write("tiny.lstm", Model { tokens: "bpe(270)", ..TINY }.text());
    folder.train("run", &["--epochs", "30"]);
    let rows = scored(&folder, &["run", "--tokens"], &format!("{SENTENCE}\n"));
    assert_eq!(words(&rows[0]).concat(), format!("{SENTENCE}\n"), "a line's end is a token of its own");
    let args = ["generate", "run", "--prompt", "the quick", "--greedy", "--length", "30", "--json"];
    let whole: Value = serde_json::from_str(&folder.ok(&args)).unwrap();
    let text = whole["text"].as_str().unwrap();
    let stop = &text[text.len() / 2..text.len() / 2 + 2];
    let row: Value = serde_json::from_str(&folder.ok(&[&args[..], &["--stop", stop]].concat())).unwrap();
    assert_eq!(row["text"].as_str(), Some(&text[..text.find(stop).unwrap()]), "{whole}");
}

/// Nothing of what is read stays, and a line is answered though no other follows it.
#[test]
fn an_endless_input_is_answered_line_by_line() {
    use std::io::{BufRead, BufReader};
    let mut command = trained().command(&["score", "run", "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the command starts");
    let (mut pipe, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut answers = BufReader::new(out).lines();
    for word in ["the lazy", "quick"] {
        writeln!(pipe, "{word}").unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["text"], word);
    }
    // A reader that has had enough ends it.
    drop(answers);
    while writeln!(pipe, "the lazy dog").is_ok() {}
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
