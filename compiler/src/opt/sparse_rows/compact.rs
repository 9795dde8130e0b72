//! Compact forms: the rows that were looked up, and what is made of them.

use std::collections::HashMap;

use super::Scalars;
use crate::graph::rewrite::Rewriter;
use crate::graph::{Form, Node, Op, Value};
use crate::scalar::Scalar;

/// The compact form of each value of the old graph that has one.
pub(super) struct Compact<'s> {
    scalars: &'s Scalars,
    forms: HashMap<Value, Value>,
}

impl<'s> Compact<'s> {
    pub fn new(scalars: &'s Scalars) -> Self {
        Self { scalars, forms: HashMap::new() }
    }

    pub fn insert(&mut self, value: Value, form: Value) {
        self.forms.insert(value, form);
    }

    pub fn get(&self, value: Value) -> Option<Value> {
        self.forms.get(&value).copied()
    }

    /// The compact form of an element-wise operation's result.
    pub fn map(&mut self, rewriter: &mut Rewriter, node: &Node) -> Option<Value> {
        let rows = node.args.iter().find_map(|&arg| self.get(arg))?;
        let shape = rewriter.new.shape(rows);
        let mut args = vec![];
        for arg in &node.args {
            args.push(match self.get(*arg) {
                Some(rows) => rows,
                None => {
                    let scalar = rewriter.get(*self.scalars.get(arg)?);
                    rewriter.new.spread_to(scalar, vec![], &shape)
                }
            });
        }
        let form = rewriter.new.op(node.op.clone(), &args);
        self.insert(node.result(), form);
        Some(form)
    }
}

/// As many rows as the scatter `node` has ids: at the first place of each the sum of its rows.
pub(super) fn combined(rewriter: &mut Rewriter, node: &Node, rows: usize) -> Value {
    let (ids, g) = (rewriter.get(node.args[0]), rewriter.get(node.args[1]));
    match distinct_already(rewriter, ids, g) {
        Some(_) => g,
        None => rewriter.new.op(Op::Combine { rows }, &[ids, g]),
    }
}

/// The sum of the rows of each distinct id that the scatter `node` has, in their order; and for each row of the table which
/// of them is its own, and whether one is.
pub(super) fn sums(rewriter: &mut Rewriter, node: &Node, rows: usize) -> (Value, Value, Value) {
    let (ids, g) = (rewriter.get(node.args[0]), rewriter.get(node.args[1]));
    if let Some((ranks, present)) = distinct_already(rewriter, ids, g) {
        return (g, ranks, present);
    }
    let results = rewriter.new.emit(Op::Distinct { rows }, &[ids]);
    let len = rewriter.new.ty(results[1]).len();
    let sums = rewriter.new.op(Op::Scatter { rows: len }, &[results[0], g]);
    (sums, results[3], results[4])
}

/// The ranks and the presence of a table's rows, if `ids` are all distinct and there are no others but with rows of zeros.
fn distinct_already(rewriter: &Rewriter, ids: Value, g: Value) -> Option<(Value, Value)> {
    let made = rewriter.new.definition(ids)?;
    let rows = rewriter.new.definition(g)?;
    let fits = matches!(made.op, Op::Distinct { .. })
        && made.results[1] == ids
        && matches!(rows.op, Op::MatMulPrefix(Form::NN | Form::NT))
        && rows.args[2] == made.results[2];
    fits.then(|| (made.results[3], made.results[4]))
}

/// For each row of a table its own of the rows `c`, or zeros.
pub(super) fn by_rank(rewriter: &mut Rewriter, c: Value, ranks: Value, present: Value) -> Value {
    let own = rewriter.new.op(Op::Take, &[c, ranks]);
    let shape = rewriter.new.shape(own);
    let present = rewriter.new.spread_to(present, vec![0], &shape);
    let zero = rewriter.new.full(0.0, &shape);
    rewriter.new.map(Scalar::Select, &[present, own, zero])
}
