//! `lstmc train`: learning, metrics, checkpoints, the same bits again.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use serde_json::Value;

use crate::support::{Folder, Model, Run, TINY, number};

#[test]
fn a_repeating_text_is_learned() {
    let folder = Folder::new();
    let out = folder.train("run", &[]);
    assert!(out.contains("parameters") && out.contains("at the peak") && out.contains("compiled"), "{out}");
    let metrics = folder.trained("run").metrics();
    let (first, last) = (&metrics[0], &metrics[metrics.len() - 1]);
    assert!(number(first, "train_loss") > 1.5, "{first:?}");
    assert!(number(last, "valid_loss") < 0.02, "{last:?}");
    assert_eq!(number(last, "valid_accuracy"), 1.0, "{last:?}");
}

#[test]
fn metrics_have_a_row_for_each_epoch_and_for_the_end() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "19"]);
    let metrics = folder.trained("run").metrics();
    let keys = [
        "epoch",
        "gradient_norm",
        "learning_rate",
        "seconds",
        "step",
        "train_accuracy",
        "train_loss",
        "train_perplexity",
        "valid_accuracy",
        "valid_bits_per_character",
        "valid_loss",
        "valid_perplexity",
        "valid_word_perplexity",
        "words_per_second",
    ];
    for row in &metrics {
        let mut found: Vec<&str> = row.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, keys);
        let perplexity = number(row, "train_loss").exp();
        assert!((number(row, "train_perplexity") / perplexity - 1.0).abs() < 1e-12, "{row:?}");
        assert!(number(row, "words_per_second") > 0.0 && number(row, "seconds") > 0.0, "{row:?}");
        assert_eq!(number(row, "learning_rate"), 0.02);
    }
    // 90 tokens in two rows make eight batches of five steps.
    let at: Vec<(f64, f64)> = metrics.iter().map(|row| (number(row, "epoch"), number(row, "step"))).collect();
    assert_eq!(at, [(1.0, 8.0), (2.0, 16.0), (3.0, 19.0)]);
    let validated: Vec<bool> = metrics.iter().map(|row| row["valid_loss"].is_number()).collect();
    assert_eq!(validated, [true, true, false]);
}

/// An update of `sgd` with the rate 1 is the gradient.
#[test]
fn the_norm_of_the_gradients_is_that_of_the_update() {
    let folder = Folder::new();
    let norms = ["clip: norm(0.001) report_norm", "report_norm", ""].map(|more| {
        let report = if more.is_empty() { "perplexity" } else { "perplexity, gradient_norm" };
        let more = more.replace("report_norm", "");
        let text = TINY.text().replace("clip: norm(5)", &more).replace("adam(rate: 0.02)", "sgd(rate: 1)");
        folder.write("tiny.lstm", text.replace("perplexity, accuracy", report));
        let name = format!("run-{}", report.len() + more.len());
        let parameters = |steps: &str| {
            let name = format!("{name}-{steps}");
            folder.train(&name, &["--steps", steps]);
            folder.trained(&name).tensors()
        };
        let (before, after) = (parameters("0"), parameters("1"));
        let squares = before.iter().filter(|(name, _)| !name.contains('/')).map(|(name, bytes)| {
            let values = |bytes: &[u8]| -> Vec<f32> {
                bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            };
            let pairs = values(bytes).into_iter().zip(values(&after[name]));
            pairs.map(|(a, b)| (f64::from(b) - f64::from(a)).powi(2)).sum::<f64>()
        });
        let update = squares.sum::<f64>().sqrt();
        (folder.trained(&format!("{name}-1")).metrics()[0]["gradient_norm"].as_f64(), update)
    });
    let [(clipped, limit), (free, update), (untold, _)] = norms;
    // The parameters are rounded to 24 bits before they are subtracted here.
    assert!((limit / 0.001 - 1.0).abs() < 1e-3, "{limit}");
    assert!((free.unwrap() / update - 1.0).abs() < 1e-4, "{free:?}, {update}");
    assert!(
        (clipped.unwrap() / free.unwrap() - 1.0).abs() < 1e-5,
        "before it is clipped: {clipped:?}, {free:?}"
    );
    assert_eq!(untold, None);
}

#[test]
fn what_the_model_reports_is_shown() {
    let folder = Folder::new();
    for (metrics, shown, not) in [
        ("perplexity", ["loss ", "perplexity "], "accuracy"),
        ("accuracy", ["loss ", "accuracy "], "perplexity"),
        ("accuracy, perplexity", ["accuracy ", "perplexity "], "loss"),
    ] {
        folder.write("tiny.lstm", TINY.text().replace("perplexity, accuracy", metrics));
        let out = folder.train(not, &["--epochs", "1"]);
        let lines: Vec<&str> = out.lines().skip_while(|line| !line.starts_with("epoch 1/1 ")).collect();
        let [training, validation, finished, ..] = lines[..] else { panic!("{out}") };
        assert!(validation.starts_with("validation  ") && finished.starts_with("finished"), "{out}");
        for line in [training, validation] {
            assert!(shown.iter().all(|part| line.contains(part)) && !line.contains(not), "{out}");
            assert!(!line.contains("rate"), "it stays the same: {out}");
            assert!(line.len() <= 80, "{out}");
        }
        let row = &folder.trained(not).metrics()[0];
        assert!(number(row, "train_perplexity") > 1.0 && number(row, "valid_accuracy") >= 0.0, "{row:?}");
    }
    folder.write("tiny.lstm", Model { more: "schedule: decay(0.5, after: 1)", ..TINY }.text());
    assert!(folder.train("rates", &["--epochs", "3"]).contains("  rate 0.005  "));
}

/// The next batch's loss is looked at before each checkpoint, with validation or without.
#[test]
fn evaluation_needs_no_memory_of_its_own() {
    let folder = Folder::new();
    let with = folder.ok(&["check", "tiny.lstm", "--threads", "1"]);
    assert!(with.contains(" training, evaluation in the same memory, "), "{with}");
    folder.write("tiny.lstm", TINY.text().replace("valid: \"text.txt\"", ""));
    assert!(folder.ok(&["check", "tiny.lstm", "--threads", "1"]).contains("evaluation in the same memory"));
    folder.train("run", &["--epochs", "1"]);
    folder.ok(&["eval", "run", "--threads", "1"]);
}

#[cfg(unix)]
#[test]
fn the_files_of_a_run_have_the_mode_of_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.train("run", &["--epochs", "1"]);
    let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode();
    for name in ["model.lstm", "vocab.json", "latest", "metrics.jsonl", "checkpoints/epoch-01.safetensors"] {
        assert_eq!(mode(&format!("run/{name}")), mode("text.txt"), "{name}");
    }
}

#[test]
fn each_epoch_leaves_a_checkpoint_and_the_run_what_it_was_made_of() {
    let folder = Folder::new();
    folder.train("run", &["--epochs", "3"]);
    let run = folder.trained("run");
    assert_eq!(run.checkpoints(), ["epoch-01.safetensors", "epoch-02.safetensors", "epoch-03.safetensors"]);
    assert!(run.latest().ends_with("epoch-03.safetensors"));
    assert_eq!(fs::read_to_string(run.0.join("model.lstm")).unwrap(), TINY.text());
    let log = fs::read_to_string(run.0.join("log.txt")).unwrap();
    assert!(log.contains("started") && log.contains("finished") && log.contains("epoch 3/3"), "{log}");
}

#[test]
fn iterations_are_reported_at_their_interval() {
    let folder = Folder::new();
    let batches = "windows(length: 3, stride: 4, rows: 1, targets: last, start: random)";
    let model = "tokens -> scalar -> lstm(8) -> last -> dense(vocab) -> softmax";
    let length = "iterations: 25\n report_every: 10";
    folder.write("tiny.lstm", Model { batches, model, length, ..TINY }.text());
    let out = folder.train("run", &[]);
    let steps: Vec<f64> = folder.trained("run").metrics().iter().map(|row| number(row, "step")).collect();
    assert_eq!(steps, [10.0, 20.0, 25.0]);
    assert!(out.contains("step 10/25  ") && out.contains(" it/s  ") && !out.contains("words/s"), "{out}");
    let samples = out.lines().filter(|line| line.contains("] -> ") && line.contains(" vs "));
    assert_eq!(samples.count(), 3, "{out}");
}

#[test]
fn a_resumed_run_has_the_bits_of_one_that_was_never_stopped() {
    let folder = Folder::new();
    folder.train("whole", &["--epochs", "4", "--seed", "3"]);
    // In the middle of an epoch, at the end of one, and in the middle again.
    folder.train("parts", &["--epochs", "4", "--seed", "3", "--steps", "5"]);
    for steps in ["16", "29"] {
        folder.ok(&["train", "--resume", "parts", "--epochs", "4", "--steps", steps, "--threads", "1"]);
    }
    folder.ok(&["train", "--resume", "parts", "--epochs", "4", "--threads", "1"]);
    let (whole, parts) = (folder.trained("whole"), folder.trained("parts"));
    assert_eq!(whole.tensors(), parts.tensors());
    assert!(whole.tensors().keys().any(|name| name.starts_with("optimizer/")));
    assert!(whole.tensors().keys().any(|name| name.starts_with("carried/")));
    // The ends of the parts have rows of their own.
    let mut rows = parts.timeless();
    rows.retain(|row| !["5", "29"].contains(&row["step"].to_string().as_str()));
    assert_eq!(whole.timeless(), rows);
    assert_eq!(parts.timeless().len(), rows.len() + 2);
}

#[test]
fn iterations_with_random_starts_are_resumed_too() {
    let folder = Folder::new();
    let batches = "windows(length: 3, stride: 4, rows: 2, targets: last, start: random)";
    let model = "tokens -> embedding(4) -> gru(8) -> last -> dense(vocab) -> softmax";
    let length = "iterations: 40\n report_every: 20";
    folder.write("tiny.lstm", Model { batches, model, length, ..TINY }.text());
    folder.train("whole", &[]);
    folder.train("parts", &["--steps", "33"]);
    folder.ok(&["train", "--resume", "parts", "--threads", "1"]);
    let (whole, parts) = (folder.trained("whole"), folder.trained("parts"));
    assert_eq!(whole.tensors(), parts.tensors());
    assert_eq!(whole.timeless().last(), parts.timeless().last());
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    // The second has more words, wider rows and more of them, so that each distinct row is multiplied once. The third has
    // one row, so that products are cut into parts.
    let many_words: String = (0..400).map(|at| format!("word{} ", at * at % 211 % 60)).collect();
    let wide = Model {
        batches: "stream(rows: 9, steps: 8)",
        model: "tokens -> embedding(64) -> lstm(16) -> dense(vocab) -> softmax",
        ..TINY
    };
    let of_one_row = Model {
        batches: "stream(rows: 1, steps: 8)",
        model: "tokens -> embedding(8) -> lstm(256) -> dense(vocab) -> softmax",
        ..TINY
    };
    let models = [(TINY, None), (wide, Some(many_words)), (of_one_row, None)];
    for (number, (model, text)) in models.into_iter().enumerate() {
        let folder = Folder::new();
        folder.write("tiny.lstm", model.text());
        text.iter().for_each(|text| folder.write("text.txt", text));
        let plan = folder.ok(&["emit", "tiny.lstm", "--stage", "plan"]);
        assert_eq!(plan.contains("  distinct "), text.is_some(), "{plan}");
        assert_eq!(plan.contains(" parts 2:"), number == 2, "{plan}");
        let train = |threads: &str| {
            let args =
                ["train", "tiny.lstm", "--epochs", "1", "--threads", threads, "--out", threads, "--json"];
            let out = folder.ok(&args);
            // No more than there are processors; `tests/threads.rs` has more.
            let used = threads.parse().unwrap_or(1).min(available_parallelism().map_or(1, usize::from));
            assert!(out.contains(&format!("\"threads\":{used}")), "{out}");
            let run = folder.trained(threads);
            (run.tensors(), run.timeless())
        };
        let one = train("1");
        for threads in ["2", "3"] {
            assert_eq!(train(threads), one, "{threads} threads");
        }
    }
}

/// Products in bf16 learn as those in f32 do, and give the same bits on any number of threads.
#[test]
fn products_in_bf16_learn_as_well() {
    let folder = Folder::new();
    let model = Model { batches: "stream(rows: 6, steps: 5)", length: "epochs: 80", ..TINY };
    folder.write("tiny.lstm", model.text());
    folder.train("f32", &[]);
    folder.write("tiny.lstm", Model { more: "precision: bf16", ..model }.text());
    let train = |threads: &str| {
        folder.ok(&["train", "tiny.lstm", "--threads", threads, "--out", threads]);
        folder.trained(threads)
    };
    let one = train("1");
    let loss = |run: &Run, row: usize| number(&run.metrics()[row], "valid_loss");
    let wide = folder.trained("f32");
    let last = wide.metrics().len() - 1;
    assert!(loss(&wide, 0) > 1.5 && loss(&wide, last) < 0.05, "f32 does not learn: {}", loss(&wide, last));
    // Operands are off by up to 2^-9, which no step lets grow: early losses differ by as much, and the last by little.
    assert!((loss(&one, 0) / loss(&wide, 0) - 1.0).abs() < 0.01, "{} {}", loss(&one, 0), loss(&wide, 0));
    assert!(loss(&one, last) < 0.06, "{}", loss(&one, last));
    assert_ne!(one.tensors(), wide.tensors());
    for threads in ["2", "3"] {
        let run = train(threads);
        assert_eq!((run.tensors(), run.timeless()), (one.tensors(), one.timeless()), "{threads} threads");
    }
}

/// Products in three parts learn as those in f32 do, and are those in f32 where the processor has no tiles for them, which is said.
#[test]
fn products_in_parts_learn_as_those_in_f32() {
    let folder = Folder::new();
    let model = Model { batches: "stream(rows: 6, steps: 5)", length: "epochs: 20", ..TINY };
    folder.write("tiny.lstm", model.text());
    folder.train("f32", &[]);
    folder.write("tiny.lstm", Model { more: "precision: bf16x3", ..model }.text());
    let train = |threads: &str| {
        let out = folder.ok(&["train", "tiny.lstm", "--threads", threads, "--out", threads]);
        (folder.trained(threads), out.contains("precision: bf16x3 is f32 here"))
    };
    let (one, is_f32) = train("1");
    let wide = folder.trained("f32");
    let last = wide.metrics().len() - 1;
    let loss = |run: &Run| number(&run.metrics()[last], "valid_loss");
    // Operands are off by up to 2^-16.
    assert!((loss(&one) / loss(&wide) - 1.0).abs() < 0.01, "{} {}", loss(&one), loss(&wide));
    assert_eq!(one.tensors() == wide.tensors(), is_f32);
    assert_eq!(train("3").0.tensors(), one.tensors(), "3 threads");
    let profile = folder.ok(&["profile", "tiny.lstm", "--steps", "3"]);
    assert_eq!(profile.contains("bf16x3 is f32 here"), is_f32, "{profile}");
}

#[test]
fn the_seed_decides() {
    let folder = Folder::new();
    let train = |run: &str, seed: &str| {
        folder.train(run, &["--epochs", "1", "--seed", seed]);
        folder.trained(run).tensors()
    };
    let first = train("a", "1");
    assert_eq!(first, train("b", "1"));
    assert_ne!(first, train("c", "2"));
}

#[test]
fn json_is_one_object_a_line() {
    let folder = Folder::new();
    let out = folder.train("run", &["--epochs", "2", "--json"]);
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kind = |event: &Value| event["event"].as_str().unwrap().to_owned();
    let (first, last) = (&events[0], &events[events.len() - 1]);
    assert_eq!((kind(first), kind(last)), ("start".into(), "end".into()));
    assert_eq!(first["parameters"], 8 * 8 + 4 * (8 * 16 + 16 * 16 + 16) + 16 * 8 + 8);
    assert!(first["memory_bytes"].as_u64().unwrap() > 0 && first["compile_seconds"].is_number(), "{first}");
    assert_eq!(last["outcome"], "finished");
    let reports: Vec<&Value> = events.iter().filter(|event| kind(event) == "report").collect();
    let metrics = folder.trained("run").metrics();
    assert_eq!(reports.len(), metrics.len());
    for (report, row) in reports.iter().zip(&metrics) {
        for (key, value) in row {
            assert_eq!(report[key], *value, "{key}");
        }
        assert!(folder.path(report["checkpoint"].as_str().unwrap()).exists());
    }
}

#[test]
fn the_text_is_found_beside_the_model_or_where_data_says() {
    let folder = Folder::new();
    fs::create_dir(folder.path("texts")).unwrap();
    fs::rename(folder.path("text.txt"), folder.path("texts/text.txt")).unwrap();
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run"]);
    assert!(message.contains("text.txt") && message.contains("--data"), "{message}");
    folder.train("run", &["--data", "texts", "--steps", "3"]);
    // The run knows where its text is.
    folder.ok(&["train", "--resume", "run", "--steps", "4", "--threads", "1"]);
    folder.ok(&["eval", "run", "--threads", "1"]);
}

#[test]
fn without_out_runs_are_counted() {
    let folder = Folder::new();
    for _ in 0..2 {
        folder.ok(&["train", "tiny.lstm", "--steps", "1", "--threads", "1"]);
    }
    assert_eq!(crate::support::names(&folder.path("runs")), ["tiny", "tiny-2"]);
}

#[test]
fn the_models_that_ship_with_a_text_train() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let folder = Folder::new();
    for name in [
        "aesop",
        "aesop-deep",
        "first-lstm",
        "cells/coupled",
        "cells/layer-norm",
        "cells/peephole",
        "cells/your-own-invention",
    ] {
        let model = models.join(format!("{name}.lstm"));
        let run = name.replace('/', "-");
        let model = model.to_str().unwrap();
        folder.ok(&["train", model, "--steps", "12", "--out", &run, "--threads", "1"]);
        let metrics = folder.trained(&run).metrics();
        let row = &metrics[metrics.len() - 1];
        assert!(number(row, "train_loss") > 0.0 && number(row, "step") == 12.0, "{name}: {row:?}");
    }
}

/// An update that destroys the parameters leaves the last good checkpoint, and the run goes on from it.
#[test]
fn a_jump_of_the_optimizer_costs_no_checkpoint() {
    let folder = Folder::new();
    let jumps = "optimizer jumps(p, g, rate = 0.1) { return p * (1 + 1e38 * (step == 40)) - rate * g }";
    let text = Model { optimizer: "jumps", length: "iterations: 60 report_every: 10", ..TINY }.text();
    folder.write("tiny.lstm", format!("{text}{jumps}\n"));
    let message = folder.refused(&["train", "tiny.lstm", "--threads", "1", "--out", "run"]);
    assert!(message.contains("diverged") && message.contains("update 40"), "{message}");
    assert!(message.contains("smaller norm"), "it clips already: {message}");
    let run = folder.trained("run");
    assert_eq!(run.checkpoints(), ["step-000030.safetensors"]);
    assert_eq!(run.metrics().len(), 4, "the losses before the jump were good");
    folder.ok(&["eval", "run"]);
}
