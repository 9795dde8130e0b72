//! What the terminal can show, and Ctrl-C.

use std::io::{IsTerminal, stderr, stdout};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use lstmc_runtime::monitor::Monitor;

/// The exit code of a command that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// Whether diagnostics may have colours.
pub fn colour() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether there is somebody who sees a progress bar.
pub fn interactive() -> bool {
    stdout().is_terminal() && stderr().is_terminal()
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
