//! `--device`: what every subcommand says of a GPU that is not there. (No machine has so many.)

use crate::support::Folder;

/// Wrong usage, with all of `parts` in its message.
#[track_caller]
fn misused(folder: &Folder, args: &str, parts: &[&str]) {
    let before = folder.names();
    let done = folder.run(&args.split_whitespace().collect::<Vec<_>>());
    assert_eq!(done.code, Some(2), "{args}: {}\n{}", done.err, done.out);
    assert!(done.out.is_empty(), "{args}: {}", done.out);
    for part in parts {
        assert!(done.err.contains(part), "{args}: no {part:?} in: {}", done.err);
    }
    assert_eq!(folder.names(), before, "{args}");
}

#[test]
fn a_gpu_that_is_not_there_is_a_wrong_option() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    for command in [
        "train tiny.lstm",
        "train --resume run",
        "eval run",
        "eval run --weights bf16,int8",
        "predict run",
        "generate run --prompt the",
        "generate run --prompt the --weights int8",
        "check tiny.lstm",
    ] {
        misused(&folder, &format!("{command} --device cuda:4000"), &["error: --device cuda:4000: "]);
    }
}

#[test]
fn a_device_has_a_name() {
    let folder = Folder::new();
    for device in ["gpu", "cuda:", "cuda:x", "cuda:-1"] {
        misused(&folder, &format!("train tiny.lstm --device {device}"), &["cuda:N with the number of a GPU"]);
    }
}

#[test]
fn a_gpu_has_no_worker_threads() {
    let folder = Folder::new();
    for command in
        ["train tiny.lstm", "eval run", "predict run", "generate run --prompt the", "check tiny.lstm"]
    {
        misused(
            &folder,
            &format!("{command} --device cuda --threads 2"),
            &["error: --threads is for --device cpu"],
        );
    }
    for command in ["check tiny.lstm", "emit tiny.lstm --stage plan"] {
        misused(&folder, &format!("{command} --target sm_80 --threads 2"), &["--target", "--threads"]);
    }
}

#[test]
fn some_subcommands_are_for_the_processor() {
    let folder = Folder::new();
    for command in ["profile tiny.lstm", "gradcheck tiny.lstm", "emit tiny.lstm --stage plan"] {
        let said = ["error: --device is for train, eval, predict, score, generate and check"];
        misused(&folder, &format!("{command} --device cuda"), &said);
    }
}
