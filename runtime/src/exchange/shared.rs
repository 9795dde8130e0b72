//! Memory of a running program that the exchange's thread reads and writes, while the program computes something else.

use std::slice;

use super::reduce::Pair;

/// A gradient in a program's memory, and where its sum over a batch's shards goes.
#[derive(Debug)]
pub struct Part {
    sum: *mut f32,
    gradient: *const f32,
    len: usize,
    row: usize,
}

// SAFETY: whoever made it promised that until the exchange is finished nobody else uses that memory, on any thread.
unsafe impl Send for Part {}

impl Part {
    /// `len` numbers at `gradient`, whose sums over all shards go to `sum` in the last round of a batch; in those before, zeros do.
    /// With a `row`, which divides `len`, they are a table of rows of that width, most of which may be zero; 0 otherwise.
    ///
    /// # Safety
    ///
    /// From the call of [`Group::start`](super::Group::start) that this is given to until its
    /// [`finish`](super::Group::finish) has returned or the group is dropped: both are aligned and alive, `sum` is neither
    /// read nor written by anyone else and overlaps nothing else that is exchanged, and `gradient` is written by nobody.
    pub unsafe fn new(sum: *mut f32, gradient: *const f32, len: usize, row: usize) -> Self {
        debug_assert!(row == 0 || len.is_multiple_of(row), "a table of whole rows");
        Self { sum, gradient, len, row }
    }

    /// It as slices, for as long as the exchange takes.
    pub(super) fn pair(&mut self) -> Pair<'_> {
        if self.len == 0 {
            return Pair { sum: &mut [], gradient: &[], row: self.row };
        }
        // SAFETY: `new` was promised that both are so long and alive, that nobody else uses the sum, and that nobody writes
        // the gradient; there is one `Part` of it, which is borrowed.
        let (sum, gradient) = unsafe {
            (slice::from_raw_parts_mut(self.sum, self.len), slice::from_raw_parts(self.gradient, self.len))
        };
        Pair { sum, gradient, row: self.row }
    }
}
