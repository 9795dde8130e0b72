//! Machine code in memory, by Cranelift.
//!
//! A program becomes one function for each kernel and one entry function ([`abi::Entry`]) that calls them, the library
//! and the barriers in the order of the schedule. Kernels work on 128-bit vectors; vector loops that the processor can
//! run on wider ones become functions of their own (`wide`), which kernels call. What one element's value is depends
//! neither on the vector and the lane that compute it nor on how an axis is cut among workers: one worker or many, the
//! bits are the same.

mod ahead;
mod assembly;
mod builder;
mod calls;
mod counted;
mod elements;
mod entry;
mod facts;
mod homes;
mod kernel;
mod math;
mod parts;
mod program;
mod target;
mod wide;

#[cfg(test)]
mod tests;

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::default_libcall_names;

use super::abi::{self, Library};
use crate::plan::{Program, Verified};
use crate::target::COLUMN_GRAIN;

pub use ahead::{Cpu, Object, object};
use assembly::{Text, Wanted};
pub use target::{Error, supported};

/// Address space reserved for one program's code and constants; pages are committed as they are used.
const CODE_BYTES: usize = 64 << 20;

/// A compiled program. Its code lives as long as this value.
pub struct Native {
    /// Always there until drop, which takes it to free the code.
    module: Option<JITModule>,
    entry: abi::Entry,
    text: Text,
}

/// Compiles a program against these library functions. Fails only where the machine does.
pub fn compile(program: &Verified, library: &Library) -> Result<Native, Error> {
    build(target::isa(&[]).map_err(Error::Unsupported)?, program, library, Wanted::default())
}

/// [`compile`], and keeps the program's text for [`Native::clif`] and [`Native::asm`].
pub fn compile_with_text(program: &Verified, library: &Library) -> Result<Native, Error> {
    let wanted = Wanted { text: true, ..Wanted::default() };
    build(target::isa(&[]).map_err(Error::Unsupported)?, program, library, wanted)
}

/// [`compile`], with calls of [`Library::probe`] between the tasks of the schedule; see [`abi`].
pub fn compile_with_probes(program: &Verified, library: &Library) -> Result<Native, Error> {
    let wanted = Wanted { probes: true, ..Wanted::default() };
    build(target::isa(&[]).map_err(Error::Unsupported)?, program, library, wanted)
}

/// Panics, naming the kernel, on a program that [`Verified::new`] would have refused.
fn build(isa: OwnedTargetIsa, program: &Program, library: &Library, wanted: Wanted) -> Result<Native, Error> {
    // The library cuts columns so, and vector loops rely on it.
    assert_eq!(
        program.target.column_grain, COLUMN_GRAIN,
        "internal error: a program that is cut for another target"
    );
    target::may_execute()?;
    let memory =
        ArenaMemoryProvider::new_with_size(CODE_BYTES).map_err(|error| Error::Memory(error.to_string()))?;
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    builder.memory_provider(Box::new(memory));
    for (name, address) in assembly::symbols(library) {
        builder.symbol(name, address);
    }
    let mut module = JITModule::new(builder);
    let (id, text) = program::emit(&mut module, program, wanted)?;
    module.finalize_definitions().map_err(|error| Error::Memory(error.to_string()))?;
    let address = module.get_finalized_function(id);
    // SAFETY: `address` is the start of finished code that `program::emit` generated with the signature of
    // `abi::Entry`; it stays mapped until `module` is freed, which happens when the `Native` that owns both is dropped.
    let entry = unsafe { std::mem::transmute::<*const u8, abi::Entry>(address) };
    Ok(Native { module: Some(module), entry, text })
}

impl Native {
    /// The compiled function. Valid while `self` lives.
    pub fn entry(&self) -> abi::Entry {
        self.entry
    }

    /// Cranelift's intermediate form of each function; empty unless compiled with text.
    pub fn clif(&self) -> &str {
        &self.text.clif
    }

    /// Machine instructions of each function; empty unless compiled with text.
    pub fn asm(&self) -> &str {
        &self.text.asm
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the entry is documented to be valid only while `self` lives, so no code of the module runs now.
            unsafe { module.free_memory() };
        }
    }
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("entry", &(self.entry as *const u8)).finish_non_exhaustive()
    }
}
