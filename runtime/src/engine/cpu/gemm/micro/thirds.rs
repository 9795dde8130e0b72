//! Where the rows of an A lie that is read as it lies, held in few registers.

use std::arch::asm;

/// Pointers to every third of the rows of an A, which moves from one column to the next. A row between two of them lies once or
/// twice the distance of rows from one, which the address of an operand can say.
///
/// The compiler must not know how the pointers depend on each other, nor how they move: it would keep one for each row and for
/// each round of an unrolled loop, more than there are registers.
pub struct Thirds<const N: usize>([*const f32; N]);

impl<const N: usize> Thirds<N> {
    /// Of an A whose first element is `a`, and whose rows lie `apart` elements apart. The memory need not exist.
    #[inline(always)]
    pub fn new(a: *const f32, apart: usize) -> Self {
        Self(std::array::from_fn(|i| unknown(a.wrapping_add(3 * i * apart))))
    }

    /// The element of row `i`, below `3 * N`, in the column that they have come to.
    #[inline(always)]
    pub fn row(&self, i: usize, apart: usize) -> *const f32 {
        self.0[i / 3].wrapping_add(i % 3 * apart)
    }

    /// To the next column.
    #[inline(always)]
    pub fn advance(&mut self) {
        for pointer in &mut self.0 {
            *pointer = unknown(pointer.wrapping_add(1));
        }
    }
}

/// The same pointer, of which the compiler knows nothing. Unlike `std::hint::black_box` it stays in a register.
#[inline(always)]
#[expect(
    clippy::pointers_in_nomem_asm_block,
    reason = "there is no instruction that could read what it points to"
)]
fn unknown(mut pointer: *const f32) -> *const f32 {
    // SAFETY: there is no instruction.
    unsafe {
        asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    pointer
}
