//! What a command may do where the system refuses something: succeed all the same, or end with one line that says why.

use std::fmt::Debug;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

const SIGABRT: i32 = 6;

/// How a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It did without.
    Succeeded,
    /// One line says why not.
    Said,
    /// The same, but standard error could not be written either.
    Unsaid,
    /// The system did not get so far as to start it.
    NotStarted,
    /// Rust's standard library had no memory for something small, or for a thread's spare stack: then it aborts.
    Aborted,
}

/// Judges an end. `mute` says that what is refused may be writing the line itself; `starved`, that there may be no memory.
#[track_caller]
pub fn judge(output: &Output, mute: bool, starved: bool, what: &dyn Debug) -> End {
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines =
        || errors.lines().filter(|line| !line.starts_with("warning: ") && !line.starts_with("note: "));
    let aborted = ["memory allocation of", "alternative stack"];
    let aborted =
        output.status.signal() == Some(SIGABRT) && aborted.iter().any(|words| errors.contains(words));
    if starved && aborted {
        return End::Aborted;
    }
    assert!(!errors.contains("panicked") && !errors.contains("internal error"), "{what:?}: {output:?}");
    match output.status.code() {
        Some(0) => End::Succeeded,
        Some(1) if lines().count() == 1 && errors.contains("error: ") => End::Said,
        Some(1) if mute && errors.is_empty() => End::Unsaid,
        // The dynamic loader's code and words, and those of the shell for a program that cannot be executed.
        Some(126 | 127) => End::NotStarted,
        _ => panic!("{what:?}: {output:?}"),
    }
}
