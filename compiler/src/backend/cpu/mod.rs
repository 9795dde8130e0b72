//! Machine code for the processor that the compiler runs on.
//!
//! `cranelift` makes it, in memory; loops over wider vectors than Cranelift's are written by `x86`. `abi` is what this code
//! and the runtime around it have to agree on.

pub mod abi;
pub mod cranelift;
mod x86;
