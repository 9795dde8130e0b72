//! The lstmc compiler: from `.lstm` source to machine code.
//!
//! Text flows one way; each stage has a type of its own and a later stage never reaches back.
//!
//! ```text
//! .lstm source
//!   | syntax      tokens, then the syntax tree; every node has a span            syntax::ast::File
//!   | model       names, widths and layers resolved and checked                  model::Model
//!   | graph       tensor IR in SSA form with a structured time loop              graph::Graph
//!   | grad        reverse mode, clipping and the update: graph -> graph          graph::Graph
//!   | opt         merge_products, hoist, distinct_rows, sink, sparse_rows,
//!   |             simplify                                                       graph::Graph
//!   | kernel      fused loop nests and library calls over flat buffers           kernel::Module
//!   | plan        one arena with static offsets, worker partition, barriers      plan::Verified
//!   v backend     cpu: machine code in memory, by Cranelift                      backend::cpu::cranelift::Native
//!                 ptx: text for NVIDIA's driver, and the launches of a step      backend::ptx::Ptx
//!                 c: a trained model in C99, for use without lstmc               backend::c::Files
//! ```
//!
//! Beside these, `onnx` makes a file for other programs of a graph.
//!
//! [`pipeline`] alone holds the order of the stages and passes, and [`target::Target`] what they decide by. The crate does no file or device I/O, and knows no
//! layer and no optimizer by name: those are source, in `compiler/prelude/*.lstm`.
//!
//! Each stage imports only earlier stages, [`diag`], [`protobuf`], [`scalar`] and [`target`]; `grad` and `opt` do not know each other; back ends
//! see `kernel` and `plan`. `tests/architecture/main.rs` keeps this true.

// Tests that are shared with those outside the crate name it as they do.
#[cfg(test)]
extern crate self as lstmc_compiler;

pub mod diag;
pub mod protobuf;

pub mod scalar;

/// What the stages decide by.
pub mod target;

pub mod syntax;

pub mod model;

pub mod graph;

pub mod grad;

pub mod opt;

pub mod onnx;

pub mod kernel;

pub mod plan;

pub mod backend;

/// The order of the stages and passes.
pub mod pipeline;
