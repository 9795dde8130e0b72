//! Running a program on a GPU: its tensors stay in the device's memory, and a step is a list of launches.
//!
//! What a GPU has to do is the trait [`Device`]: memory, copies, and the launches of one program. [`driver`] does it by
//! NVIDIA's driver, and large products by its library ([`cublaslt`]); tests do it by a PTX machine. The host sends a step its
//! batch, rate and number, and reads what is an output of the program; nothing else crosses the bus while a model trains.

mod cublaslt;
mod driver;
mod error;
mod session;
mod staging;

pub use driver::{Gpu, Resources};
pub use error::DeviceError;
pub use session::{Pair, Session};

use lstmc_compiler::backend::ptx::Ptx;

/// A GPU, or what stands for one.
pub trait Device: Send + std::fmt::Debug {
    /// Memory of so many bytes, all zero.
    ///
    /// # Errors
    /// [`DeviceError::Memory`].
    fn allocate(&mut self, bytes: usize) -> Result<u64, DeviceError>;

    /// Makes a program ready to run in an arena, to which nothing has been copied yet, with a control block.
    ///
    /// # Errors
    /// [`DeviceError::Refused`]; those of the driver.
    fn load(&mut self, program: &Ptx, arena: u64, control: u64) -> Result<(), DeviceError>;

    /// Copies bytes to the device, after all that was started before. They have been read when it returns.
    ///
    /// # Errors
    /// Those of the driver.
    fn upload(&mut self, to: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Waits for all that was started, and copies bytes from the device.
    ///
    /// # Errors
    /// Those of the driver, of what was started before too.
    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Starts to copy bytes, one part after the other, from the device into slot 0 or 1 of the host, after all that was started
    /// before. What the slot had is given up.
    ///
    /// # Errors
    /// Those of the driver.
    fn send(&mut self, slot: usize, parts: &[(u64, usize)]) -> Result<(), DeviceError>;

    /// Waits until a slot has what was last sent to it, but not for what was started after that.
    ///
    /// # Errors
    /// Those of the driver, of what was started before too.
    fn receive(&mut self, slot: usize) -> Result<&[u8], DeviceError>;

    /// Starts what is done once before the steps of a run.
    ///
    /// # Errors
    /// Those of the driver.
    fn prologue(&mut self) -> Result<(), DeviceError>;

    /// Starts a step. The counters of its barriers are zero when it begins.
    ///
    /// # Errors
    /// Those of the driver.
    fn step(&mut self) -> Result<(), DeviceError>;
}
