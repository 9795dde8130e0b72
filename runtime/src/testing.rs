//! Hand-made programs for unit tests.

use lstmc_compiler::backend::cpu::abi::Run;
use lstmc_compiler::graph::Elem;
use lstmc_compiler::kernel::{Buffer, BufferKind, InputRole, Module};
use lstmc_compiler::plan::Program;
use lstmc_compiler::target::Target;

use crate::engine::cpu::Session;
use crate::folder::Folder;

/// A new folder, which is there as long as the first value.
pub fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let folder = Folder::open(dir.path()).expect("it is there");
    (dir, folder)
}

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
    let module = Module { name: name.into(), buffers, prologue: Vec::new(), items: Vec::new() };
    Program {
        module,
        target: Target::cpu(1),
        offsets,
        arena_bytes,
        constants: 0..0,
        prologue: Vec::new(),
        schedule: Vec::new(),
    }
}

/// A program whose steps do nothing, in its memory.
pub fn idle(program: &Program) -> Session {
    unsafe fn nothing(_: *mut Run, _: u32) {}
    unsafe extern "C" fn entry(run: *mut Run, worker: u32) {
        // SAFETY: called by a session, with its own run.
        unsafe { outer_loop(run, worker, nothing) }
    }
    // SAFETY: the entry follows the protocol and touches nothing.
    unsafe { Session::from_parts(program, entry, Box::new(())) }.expect("memory for a small program")
}

/// What compiled code does around each step, for programs whose step is a Rust function.
///
/// # Safety
/// Called by a session with its own run; `body` keeps to the arena.
pub unsafe fn outer_loop(run: *mut Run, worker: u32, body: unsafe fn(*mut Run, u32)) {
    let library = crate::engine::cpu::library();
    // SAFETY: the caller's promise; the protocol of `abi` orders all accesses.
    unsafe {
        for step in 0..(*run).steps {
            if worker == 0 {
                (*run).halt = (library.begin_step)(run, step);
            }
            (library.barrier)(run, worker);
            if (*run).halt != 0 {
                return;
            }
            body(run, worker);
            (library.barrier)(run, worker);
            if worker == 0 {
                (library.end_step)(run, step);
            }
        }
    }
}
