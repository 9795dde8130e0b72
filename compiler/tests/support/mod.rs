//! What several tests share: values for a graph's inputs, central differences, random graphs and models, shipped models,
//! and the executors that are compared.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod checked;
pub mod differences;
pub mod executors;
pub mod files;
pub mod gpu;
pub mod random_graphs;
pub mod random_models;
pub mod shipped;
pub mod simulator;
pub mod steps;
pub mod tensors;
pub mod values;
