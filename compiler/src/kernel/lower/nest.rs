//! Groups of operations to kernels: rows in parallel, and within a row one pass over the columns for each level of
//! reductions (softmax: one for the maximum, one for the sum, one for what is stored).

use std::collections::HashMap;

use super::Lowering;
use super::cluster::Nest;
use super::emit::{At, Emitter};
use super::regions::{kept_axes, reduce_name};
use super::reuse;
use super::storage::View;
use crate::graph::{Node, Op, Reduce, Value};
use crate::kernel::{Axis, Fold, Item, Kernel, Var};

impl<'a> Lowering<'a> {
    pub(super) fn nest(&mut self, nest: &Nest) -> Item {
        let passes = Passes::of(self, nest);
        let mut emitter = Emitter::new(self, &nest.members);
        let row_axes: Vec<Axis> = nest.rows.iter().map(|&extent| emitter.axis(extent)).collect();
        let column = nest.columns.map(|extent| emitter.axis(extent));
        emitter.open(row_axes.clone());
        let row: Vec<At> = row_axes.iter().map(|&axis| At::axis(axis)).collect();
        let reduces = passes.folds.iter().any(|folds| !folds.is_empty());
        let kept = reuse::choose(self, nest, &passes);
        if !kept.is_empty() {
            // What is kept may lie over what the rows' own values read.
            passes.known_at_once.iter().for_each(|&value| _ = emitter.value(value, &row));
        }
        let mut early = vec![];
        for (pass, folds) in passes.folds.iter().enumerate() {
            let stores = if pass + 1 == passes.folds.len() { &passes.full_stores[..] } else { &[] };
            let Some(column) = column.filter(|_| !(folds.is_empty() && stores.is_empty())) else { continue };
            let at = [&row[..], &[At::axis(column)]].concat();
            if pass + 1 == passes.folds.len() {
                // Before the last pass stores over what they may read.
                early = passes.early_row_stores.iter().map(|&value| emitter.value(value, &row)).collect();
            }
            let level = emitter.level();
            emitter.open(vec![column]);
            let mut kernel_folds = vec![];
            for &(result, operand, kind) in folds {
                let value = emitter.local(operand, &at);
                kernel_folds.push((result, Fold { var: Var(0), kind, value }));
            }
            let values: Vec<Var> = stores.iter().map(|&value| emitter.value(value, &at)).collect();
            let keeping = kept.iter().filter(|kept| kept.pass == pass);
            let keeping: Vec<_> = keeping.map(|kept| (emitter.value(kept.value, &at), kept)).collect();
            for (var, kept) in keeping {
                emitter.store(var, &at, &kept.view);
                emitter.keep(kept.value, kept.view.clone());
            }
            self.store_all(&mut emitter, stores, &values, &at);
            let kernel_folds = kernel_folds.into_iter().map(|(result, fold)| {
                let var = emitter.var(level);
                emitter.set_folded(result, var);
                Fold { var, ..fold }
            });
            let kernel_folds = kernel_folds.collect();
            emitter.close(!reduces, kernel_folds);
        }
        emitter.forget_kept();
        let late: Vec<Var> = passes.row_stores.iter().map(|&value| emitter.value(value, &row)).collect();
        self.store_all(&mut emitter, &passes.early_row_stores, &early, &row);
        self.store_all(&mut emitter, &passes.row_stores, &late, &row);
        emitter.close(true, vec![]);
        let (axes, body) = emitter.finish();
        Item::Kernel(Kernel { name: self.kernel_name(&nest.members), axes, body })
    }

    /// Writes variables to the homes of the values they hold. Called when all that a pass reads has been read: a home
    /// may lie over what another value is computed from.
    fn store_all(&self, emitter: &mut Emitter, values: &[Value], vars: &[Var], at: &[At]) {
        for (value, &var) in values.iter().zip(vars) {
            for view in self.homes.get(value).map_or(&[][..], |homes| homes) {
                emitter.store(var, at, view);
            }
        }
    }

    /// A reduction along axes other than the last alone: the kept axes in parallel, the reduced ones inside.
    pub(super) fn column_reduce(&mut self, node: &Node, kind: Reduce, axes: &[usize]) -> Item {
        let (operand, result) = (node.args[0], node.result());
        let shape = self.graph.shape(operand).to_vec();
        let mut emitter = Emitter::new(self, &[]);
        let all: Vec<Axis> = shape.iter().map(|&extent| emitter.axis(extent)).collect();
        let kept: Vec<Axis> = kept_axes(shape.len(), axes).iter().map(|&axis| all[axis]).collect();
        emitter.open(kept.clone());
        for &axis in axes {
            emitter.open(vec![all[axis]]);
        }
        let at: Vec<At> = all.iter().map(|&axis| At::axis(axis)).collect();
        let mut value = emitter.local(operand, &at);
        for _ in axes {
            let var = emitter.var(emitter.level() - 1);
            emitter.close(false, vec![Fold { var, kind, value }]);
            value = var;
        }
        emitter.set_folded(result, value);
        let at: Vec<At> = kept.iter().map(|&axis| At::axis(axis)).collect();
        self.store_all(&mut emitter, &[result], &[value], &at);
        emitter.close(true, vec![]);
        let (axes, body) = emitter.finish();
        Item::Kernel(Kernel { name: format!("{}_columns_{}", reduce_name(kind), result.0), axes, body })
    }

    /// A kernel that computes a value and writes it to a view.
    pub(super) fn copy(&self, value: Value, view: View) -> Item {
        let mut emitter = Emitter::new(self, &[]);
        let axes: Vec<Axis> = view.shape.iter().map(|&extent| emitter.axis(extent)).collect();
        let at: Vec<At> = axes.iter().map(|&axis| At::axis(axis)).collect();
        let (rows, columns) = axes.split_at(axes.len().saturating_sub(1));
        emitter.open(rows.to_vec());
        emitter.open(columns.to_vec());
        let var = emitter.value(value, &at);
        emitter.store(var, &at, &view);
        emitter.close(true, vec![]);
        emitter.close(true, vec![]);
        let (axes, body) = emitter.finish();
        let buffer = &self.module.buffer(view.buffer).name;
        Item::Kernel(Kernel { name: format!("copy_{}_to_{buffer}", value.0), axes, body })
    }

    /// Names the transcendental work of a kernel, then what it stores first.
    fn kernel_name(&self, members: &[Value]) -> String {
        let names = |value: &Value| self.definers.get(value).map_or("", |node| node.op.name());
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
}

/// What each pass over the columns does.
pub(super) struct Passes {
    /// For each pass: the result, operand and kind of the reductions that it folds.
    pub folds: Vec<Vec<(Value, Value, Reduce)>>,
    /// Members on `[rows.., columns]` that go to memory: all stored by the last pass, after every pass that may still
    /// read what they overwrite.
    pub full_stores: Vec<Value>,
    /// Members on `[rows..]` that need no pass.
    known_at_once: Vec<Value>,
    /// Members on `[rows..]` that go to memory and are known before the last pass, which may overwrite what they read.
    early_row_stores: Vec<Value>,
    /// The others.
    row_stores: Vec<Value>,
}

impl Passes {
    fn of(lowering: &Lowering, nest: &Nest) -> Self {
        let mut levels = HashMap::new();
        let mut folds: Vec<Vec<(Value, Value, Reduce)>> = vec![vec![]];
        let (mut full_stores, mut row_stores) = (vec![], vec![]);
        let mut known_at_once = vec![];
        for &member in &nest.members {
            let node = lowering.definers[&member];
            let stored = lowering.homes.get(&member).is_some_and(|homes| !homes.is_empty());
            let last = match &node.op {
                Op::Reduce { kind, .. } => {
                    let pass = level(lowering, nest, node.args[0], &mut levels);
                    folds.resize_with(folds.len().max(pass + 1), Vec::new);
                    folds[pass].push((member, node.args[0], *kind));
                    pass
                }
                _ => level(lowering, nest, member, &mut levels),
            };
            let on_rows = lowering.graph.shape(member).len() == nest.rows.len();
            if on_rows && last == 0 && !matches!(node.op, Op::Reduce { .. }) {
                known_at_once.push(member);
            }
            if !stored {
                continue;
            }
            if on_rows {
                let known_after = last + usize::from(matches!(node.op, Op::Reduce { .. }));
                row_stores.push((member, known_after));
            } else {
                full_stores.push(member);
                folds.resize_with(folds.len().max(last + 1), Vec::new);
            }
        }
        let last = folds.len() - 1;
        let is_early = !full_stores.is_empty();
        let (early, late): (Vec<_>, Vec<_>) =
            row_stores.into_iter().partition(|(_, known_after)| is_early && *known_after <= last);
        let values = |stores: Vec<(Value, usize)>| stores.into_iter().map(|(value, _)| value).collect();
        Self { folds, full_stores, known_at_once, early_row_stores: values(early), row_stores: values(late) }
    }
}

/// How many passes over the columns must have run before a value of the nest can be computed.
fn level(lowering: &Lowering, nest: &Nest, value: Value, known: &mut HashMap<Value, usize>) -> usize {
    if let Some(&level) = known.get(&value) {
        return level;
    }
    let inside = nest.contains(value);
    let below = match lowering.definers.get(&value) {
        Some(node) if inside || (!lowering.is_stored(value) && !matches!(node.op, Op::Loop(_))) => {
            let args = node.args.iter().map(|&arg| level(lowering, nest, arg, known));
            args.max().unwrap_or(0) + usize::from(inside && matches!(node.op, Op::Reduce { .. }))
        }
        _ => 0,
    };
    known.insert(value, below);
    below
}

impl Lowering<'_> {
    fn is_stored(&self, value: Value) -> bool {
        self.homes.get(&value).is_some_and(|homes| !homes.is_empty())
    }
}
