//! Ctrl-C: saved, stopped, and taken up again.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Done, Folder, Run, done};

/// Waits until the run has `rows` rows of metrics. (The limit only ends a test that would hang.)
fn await_rows(run: &Run, rows: usize, child: &mut Child) {
    let begun = Instant::now();
    while run.metrics_so_far() < rows {
        assert!(child.try_wait().expect("a child").is_none(), "training ended by itself");
        assert!(begun.elapsed() < Duration::from_secs(300), "no {rows} rows of metrics");
        sleep(Duration::from_millis(5));
    }
}

impl Run {
    /// Whole lines: the last may be half written.
    fn metrics_so_far(&self) -> usize {
        let text = std::fs::read_to_string(self.0.join("metrics.jsonl")).unwrap_or_default();
        text.matches('\n').count()
    }
}

/// Begins to train for ever, and sends SIGINT after two rows.
fn interrupted(folder: &Folder, out: &str) -> Done {
    let train = ["train", "tiny.lstm", "--epochs", "1000000", "--threads", "1", "--out", out];
    let mut command = folder.command(&train);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command starts");
    await_rows(&folder.trained(out), 2, &mut child);
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    done(child.wait_with_output().expect("the command ends"))
}

#[test]
fn ctrl_c_saves_and_the_run_goes_on_bit_for_bit() {
    let folder = Folder::new();
    let stopped = interrupted(&folder, "parts");
    assert_eq!(stopped.code, Some(130), "{}", stopped.err);
    let parts = folder.trained("parts");
    let latest = parts.latest();
    assert!(latest.exists(), "{}", latest.display());
    let log = std::fs::read_to_string(parts.0.join("log.txt")).unwrap();
    assert!(log.contains("stopped; go on with --resume"), "{log}");
    let saved = parts.metrics().len();

    let epochs = (saved + 2).to_string();
    folder.ok(&["train", "--resume", "parts", "--epochs", &epochs, "--threads", "1"]);
    folder.train("whole", &["--epochs", &epochs]);
    let whole = folder.trained("whole");
    assert_eq!(whole.tensors(), parts.tensors());
    assert_eq!(whole.timeless(), parts.timeless());
}
