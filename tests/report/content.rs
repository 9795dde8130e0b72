//! The page says what the other commands say, and of what is not there why.

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::folder::{Folder, WORDS, trained};
use crate::html::parse;

/// The parts of the page about one run.
const PARTS: [&str; 7] = ["samples", "reading", "layers", "time", "settings", "source", "log"];

#[test]
fn the_page_says_what_the_commands_say() {
    let folder = trained();
    let (_, page) = folder.report(&["run", "--samples", "3"]);
    let text = |part: &str| &page.section(&format!("{part}-0")).text;
    // The figures at the top.
    let compared: Value = serde_json::from_str(&folder.ok(&["compare", "run", "--json"])).expect("JSON");
    let cards: Vec<&str> = page
        .elements
        .iter()
        .filter(|element| element.name == "dd")
        .map(|element| element.text.as_str())
        .collect();
    let (best, epoch) =
        (compared["best"]["valid_perplexity"].as_f64().expect("one"), &compared["best"]["epoch"]);
    assert_eq!(cards[0], format!("{best:.2}epoch {epoch} of 12"));
    let accuracy = compared["best"]["valid_accuracy"].as_f64().expect("one");
    assert_eq!(cards[1], format!("{:.2} %epoch {epoch} of 12", 100.0 * accuracy));
    assert!(
        page.elements
            .iter()
            .any(|element| element.name == "p" && element.text == "Finished: 12 epochs, 96 updates.")
    );
    // Each text is what the command writes.
    let samples = page.with("class", "sample").collect::<Vec<_>>();
    assert!(
        samples.len() == 3
            && text("samples")
                .contains("lstmc generate run --checkpoint N --prompt \"the lazy dog\" --length 60")
    );
    for sample in samples {
        let (place, rest) =
            sample.text.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')).expect("an epoch");
        let args = [
            "generate",
            "run",
            "--checkpoint",
            place,
            "--prompt",
            "the lazy dog",
            "--length",
            "60",
            "--threads",
            "1",
        ];
        let written = folder.ok(&args);
        assert!(rest.ends_with(written.trim_end_matches('\n')), "{rest} does not end in {written}");
    }
    // What was expected, with its probabilities.
    let args = [
        "predict",
        "run",
        "--checkpoint",
        "best",
        "--split",
        "valid",
        "--count",
        "120",
        "--top-k",
        "3",
        "--json",
        "--threads",
        "1",
    ];
    let found = folder.ok(&args);
    let rows: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    let (mut seen, mut right) = (String::new(), 0);
    for row in &rows {
        let percent = |value: &Value| format!("{:.1} %", 100.0 * value.as_f64().expect("a probability"));
        let name = |value: &Value| value.as_str().expect("a word").to_owned();
        let top: Vec<String> = row["top"]
            .as_array()
            .expect("some")
            .iter()
            .map(|one| format!("{} {}", name(&one["token"]), percent(&one["probability"])))
            .collect();
        seen += &format!("{}{}{}", name(&row["actual"]), percent(&row["probability"]), top.join(", "));
        right += u32::from(row["actual"] == row["predicted"]);
    }
    assert!(text("reading").contains(&seen), "{} does not contain {seen}", text("reading"));
    assert!(text("reading").contains(&format!("{right} of {} right", rows.len())), "{}", text("reading"));
    // The layers, and what a step does.
    let checked = folder.ok(&["check", "words.lstm", "--threads", "1"]);
    for line in checked.lines().skip(1).take(6) {
        let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let row = page
            .elements
            .iter()
            .find(|element| element.name == "tr" && element.text.starts_with(cells[0]))
            .expect("a row");
        for cell in cells {
            assert!(row.text.contains(cell), "{} has no {cell}", row.text);
        }
    }
    for words in
        ["GFLOP/s of f32 at the peak", "(3 steps of each)", "waiting at barriers", "all of worker 0's time"]
    {
        assert!(text("time").contains(words), "{words}: {}", text("time"));
    }
    assert!(
        text("settings").contains("text.txt") && text("settings").contains("started by lstmc"),
        "{}",
        text("settings")
    );
    assert_eq!(text("source").trim_start_matches("Model file"), WORDS);
    assert!(text("log").contains("finished"));
}

#[test]
fn charts_have_the_runs_figures() {
    let folder = trained();
    let (_, page) = folder.report(&["run", "--samples", "0"]);
    let lines = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.path("run").join(name)).expect("a file of the run");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let (rows, points) = (lines("metrics.jsonl"), lines("steps.jsonl"));
    let captions: Vec<&str> = page
        .elements
        .iter()
        .filter(|element| element.name == "figcaption")
        .map(|element| element.text.as_str())
        .collect();
    assert_eq!(
        captions,
        [
            "Loss by epoch",
            "Perplexity by epoch",
            "Accuracy by epoch",
            "Loss by update",
            "Perplexity by update",
            "Accuracy by update",
            "Learning rate by update",
            "Gradient norm by update",
            "Tokens per second by update",
        ]
        .map(|caption| captions
            .iter()
            .find(|found| found.starts_with(caption))
            .copied()
            .unwrap_or(caption))
    );
    let figure = |caption: &str| {
        page.elements
            .iter()
            .find(|element| element.name == "figure" && element.text.starts_with(caption))
            .expect("a chart")
    };
    for (caption, lines, key, by) in [
        ("Loss by epoch", &rows, "train_loss", "epoch"),
        ("Loss by epoch", &rows, "valid_loss", "epoch"),
        ("Loss by update", &points, "train_loss", "step"),
        ("Gradient norm", &points, "gradient_norm", "step"),
        ("Learning rate", &points, "learning_rate", "step"),
    ] {
        let text = &figure(caption).text;
        for line in lines {
            let (place, value) = (&line[by], line[key].as_f64().expect("a number"));
            let row = |digits: usize| format!("{value:.digits$}");
            assert!(
                [3, 4, 5].iter().any(|&digits| text.contains(&row(digits))),
                "{caption} has no {value} at {place}"
            );
        }
    }
    // Read aloud, a chart says where it begins and ends.
    let first = rows[0]["valid_loss"].as_f64().expect("a loss");
    let said = format!("validation: from {first:.3} at epoch 1 to ");
    assert!(page.section("loss-epoch-desc").text.contains(&said), "{}", page.section("loss-epoch-desc").text);
}

#[test]
fn runs_are_compared_in_the_same_charts() {
    let folder = trained();
    folder.write("chars.lstm", "data { train: \"text.txt\" tokens: characters batches: windows(length: 6, stride: 3, rows: 2, targets: last) }
model { tokens -> embedding(4) -> gru(8) -> last -> dense(vocab) }
train { loss: cross_entropy optimizer: sgd(rate: 0.1) iterations: 40 report_every: 20 }
");
    folder.train("chars.lstm", "other", &["--seed", "3"]);
    let (_, page) = folder.report(&["run", "other"]);
    for number in 0..2 {
        for part in PARTS {
            page.section(&format!("{part}-{number}"));
        }
    }
    let desc = &page.section("loss-update-desc").text;
    for series in ["run, training: from", "run, validation: from", "other, training: from"] {
        assert!(desc.contains(series), "{desc}");
    }
    let header = page.elements.iter().find(|element| element.name == "header").expect("a header");
    assert!(
        header.text.contains("other: seed 3 for 0") && header.text.contains("other: model line 1"),
        "{}",
        header.text
    );
    assert!(page.section("samples-1").text.contains("Step 40"), "{}", page.section("samples-1").text);
}

#[test]
fn what_is_not_there_is_left_out_with_the_reason() {
    // Its texts are gone.
    let folder = trained();
    fs::remove_file(folder.path("text.txt")).expect("a text");
    fs::remove_file(folder.path("held.txt")).expect("a text");
    let (_, page) = folder.report(&["run"]);
    assert!(
        page.section("reading-0").text.contains("Not here: cannot find the validation text"),
        "{}",
        page.section("reading-0").text
    );
    assert!(page.section("time-0").text.contains("on random tokens"), "{}", page.section("time-0").text);
    // The commonest word begins.
    let sample = page.with("class", "sample").next().expect("a text");
    assert!(sample.text.contains("the"), "{}", sample.text);

    // A run that has learned nothing yet, and one that was killed.
    let folder = Folder::new();
    folder.train("words.lstm", "run", &["--steps", "0"]);
    let (_, page) = folder.report(&["run"]);
    assert!(page.section("curves").text.contains("Nothing has been written down yet"));
    assert!(page.section("samples-0").text.contains("Step 0 newest"), "{}", page.section("samples-0").text);
    let log = fs::read_to_string(folder.path("run/log.txt")).expect("a log");
    folder.write("run/log.txt", log.lines().next().expect("its beginning"));
    fs::remove_dir_all(folder.path("run/checkpoints")).expect("its checkpoints");
    fs::remove_file(folder.path("run/latest")).expect("a file");
    folder.ok(&["report", "run"]);
    let page = parse(&fs::read_to_string(folder.path("report.html")).expect("the report"));
    assert!(page.section("time-0").text.contains("the run is being trained, or its process was killed"));
    assert!(page.section("samples-0").text.contains("Not here: "), "{}", page.section("samples-0").text);
    assert!(page.section("layers-0").text.contains("lstm_1"));
    let header = page.elements.iter().find(|element| element.name == "header").expect("a header");
    assert!(header.text.contains("Being trained when this was written, or killed"), "{}", header.text);

    // No run at all.
    let output = folder.run(&["report", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is not a run"), "{output:?}");
}

#[test]
fn a_training_that_failed_says_how() {
    let folder = Folder::new();
    folder.write(
        "bad.lstm",
        &WORDS
            .replace("adam(rate: 0.02) clip: norm(5)", "sgd(rate: 1e38)")
            .replace("-> lstm(16)", "-> rnn(16, activation: relu)"),
    );
    let output = folder.run(&["train", "bad.lstm", "--out", "run", "--threads", "1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (_, page) = folder.report(&["run"]);
    assert!(page.section("error-0").text.contains("E0501"), "{}", page.section("error-0").text);
}

/// A process that would not end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A training goes on while its run is looked at.
#[test]
fn a_run_that_is_being_trained_can_be_looked_at() {
    let folder = Folder::new();
    folder.write("long.lstm", &WORDS.replace("epochs: 12", "epochs: 1000000 checkpoint: best"));
    let mut training = Command::new(env!("CARGO_BIN_EXE_lstmc"));
    training
        .args(["train", "long.lstm", "--out", "run", "--threads", "1", "--json"])
        .current_dir(folder.0.path());
    let mut training = Killed(training.stdout(Stdio::null()).spawn().expect("the command starts"));
    while fs::read_to_string(folder.path("run/metrics.jsonl")).unwrap_or_default().lines().count() < 3 {
        assert!(training.0.try_wait().expect("a child").is_none(), "it goes on");
    }
    let pages: Vec<Output> = (0..3).map(|_| folder.run(&["report", "run", "--threads", "1"])).collect();
    assert!(training.0.try_wait().expect("a child").is_none(), "it goes on");
    drop(training);
    for output in pages {
        assert!(output.status.success(), "{output:?}");
    }
    let page = parse(&fs::read_to_string(folder.path("report.html")).expect("the report"));
    assert!(
        page.section("time-0").text.contains("the run is being trained"),
        "{}",
        page.section("time-0").text
    );
    let samples: Vec<_> = page.with("class", "sample").map(|sample| &sample.text).collect();
    assert!(!samples.is_empty(), "the best or the newest, as far as they stayed meanwhile");
}
