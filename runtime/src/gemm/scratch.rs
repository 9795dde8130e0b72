//! Each worker's own memory for packed blocks.

use std::cell::RefCell;

/// One cache line, so that a vector of them is aligned.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with this thread's scratch, at least `len` elements aligned to 64 bytes. Grows on first use and then stays.
/// The content is arbitrary but initialised. `f` must not call `with` again.
pub fn with(len: usize, f: impl FnOnce(*mut f32)) {
    SCRATCH.with_borrow_mut(|lines| {
        let count = len.div_ceil(16);
        if lines.len() < count {
            lines.resize(count, Line([0.0; 16]));
        }
        f(lines.as_mut_ptr().cast());
    });
}
