//! A machine for PTX text: the double of an NVIDIA GPU in tests.
//!
//! [`Module::parse`] reads a module, [`Machine::launch`] runs one of its kernels under a schedule that a seed decides. A run
//! gives the kernel's results or a [`Fault`] that names the line, the thread and the reason: an access out of bounds or
//! misaligned, memory or a register that nobody has written, a race, lanes that are missing, barriers that do not match, a deadlock, a float
//!
//! Modelled:
//! - warps of 32 lanes that part and meet again, CTAs, clusters, cooperative and plain launches;
//! - global memory as allocations far apart, shared memory of each CTA and of its cluster, parameters, constants;
//! - who has seen what: happens-before by vector clocks of warps, through `bar.sync`, `bar.warp.sync`, `barrier.cluster`,
//!   releases, acquires and fences with their scopes ([`races`]);
//! - `cp.async` by groups, `ldmatrix`, `mma.sync` in tf32 and bf16, `shfl`, `vote`, `redux`;
//! - approximate instructions as wrong as they may be ([`alu`]).
//!
//! Not modelled, and refused when parsed: functions, local memory, generic addresses, textures, `wgmma`, `mbarrier`, bulk copies,
//! roundings other than to nearest, arithmetic of f16 and bf16. Not modelled at all: time, banks, occupancy.

mod alu;
mod clocks;
mod exec;
mod fault;
mod lint;
mod lower;
mod machine;
mod memory;
mod module;
mod races;
mod regs;
mod rng;
mod schedule;
mod space;
mod syntax;
mod text;

pub use fault::{Fault, FaultKind};
pub use lint::{Finding, Lint, Rule, lint};
pub use machine::{Arg, Launch, Machine, Stats};
pub use module::{Module, Resources};
pub use text::ParseError;
