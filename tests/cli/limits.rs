//! What the machine refuses: one line that says what and why, and an end.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Done, Folder, Model, TINY, done};

/// Its end. (The limit only ends a test that would hang.)
#[track_caller]
fn end(mut child: Child) -> Done {
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > Duration::from_secs(100) {
            let _ = child.kill();
            panic!("the command does not end");
        }
        sleep(Duration::from_millis(5));
    }
    done(child.wait_with_output().expect("the command has ended"))
}

/// Runs the command behind `before`, a piece of shell.
#[track_caller]
fn under(folder: &Folder, before: &str, args: &[&str]) -> Done {
    let plain = folder.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]).arg(plain.get_program()).args(args);
    shell.current_dir(folder.path("")).env("NO_COLOR", "1");
    end(shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell"))
}

/// Fails, and says why in one line.
#[track_caller]
fn one_line(done: Done) -> String {
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.starts_with("error: ") && done.err.lines().count() == 1, "{done:?}");
    done.err
}

/// Stacks as large as that make threads scarce.
#[test]
fn threads_that_the_system_refuses() {
    let folder = Folder::new();
    let stacks = |count: u64| format!("export RUST_MIN_STACK={}; ulimit -v {};", 1 << 29, count << 19);
    let train = ["train", "tiny.lstm", "--threads", "2", "--out", "run", "--epochs", "3"];
    // Ctrl-C, progress, and the workers, of which the first waits for the second where two can run at once.
    let mut messages = vec![];
    for count in 1.. {
        assert!(count < 10, "{messages:?}");
        let done = under(&folder, &stacks(count), &train);
        if done.code == Some(0) {
            break;
        }
        messages.push(one_line(done));
    }
    let parts = ["Ctrl-C", "progress", "worker thread", "worker thread"];
    assert!((3..=4).contains(&messages.len()), "{messages:?}");
    for (message, part) in messages.iter().zip(parts) {
        assert!(message.contains(part), "{messages:?}");
    }
    // Trained only by the last.
    assert_eq!(folder.trained("run").metrics().len(), 3);

    for (args, count) in [
        (&["eval", "run"][..], 2),
        (&["predict", "run"], 2),
        (&["generate", "run", "--prompt", "the"], 2),
        (&["profile", "tiny.lstm", "--steps", "1"], 1),
    ] {
        let message = one_line(under(&folder, &stacks(count), &[args, &["--threads", "2"]].concat()));
        assert!(message.contains("worker thread") && message.contains("--threads"), "{args:?}: {message}");
    }
    let done = under(&folder, &stacks(1), &["gradcheck", "tiny.lstm"]);
    assert_eq!(done.code, Some(0), "what threads would have done is done without: {done:?}");
}

/// Limits far from what is needed, so that they are met where much is asked for at once.
#[test]
fn memory_that_the_system_refuses() {
    let folder = Folder::new();
    folder.write("tiny.lstm", TINY.text().replace("lstm(16)", "lstm(4096)"));
    let train = ["train", "tiny.lstm", "--threads", "1", "--steps", "1", "--out", "run"];
    for (mebibytes, part) in [(64, "no memory for compiled code"), (512, "use a smaller model")] {
        let message = one_line(under(&folder, &format!("ulimit -v {};", mebibytes << 10), &train));
        assert!(message.contains(part), "{message}");
    }
    assert!(!folder.path("run").exists());
}

/// By `prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)`, where there is perl to call it and the system knows it.
#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn code_that_may_not_be_executed() {
    let prctl = if cfg!(target_arch = "x86_64") { 157 } else { 167 };
    let forbid =
        format!("exec perl -e 'syscall({prctl}, 65, 1, 0, 0, 0) == 0 or exit 77; exec @ARGV or exit 77'");
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    for args in [
        &["train", "tiny.lstm", "--out", "other"][..],
        &["eval", "run"],
        &["predict", "run"],
        &["generate", "run", "--prompt", "the"],
        &["check", "tiny.lstm"],
        &["profile", "tiny.lstm"],
        &["emit", "tiny.lstm", "--stage", "asm"],
    ] {
        // In place of the `exec` that `under` has.
        let done = under(&folder, &format!("{forbid} \"$0\" \"$@\";"), args);
        if matches!(done.code, Some(77 | 127)) {
            eprintln!("not tested: this system cannot be told to forbid it");
            return;
        }
        let message = one_line(done);
        assert!(message.contains("may not run code that it has made itself"), "{args:?}: {message}");
    }
    assert!(!folder.path("other").exists());
}

#[test]
fn files_that_may_not_be_so_large() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    // In units of 512 or 1024 bytes: the folder's small files fit.
    for args in [
        &["train", "tiny.lstm", "--steps", "1", "--out", "other"][..],
        &["train", "--resume", "run", "--steps", "2"],
    ] {
        let message = one_line(under(&folder, "ulimit -f 4;", &[args, &["--threads", "1"]].concat()));
        assert!(message.contains("cannot write") && message.contains("checkpoints"), "{message}");
        assert!(message.contains("`ulimit -f`") && message.contains("--resume"), "{message}");
    }
    folder.ok(&["eval", "run"]);
    let message =
        one_line(under(&folder, "exec >out; ulimit -f 1;", &["emit", "tiny.lstm", "--stage", "opt"]));
    assert!(
        message.contains("cannot write to standard output: ") && message.contains("`ulimit -f`"),
        "{message}"
    );
}

#[test]
fn an_output_on_a_full_disk_is_named() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    let full = |args: &[&str]| {
        let mut command = folder.command(args);
        let disk = File::options().write(true).open("/dev/full").expect("a full disk");
        end(command.stdout(disk).stderr(Stdio::piped()).spawn().expect("the command starts"))
    };
    for args in [
        &["check", "tiny.lstm"][..],
        &["emit", "tiny.lstm", "--stage", "ast"],
        &["profile", "tiny.lstm", "--steps", "1"],
        &["gradcheck", "tiny.lstm"],
        &["eval", "run"],
        &["predict", "run"],
        &["generate", "run", "--prompt", "the"],
        &["--help"],
        &["--version"],
        &["help", "train"],
    ] {
        let message = one_line(full(args));
        assert_eq!(message, "error: cannot write to standard output: the disk is full\n", "{args:?}");
    }
    for format in [&[][..], &["--json"]] {
        let train = ["train", "tiny.lstm", "--threads", "1", "--epochs", "3", "--out", "other"];
        let done = full(&[&train, format].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(
            done.err.starts_with("warning: cannot write to standard output: the disk is full"),
            "{done:?}"
        );
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
        assert_eq!(folder.trained("other").metrics().len(), 3);
        fs::remove_dir_all(folder.path("other")).unwrap();
    }
}

/// What has no end, or none that would come in time, is not read.
#[test]
fn what_is_no_file_is_not_read() {
    let folder = Folder::new();
    folder.train("run", &["--steps", "1"]);
    let made = Command::new("mkfifo").arg(folder.path("pipe")).status().expect("mkfifo");
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/zero", folder.path("device")).unwrap();
    let refused = |args: &[&str]| {
        let child = folder.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        one_line(end(child.expect("the command starts")))
    };
    let text = fs::read_to_string(folder.path("tiny.lstm")).unwrap();
    for (name, kind) in [("pipe", "a pipe"), ("device", "a device")] {
        for role in ["train", "valid"] {
            let quoted = format!("{role}: \"text.txt\"");
            folder.write("tiny.lstm", text.replace(&quoted, &format!("{role}: \"{name}\"")));
            let message = refused(&["train", "tiny.lstm"]);
            assert!(message.contains(name) && message.contains(&format!("it is {kind}; the ")), "{message}");
        }
        for command in ["train", "check", "gradcheck"] {
            let message = refused(&[command, name]);
            assert!(message.contains(&format!("it is {kind}; the model file has to be a file")), "{message}");
        }
    }
    // A run's own files are reached without links, so there is no device among them.
    for file in ["vocab.json", "run.json", "latest", "model.lstm"] {
        let (place, kept) = (folder.path("run").join(file), folder.path("kept"));
        fs::rename(&place, &kept).unwrap();
        fs::rename(folder.path("pipe"), &place).unwrap();
        let message = refused(&["eval", "run"]);
        assert!(message.contains(file) && message.contains("it is not a file"), "{message}");
        fs::rename(&place, folder.path("pipe")).unwrap();
        fs::rename(&kept, &place).unwrap();
    }
    assert_eq!(folder.names(), ["device", "pipe", "run", "text.txt", "tiny.lstm"]);
}

/// It has no blocks on the disk, and would have three gigabytes in memory.
#[test]
fn a_file_too_large_for_a_model_is_not_read() {
    let folder = Folder::new();
    File::create(folder.path("large.lstm")).unwrap().set_len(3 << 30).unwrap();
    for command in ["train", "check", "gradcheck"] {
        let message = folder.refused(&[command, "large.lstm"]);
        assert!(message.contains("it has 3.0 GiB, and the model file has 4.0 MiB at most"), "{message}");
    }
    folder.train("run", &["--steps", "1"]);
    fs::rename(folder.path("large.lstm"), folder.path("run/model.lstm")).unwrap();
    let message = folder.refused(&["eval", "run"]);
    assert!(message.contains("it has 3.0 GiB, and the run's model has 4.0 MiB at most"), "{message}");
}

/// Random starts are found again by going through those before.
#[test]
fn a_checkpoint_of_more_updates_than_there_was_time_for() {
    let folder = Folder::new();
    let batches = "windows(length: 3, stride: 1, rows: 1, targets: last, start: random)";
    let model = "tokens -> embedding(8) -> lstm(16) -> last -> dense(vocab) -> softmax";
    folder.write(
        "tiny.lstm",
        Model { batches, model, length: "iterations: 30\n report_every: 10", ..TINY }.text(),
    );
    folder.train("run", &[]);
    let path = folder.trained("run").latest();
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let header = String::from_utf8(bytes[8..8 + length as usize].to_vec()).unwrap();
    let step = 1u64 << 40;
    let place = "\\\"step\\\":30,\\\"reported";
    assert_eq!(header.matches(place).count(), 1, "{header}");
    // Another program's file, without checksums.
    let altered = header
        .trim_end()
        .replace(place, &format!("\\\"step\\\":{step},\\\"reported"))
        .replace("\"crc32\":", "\"else\":");
    let altered = format!("{altered:width$}", width = altered.len().next_multiple_of(8));
    let rest = &bytes[8 + length as usize..];
    fs::write(&path, [&(altered.len() as u64).to_le_bytes()[..], altered.as_bytes(), rest].concat()).unwrap();
    for args in [&["eval", "run"][..], &["train", "--resume", "run"]] {
        let message = folder.refused(&[args, &["--accept-unverified"]].concat());
        assert!(
            message.contains("is not a whole checkpoint") && message.contains(&step.to_string()),
            "{message}"
        );
    }
}

/// Threads beyond the processors that the process may use would only take turns.
#[test]
fn more_threads_than_processors() {
    let folder = Folder::new();
    let one = "note: --threads 3: this process may use 1 processor, so as many threads are used\n";
    let on_one = |args: &[&str]| under(&folder, "taskset -p -c 0 $$ >&2 || exit 77;", args);
    // What `taskset` says comes before.
    let note = |done: &Done| {
        assert_eq!(done.code, Some(0), "{done:?}");
        done.err.ends_with(one)
    };
    let train = ["train", "tiny.lstm", "--steps", "1", "--out", "run", "--threads"];
    let done = on_one(&[&train[..], &["3"]].concat());
    if done.code == Some(77) {
        eprintln!("not tested: this process may not use processor 0");
        return;
    }
    assert!(note(&done) && done.out.contains("for 1 thread\n"), "{done:?}");
    for args in [
        &["eval", "run", "--weights", "f32,bf16"][..],
        &["predict", "run"],
        &["generate", "run", "--prompt", "the"],
        &["check", "tiny.lstm"],
        &["profile", "tiny.lstm", "--steps", "1"],
    ] {
        assert!(note(&on_one(&[args, &["--threads", "3"]].concat())), "{args:?}");
        assert!(!note(&on_one(&[args, &["--threads", "1"]].concat())), "{args:?}");
        assert!(!note(&on_one(args)), "{args:?}");
    }
}
