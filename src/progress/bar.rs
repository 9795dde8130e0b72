//! The bar on a terminal.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A bar as wide as the terminal, with texts on both sides; hidden until it is first shown.
pub struct Bar {
    bar: ProgressBar,
    /// Before the bar and behind it. Kept here and not in the bar, which would be drawn anew for each of its parts.
    texts: Arc<[Mutex<String>; 2]>,
}

impl Default for Bar {
    fn default() -> Self {
        let texts = Arc::<[Mutex<String>; 2]>::default();
        let text = |side: usize| {
            let texts = texts.clone();
            move |_: &ProgressState, out: &mut dyn Write| {
                // Writing into memory does not fail.
                let _ = out.write_str(&texts[side].lock().unwrap_or_else(PoisonError::into_inner));
            }
        };
        let style = ProgressStyle::with_template("{before} {wide_bar:.cyan/blue}  {behind}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("before", text(0))
            .with_key("behind", text(1))
            .progress_chars("━╸─");
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()).with_style(style);
        Self { bar, texts }
    }
}

impl Bar {
    pub fn show(&self, (done, total): (u64, u64), texts: [String; 2]) {
        for (place, text) in self.texts.iter().zip(texts) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.update(|state| {
            state.set_len(total);
            state.set_pos(done);
        });
    }

    /// Does something, such as printing a line, while the bar is not there.
    pub fn suspend<T>(&self, action: impl FnOnce() -> T) -> T {
        self.bar.suspend(action)
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
