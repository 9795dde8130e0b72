//! Kernels: of nests, of reductions down columns, and of copies. A nest's rows run in parallel, and within a row one pass
//! over the columns for each level of reductions.

use super::builder::{At, KernelBuilder};
use super::cluster::Nest;
use super::column_passes::ColumnPasses;
use super::facts::{kept_axes, reduce_name};
use super::homes::Memory;
use super::reuse::{self, Reused};
use super::view::View;
use crate::graph::{Node, Op, Value};
use crate::kernel::{Axis, Fold, Kernel, Var};

/// The kernel of a nest.
pub(super) fn nest(memory: Memory, nest: &Nest) -> Kernel {
    let passes = ColumnPasses::of(memory, nest);
    let mut builder = KernelBuilder::new(memory, &nest.members);
    let row_axes: Vec<Axis> = nest.rows.iter().map(|&extent| builder.axis(extent)).collect();
    let column = nest.columns.map(|extent| builder.axis(extent));
    builder.open(row_axes.clone());
    let row: Vec<At> = row_axes.iter().map(|&axis| At::axis(axis)).collect();
    let reused = reuse::choose(memory, nest, &passes);
    if !reused.is_empty() {
        // What is stored early in the result's place may overwrite what the rows' own values read.
        passes.known_at_once.iter().for_each(|&value| _ = builder.value(value, &row));
    }
    let mut early = vec![];
    for pass in 0..passes.folds.len() {
        let Some(column) = column.filter(|_| passes.has_work(pass)) else { continue };
        if passes.is_last(pass) {
            // Before the last pass stores over what they may read.
            early = passes.early_row_stores.iter().map(|&value| builder.value(value, &row)).collect();
        }
        column_pass(&mut builder, &passes, pass, &row, column, &reused);
    }
    builder.forget_left();
    let late: Vec<Var> = passes.row_stores.iter().map(|&value| builder.value(value, &row)).collect();
    store_all(&mut builder, &passes.early_row_stores, &early, &row);
    store_all(&mut builder, &passes.row_stores, &late, &row);
    builder.close(true, vec![]);
    let (axes, body) = builder.finish();
    Kernel { name: nest_name(memory, &nest.members), axes, body }
}

/// One pass over the columns of a row.
fn column_pass(
    builder: &mut KernelBuilder,
    passes: &ColumnPasses,
    pass: usize,
    row: &[At],
    column: Axis,
    reused: &[Reused],
) {
    let at = &[row, &[At::axis(column)]].concat()[..];
    let level = builder.level();
    builder.open(vec![column]);
    let folded: Vec<Var> = passes.folds[pass].iter().map(|fold| builder.local(fold.operand, at)).collect();
    let stores = passes.stores_of(pass);
    let values: Vec<Var> = stores.iter().map(|&value| builder.value(value, at)).collect();
    let leaves = reused.iter().filter(|reused| reused.pass == pass);
    let leaves: Vec<_> = leaves.map(|reused| (builder.value(reused.value, at), reused)).collect();
    for (var, Reused { value, view, .. }) in leaves {
        builder.store(var, at, view);
        builder.read_from(*value, view.clone());
    }
    store_all(builder, stores, &values, at);
    let mut folds = vec![];
    for (fold, value) in passes.folds[pass].iter().zip(folded) {
        let var = builder.var(level);
        builder.set_folded(fold.result, var);
        folds.push(Fold { var, kind: fold.kind, value });
    }
    // With reductions in a row its columns are walked by one worker.
    builder.close(!passes.reduce(), folds);
}

/// Writes variables to the homes of the values they hold. Called when all that a pass reads has been read: a home
/// may lie over what another value is computed from.
fn store_all(builder: &mut KernelBuilder, values: &[Value], vars: &[Var], at: &[At]) {
    for (&value, &var) in values.iter().zip(vars) {
        for view in builder.memory.homes.of(value) {
            builder.store(var, at, view);
        }
    }
}

/// The kernel of a reduction along axes other than the last alone: the kept axes in parallel, the reduced ones inside.
pub(super) fn column_reduce(memory: Memory, node: &Node) -> Kernel {
    let Op::Reduce { kind, ref axes } = node.op else {
        unreachable!("internal error: {} is not a reduction", node.op.name())
    };
    let (operand, result) = (node.args[0], node.result());
    let shape = memory.facts.shape(operand);
    let mut builder = KernelBuilder::new(memory, &[]);
    let all: Vec<Axis> = shape.iter().map(|&extent| builder.axis(extent)).collect();
    let kept: Vec<Axis> = kept_axes(shape.len(), axes).iter().map(|&axis| all[axis]).collect();
    builder.open(kept.clone());
    for &axis in axes {
        builder.open(vec![all[axis]]);
    }
    let at: Vec<At> = all.iter().map(|&axis| At::axis(axis)).collect();
    let mut value = builder.local(operand, &at);
    for _ in axes {
        let var = builder.var(builder.level() - 1);
        builder.close(false, vec![Fold { var, kind, value }]);
        value = var;
    }
    builder.set_folded(result, value);
    let at: Vec<At> = kept.iter().map(|&axis| At::axis(axis)).collect();
    store_all(&mut builder, &[result], &[value], &at);
    builder.close(true, vec![]);
    let (axes, body) = builder.finish();
    Kernel { name: format!("{}_columns_{}", reduce_name(kind), result.0), axes, body }
}

/// A kernel that writes a value to a view. It reads the value `from` a view, if one is given, or where it lies, or
/// computes it.
pub(super) fn copy(memory: Memory, value: Value, from: Option<&View>, to: &View) -> Kernel {
    let mut builder = KernelBuilder::new(memory, &[]);
    if let Some(from) = from {
        builder.read_from(value, from.clone());
    }
    let axes: Vec<Axis> = to.shape.iter().map(|&extent| builder.axis(extent)).collect();
    let at: Vec<At> = axes.iter().map(|&axis| At::axis(axis)).collect();
    let (rows, columns) = axes.split_at(axes.len().saturating_sub(1));
    builder.open(rows.to_vec());
    builder.open(columns.to_vec());
    let var = builder.value(value, &at);
    builder.store(var, &at, to);
    builder.close(true, vec![]);
    builder.close(true, vec![]);
    let (axes, body) = builder.finish();
    Kernel { name: format!("copy_{}_to_{}", value.0, memory.buffer_name(to.buffer)), axes, body }
}

/// Names the transcendental work of a kernel, then what it stores first.
fn nest_name(memory: Memory, members: &[Value]) -> String {
    let names = |value: &Value| memory.facts.definer(*value).map_or("", |node| node.op.name());
    let mut words: Vec<&str> = vec![];
    for word in members.iter().map(names) {
        let telling = !matches!(word, "add" | "sub" | "mul" | "div" | "neg" | "select" | "");
        if telling && !words.contains(&word) && words.len() < 4 {
            words.push(word);
        }
    }
    if words.is_empty() {
        words.push("map");
    }
    format!("{}_{}", words.join("_"), members[0].0)
}
