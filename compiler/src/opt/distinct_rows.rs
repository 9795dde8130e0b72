//! Products of rows that are looked up in a table: a row that is looked up often is multiplied once.
//!
//! ```text
//! x = take(table, ids)            places, distinct, count = distinct(ids)
//! matmul_nn(x, w)         ->      x = take(table, distinct)
//!                                 take(matmul_prefix_nn(x, w, count), places)
//! ```
//!
//! Of a table of few rows all are multiplied: `take(matmul_nn(table, w), ids)`, which is also the same at every step where
//! `w` is constant.
//!
//! Assumes a forward graph, hoisted, so that lookups and products of all steps stand outside loops; before `gradients`, so
//! that the gradients of `w` and of the table are products of as few rows. A row that something else reads as well stays
//! as it is, since it is wanted once for each id anyway.

use std::collections::HashMap;

use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Form, Graph, Node, Op, Value};

/// A product of fewer rows is about as fast as its right side is read.
const MIN_IDS: usize = 64;
/// Of narrower rows a product costs no more than to add the rows' gradients up by id.
const MIN_WIDTH: usize = 64;
/// So many ids for each row of the table make it likely that most rows are among them.
const ALL_ROWS: usize = 2;

/// What stands for the rows that were looked up.
struct Distinct {
    /// A row for each id that there is.
    rows: Value,
    /// Which of them belongs to each place.
    places: Value,
    /// How many there are, if not all.
    count: Option<Value>,
}

/// The graph with products of each row once.
pub fn distinct_rows(graph: &Graph) -> Graph {
    let lookups: Vec<Value> =
        graph.body.iter().filter(|node| is_worth(graph, node)).map(Node::result).collect();
    let mut made: HashMap<Value, Distinct> = HashMap::new();
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| match node.op {
        Op::Take if lookups.contains(&node.result()) => {
            let distinct = lookup(rewriter, node);
            let rows = distinct.rows;
            made.insert(node.result(), distinct);
            Some(vec![rows])
        }
        Op::MatMul(Form::NN) => {
            let distinct = made.get(&node.args[0])?;
            let w = rewriter.get(node.args[1]);
            let product = rewriter.new.matmul_prefix(Form::NN, distinct.rows, w, distinct.count);
            Some(vec![rewriter.new.op(Op::Take, &[product, distinct.places])])
        }
        _ => None,
    })
}

/// Whether a node looks up rows of which products are made and nothing else.
fn is_worth(graph: &Graph, node: &Node) -> bool {
    if node.op != Op::Take {
        return false;
    }
    let rows = node.result();
    let enough = graph.ty(node.args[1]).len() >= MIN_IDS && graph.shape(node.args[0])[1] >= MIN_WIDTH;
    let mut readers = graph.body.iter().filter(|node| node.operands().contains(&rows)).peekable();
    let multiplies =
        |reader: &Node| reader.op == Op::MatMul(Form::NN) && reader.args[0] == rows && reader.args[1] != rows;
    enough
        && readers.peek().is_some()
        && readers.all(multiplies)
        && graph.outputs.iter().all(|output| output.value != rows)
}

fn lookup(rewriter: &mut Rewriter, node: &Node) -> Distinct {
    let (table, ids) = (rewriter.get(node.args[0]), rewriter.get(node.args[1]));
    let rows = rewriter.new.ty(table).shape[0];
    if ALL_ROWS * rows <= rewriter.new.ty(ids).len() {
        return Distinct { rows: table, places: ids, count: None };
    }
    let results = rewriter.new.emit(Op::Distinct { rows }, &[ids]);
    let rows = rewriter.new.op(Op::Take, &[table, results[1]]);
    Distinct { rows, places: results[0], count: Some(results[2]) }
}
