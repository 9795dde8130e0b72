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

/// Ten lines, each of which stands in the text only once, in words that all of them have.
fn lines() -> Vec<String> {
    let words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    (0..words.len()).map(|n| [&words[n..], &words[..n]].concat().join(" ") + "\n").collect()
}

fn records(folder: &Folder, run: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.path(run).join("run.json")).expect("the settings");
    let settings: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    settings["texts"].as_array().expect("the texts").clone()
}

#[test]
fn parts_of_one_text_are_held_out() {
    let folder = Folder::new();
    folder.write("text.txt", lines().concat());
    folder.write("tiny.lstm", model("words", "valid: last(20%); test: last(10%)"));
    let out = folder.train("run", &[]);
    assert!(out.contains("text        70 training, 20 validation tokens, 10 distinct words"), "{out}");
    let bytes: Vec<_> = records(&folder, "run").iter().map(|text| text["bytes"].as_u64().unwrap()).collect();
    assert_eq!(bytes, [140, 40, 20]);
    // The parts are the same as files of their own would be.
    let lines = lines();
    folder.write("train.txt", lines[..7].concat());
    folder.write("valid.txt", lines[7..9].concat());
    folder.write("test.txt", lines[9..].concat());
    let apart = model("words", "valid: \"valid.txt\"; test: \"test.txt\"").replace("text.txt", "train.txt");
    folder.write("tiny.lstm", apart);
    folder.train("apart", &[]);
    assert_eq!(folder.trained("run").timeless(), folder.trained("apart").timeless());
    let test = |run| folder.ok(&["eval", run, "--split", "test", "--threads", "1"]);
    let figures = |out: String| out.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(figures(test("run")), figures(test("apart")));
    let digests = |run| {
        let digest = |text: &serde_json::Value| text["blake3"].as_str().unwrap().to_owned();
        records(&folder, run).iter().map(digest).collect::<Vec<_>>()
    };
    assert_eq!(digests("run"), digests("apart"));
    // A text that has grown is another one, in every part.
    folder.write("text.txt", lines.concat() + "a b\n");
    for command in [&["train", "--resume", "run", "--epochs", "3"][..], &["eval", "run", "--split", "test"]] {
        let message = folder.refused(command);
        assert!(message.contains("text.txt\" is not the one that this run was begun with"), "{message}");
    }
    let source = fs::read_to_string(folder.path("run/model.lstm")).unwrap();
    folder.write("text.txt", lines.concat());
    folder.write("run/model.lstm", source.replace("last(20%)", "last(30%)"));
    let message = folder.refused(&["train", "--resume", "run", "--epochs", "3"]);
    assert!(message.contains("the training text"), "{message}");
}

#[test]
fn several_files_are_one_text() {
    let folder = Folder::new();
    let lines = lines();
    fs::create_dir(folder.path("parts")).unwrap();
    folder.write("text.txt", lines[..4].concat());
    folder.write("parts/2.txt", lines[6..].concat().trim_end());
    folder.write("parts/1.txt", lines[4..6].concat());
    let source = model("words", "valid: last(20%)").replace("\"text.txt\"", "\"text.txt\", \"parts/*.txt\"");
    folder.write("tiny.lstm", source.clone());
    let out = folder.train("run", &[]);
    assert!(out.contains("text        80 training, 20 validation tokens"), "{out}");
    let record = &records(&folder, "run")[0];
    let more: Vec<&str> =
        record["more"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert!(more[0].ends_with("1.txt") && more[1].ends_with("2.txt"), "{record}");
    // Another folder, another file, another order: all are seen.
    folder.ok(&["train", "--resume", "run", "--epochs", "3", "--threads", "1"]);
    folder.write("parts/0.txt", "a b c\n");
    let message = folder.refused(&["train", "--resume", "run", "--epochs", "4"]);
    assert!(
        message.contains("2 more files\" is not the one")
            || message.contains("3 more files\" is not the one"),
        "{message}"
    );
    fs::remove_file(folder.path("parts/0.txt")).unwrap();
    // A word is reported in its file.
    folder.write("valid.txt", "a b\n");
    fs::create_dir(folder.path("more")).unwrap();
    folder.write("more/x.txt", "a b\nc zebra\n");
    let held = source.replace("valid: last(20%)", "valid: \"valid.txt\", \"more/*\"");
    folder.write("tiny.lstm", held);
    let message = folder.refused(&["train", "tiny.lstm", "--out", "other", "--threads", "1"]);
    assert!(message.contains("x.txt has 1 word") && message.contains("in line 2"), "{message}");
    for (files, part) in [
        ("\"none/*.txt\"", "no file is like \"none/*.txt\", which the training text is to be read from"),
        ("\"parts/1.txt\", \"parts/*.txt\"", "the training text has this file twice"),
        ("\"parts/1.txt\", \"none.txt\"", "cannot find the training text \"none.txt\""),
    ] {
        folder.write("tiny.lstm", source.replace("\"text.txt\", \"parts/*.txt\"", files));
        let message = folder.refused(&["train", "tiny.lstm", "--out", "other", "--threads", "1"]);
        assert!(message.replace("./", "").contains(part), "{message}");
    }
}

/// A text of so many sentences that say all kinds of things.
fn story(sentences: usize) -> String {
    let (who, what) = (["mice", "cats", "dogs", "owls", "bees"], ["sleep", "sing", "dance"]);
    let sentence =
        |n: usize| format!("The {} {}, and {} too.\n", who[n % 5], what[n % 3], who[n * 7 % 11 % 5]);
    (0..sentences).map(sentence).collect()
}

#[test]
fn a_model_is_written_for_a_text_and_trains() {
    let folder = Folder::new();
    folder.write("story.txt", story(40) + "\u{17d}\n");
    let out = folder.ok(&["init", "tale", "--text", "story.txt"]);
    assert!(out.contains("tokens      characters: the text is too short to learn words from"), "{out}");
    assert!(out.contains("train it with  lstmc train tale.lstm"), "{out}");
    let written = fs::read_to_string(folder.path("tale.lstm")).unwrap();
    assert!(written.contains("train: \"story.txt\"") && written.contains("valid: last(10%)"), "{written}");
    let out = folder.ok(&["train", "tale.lstm", "--epochs", "2", "--threads", "1"]);
    assert!(out.contains("validation  ") && out.contains("count as \u{fffd}"), "{out}");
    folder.ok(&["generate", "runs/tale", "--prompt", "The mice", "--length", "5", "--threads", "1"]);
    let message = folder.refused(&["init", "tale", "--text", "text.txt"]);
    assert!(message.contains("tale.lstm\" is there already") && message.contains("--overwrite"), "{message}");
    assert_eq!(fs::read_to_string(folder.path("tale.lstm")).unwrap(), written);
    folder.ok(&["init", "tale.lstm", "--text", "text.txt", "--overwrite"]);
    assert_ne!(fs::read_to_string(folder.path("tale.lstm")).unwrap(), written);
}

#[test]
fn a_model_is_of_what_is_asked_for() {
    let folder = Folder::new();
    folder.write("long.txt", story(8_000));
    let out = folder.ok(&["init", "models/long", "--text", "long.txt"]);
    assert!(out.contains("tokens      words and punctuation: the text is long enough"), "{out}");
    // The text lies beside the folder of the model, and is found all the same.
    folder.ok(&["check", "models/long.lstm", "--threads", "1"]);
    for (like, tokens) in [("char", "characters"), ("word", "words_and_punctuation("), ("ptb", "words(")] {
        folder.ok(&["init", like, "--text", "text.txt", "long.txt", "--like", like]);
        let written = fs::read_to_string(folder.path(&format!("{like}.lstm"))).unwrap();
        assert!(written.contains(&format!("tokens: {tokens}")), "{written}");
        let out = folder.ok(&["train", &format!("{like}.lstm"), "--steps", "1", "--threads", "1"]);
        assert!(out.contains("validation tokens"), "{out}");
    }
    folder.write("short.txt", "too short\n");
    let message = folder.refused(&["init", "short", "--text", "short.txt"]);
    assert!(message.contains("too little text to train on: 10 characters"), "{message}");
    assert!(
        folder.refused(&["init", "none", "--text", "none.txt"]).contains("cannot find the text \"none.txt\"")
    );
    assert!(!folder.path("short.lstm").exists() && !folder.path("none.lstm").exists());
}

#[test]
fn subwords_are_learned_from_the_text() {
    let folder = Folder::new();
    let text = story(60) + "caf\u{e9} \u{732b}\n";
    folder.write("text.txt", &text);
    folder.write("tiny.lstm", model("bpe(280)", "valid: last(10%)"));
    let out = folder.train("run", &[]);
    assert!(out.contains("280 distinct tokens"), "{out}");
    folder.train("again", &[]);
    let kept = vocabulary(&folder, "run");
    assert_eq!(kept, vocabulary(&folder, "again"), "the same text, the same tokens");
    assert_eq!(folder.trained("run").timeless(), folder.trained("again").timeless());
    assert!(kept["words"].as_array().unwrap().iter().any(|word| word == "\u{120}and"), "{kept}");
    // What was never seen is read and written as it is.
    let prompt = "Owls \u{e9}t\u{e9} \u{732b}\u{1f469}, too";
    let out = folder.ok(&["generate", "run", "--prompt", prompt, "--length", "0", "--threads", "1"]);
    assert_eq!(out, format!("{prompt}\n"));
    let out = folder.ok(&["generate", "run", "--prompt", "The", "--length", "30", "--threads", "1"]);
    assert!(out.starts_with("The") && !out.contains('\u{120}'), "{out}");
    let out = folder.ok(&["predict", "run", "--split", "valid", "--threads", "1"]);
    assert!(!out.contains('\u{120}'), "{out}");
    // Another text would teach other tokens; the run keeps its own.
    folder.write("text.txt", "zzz zz zzz zz\n".repeat(60));
    let again = ["train", "--resume", "run", "--accept-changes", "--epochs", "3", "--threads", "1"];
    folder.ok(&again);
    assert_eq!(vocabulary(&folder, "run"), kept);
    let source = fs::read_to_string(folder.path("run/model.lstm")).unwrap();
    folder.write("run/model.lstm", source.replace("bpe(280)", "bpe(281)"));
    assert!(folder.refused(&again).contains("`tokens` is not what this run was trained with"));
}

#[test]
fn a_tokenizer_is_read_from_its_file_once() {
    let folder = Folder::new();
    folder.write("text.txt", story(60));
    folder.write("tiny.lstm", model("bpe(280)", ""));
    folder.train("bpe", &[]);
    let json = vocabulary(&folder, "bpe")["tokenizer"].as_str().unwrap().to_owned();
    folder.write("tiny.lstm", model("tokenizer(\"tokenizer.json\")", ""));
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run", "--threads", "1"]);
    assert!(message.contains("cannot find the tokenizer") && message.contains("tokenizer.json"), "{message}");
    folder.write("tokenizer.json", "{\"version\": \"1.0\"}");
    let message = folder.refused(&["train", "tiny.lstm", "--out", "run", "--threads", "1"]);
    assert!(message.contains("tokenizer.json\": it is no tokenizer"), "{message}");
    folder.write("tokenizer.json", &json);
    folder.train("run", &[]);
    assert_eq!(folder.trained("run").timeless(), folder.trained("bpe").timeless(), "the same tokens");
    // The run has what it needs.
    fs::remove_file(folder.path("tokenizer.json")).unwrap();
    folder.ok(&["train", "--resume", "run", "--epochs", "3", "--threads", "1"]);
    folder.ok(&["eval", "run", "--split", "train", "--threads", "1"]);
    let out = folder.ok(&["generate", "run", "--prompt", "The mice", "--length", "3", "--threads", "1"]);
    assert!(out.starts_with("The mice"), "{out}");
    // One of whole words, that has none for others, says so.
    let words = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"The":0,"mice":1},"unk_token":"?"}}"#;
    folder.write("tokenizer.json", words);
    let message = folder.refused(&["train", "tiny.lstm", "--out", "other", "--threads", "1"]);
    assert!(message.contains("the tokenizer cannot cut the text"), "{message}");
    let kept = fs::read_to_string(folder.path("run/vocab.json")).unwrap();
    folder.write("run/vocab.json", kept.replacen("\"words\":[\"!\",", "\"words\":[\"?\",", 1));
    let message = folder.refused(&["eval", "run", "--split", "train"]);
    assert!(message.contains("not those of its tokenizer"), "{message}");
}
