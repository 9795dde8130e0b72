//! What the terminal can show, what is written to it, and Ctrl-C.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow};
use console::{Color, style};
use lstmc_compiler::diag::visible;
use lstmc_runtime::error;
use lstmc_runtime::monitor::Monitor;

/// The exit code of a command that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// Whether diagnostics may have colours.
pub fn colour() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether a progress bar would be seen.
pub fn interactive() -> bool {
    stdout().is_terminal() && stderr().is_terminal()
}

/// Writes a command's result, with escapes for what a terminal would obey. A reader that has had enough, such as `head`,
/// is not an error, and leaves the exit code what it is.
///
/// # Errors
/// The output cannot be written for another reason.
pub fn print(text: &str) -> Result<()> {
    print_unless_closed(text).map(|_| ())
}

/// [`print`] of one part of many: says whether there is still a reader.
///
/// # Errors
/// As [`print`].
pub fn print_unless_closed(text: &str) -> Result<bool> {
    let mut out = stdout().lock();
    match out.write_all(visible(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) => unwritable(error).map(|()| false),
        Ok(()) => Ok(true),
    }
}

/// The end of an output that cannot be written: a reader that has had enough is not an error.
///
/// # Errors
/// Any other reason.
pub fn unwritable(error: std::io::Error) -> Result<()> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(anyhow!("cannot write to standard output: {}", error::unwritable(&error))),
    }
}

/// Says something beside the result, with escapes for what a terminal would obey.
pub fn say(text: &str) {
    // There is nowhere left to say that this failed.
    let _ = writeln!(stderr(), "{}", status(&visible(text), colour()));
}

/// Says what was rendered with its escapes, and may have colours.
pub fn say_rendered(text: &impl Display) {
    // There is nowhere left to say that this failed.
    let _ = writeln!(stderr(), "{text}");
}

/// Words that say at the beginning of a line how something stands.
const STATUS: [(&str, Color); 6] = [
    ("error:", Color::Red),
    ("warning:", Color::Yellow),
    ("stopped", Color::Yellow),
    ("finished", Color::Green),
    ("done", Color::Green),
    ("best", Color::Green),
];

/// A text that begins with such a word, with the word in its colour if there are to be colours.
pub fn status(text: &str, colour: bool) -> Cow<'_, str> {
    let word = STATUS.iter().filter(|_| colour).find_map(|&(word, own)| {
        let rest = text.strip_prefix(word)?;
        let ends = !rest.starts_with(char::is_alphanumeric);
        ends.then(|| format!("{}{rest}", style(word).fg(own).bold().force_styling(true)))
    });
    word.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A monitor that the first Ctrl-C stops; the second ends the process.
///
/// # Errors
/// The system does not let signals be caught.
pub fn interruptible() -> Result<Arc<Monitor>> {
    let monitor = Arc::new(Monitor::default());
    let (stopping, asked) = (monitor.clone(), AtomicBool::new(false));
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            exit(i32::from(INTERRUPTED));
        }
        stopping.stop();
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(monitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_begins_with_how_something_stands_has_that_in_colour() {
        assert_eq!(status("finished: runs/a", true), "\x1b[32m\x1b[1mfinished\x1b[0m: runs/a");
        assert_eq!(status("error: no", true), "\x1b[31m\x1b[1merror:\x1b[0m no");
        for (text, colour) in [("finished: runs/a", false), ("bestow 3", true), ("epoch 1/2", true)] {
            assert_eq!(status(text, colour), text);
        }
    }
}
