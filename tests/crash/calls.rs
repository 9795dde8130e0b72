//! System calls that fail: `strace` has one of them fail, or all of a kind from one on.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use crate::random::{Random, cases};
use crate::refusals::{End, judge};
use crate::trainings::{KINDS, Training, end};

/// Calls that can fail on a machine that is out of something or broken, and with what.
/// (`mprotect` is not among them: the code generator's library panics where it fails.)
const CALLS: [(&str, &[&str]); 15] = [
    ("openat", &["ENOSPC", "EMFILE", "ENFILE", "EACCES", "EIO", "EINTR", "ENOMEM"]),
    ("read", &["EIO", "EINTR"]),
    ("write", &["ENOSPC", "EDQUOT", "EIO", "EINTR"]),
    ("fsync", &["ENOSPC", "EDQUOT", "EIO", "EINTR"]),
    ("renameat", &["ENOSPC", "EDQUOT", "EIO", "EACCES"]),
    ("mkdirat", &["ENOSPC", "EDQUOT", "EIO", "EACCES"]),
    ("mkdir", &["ENOSPC", "EDQUOT", "EIO", "EACCES"]),
    ("unlinkat", &["EIO", "EACCES", "EROFS"]),
    ("newfstatat", &["EIO", "EACCES", "ENOMEM"]),
    ("statx", &["EIO", "EACCES", "ENOMEM"]),
    ("ftruncate", &["EIO", "EINTR"]),
    ("flock", &["EINTR", "ENOLCK"]),
    ("getdents64", &["EIO", "ENOMEM"]),
    ("mmap", &["ENOMEM", "EAGAIN"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
];

/// How many of each call the training's first thread makes.
type Calls = BTreeMap<&'static str, u64>;

fn strace(training: &Training, options: &[&str]) -> Command {
    strace_of(training, options, &training.arguments(1))
}

fn strace_of(training: &Training, options: &[&str], command: &[String]) -> Command {
    let mut args: Vec<String> =
        ["-f", "-qq", "-o", "calls"].iter().chain(options).map(|word| (*word).into()).collect();
    args.push(env!("CARGO_BIN_EXE_lstmc").into());
    args.extend_from_slice(command);
    training.command("strace", &args)
}

fn can_trace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-qq", "-e", "trace=none", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn calls(training: &Training) -> Calls {
    let output = strace(training, &[]).output().expect("strace");
    assert!(output.status.success(), "{output:?}");
    let trace = fs::read_to_string(training.path().join("calls")).expect("a trace");
    let first = trace.split(' ').next().expect("a process").to_owned();
    let of_first = |line: &str| line.strip_prefix(&first).map(|rest| rest.trim_start().to_owned());
    let lines: Vec<String> = trace.lines().filter_map(of_first).collect();
    let count = |name: &str| lines.iter().filter(|line| line.starts_with(&format!("{name}("))).count() as u64;
    CALLS.iter().map(|(name, _)| (*name, count(name))).filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_training_that_a_failing_call_ends_goes_on_to_the_same_bits() {
    if !can_trace() {
        eprintln!("not tested: there is no strace here, or it may not trace");
        return;
    }
    let mut starts = Vec::new();
    for kind in KINDS {
        let (half, made) = Training::half(kind);
        for start in [Training::new(kind), half] {
            starts.push((calls(&start.copy()), start, made.clone()));
        }
    }
    let mut counts: BTreeMap<(&str, End), u32> = BTreeMap::new();
    cases("calls", 12, |random| {
        let (calls, start, made) = &starts[random.below(starts.len() as u64) as usize];
        let training = start.copy();
        let (name, mute, inject) = choose(random, calls);
        let only = format!("trace={name}");
        let child =
            strace(&training, &["--seccomp-bpf", "-e", &only, "-e", &inject]).spawn().expect("strace");
        let ended = judge(&end(child), mute, name == "mmap", &inject);
        *counts.entry((name, ended)).or_default() += 1;
        training.finish(1).assert_is(made, &inject);
    });
    eprintln!("calls: {counts:?}");
}

/// A call, whether it may be what says what has failed, and what `strace` is told.
fn choose(random: &mut Random, calls: &Calls) -> (&'static str, bool, String) {
    let (name, errors) = loop {
        let (name, errors) = random.one_of(&CALLS);
        if calls.contains_key(name) {
            break (name, errors);
        }
    };
    // Of a refused first mmap the loader itself dies by a signal, before any program begins.
    let loaders = u64::from(name == "mmap");
    let (error, first) = (random.one_of(errors), 1 + loaders + random.below(calls[name] - loaders));
    // A call that is interrupted again and again is made again and again.
    let all = error != "EINTR" && random.below(3) == 0;
    let on = if all { "+" } else { "" };
    (name, all && name == "write", format!("inject={name}:error={error}:when={first}{on}"))
}

/// A run that cannot be looked at is not one that is not there.
#[test]
fn a_run_is_not_begun_anew_where_a_look_at_it_fails() {
    if !can_trace() {
        eprintln!("not tested: there is no strace here, or it may not trace");
        return;
    }
    let training = Training::new(KINDS[0]);
    let begin = [training.arguments(1), vec!["--seed".into(), "7".into()]].concat();
    training.finish(1);
    let before = training.contents();
    for number in 1.. {
        let inject = format!("inject=newfstatat:error=EIO:when={number}");
        let output = strace_of(&training, &["-e", "trace=newfstatat", "-e", &inject], &begin).output();
        let ended = judge(&output.expect("strace"), false, false, &inject);
        assert!(matches!(ended, End::Said | End::NotStarted), "{inject}: {ended:?}");
        assert_eq!(training.contents(), before, "{inject}");
        let trace = fs::read_to_string(training.path().join("calls")).expect("a trace");
        if !trace.contains("INJECTED") {
            return;
        }
    }
}
