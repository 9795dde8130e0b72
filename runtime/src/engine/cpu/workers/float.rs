//! The processor's treatment of subnormal numbers.

/// Bits of x86-64's MXCSR: flush results to zero, and take subnormal operands for zero.
#[cfg(target_arch = "x86_64")]
const FLUSH: u32 = 1 << 15 | 1 << 6;
/// The bit of AArch64's FPCR that does both.
#[cfg(target_arch = "aarch64")]
const FLUSH: u64 = 1 << 24;

/// While it lives, this thread's arithmetic takes subnormal numbers for zero; then it goes on as before.
pub struct FlushToZero {
    #[cfg(target_arch = "x86_64")]
    before: u32,
    #[cfg(target_arch = "aarch64")]
    before: u64,
    /// The register is the thread's own.
    _thread: std::marker::PhantomData<*const ()>,
}

#[cfg(target_arch = "x86_64")]
impl FlushToZero {
    pub fn set() -> FlushToZero {
        let mut before = 0u32;
        // SAFETY: stores a register to a variable.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut before, options(nostack, preserves_flags))
        };
        write(before | FLUSH);
        FlushToZero { before, _thread: std::marker::PhantomData }
    }
}

#[cfg(target_arch = "x86_64")]
fn write(value: u32) {
    // SAFETY: the value differs from the one read at most in FLUSH, which raises no exception.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
}

#[cfg(target_arch = "aarch64")]
impl FlushToZero {
    pub fn set() -> FlushToZero {
        let before: u64;
        // SAFETY: reads a register.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) before, options(nostack, nomem, preserves_flags)) };
        write(before | FLUSH);
        FlushToZero { before, _thread: std::marker::PhantomData }
    }
}

#[cfg(target_arch = "aarch64")]
fn write(value: u64) {
    // SAFETY: the value differs from the one read at most in FLUSH, which raises no exception.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nostack, nomem, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl FlushToZero {
    /// Other processors keep their subnormal numbers.
    pub fn set() -> FlushToZero {
        FlushToZero { _thread: std::marker::PhantomData }
    }
}

impl Drop for FlushToZero {
    fn drop(&mut self) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        write(self.before);
    }
}
