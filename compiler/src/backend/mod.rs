//! Back ends: each takes a [`crate::plan::Program`] and cannot fail on a verified one.

pub mod abi;
pub mod cranelift;
pub mod elementary;
