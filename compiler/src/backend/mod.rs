//! Back ends: each takes a [`crate::plan::Program`] and cannot fail on a verified one.
//!
//! `cranelift` makes machine code in memory; its vector loops come from `x86` where that has wider vectors. Both compute
//! exponentials by the operations of `elementary`.

pub mod abi;
pub mod cranelift;
mod elementary;
mod x86;
