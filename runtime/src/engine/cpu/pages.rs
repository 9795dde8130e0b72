//! Zeroed memory straight from the system, in large pages where it has them.
//!
//! A matrix of 10,000 columns has each row on pages of its own; with pages of 2 MB the processor still finds them all
//! without walking its tables. Pages are in memory from their first use on, zeroed by the system.

use memmap2::MmapMut;

/// Bytes of a large page. A block begins and ends with one: what lies before the first or after the last would be in small
/// pages, which are spread over the memory and share the places of a cache unevenly.
const LARGE_PAGE: usize = 2 << 20;

/// A zeroed block, aligned to a large page.
#[derive(Debug)]
pub struct Pages {
    map: MmapMut,
    /// Where the block begins in the map.
    start: usize,
    /// Bytes requested.
    len: usize,
}

/// Bytes of memory that a block of so many bytes takes: whole large pages.
pub fn taken(bytes: usize) -> usize {
    bytes.checked_next_multiple_of(LARGE_PAGE).unwrap_or(usize::MAX)
}

/// Bytes of addresses that a block of so many bytes takes.
pub fn mapped(bytes: usize) -> Option<usize> {
    taken(bytes.max(1)).checked_add(LARGE_PAGE)
}

impl Pages {
    /// `bytes` bytes, or none where the system refuses.
    pub fn new(bytes: usize) -> Option<Pages> {
        let map = MmapMut::map_anon(mapped(bytes)?).ok()?;
        // A system without large pages, or one that is told not to give them, is only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = map.as_ptr().align_offset(LARGE_PAGE);
        (start <= LARGE_PAGE).then_some(Pages { map, start, len: bytes })
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.map[self.start..].as_mut_ptr()
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_as_long_as_was_asked_for_and_takes_whole_pages() {
        for bytes in [0, 1, LARGE_PAGE - 1, LARGE_PAGE, LARGE_PAGE + 1] {
            let mut pages = Pages::new(bytes).unwrap();
            assert_eq!(pages.len(), bytes);
            assert_eq!(pages.as_mut_ptr().align_offset(LARGE_PAGE), 0);
            assert!(pages.start + taken(bytes) <= pages.map.len(), "its last page lies in the map");
        }
        assert_eq!(
            [0, 1, LARGE_PAGE, LARGE_PAGE + 1].map(taken),
            [0, 1, 1, 2].map(|pages| pages * LARGE_PAGE)
        );
    }
}
