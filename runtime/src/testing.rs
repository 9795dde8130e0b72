//! Hand-made programs for unit tests.

use lstmc_compiler::graph::Elem;
use lstmc_compiler::kernel::{Buffer, BufferKind, InputRole, Module};
use lstmc_compiler::plan::Program;

/// A buffer; token ids where the role says so, reals otherwise.
pub fn buffer(name: &str, shape: &[usize], kind: BufferKind) -> Buffer {
    let ids = matches!(kind, BufferKind::Input(InputRole::Tokens | InputRole::Targets));
    Buffer { name: name.into(), elem: if ids { Elem::Id } else { Elem::Real }, shape: shape.into(), kind }
}

/// A program without code whose buffers lie one after the other, each on lines of its own.
pub fn program(name: &str, buffers: Vec<Buffer>) -> Program {
    let mut arena_bytes = 0;
    let offsets = buffers
        .iter()
        .map(|buffer| {
            let offset = arena_bytes;
            arena_bytes += (buffer.len() * 4).next_multiple_of(64);
            offset
        })
        .collect();
    let module = Module { name: name.into(), buffers, items: Vec::new() };
    Program { module, workers: 1, offsets, arena_bytes, schedule: Vec::new() }
}
