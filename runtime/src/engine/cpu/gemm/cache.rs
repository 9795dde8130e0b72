//! Cache lines, and prefetching.

/// Elements of a cache line.
pub const LINE: usize = 16;

/// How many elements ahead to prefetch in rows that are read one after the other and lie so many elements `apart`: a row, or
/// as many as cover the latency of a slow cache.
pub fn far_enough(apart: usize) -> usize {
    apart.max(512)
}

/// Prefetches the cache line at `at`, which need not exist, where the architecture has an instruction for that.
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
