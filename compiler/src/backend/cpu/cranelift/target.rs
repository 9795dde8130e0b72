//! The machine that code is generated for: this one.

use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use memmap2::MmapMut;

use crate::backend::cpu::x86::Width;

/// What this machine lacks to run compiled code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("this machine cannot run compiled code: {0}")]
    Unsupported(String),
    #[error("no memory for compiled code: {0}")]
    Memory(String),
    #[error(
        "this process may not run code that it has made itself ({0}), and lstmc compiles into memory: allow it that \
         (for a service of systemd with MemoryDenyWriteExecute=no)"
    )]
    Forbidden(String),
}

/// Whether memory that was written can be executed. (Cranelift panics where it cannot.)
pub(super) fn may_execute() -> Result<(), Error> {
    let map = MmapMut::map_anon(1).map_err(|error| Error::Memory(error.to_string()))?;
    map.make_exec().map(|_| ()).map_err(|error| Error::Forbidden(error.to_string()))
}

/// Whether this machine can run compiled code, or why not.
pub fn supported() -> Result<(), String> {
    isa(&[]).map(|_| ())
}

/// The instruction set of this machine, with every extension that it has but for those named in `without`.
pub(super) fn isa(without: &[&str]) -> Result<OwnedTargetIsa, String> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Err(format!("code is generated for x86-64 and aarch64, not for {}", std::env::consts::ARCH));
    }
    if cfg!(target_endian = "big") || cfg!(not(target_pointer_width = "64")) {
        return Err("code is generated for 64-bit little-endian machines".into());
    }
    let mut flags = settings::builder();
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    let wanted = [
        ("opt_level", "speed"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("enable_verifier", verifier),
    ];
    for (name, value) in wanted {
        flags.set(name, value).map_err(|error| error.to_string())?;
    }
    let mut builder = cranelift_native::builder()?;
    for name in without {
        builder.set(name, "false").map_err(|error| error.to_string())?;
    }
    let isa = builder.finish(settings::Flags::new(flags)).map_err(|error| error.to_string())?;
    // Without AVX a comparison's operand in memory has to be aligned, which Cranelift 0.135 does not heed.
    if isa.name() == "x64" && !has(&*isa, "has_avx") {
        return Err("this x86-64 processor has no AVX".into());
    }
    Ok(isa)
}

/// Whether `fma` on vectors is an instruction here; where it is not, Cranelift would call a function for each lane.
pub(super) fn has_fma(isa: &dyn TargetIsa) -> bool {
    isa.name() != "x64" || has(isa, "has_fma")
}

/// Vectors that are wider than the 128 bits that Cranelift generates, if this machine has such, and multiplies and adds on
/// them in one operation.
pub(super) fn wide_vectors(isa: &dyn TargetIsa) -> Option<Width> {
    if !has(isa, "has_fma") || !has(isa, "has_avx2") {
        return None;
    }
    let wider = has(isa, "has_avx512f") && has(isa, "has_bmi2");
    Some(if wider { Width::Avx512 } else { Width::Avx2 })
}

fn has(isa: &dyn TargetIsa, name: &str) -> bool {
    isa.isa_flags().iter().any(|flag| flag.name == name && flag.as_bool() == Some(true))
}
