//! What several tests share: values for a graph's inputs, central differences.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod differences;
pub mod values;
