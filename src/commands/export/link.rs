//! Libraries of an object file.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, anyhow, bail};
use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};
use lstmc_compiler::backend::cpu::cranelift::{Cpu, Object};

/// A static library of one object file, with an index of its symbols.
pub fn archive(stem: &str, object: &[u8]) -> Result<Vec<u8>> {
    let member = NewArchiveMember::new(object, &DEFAULT_OBJECT_READER, format!("{stem}.o"));
    let kind = if cfg!(target_vendor = "apple") { ArchiveKind::Darwin } else { ArchiveKind::Gnu };
    let mut bytes = std::io::Cursor::new(vec![]);
    write_archive_to_stream(&mut bytes, &[member], kind, false, None).context("the library")?;
    Ok(bytes.into_inner())
}

/// A shared library, by the machine's linker.
///
/// # Errors
/// There is none for such processors, or it fails.
pub fn shared(path: &Path, object: &Object, cpu: Cpu) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().context("a folder to link in")?;
    let (input, output) = (folder.path().join("model.o"), folder.path().join("model.so"));
    fs::write(&input, &object.bytes).with_context(|| format!("writing {}", input.display()))?;
    let linker = linker(cpu);
    let mut command = Command::new(&linker);
    command.arg("-shared").arg("-o").arg(&output).arg(&input);
    if !cfg!(target_vendor = "apple") {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        command.args(["-Wl,-z,text", "-Wl,--no-undefined"]).arg(format!("-Wl,-soname,{name}"));
    }
    if object.needs_libm {
        command.arg("-lm");
    }
    let done = command.output().map_err(|error| {
        anyhow!(
            "a shared library is linked by {linker:?}, which cannot be run ({error}): install a C compiler, name one in CC, or \
             write --format a or o, which need none"
        )
    })?;
    if !done.status.success() {
        bail!("{linker:?} could not link the library: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    fs::read(&output).with_context(|| format!("reading {}", output.display()))
}

/// The C compiler for these processors.
fn linker(cpu: Cpu) -> String {
    let foreign = match cpu {
        Cpu::Aarch64 => !cfg!(target_arch = "aarch64"),
        Cpu::X86V3 | Cpu::X86V4 => !cfg!(target_arch = "x86_64"),
        Cpu::Native => false,
    };
    let usual = match cpu {
        Cpu::Aarch64 if foreign => "aarch64-linux-gnu-gcc",
        _ if foreign => "x86_64-linux-gnu-gcc",
        _ => "cc",
    };
    env::var("CC").ok().filter(|named| !named.is_empty()).unwrap_or_else(|| usual.to_owned())
}
