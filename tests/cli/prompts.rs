//! generate with several prompts, several continuations, and texts to stop at.

use serde_json::Value;

use crate::scoring::with_input;
use crate::support::{Folder, Model, SENTENCE, TINY};

/// A folder with a run `run` that knows [`SENTENCE`] by heart, and `raw` that has hardly begun.
fn trained() -> &'static Folder {
    static TRAINED: std::sync::OnceLock<Folder> = std::sync::OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = Folder::new();
        folder.train("run", &[]);
        folder.train("raw", &["--steps", "1"]);
        folder
    })
}

#[track_caller]
fn generated(args: &[&str], input: &str) -> String {
    let done = with_input(trained(), &[&["generate"], args, &["--threads", "1"]].concat(), input);
    assert_eq!(done.code, Some(0), "{done:?}");
    done.out
}

fn rows(args: &[&str], input: &str) -> Vec<Value> {
    let out = generated(&[args, &["--json"]].concat(), input);
    out.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

#[test]
fn prompts_are_lines_of_standard_input() {
    let expected = "the quick brown fox jumps\n\nthe quick brown fox jumps over\n";
    for more in [&[][..], &["--prompt", "-"]] {
        let args = [&["run", "--greedy", "--length", "3"], more].concat();
        assert_eq!(generated(&args, "the quick\nthe quick brown\n"), expected);
    }
    assert_eq!(generated(&["run", "--prompt", "-"], ""), "", "no prompts, no texts");
    let done = with_input(trained(), &["generate", "run"], "");
    assert!(done.code == Some(2) && done.err.contains("there is no prompt"), "{done:?}");
    // A prompt is read as alone, and has the same seeds.
    let hot = |input: &str| rows(&["raw", "--temperature", "2", "--length", "20", "--count", "2"], input);
    let (both, alone) = (hot("the quick\nthe lazy\n"), hot("the lazy\n"));
    assert_eq!((both.len(), alone.len()), (4, 2));
    for (row, same) in both[2..].iter().zip(&alone) {
        assert_eq!((&row["text"], &row["seed"]), (&same["text"], &same["seed"]));
    }
    assert_eq!(both.iter().map(|row| row["line"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 1, 2, 2]);
}

#[test]
fn continuations_have_seeds_of_their_own_and_can_be_written_again() {
    let args = ["raw", "--prompt", "the quick", "--temperature", "2", "--length", "20", "--seed", "5"];
    let found = rows(&[&args[..], &["--count", "4"]].concat(), "");
    assert_eq!(found, rows(&[&args[..], &["--count", "4"]].concat(), ""));
    let texts: std::collections::BTreeSet<&str> =
        found.iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 4, "{found:?}");
    assert_eq!((&found[0]["seed"], &found[0]["line"]), (&5.into(), &Value::Null));
    for (index, row) in found.iter().enumerate() {
        let seed = row["seed"].as_u64().unwrap().to_string();
        let again = [&args[..7], &["--seed", &seed]].concat();
        let text = generated(&again, "");
        assert_eq!(text, format!("the quick{}\n", row["text"].as_str().unwrap()));
        assert_eq!(
            (&row["index"], &row["tokens"], &row["stopped"]),
            (&index.into(), &20.into(), &false.into())
        );
        assert_eq!(row["prompt"], "the quick");
    }
    let plain = generated(&[&args[..], &["--count", "4"]].concat(), "");
    let texts: Vec<String> =
        found.iter().map(|row| format!("the quick{}\n", row["text"].as_str().unwrap())).collect();
    assert_eq!(plain, texts.join("\n"));
}

#[test]
fn a_continuation_ends_before_a_stop_text() {
    let args = ["run", "--prompt", "the quick", "--greedy", "--length", "16"];
    let whole = generated(&args, "");
    assert_eq!(whole, format!("{SENTENCE} {SENTENCE}\n"));
    for (stop, expected) in [
        (&["over"][..], "the quick brown fox jumps \n"),
        (&["lazy", " jumps over"], "the quick brown fox\n"),
        // Also in the middle of a word, and over two of them; the prompt does not count.
        (&["x j"], "the quick brown fo\n"),
        (&["zebra", "doge"], &whole),
        (&["the quick brown"], "the quick brown fox jumps over the lazy dog \n"),
    ] {
        let stops: Vec<&str> = stop.iter().flat_map(|stop| ["--stop", stop]).collect();
        assert_eq!(generated(&[&args[..], &stops].concat(), ""), expected, "{stop:?}");
        let row = &rows(&[&args[..], &stops].concat(), "")[0];
        assert_eq!(row["text"], expected.trim_end_matches('\n').strip_prefix("the quick").unwrap());
        assert_eq!(row["stopped"], stop[0] != "zebra");
        assert!(row["seed"].is_null() && row["tokens"].as_u64().unwrap() <= 16);
    }
}

#[test]
fn a_prompt_that_cannot_be_read_is_named_by_its_line() {
    let done = with_input(
        trained(),
        &["generate", "run", "--greedy", "--length", "2"],
        "the quick\nthe zebra\nthe\n",
    );
    assert_eq!((done.code, done.out.as_str()), (Some(1), "the quick brown fox\n"), "{done:?}");
    assert!(
        done.err.starts_with("error: standard input, line 2: ") && done.err.contains("\"zebra\""),
        "{done:?}"
    );
    let done = with_input(trained(), &["generate", "run"], "\n");
    assert!(done.code == Some(1) && done.err.contains("line 1: the prompt has 0 tokens"), "{done:?}");
    let folder = Folder::new();
    let model = TINY.text().replace(" tokens: words\n", " tokens: words\n unknown: \"<unk>\"\n");
    folder.write("tiny.lstm", model);
    folder.train("run", &["--steps", "3"]);
    let done = with_input(&folder, &["generate", "run", "--length", "2"], "the\nThe zebra\n");
    assert!(
        done.err.starts_with("note: standard input, line 2: this model does not know the words"),
        "{done:?}"
    );
}

#[test]
fn lines_of_characters_stop_at_their_end() {
    let folder = Folder::new();
    folder.write("text.txt", "abcd\n".repeat(40));
    folder.write("tiny.lstm", Model { tokens: "characters", ..TINY }.text());
    folder.train("run", &[]);
    let done = with_input(&folder, &["generate", "run", "--greedy", "--stop", "\n"], "ab\n");
    assert_eq!(done.out, "abcd\n");
}
