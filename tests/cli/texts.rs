//! Texts of one's own: the words that are in them and those that are not, texts cut in parts, several files.

use std::fs;

use crate::support::{Folder, Model, TINY};

/// A model of `text.txt` alone, with more in its data block.
fn model(tokens: &'static str, data: &str) -> String {
    let text = Model { tokens, length: "epochs: 2", ..TINY }.text();
    text.replace(" valid: \"text.txt\" test: \"text.txt\"", &format!("\n {data}"))
}

fn vocabulary(folder: &Folder, run: &str) -> serde_json::Value {
    let text = fs::read_to_string(folder.path(run).join("vocab.json")).expect("the vocabulary");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn rare_words_are_trained_as_the_unknown_one() {
    let folder = Folder::new();
    folder.write("text.txt", "the cat and the dog\n".repeat(20) + "the gnu and the yak\n");
    folder.write("valid.txt", "the cat and the zebra\n");
    folder.write("tiny.lstm", model("words", "valid: \"valid.txt\"; unknown: \"<unk>\"; min_count: 2"));
    let out = folder.train("run", &[]);
    assert!(out.contains("5 distinct words"), "{out}");
    let said =
        "unknown     2 of 105 training tokens (1.90 %), 1 of 5 validation tokens (20.00 %) count as <unk>";
    assert!(out.contains(said), "{out}");
    let kept = vocabulary(&folder, "run");
    assert_eq!(kept["words"], serde_json::json!(["the", "and", "cat", "dog", "<unk>"]));
    // The run's vocabulary is what goes on, whatever the text would give now.
    folder.write("text.txt", "gnu gnu yak yak\n".repeat(20));
    let again = ["train", "--resume", "run", "--accept-changes", "--epochs", "3", "--threads", "1"];
    let out = folder.ok(&again);
    assert!(out.contains("80 of 80 training tokens (100.00 %)"), "{out}");
    assert_eq!(vocabulary(&folder, "run"), kept);
    let done = folder.run(&["predict", "run", "--split", "valid", "--threads", "1"]);
    assert!(
        done.err.contains("has 1 word that the vocabulary does not have, \"zebra\"; they count as <unk>"),
        "{done:?}"
    );
    assert!(done.out.contains("<unk>"), "{done:?}");
    folder.ok(&["eval", "run", "--split", "valid", "--threads", "1"]);
}

#[test]
fn what_the_vocabulary_was_made_with_stays_as_it_was() {
    let folder = Folder::new();
    folder.write("tiny.lstm", model("words", "unknown: \"<unk>\"; min_count: 2"));
    folder.train("run", &[]);
    let source = fs::read_to_string(folder.path("run/model.lstm")).unwrap();
    folder.write("run/model.lstm", source.replace("min_count: 2", "min_count: 3"));
    for command in [&["train", "--resume", "run"][..], &["eval", "run", "--split", "train"]] {
        let message = folder.refused(command);
        assert!(
            message.contains("the vocabulary is that of the run") && message.contains("line 3 is"),
            "{message}"
        );
    }
}

#[test]
fn characters_have_a_vocabulary_too() {
    let folder = Folder::new();
    folder.write("text.txt", "abracadabra\n".repeat(20) + "x\n");
    folder.write("tiny.lstm", model("characters", "unknown: \"?\"; vocabulary: 4"));
    folder.train("run", &[]);
    assert_eq!(
        vocabulary(&folder, "run")["words"],
        serde_json::json!(["a", "?", "b", "\n"]),
        "the end of a line stays"
    );
    let done = folder.run(&["generate", "run", "--prompt", "abA", "--threads", "1", "--length", "1"]);
    assert!(done.err.contains("the character \"A\" (did you mean \"a\"?), and reads ? in place"), "{done:?}");
    // Without a word for them, each of them is said.
    folder.write("valid.txt", "abé\néé—\n");
    folder.write("tiny.lstm", model("characters", "valid: \"valid.txt\""));
    let message = folder.refused(&["train", "tiny.lstm", "--out", "other", "--threads", "1"]);
    let said =
        "has 4 characters that the vocabulary does not have, 2 of them distinct: \"é\" 3 times, \"—\" once";
    assert!(message.contains(said) && message.contains("the first is in line 1"), "{message}");
}
