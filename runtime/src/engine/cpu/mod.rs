//! Programs on the processor: compiled code that holds the loop over steps, and what it runs on.
//!
//! ```text
//! session      compiled code with its arena, its workers and the host's part of each step
//! host         what compiled code calls back in each step
//! pair         two sessions, one of which measures what the other has trained
//! arena        a program's buffers by name and role, in one block (pages)
//! workers      the threads that run it, and their barrier
//! gemm         the products that compiled code calls
//! caches       how large the processor's caches are
//! machine      what the processor can do; probes: what the parts of a step take
//! ```

mod arena;
pub mod caches;
pub mod gemm;
mod host;
pub mod machine;
pub mod pages;
mod pair;
pub mod probes;
mod session;
pub mod workers;

use lstmc_compiler::target::Target;

pub use arena::Arena;
pub use host::library;
pub use pair::Pair;
pub use session::{Executable, Session};

/// This machine as the compiler's stages see it, with so many workers.
pub fn target(workers: usize) -> Target {
    let plain = Target { bf16_parts: gemm::has_matrix_unit(), ..Target::cpu(workers) };
    plain.with_shared_weight(gemm::cached_weight())
}
