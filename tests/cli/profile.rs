//! `profile`. The times are the machine's; what they are the times of, and that they add up, is not.

use serde_json::Value;

use crate::support::Folder;

fn profile(folder: &Folder, args: &[&str]) -> Value {
    let out = folder.ok(&[&["profile", "tiny.lstm", "--steps", "7", "--json"], args].concat());
    assert_eq!(out.lines().count(), 1);
    serde_json::from_str(&out).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn every_item_of_the_plan_is_a_row() {
    let folder = Folder::new();
    for threads in ["1", "2"] {
        let plan = folder.ok(&["emit", "tiny.lstm", "--stage", "plan", "--threads", threads]);
        let profile = profile(&folder, &["--threads", threads]);
        let rows = profile["rows"].as_array().unwrap();
        for (kind, word) in
            [("product", "gemm"), ("kernel", "kernel"), ("packing", "pack"), ("scatter", "scatter")]
        {
            let planned =
                plan.lines().filter(|line| line.trim_start().starts_with(&format!("{word} "))).count();
            assert_eq!(rows.iter().filter(|row| row["kind"] == kind).count(), planned, "{kind}");
        }
        // The recurrent product: two rows of the batch by [16, 64], in each of five steps.
        let recurrent = rows.iter().find(|row| row["name"].as_str().unwrap().contains("nn 2x64x16")).unwrap();
        assert_eq!((&recurrent["rounds"], recurrent["flop"].as_f64()), (&5.into(), Some(5.0 * 2.0 * 2048.0)));
        assert!(recurrent["name"].as_str().unwrap().contains("@ lstm_1.R_*"), "{recurrent}");
    }
}

#[test]
fn the_parts_are_within_the_step() {
    let folder = Folder::new();
    for threads in [1, 2] {
        let profile = profile(&folder, &["--threads", &threads.to_string()]);
        assert_eq!(profile["steps"], 7);
        let step = profile["step_with_probes"].as_f64().unwrap();
        let mut sums = [numbers(&profile["waiting"]), numbers(&profile["host"])].concat();
        assert_eq!(sums.len(), 2 * threads);
        for row in profile["rows"].as_array().unwrap() {
            let seconds = numbers(&row["seconds"]);
            assert!(seconds.len() == threads && seconds.iter().all(|&seconds| seconds >= 0.0), "{row}");
            assert!(seconds[0] > 0.0, "{row}");
            sums.extend(seconds);
        }
        // Each worker's time is at most the step's; what is left is starting the threads.
        let all: f64 = sums.iter().sum();
        assert!(all <= threads as f64 * step * (1.0 + 1e-9), "{all} of {step}");
    }
}

#[test]
fn the_table_is_readable_and_nothing_is_written() {
    let folder = Folder::new();
    let out = folder.ok(&["profile", "tiny.lstm", "--steps", "2", "--threads", "2"]);
    for word in [
        "machine",
        "caches",
        "L1d",
        "near",
        "step",
        "products",
        "waiting",
        "share",
        "all of worker 0's time",
        "chosen:",
    ] {
        assert!(out.contains(word), "{word}: {out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    assert_eq!(folder.names(), ["text.txt", "tiny.lstm"]);
    let by_schedule = folder.ok(&["profile", "tiny.lstm", "--steps", "2", "--order", "schedule"]);
    assert!(by_schedule.contains("all of worker 0's time"), "{by_schedule}");
}

#[test]
fn it_needs_no_text_if_it_is_told_the_vocabulary() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path("text.txt")).unwrap();
    let message = folder.refused(&["profile", "tiny.lstm"]);
    assert!(message.contains("--vocab"), "{message}");
    // The table leaves out what took next to no time, which may be anything on a busy machine.
    let out = folder.ok(&["profile", "tiny.lstm", "--vocab", "50", "--steps", "1", "--json"]);
    assert!(out.contains("x50x"), "{out}");
}

#[test]
fn a_small_step_on_one_thread_says_why() {
    let folder = Folder::new();
    // As `train` does: no more threads than help.
    let profile = profile(&folder, &[]);
    let (threads, available) = (profile["threads"].as_u64(), profile["available"].as_u64());
    assert!(threads == Some(1) && available >= Some(1), "{profile}");
    let out = folder.ok(&["profile", "tiny.lstm", "--steps", "1"]);
    assert_eq!(available > Some(1), out.contains("too small to gain from more"), "{out}");
}
