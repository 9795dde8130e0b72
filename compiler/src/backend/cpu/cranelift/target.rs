//! The machine that code is generated for: this one.

use cranelift_codegen::isa::{self, OwnedTargetIsa, TargetIsa};
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
    let flags = flags(false)?;
    let mut builder = cranelift_native::builder()?;
    for name in without {
        builder.set(name, "false").map_err(|error| error.to_string())?;
    }
    let isa = builder.finish(flags).map_err(|error| error.to_string())?;
    // Without AVX a comparison's operand in memory has to be aligned, which Cranelift 0.135 does not heed.
    if isa.name() == "x64" && !has(&*isa, "has_avx") {
        return Err("this x86-64 processor has no AVX".into());
    }
    Ok(isa)
}

/// How code is generated; `pic`: to be placed anywhere.
fn flags(pic: bool) -> Result<settings::Flags, String> {
    let mut flags = settings::builder();
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    let wanted = [
        ("opt_level", "speed"),
        ("is_pic", if pic { "true" } else { "false" }),
        ("use_colocated_libcalls", "false"),
        ("enable_verifier", verifier),
    ];
    for (name, value) in wanted {
        flags.set(name, value).map_err(|error| error.to_string())?;
    }
    Ok(settings::Flags::new(flags))
}

/// What code is compiled for ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// This machine, with all that it has.
    Native,
    /// Levels of x86-64: AVX2 and FMA; and AVX-512 too.
    X86V3,
    X86V4,
    Aarch64,
}

/// What a level of x86-64 has beyond the first (the psABI's microarchitecture levels), as Cranelift names it.
const X86_V3: [&str; 12] = [
    "has_cmpxchg16b",
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_bmi1",
    "has_bmi2",
    "has_fma",
    "has_lzcnt",
];
const X86_V4: [&str; 3] = ["has_avx512f", "has_avx512dq", "has_avx512vl"];

/// The instruction set to compile for ahead of time, with this machine's system.
///
/// # Errors
/// This machine lacks what [`Cpu::Native`] wants.
pub(super) fn isa_ahead(cpu: Cpu) -> Result<OwnedTargetIsa, String> {
    let (architecture, features): (&str, Vec<&str>) = match cpu {
        Cpu::Native => {
            isa(&[])?;
            return cranelift_native::builder()?.finish(flags(true)?).map_err(|error| error.to_string());
        }
        Cpu::X86V3 => ("x86_64", X86_V3.to_vec()),
        Cpu::X86V4 => ("x86_64", X86_V3.into_iter().chain(X86_V4).collect()),
        Cpu::Aarch64 => ("aarch64", vec![]),
    };
    let host = cranelift_native::builder()?.triple().to_string();
    let system = host.split_once('-').map_or("unknown-linux-gnu", |(_, system)| system);
    let mut builder =
        isa::lookup_by_name(&format!("{architecture}-{system}")).map_err(|error| error.to_string())?;
    for name in features {
        builder.enable(name).map_err(|error| error.to_string())?;
    }
    builder.finish(flags(true)?).map_err(|error| error.to_string())
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
