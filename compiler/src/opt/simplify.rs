//! Simplification: constants folded, algebraic identities applied, equal operations shared, dead ones dropped.
//!
//! The identities are local. Together they turn `-log(softmax(x)[target])` into the stable
//! `log(sum(exp(x - max x))) - (x[target] - max x)`: logs move through quotients, picks and maxima through element-wise
//! operations, element-wise operations through broadcasts. Zeros are taken to be absorbing (`0 * x = 0`), so a NaN that
//! only a dead branch would see is not kept.

mod algebra;
mod loops;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use super::remove_dead;
use crate::graph::rewrite::{Rewrite, Rewriter};
use crate::graph::{Builder, Graph, Node, Op, Value};

/// Simplifies until nothing changes, a few rounds at most: each identity makes the graph smaller or moves an operation
/// in one direction only.
pub fn simplify(graph: &Graph) -> Graph {
    let mut graph = remove_dead(graph);
    for _ in 0..MAX_ROUNDS {
        let mut pass = Simplify::default();
        let mut rewriter = Rewriter::new(&graph);
        rewriter.nodes(&graph.body, &mut pass);
        let next = remove_dead(&rewriter.finish());
        let same = next.body == graph.body;
        graph = next;
        if same {
            break;
        }
    }
    graph
}

const MAX_ROUNDS: usize = 8;

/// Operations already in the graph under construction, innermost region last.
#[derive(Default)]
struct Simplify {
    known: Vec<HashMap<Operation, Vec<Value>>>,
}

/// An operation and its operands, as a key: constants are the same if their bits are.
#[derive(Debug)]
struct Operation {
    op: Op,
    args: Vec<Value>,
}

impl PartialEq for Operation {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.op, &other.op) {
            (Op::Const(own), Op::Const(other)) => own.to_bits() == other.to_bits(),
            (own, other) => own == other,
        };
        same && self.args == other.args
    }
}

impl Eq for Operation {}

impl Hash for Operation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(&self.op).hash(state);
        match &self.op {
            Op::Const(number) => number.to_bits().hash(state),
            Op::Map(scalar) => std::mem::discriminant(scalar).hash(state),
            Op::Broadcast { shape, .. } | Op::Random { shape, .. } => shape.hash(state),
            Op::At { index } | Op::Put { index, .. } => index.hash(state),
            _ => {}
        }
        self.args.hash(state);
    }
}

impl Rewrite for Simplify {
    fn node(&mut self, rewriter: &mut Rewriter, node: &Node) -> Option<Vec<Value>> {
        if let Op::Loop(inner) = &node.op {
            self.enter(0);
            if let Some(results) = loops::single_round(self, rewriter, inner) {
                return Some(results);
            }
            self.enter(1);
            return Some(loops::simplify_loop(self, rewriter, inner));
        }
        let depth = usize::from(rewriter.new.in_loop());
        self.enter(depth);
        let args = rewriter.all(&node.args);
        Some(self.build(&mut rewriter.new, node.op.clone(), &args))
    }
}

impl Simplify {
    /// Makes the scopes match the depth: a finished loop body's values are out of reach.
    fn enter(&mut self, depth: usize) {
        self.known.resize_with(depth + 1, HashMap::new);
    }

    /// A fresh scope for a loop body.
    fn enter_body(&mut self) {
        self.known.truncate(1);
        self.known.push(HashMap::new());
    }

    /// `op` on `args`, simplified if an identity applies, shared if it is there already.
    fn build(&mut self, builder: &mut Builder, op: Op, args: &[Value]) -> Vec<Value> {
        if let Some(results) = algebra::apply(self, builder, &op, args) {
            return results;
        }
        let key = Operation { op, args: args.to_vec() };
        if let Some(results) = self.known.iter().find_map(|scope| scope.get(&key)) {
            return results.clone();
        }
        let results = builder.emit(key.op.clone(), args);
        if let Some(scope) = self.known.last_mut() {
            scope.insert(key, results.clone());
        }
        results
    }

    fn one(&mut self, builder: &mut Builder, op: Op, args: &[Value]) -> Value {
        self.build(builder, op, args)[0]
    }

    /// `number` in every element.
    fn full(&mut self, builder: &mut Builder, number: f64, shape: &[usize]) -> Value {
        let scalar = self.one(builder, Op::Const(number), &[]);
        if shape.is_empty() {
            return scalar;
        }
        self.one(builder, Op::Broadcast { axes: vec![], shape: shape.to_vec() }, &[scalar])
    }
}
