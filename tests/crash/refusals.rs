//! What a command may do where the system refuses something: succeed all the same, or end with one line that says why.

use std::fmt::Debug;
use std::process::Output;

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
    /// The allocator had no memory for something small, for which Rust aborts.
    Aborted,
}

/// Judges an end. `mute` says that what is refused may be writing the line itself; `starved`, that there may be no memory.
#[track_caller]
pub fn judge(output: &Output, mute: bool, starved: bool, what: &dyn Debug) -> End {
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines =
        || errors.lines().filter(|line| !line.starts_with("warning: ") && !line.starts_with("note: "));
    assert!(!errors.contains("panicked") && !errors.contains("internal error"), "{what:?}: {output:?}");
    match output.status.code() {
        Some(0) => End::Succeeded,
        Some(1) if lines().count() == 1 && errors.contains("error: ") => End::Said,
        Some(1) if mute && errors.is_empty() => End::Unsaid,
        // The dynamic loader's code and words, and those of the shell for a program that cannot be executed.
        Some(126 | 127) => End::NotStarted,
        None if starved && errors.contains("memory allocation of") => End::Aborted,
        _ => panic!("{what:?}: {output:?}"),
    }
}
