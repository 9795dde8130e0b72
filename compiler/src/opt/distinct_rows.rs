//! Products of rows that are looked up in a table: a row that is looked up often is multiplied once.
//!
//! ```text
//! x = take(table, ids)            places, distinct, count = distinct(ids)
//! matmul_nn(x, w)         ->      x = take(table, distinct)
//!                                 take(matmul_prefix_nn(x, w, count), places)
//! ```
//!
//! Of a table of few rows all are multiplied: `take(matmul_nn(table, w), ids)`. Where the graph is run often with the same
//! parameters, as to write a long text, that product is the same each time, so a table may have about as many rows as all
//! runs together look up. Then a word takes no product, and `w` is not read again.
//!
//! Assumes a forward graph, hoisted, so that lookups and products of all steps stand outside loops; before `gradients`, so
//! that the gradients of `w` and of the table are products of as few rows. A row that something else reads as well stays
//! as it is, since it is wanted once for each id anyway.

use std::collections::{HashMap, HashSet};

use super::over_time;
use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Form, Graph, InputRole, Node, Op, Value};
use crate::target::{self, Target};

/// What replaces the rows that were looked up.
#[derive(Clone, Copy)]
struct Distinct {
    /// A row for each id that there is.
    rows: Value,
    /// Which of them belongs to each place.
    places: Value,
    /// How many there are, if not all.
    count: Option<Value>,
    /// Those of which step are wanted, if not of all.
    step: Option<usize>,
}

/// The graph with products of each row once, where the target gains from it; it is run at least `runs` times with the same
/// parameters.
pub fn distinct_rows(graph: &Graph, runs: usize, target: &Target) -> Graph {
    let Some(worth) = &target.distinct_rows else { return graph.clone() };
    let inputs = graph.inputs.iter().filter(|input| matches!(input.role, InputRole::Param { .. }));
    let around = Around {
        graph,
        worth,
        runs,
        readers: over_time::readers(&graph.body),
        outputs: graph.outputs.iter().map(|output| output.value).collect(),
        parameters: inputs.map(|input| graph.ty(input.value).len()).sum(),
    };
    let lookups: HashSet<Value> =
        graph.body.iter().filter(|node| around.is_worth(node)).map(Node::result).collect();
    let mut made: HashMap<Value, Distinct> = HashMap::new();
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| match node.op {
        Op::Take if lookups.contains(&node.result()) => {
            let distinct = lookup(rewriter, node, around.takes_all(node));
            made.insert(node.result(), distinct);
            Some(vec![distinct.rows])
        }
        // Of one step there is no loop, but the rows of that step.
        Op::At { index } => {
            let distinct = Distinct { step: Some(index), ..*made.get(&node.args[0])? };
            made.insert(node.result(), distinct);
            Some(vec![distinct.rows])
        }
        Op::MatMul(Form::NN) => {
            let distinct = made.get(&node.args[0])?;
            let w = rewriter.get(node.args[1]);
            let product = rewriter.new.matmul_prefix(Form::NN, distinct.rows, w, distinct.count);
            let rows = rewriter.new.op(Op::Take, &[product, distinct.places]);
            Some(vec![match distinct.step {
                Some(index) => rewriter.new.op(Op::At { index }, &[rows]),
                None => rows,
            }])
        }
        _ => None,
    })
}

/// What is known of the graph.
struct Around<'a> {
    graph: &'a Graph,
    worth: &'a target::DistinctRows,
    /// How often it is run with the same parameters.
    runs: usize,
    readers: HashMap<Value, Vec<usize>>,
    outputs: HashSet<Value>,
    /// Elements of all parameters.
    parameters: usize,
}

impl Around<'_> {
    fn readers_of(&self, value: Value) -> impl Iterator<Item = &Node> {
        let readers = self.readers.get(&value).map_or(&[][..], |readers| readers);
        readers.iter().map(|&reader| &self.graph.body[reader])
    }

    /// Whether a node looks up rows of which products are made and nothing else.
    fn is_worth(&self, node: &Node) -> bool {
        node.op == Op::Take
            && self.graph.shape(node.args[0])[1] >= self.worth.min_width
            && (self.graph.ty(node.args[1]).len() >= self.worth.min_ids || self.takes_all(node))
            && self.is_only_multiplied(node.result())
    }

    /// Whether rows are read by products, on their left side, or by what takes those of one step, and nothing else.
    fn is_only_multiplied(&self, rows: Value) -> bool {
        let mut readers = self.readers_of(rows).peekable();
        let multiplies = |reader: &Node| match reader.op {
            Op::MatMul(Form::NN) => reader.args[0] == rows && reader.args[1] != rows,
            Op::At { .. } => self.is_only_multiplied(reader.result()),
            _ => false,
        };
        readers.peek().is_some() && readers.all(multiplies) && !self.outputs.contains(&rows)
    }

    /// Whether all rows of the table are multiplied, not only those that are looked up.
    fn takes_all(&self, node: &Node) -> bool {
        let (rows, ids) = (self.graph.shape(node.args[0])[0], self.graph.ty(node.args[1]).len());
        let pays = self.runs > 1 && rows <= (self.worth.rows_a_run * ids).saturating_mul(self.runs);
        // What is computed before may take twice as much memory as the parameters: a weight and its panels do too.
        self.worth.all_rows * rows <= ids
            || (pays && rows * self.width_of_products(node.result()) <= 2 * self.parameters)
    }

    /// Columns of all products that read these rows.
    fn width_of_products(&self, rows: Value) -> usize {
        let width = |reader: &Node| match reader.op {
            Op::At { .. } => self.width_of_products(reader.result()),
            _ => self.graph.shape(reader.result()).last().copied().unwrap_or(1),
        };
        self.readers_of(rows).map(width).sum()
    }
}

fn lookup(rewriter: &mut Rewriter, node: &Node, all: bool) -> Distinct {
    let (table, ids) = (rewriter.get(node.args[0]), rewriter.get(node.args[1]));
    if all {
        return Distinct { rows: table, places: ids, count: None, step: None };
    }
    let rows = rewriter.new.ty(table).shape[0];
    let results = rewriter.new.emit(Op::Distinct { rows }, &[ids]);
    let rows = rewriter.new.op(Op::Take, &[table, results[1]]);
    Distinct { rows, places: results[0], count: Some(results[2]), step: None }
}
