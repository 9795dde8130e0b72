//! Each worker's own memory for packed blocks.

use std::cell::RefCell;

use crate::engine::cpu::pages::{self, Pages};

thread_local! {
    static SCRATCH: RefCell<Option<Pages>> = const { RefCell::new(None) };
}

/// Bytes of memory that a scratch of so many elements takes.
pub fn taken(len: usize) -> usize {
    pages::taken(len * size_of::<f32>())
}

/// Memory for one worker's packed blocks.
pub struct Scratch(Pages);

impl Scratch {
    /// So many bytes; nothing where the system refuses.
    pub fn new(bytes: usize) -> Option<Self> {
        Pages::new(bytes).map(Self)
    }

    /// Makes it that of this thread, as long as the thread lives.
    pub fn keep(self) {
        SCRATCH.set(Some(self.0));
    }
}

/// Calls `f` with this thread's scratch, at least `len` elements aligned to 64 bytes. A thread that was given none, or
/// less, gets it on first use. The content is arbitrary but initialised. `f` must not call `with` again.
///
/// # Panics
/// If it was given too little and the system has no more: a session gives its workers what their program needs.
pub fn with(len: usize, f: impl FnOnce(*mut f32)) {
    SCRATCH.with_borrow_mut(|scratch| {
        let bytes = len * size_of::<f32>();
        if scratch.as_ref().is_none_or(|pages| pages.len() < bytes) {
            *scratch = Pages::new(bytes);
        }
        match scratch {
            Some(pages) => f(pages.as_mut_ptr().cast()),
            None => panic!("internal error: no memory for {bytes} bytes of packed blocks"),
        }
    });
}
