//! From an optimised graph to kernels: fusion, and a buffer for what goes through memory. [`super::passes`] then
//! do what a target needs.
//!
//! The stages run once, in this order:
//!
//! | stage | gives |
//! |---|---|
//! | `reductions` | the graph with each reduction over several axes as one along the last, and those of what is left |
//! | `facts` | who defines and who uses each value |
//! | `cluster`, by `inline` and `reads` | for each region groups in order: loop nests of element-wise operations and row reductions; and products, scatters, column reductions and time loops, which stand alone |
//! | `place`, by `rounds` and `library` | buffers, where values lie in them (`homes`), and tasks in order (`storage`) |
//! | `emit`, by `nest`, `column_passes`, `reuse` and `builder` | for each task an item: a value with no home is computed where it is read |
//!
//! All that depends on the target here are the limits of fusion, see [`Fusion`].

mod builder;
mod cluster;
mod column_passes;
mod emit;
mod facts;
mod homes;
mod inline;
mod library;
mod names;
mod nest;
mod place;
mod reads;
mod reductions;
mod reuse;
mod rounds;
mod storage;
mod view;

use std::collections::HashSet;

use super::Module;
use crate::graph::Graph;
use crate::target::Fusion;

/// Lowers a verified graph.
pub fn lower(graph: &Graph, fusion: &Fusion) -> Module {
    let graph = reductions::one_axis_reductions(graph);
    let facts = facts::Facts::of(&graph);
    let clusters = cluster::cluster(&facts, fusion);
    let (storage, tasks) = place::place(&facts, &clusters);
    let (buffers, homes) = storage.finish();
    let mut items = emit::emit(&facts, &buffers, homes, tasks);
    names::name_apart(&mut items, &mut HashSet::new());
    Module { name: graph.name.clone(), buffers, prologue: vec![], items }
}
