//! `train --from` and `--set`.

use std::fs;

use crate::support::{Folder, Model, TINY};

/// A trained run `old`, and another model.
fn folder(model: &'static str) -> Folder {
    let folder = Folder::new();
    folder.train("old", &["--epochs", "3"]);
    folder.write("tiny.lstm", Model { model, ..TINY }.text());
    folder
}

const LARGER: &str = "tokens -> embedding(8) -> lstm(16) -> lstm(16) -> dense(vocab) -> softmax";

#[test]
fn parameters_are_taken_by_name_and_the_rest_is_new() {
    let folder = folder(LARGER);
    let out = folder.train("new", &["--from", "old", "--steps", "0"]);
    assert!(out.contains("from        old after 24 updates: 15 of 27 parameters\n"), "{out}");
    assert!(out.contains("new         lstm_2.W_i, ") && out.contains(" and 6 more\n"), "{out}");
    let (old, new) = (folder.trained("old").tensors(), folder.trained("new").tensors());
    let params: Vec<&String> = old.keys().filter(|name| !name.contains('/')).collect();
    assert_eq!(params.len(), 15);
    assert!(params.iter().all(|name| old[*name] == new[*name]));
    // The optimizer starts afresh.
    let states = new.iter().filter(|(name, _)| name.starts_with("optimizer/"));
    assert!(
        states.clone().count() > 0
            && states.map(|(_, bytes)| bytes).all(|bytes| bytes.iter().all(|&byte| byte == 0))
    );
    assert!(fs::read_to_string(folder.path("new/log.txt")).unwrap().contains("15 of 27 parameters"));
}

#[test]
fn other_sizes_start_afresh_and_are_said() {
    let folder = folder("tokens -> embedding(8) -> lstm(20) -> dense(vocab) -> softmax");
    let out = folder.train("new", &["--from", "old", "--steps", "0"]);
    assert!(out.contains("from        old after 24 updates: 2 of 15 parameters\n"), "{out}");
    assert!(out.contains("other sizes lstm_1.W_i, [8, 20] for [8, 16]; "), "{out}");
    let message = {
        let text = Model { model: "tokens -> embedding(9) -> rnn(20) -> dense(vocab)", ..TINY }.text();
        folder.write("tiny.lstm", text.replace("\"text.txt\"", "\"other.txt\""));
        folder.write("other.txt", "one two three four five six seven eight nine ten\n".repeat(5));
        folder.refused(&["train", "tiny.lstm", "--from", "old", "--steps", "0"])
    };
    assert!(message.contains("--from old: none of its parameters fits; sizes are others: "), "{message}");
}

#[test]
fn words_are_taken_one_by_one() {
    let folder = folder(TINY.model);
    // Another order of frequency, two words less and one more.
    folder.write("text.txt", "dog dog dog lazy lazy the over jumps zebra fox\n".repeat(5));
    let out = folder.train("new", &["--from", "old", "--steps", "0"]);
    assert!(
        out.contains("from        old after 24 updates: 15 of 15 parameters\nnew words   zebra\n"),
        "{out}"
    );
    let words = |run: &str| -> Vec<String> {
        let text = fs::read_to_string(folder.path(run).join("vocab.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let (old, new) = (folder.trained("old").tensors(), folder.trained("new").tensors());
    let (old_words, new_words) = (words("old"), words("new"));
    assert_ne!(
        old_words.iter().position(|word| word == "dog"),
        new_words.iter().position(|word| word == "dog")
    );
    let table = |tensors: &std::collections::BTreeMap<String, Vec<u8>>, word: usize| {
        tensors["embedding_1.E"].chunks(4 * 8).nth(word).unwrap().to_vec()
    };
    for (at, word) in new_words.iter().enumerate() {
        match old_words.iter().position(|old| old == word) {
            Some(before) => assert_eq!(table(&new, at), table(&old, before), "{word}"),
            None => assert_eq!(word, "zebra"),
        }
    }
}

#[test]
fn numbers_of_the_train_block_are_set_in_the_runs_model() {
    let folder = Folder::new();
    let more = "clip: norm(5) schedule: decay(0.5, after: 4)";
    folder.write("tiny.lstm", Model { more, ..TINY }.text());
    let sets = ["rate=0.5", "beta1=0.8", "clip=1", "epochs=2", "schedule.factor=0.9", "after=3"];
    let sets: Vec<&str> = sets.iter().flat_map(|&set| ["--set", set]).collect();
    folder.train("run", &sets);
    let model = fs::read_to_string(folder.path("run/model.lstm")).unwrap();
    for line in ["adam(rate: 0.5, beta1: 0.8)", "norm(1)", "epochs: 2", "decay(0.9, after: 3)"] {
        assert!(model.contains(line), "{line}: {model}");
    }
    assert_eq!(folder.trained("run").metrics().len(), 2);
    // As in the file, so by hand.
    folder.write("tiny.lstm", &model);
    folder.train("again", &[]);
    assert_eq!(folder.trained("again").timeless(), folder.trained("run").timeless());
}

#[test]
fn numbers_that_are_not_there_or_are_several() {
    let folder = Folder::new();
    let refused = |set: &str| folder.refused(&["train", "tiny.lstm", "--set", set]);
    assert!(
        refused("rte=1").contains("--set rte: the train block has no such number; "),
        "{}",
        refused("rte=1")
    );
    assert!(
        refused("optimizer.rte=1").contains("did you mean optimizer.rate?"),
        "{}",
        refused("optimizer.rte=1")
    );
    let more = "weights: average(after: 2) schedule: decay(0.5, after: 4)";
    folder.write("tiny.lstm", Model { more, ..TINY }.text());
    let message = refused("after=3");
    assert!(message.contains("several numbers have this name; say which, "), "{message}");
    assert!(message.contains("weights.after") && message.contains("schedule.after"), "{message}");
    let wrong = folder.run(&["train", "tiny.lstm", "--set", "rate=fast"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("\"fast\" is not a number of at least 0"), "{}", wrong.err);
    let both = folder.run(&["train", "--resume", "x", "--from", "y"]);
    assert_eq!(both.code, Some(2), "{}", both.err);
}

#[test]
fn the_mean_of_an_averaged_run_is_taken() {
    let folder = Folder::new();
    folder.write("tiny.lstm", Model { more: "weights: average(after: 1)", ..TINY }.text());
    folder.train("old", &["--epochs", "2"]);
    folder.write("tiny.lstm", TINY.text());
    folder.train("new", &["--from", "old", "--steps", "0"]);
    let (old, new) = (folder.trained("old").tensors(), folder.trained("new").tensors());
    for name in new.keys().filter(|name| !name.contains('/')) {
        assert_eq!(new[name], old[&format!("optimizer/{name}/param.mean")], "{name}");
        assert_ne!(new[name], old[name], "{name}");
    }
}
