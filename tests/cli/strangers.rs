//! Runs that were damaged, or that somebody else made: what is not as it was written is not used, and nothing outside of the
//! run is read, written or removed that was not asked for.

use std::fs;

use safetensors::tensor::{SafeTensors, TensorView};

use crate::support::{Folder, Run, TINY, names};

const RESUME: &[&str] = &["train", "--resume", "run", "--epochs", "3", "--threads", "1"];

/// Every command that loads a checkpoint.
const USING: [&[&str]; 4] = [
    RESUME,
    &["eval", "run", "--threads", "1"],
    &["predict", "run", "--threads", "1"],
    &["generate", "run", "--prompt", "the", "--threads", "1"],
];

fn trained() -> (Folder, Run) {
    let folder = Folder::new();
    folder.train("run", &["--epochs", "2"]);
    let run = folder.trained("run");
    (folder, run)
}

#[test]
fn a_weight_with_another_bit_is_found_by_every_command() {
    let (folder, run) = trained();
    let whole = fs::read(run.latest()).unwrap();
    let (header, _) = SafeTensors::read_metadata(&whole).unwrap();
    let tensors: Vec<(String, usize)> = {
        let stored = SafeTensors::deserialize(&whole).unwrap();
        let begin = |view: &TensorView<'_>| view.data().as_ptr() as usize - whole.as_ptr() as usize;
        stored.iter().map(|(name, view)| (name.to_owned(), begin(&view))).collect()
    };
    assert!(tensors.len() > 10 && tensors.iter().all(|(_, begin)| *begin >= header + 8), "{tensors:?}");
    for (number, (name, begin)) in tensors.iter().enumerate() {
        let mut changed = whole.clone();
        // The sign, a bit of the exponent or one of the last.
        changed[begin + [3, 3, 0][number % 3]] ^= [0x80, 0x40, 1][number % 3];
        fs::write(run.latest(), &changed).unwrap();
        let args = USING[number % USING.len()];
        let message = folder.refused(args);
        let said = format!("{name} is not as it was written (the CRC-32 differs)");
        assert!(message.contains("not a whole checkpoint") && message.contains(&said), "{args:?}: {message}");
        // It is no matter of trust.
        let message = folder.refused(&[args, &["--accept-unverified"]].concat());
        assert!(message.contains(&said), "{args:?}: {message}");
    }
}

#[test]
fn a_checkpoint_without_checksums_has_to_be_accepted() {
    let (folder, run) = trained();
    let before = run.tensors();
    run.rewrite(&|_, _| {});
    for args in USING {
        let message = folder.refused(args);
        assert!(message.contains("epoch-02") && message.contains("add --accept-unverified"), "{message}");
    }
    assert_eq!(run.tensors(), before);
    for args in USING.iter().rev() {
        folder.ok(&[args, &["--accept-unverified"][..]].concat());
    }
    // What it goes on with has checksums again.
    folder.ok(USING[1]);
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (folder, run) = trained();
        run.rewrite(&|name, values| {
            if name == "lstm_1.W_f" {
                values[5] = bad;
            }
        });
        for args in USING {
            let message = folder.refused(&[args, &["--accept-unverified"][..]].concat());
            let said = "lstm_1.W_f holds numbers that are NaN or infinite";
            assert!(message.contains("epoch-02") && message.contains(said), "{args:?}: {message}");
        }
    }
}

/// The ids mean something else then.
#[test]
fn a_model_that_cuts_tokens_in_another_way_is_not_used() {
    let (folder, _) = trained();
    folder.write("run/model.lstm", TINY.text().replace("tokens: words", "tokens: characters"));
    for args in USING {
        let message = folder.refused(args);
        assert!(message.contains("`tokens` is not what this run was trained with"), "{args:?}: {message}");
    }
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    /// Moves an entry of the run to another place, and puts a link to it there.
    fn linked(folder: &Folder, name: &str) {
        fs::create_dir_all(folder.path("outside")).unwrap();
        fs::rename(folder.path(&format!("run/{name}")), folder.path("outside/it")).unwrap();
        symlink(Path::new("../outside/it"), folder.path(&format!("run/{name}"))).unwrap();
    }

    /// Names and contents below a folder.
    fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
        let mut found = vec![];
        for name in names(path) {
            let path = path.join(&name);
            if path.is_dir() {
                found.extend(
                    contents(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
                );
            } else {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
        found
    }

    #[track_caller]
    fn refused_with_a_link(name: &str, commands: &[&[&str]]) {
        let (folder, _) = trained();
        // Something that would be removed when it is written.
        folder.write("run/checkpoints/step-000001.safetensors", "mine");
        linked(&folder, name);
        let before = contents(&folder.path("outside"));
        for args in commands {
            let message = folder.refused(args);
            assert!(message.contains(name) && message.contains("it is a link"), "{args:?}: {message}");
        }
        assert_eq!(contents(&folder.path("outside")), before, "{name}");
    }

    #[test]
    fn nothing_is_read_through_a_link() {
        for name in ["model.lstm", "vocab.json", "run.json", "latest", "checkpoints"] {
            refused_with_a_link(name, &USING);
        }
        refused_with_a_link("checkpoints/epoch-02.safetensors", &USING);
    }

    #[test]
    fn nothing_is_written_or_removed_through_a_link() {
        for name in ["log.txt", "metrics.jsonl", "lock", "checkpoints"] {
            refused_with_a_link(name, &[RESUME]);
        }
    }

    #[test]
    fn a_folder_with_a_link_is_not_made_a_run() {
        let folder = Folder::new();
        fs::create_dir_all(folder.path("run")).unwrap();
        fs::create_dir_all(folder.path("outside")).unwrap();
        symlink(Path::new("../outside"), folder.path("run/checkpoints")).unwrap();
        let message = folder.refused(&["train", "tiny.lstm", "--out", "run", "--threads", "1"]);
        assert!(message.contains("checkpoints") && message.contains("it is a link"), "{message}");
        assert_eq!(names(&folder.path("outside")), [""; 0]);
    }

    /// What replaces a file replaces a link to one.
    #[test]
    fn a_link_is_replaced_and_not_what_it_leads_to() {
        let folder = Folder::new();
        fs::create_dir_all(folder.path("run")).unwrap();
        folder.write("mine", "mine");
        for name in ["vocab.json", "run.json", "model.lstm", "latest"] {
            symlink(Path::new("../mine"), folder.path(&format!("run/{name}"))).unwrap();
            let args = ["train", "tiny.lstm", "--out", "run", "--threads", "1", "--epochs", "1"];
            // A run with a link for its model or its newest checkpoint is one already.
            let done = folder.run(&args);
            assert_eq!(fs::read(folder.path("mine")).unwrap(), b"mine", "{name}: {done:?}");
            fs::remove_dir_all(folder.path("run")).unwrap();
            fs::create_dir_all(folder.path("run")).unwrap();
        }
    }

    /// The folder is named by who runs the command, and may lie elsewhere.
    #[test]
    fn the_run_itself_may_be_a_link() {
        let (folder, _) = trained();
        fs::rename(folder.path("run"), folder.path("moved")).unwrap();
        symlink(Path::new("moved"), folder.path("run")).unwrap();
        USING.iter().for_each(|args| drop(folder.ok(args)));
    }
}

/// A run as somebody else may send it: its model and its settings name a file that is none of theirs.
fn from_elsewhere(text: &str, data: &str, keeps_records: bool) -> Folder {
    let (folder, _) = trained();
    fs::create_dir_all(folder.path("private")).unwrap();
    folder.write("private/diary.txt", format!("{}\n", crate::support::SENTENCE).repeat(9));
    folder.write("run/model.lstm", TINY.text().replace("text.txt", text));
    let settings = fs::read_to_string(folder.path("run/run.json")).unwrap();
    let mut settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    settings["data"] = data.into();
    if !keeps_records {
        settings["texts"] = serde_json::json!([]);
    }
    folder.write("run/run.json", settings.to_string());
    folder
}

#[test]
fn a_text_that_the_run_names_is_read_if_it_is_its_own_or_accepted() {
    let reading = &USING[..3];
    for (text, data) in
        [("private/diary.txt", "."), ("../private/diary.txt", "run"), ("diary.txt", "private")]
    {
        for keeps_records in [false, true] {
            let folder = from_elsewhere(text, data, keeps_records);
            for args in reading {
                let message = folder.refused(args);
                let said = match keeps_records {
                    true => "is not the one that this run was begun with",
                    false => "has no record of having read it",
                };
                for part in ["diary.txt", said, "--accept-changes"] {
                    assert!(message.contains(part), "{args:?}: no {part:?} in {message}");
                }
            }
            for args in reading.iter().rev() {
                let done = folder.run(&[args, &["--accept-changes"][..]].concat());
                assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
                let said = format!("{}{}", done.out, done.err);
                let part = if keeps_records { "text has 396 bytes" } else { "cannot be checked" };
                assert!(said.contains(part), "{args:?}: no {part:?} in {said}");
            }
        }
    }
}

#[test]
fn a_folder_of_texts_that_is_named_is_not_left() {
    let folder = from_elsewhere("../private/diary.txt", "private", false);
    fs::create_dir_all(folder.path("texts")).unwrap();
    for args in &USING[..3] {
        let message = folder.refused(&[args, &["--data", "texts"][..]].concat());
        assert!(message.contains("has no record of having read it"), "{args:?}: {message}");
    }
    let folder = from_elsewhere("diary.txt", "elsewhere", false);
    for args in USING[..3].iter().rev() {
        folder.ok(&[args, &["--data", "private"][..]].concat());
    }
}

/// As a killed process leaves them.
#[test]
fn what_killed_runs_were_writing_is_removed_when_a_run_is_written() {
    let (folder, run) = trained();
    let left = ["run/.writing-4000000-0", "run/checkpoints/.writing-4000000-1", "run/checkpoints/.tmpaB3dE6"];
    let others =
        ["run/notes.txt", "run/.notes", "run/checkpoints/.writing-notes.txt", "run/checkpoints/mine.tmp"];
    left.iter().chain(&others).for_each(|name| folder.write(name, "x"));
    for args in &USING[1..] {
        folder.ok(args);
    }
    assert!(left.iter().all(|name| folder.path(name).exists()), "a run that is read is left alone");
    folder.ok(RESUME);
    assert!(left.iter().all(|name| !folder.path(name).exists()), "{:?}", names(&run.0));
    assert!(others.iter().all(|name| folder.path(name).exists()), "{:?}", names(&run.0));
    // And a checkpoint that another has replaced, where there is nothing more to train either.
    let newest = fs::read_to_string(folder.path("run/latest")).unwrap();
    folder.write("run/checkpoints/step-000001.safetensors", "x");
    folder.ok(RESUME);
    assert!(!folder.path("run/checkpoints/step-000001.safetensors").exists());
    assert_eq!(fs::read_to_string(folder.path("run/latest")).unwrap(), newest);
    // The same of one that is begun again, before its first checkpoint.
    fs::create_dir_all(folder.path("new/checkpoints")).unwrap();
    folder.write("new/checkpoints/.writing-4000000-0", "x");
    folder.train("new", &["--epochs", "1"]);
    assert_eq!(names(&folder.path("new/checkpoints")), ["epoch-01.safetensors"]);
}
