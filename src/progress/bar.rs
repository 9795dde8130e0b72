//! The bar on a terminal.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use console::{Term, measure_text_width, style, truncate_str};

use crate::terminal;

/// The fewest columns of the bar itself.
const SHORTEST: usize = 8;

/// A line with a bar as wide as the terminal, and texts on both sides; not there until it is first shown.
///
/// The cursor stays at the line's beginning. So when a window that becomes narrower breaks the line, all of it is below the
/// cursor and is cleared with the next.
pub struct Bar {
    term: Term,
    line: Mutex<Option<String>>,
}

impl Default for Bar {
    fn default() -> Self {
        Self { term: Term::stderr(), line: Mutex::default() }
    }
}

impl Bar {
    /// Draws the bar. `behind` are the parts of the text behind it, of which only those are shown that have room.
    pub fn show(&self, progress: (u64, u64), before: &str, behind: Vec<String>) {
        let columns = usize::from(self.term.size().1);
        let mut shown = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let line = line(columns, progress, before, behind, terminal::colour());
        self.draw(&line);
        *shown = Some(line);
    }

    /// Does something, such as printing a line, while the bar is not there.
    pub fn suspend<T>(&self, action: impl FnOnce() -> T) -> T {
        let shown = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = &*shown else { return action() };
        self.draw("");
        let done = action();
        self.draw(line);
        done
    }

    pub fn clear(&self) {
        if self.line.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.draw("");
        }
    }

    /// Puts a line in the place of the one that is there.
    fn draw(&self, line: &str) {
        // To the beginning, and clear to the end of the screen. A bar that cannot be drawn is no reason to stop.
        let _ = write!(&self.term, "\r\x1b[J{line}\r").and_then(|()| self.term.flush());
    }
}

/// A line that leaves the last column free: some terminals break a line that fills it.
fn line(
    columns: usize,
    (done, total): (u64, u64),
    before: &str,
    mut behind: Vec<String>,
    colour: bool,
) -> String {
    let room = columns.saturating_sub(1);
    let text = |parts: &[String]| parts.iter().map(|part| format!("  {part}")).collect::<String>();
    let rest = |behind: &[String]| {
        room.checked_sub(measure_text_width(before) + 1 + measure_text_width(&text(behind)))
    };
    // The first part, the loss, and the last, the time that is left, go last.
    while rest(&behind).is_none_or(|rest| rest < SHORTEST) && !behind.is_empty() {
        behind.remove(behind.len().saturating_sub(2));
    }
    let Some(width) = rest(&behind).filter(|&width| width >= SHORTEST) else {
        return truncate_str(before, room, "").into_owned();
    };
    // In halves of a column.
    let halves =
        (u128::from(done) * 2 * width as u128 / u128::from(total.max(1))).min(2 * width as u128) as usize;
    let (full, half) = (halves / 2, halves % 2);
    let (filled, empty) = ("━".repeat(full) + &"╸".repeat(half), "─".repeat(width - full - half));
    let (filled, empty) =
        (style(filled).cyan().force_styling(colour), style(empty).blue().force_styling(colour));
    format!("{before} {filled}{empty}{}", text(&behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEHIND: [&str; 4] = ["loss 5.500", "perplexity 244.7", "12,345 characters/s", "7.4 h left"];

    fn of(columns: usize, progress: (u64, u64), colour: bool) -> String {
        line(columns, progress, "epoch  2/13", BEHIND.map(String::from).into(), colour)
    }

    #[test]
    fn the_bar_fits_at_every_width() {
        for columns in 0..=200 {
            for progress in [(0, 0), (0, 7), (3, 7), (7, 7), (9, 7), (u64::MAX, u64::MAX)] {
                let line = of(columns, progress, false);
                assert!(measure_text_width(&line) <= columns.saturating_sub(1), "{columns}: {line}");
                assert!(
                    columns < 40 || line.starts_with("epoch  2/13 ") && line.contains("left"),
                    "{columns}: {line}"
                );
                let bar = line.chars().filter(|c| "━╸─".contains(*c)).count();
                assert!(columns < 40 || bar >= SHORTEST, "{columns}: {line}");
                assert_eq!(
                    measure_text_width(&of(columns, progress, true)),
                    measure_text_width(&line),
                    "colours have no width"
                );
            }
        }
    }

    #[test]
    fn what_matters_least_gives_way_first() {
        let behind =
            |columns| of(columns, (1, 2), false).split("  ").skip(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(behind(100), BEHIND);
        assert_eq!(behind(72), ["loss 5.500", "perplexity 244.7", "7.4 h left"]);
        assert_eq!(behind(50), ["loss 5.500", "7.4 h left"]);
        assert_eq!(behind(40), ["7.4 h left"]);
    }

    #[test]
    fn the_bar_is_as_full_as_the_work_is_done() {
        let bar = |done| line(20, (done, 4), "place", vec![], false);
        assert_eq!(
            [0, 1, 2, 4].map(bar),
            ["place ─────────────", "place ━━━──────────", "place ━━━━━━╸──────", "place ━━━━━━━━━━━━━",]
        );
    }
}
