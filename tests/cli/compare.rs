//! `lstmc compare`.

use serde_json::Value;

use crate::support::{Folder, TINY};

fn runs() -> Folder {
    let folder = Folder::new();
    folder.train("a", &["--epochs", "2"]);
    folder.write("tiny.lstm", TINY.text().replace("rate: 0.02", "rate: 0.03"));
    folder.train("b", &["--epochs", "3", "--seed", "7"]);
    folder
}

#[test]
fn runs_stand_in_a_table_with_what_differs() {
    let folder = runs();
    let out = folder.ok(&["compare", "a", "b"]);
    let lines: Vec<&str> = out.lines().collect();
    let cells = |line: &str| line.split_whitespace().take(4).map(str::to_owned).collect::<Vec<_>>();
    assert!(lines[0].starts_with("run  epoch  step  of steps  train perplexity  valid perplexity"), "{out}");
    assert_eq!(cells(lines[1])[0], "a");
    assert_eq!(cells(lines[1])[3], "16");
    assert_eq!(cells(lines[2])[3], "24");
    assert_eq!(lines[4], "against a:");
    assert_eq!(
        lines[5],
        "b: model line 11 is `optimizer: adam(rate: 0.03)`, and was `optimizer: adam(rate: 0.02)`"
    );
    assert_eq!(lines[6], "b: seed 7 for 0");
    assert_eq!(lines.len(), 7, "{out}");
    // Alone a run is compared with nothing.
    assert_eq!(folder.ok(&["compare", "a"]).lines().count(), 2);
}

#[test]
fn the_best_validation_counts_and_not_the_last() {
    let folder = Folder::new();
    let more = "clip: norm(5) schedule: decay(10, after: 2)";
    folder.write("tiny.lstm", crate::support::Model { more, ..TINY }.text());
    folder.train("a", &["--epochs", "4"]);
    let best = folder.trained("a").metrics().into_iter().min_by(|a, b| {
        let loss = |row: &serde_json::Map<String, Value>| row["valid_loss"].as_f64().unwrap();
        loss(a).total_cmp(&loss(b))
    });
    let best = best.unwrap();
    assert!(best["epoch"].as_u64().unwrap() < 4, "the last epochs have far too high a rate: {best:?}");
    let out = folder.ok(&["compare", "a", "--json"]);
    let object: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["best"], Value::Object(best));
    assert_eq!(object["last"]["epoch"], 4);
    assert_eq!((&object["run"], &object["seed"]), (&Value::from("a"), &Value::from(0)));
}

#[test]
fn other_validation_texts_do_not_compare() {
    let folder = runs();
    folder.write("tiny.lstm", TINY.text().replace("valid: \"text.txt\"", "valid: \"other.txt\""));
    folder.write("other.txt", "the lazy dog\n");
    folder.train("c", &["--epochs", "1"]);
    let out = folder.ok(&["compare", "a", "c"]);
    assert!(out.contains("c: another validation text: their figures do not compare\n"), "{out}");
    let message = folder.refused(&["compare", "a", "d"]);
    assert!(message.contains("d is not a run"), "{message}");
}
