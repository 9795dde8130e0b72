//! Zeroed memory straight from the system, in large pages where it has them.
//!
//! A matrix of 10,000 columns has each row on pages of its own; with pages of 2 MB the processor still finds them all
//! without walking its tables. Pages are in memory from their first use on, zeroed by the system.

use memmap2::MmapMut;

/// A zeroed block, aligned to a page.
#[derive(Debug)]
pub struct Pages(MmapMut);

impl Pages {
    /// At least `bytes` bytes, or none where the system refuses.
    pub fn new(bytes: usize) -> Option<Pages> {
        let map = MmapMut::map_anon(bytes.max(1)).ok()?;
        // A system without large pages, or one that is told not to give them, is only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Pages(map))
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
