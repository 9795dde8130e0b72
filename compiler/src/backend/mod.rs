//! Back ends: each takes a [`crate::plan::Verified`] program and cannot fail on it. They do not know each other.
//!
//! `cpu` makes machine code for this processor, `ptx` text for an NVIDIA GPU. What exponentials and the like are made of is said
//! once for all back ends, in `elementary`.

pub mod cpu;
mod elementary;
pub mod ptx;
#[cfg(test)]
mod suite;
