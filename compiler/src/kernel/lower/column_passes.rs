//! The passes over the columns of a nest's rows: one for each level of reductions (softmax: one for the maximum, one for the
//! sum, one for what is stored).

use std::collections::HashMap;

use super::cluster::Nest;
use super::homes::Memory;
use crate::graph::{Op, Reduce, Value};

/// A reduction along the columns.
pub(super) struct RowReduction {
    pub result: Value,
    pub operand: Value,
    pub kind: Reduce,
}

/// What each pass over the columns does.
pub(super) struct ColumnPasses {
    /// For each pass the reductions that it folds.
    pub folds: Vec<Vec<RowReduction>>,
    /// Members on `[rows.., columns]` that go to memory: all stored by the last pass, after every pass that may still
    /// read what they overwrite.
    pub full_stores: Vec<Value>,
    /// Members on `[rows..]` that need no pass.
    pub known_at_once: Vec<Value>,
    /// Members on `[rows..]` that go to memory and are known before the last pass, which may overwrite what they read.
    pub early_row_stores: Vec<Value>,
    /// The others.
    pub row_stores: Vec<Value>,
}

impl ColumnPasses {
    pub fn is_last(&self, pass: usize) -> bool {
        pass + 1 == self.folds.len()
    }

    /// What a pass stores at every position.
    pub fn stores_of(&self, pass: usize) -> &[Value] {
        if self.is_last(pass) { &self.full_stores } else { &[] }
    }

    pub fn has_work(&self, pass: usize) -> bool {
        !(self.folds[pass].is_empty() && self.stores_of(pass).is_empty())
    }

    /// Whether any of them folds.
    pub fn reduce(&self) -> bool {
        self.folds.iter().any(|folds| !folds.is_empty())
    }

    pub fn of(memory: Memory, nest: &Nest) -> Self {
        let mut levels = HashMap::new();
        let mut folds: Vec<Vec<RowReduction>> = vec![vec![]];
        let (mut full_stores, mut row_stores) = (vec![], vec![]);
        let mut known_at_once = vec![];
        for &member in &nest.members {
            let Some(node) = memory.facts.definer(member) else {
                unreachable!("internal error: a nest computes {member}, which no node defines")
            };
            let stored = !memory.homes.of(member).is_empty();
            let last = match &node.op {
                Op::Reduce { kind, .. } => {
                    let pass = level(memory, nest, node.args[0], &mut levels);
                    folds.resize_with(folds.len().max(pass + 1), Vec::new);
                    let (result, operand) = (member, node.args[0]);
                    folds[pass].push(RowReduction { result, operand, kind: *kind });
                    pass
                }
                _ => level(memory, nest, member, &mut levels),
            };
            let on_rows = memory.facts.shape(member).len() == nest.rows.len();
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
fn level(memory: Memory, nest: &Nest, value: Value, known: &mut HashMap<Value, usize>) -> usize {
    if let Some(&level) = known.get(&value) {
        return level;
    }
    let inside = nest.contains(value);
    let below = match memory.facts.definer(value) {
        Some(node) if inside || (!memory.homes.has(value) && !matches!(node.op, Op::Loop(_))) => {
            let args = node.args.iter().map(|&arg| level(memory, nest, arg, known));
            args.max().unwrap_or(0) + usize::from(inside && matches!(node.op, Op::Reduce { .. }))
        }
        _ => 0,
    };
    known.insert(value, below);
    below
}
