//! What several tests share: values for a graph's inputs, central differences, random graphs.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod differences;
pub mod random_graphs;
pub mod values;
