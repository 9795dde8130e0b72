//! Cache lines, and asking for them.

/// Elements of a cache line.
pub const LINE: usize = 16;

/// How far ahead to ask for lines of rows that are read one after the other and lie so many elements `apart`: a row, or as
/// many as take the time of a cache that is slow to answer.
pub fn far_enough(apart: usize) -> usize {
    apart.max(512)
}

/// Asks for the cache line at `at`, which need not exist, where the architecture can be asked.
#[inline(always)]
pub fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and it cannot fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
