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

/// Calls `f` with this thread's scratch, at least `len` elements aligned to 64 bytes. Grows on first use and then stays.
/// The content is arbitrary but initialised. `f` must not call `with` again.
///
/// # Panics
/// If the system has no memory left: the scratch is part of what training says beforehand that it needs.
pub fn with(len: usize, f: impl FnOnce(*mut f32)) {
    SCRATCH.with_borrow_mut(|scratch| {
        let bytes = len * size_of::<f32>();
        if scratch.as_ref().is_none_or(|pages| pages.len() < bytes) {
            *scratch = Pages::new(bytes);
        }
        match scratch {
            Some(pages) => f(pages.as_mut_ptr().cast()),
            None => panic!("no memory for {bytes} bytes of packed blocks"),
        }
    });
}
