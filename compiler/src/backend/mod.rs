//! Back ends: each takes a [`crate::plan::Verified`] program and cannot fail on it. They do not know each other.
//!
//! `cpu` makes machine code for this processor, `ptx` text for an NVIDIA GPU, `c` text for any compiler of C. What exponentials and
//! the like are made of is said once for all back ends, in `elementary`, and what a model offers that is compiled to be used without
//! lstmc, in `standalone`.

pub mod c;
pub mod cpu;
mod elementary;
pub mod ptx;
pub mod standalone;
#[cfg(test)]
mod suite;
