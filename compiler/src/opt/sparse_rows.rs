//! The gradient of a table of which a batch looks up few rows.
//!
//! It is zero in every other row. Where all that is made of it is a sum over all its elements, such as the norm to clip
//! by, and a table that it is subtracted from, as the optimizer's update does, only the rows that were looked up are
//! computed and changed:
//!
//! ```text
//! d = scatter(ids, g)                     c = combine(ids, g)              as many rows as ids
//! sum(d * d)                      ->      sum(c * c)
//! table - rate * d                        add_rows(table, ids, -(rate * c))
//! ```
//!
//! Assumes any verified graph. What is not of this form, such as an optimizer whose state decays in every row, stays.

use std::collections::HashMap;

use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Graph, Node, Op, OutputRole, Reduce, Value};
use crate::scalar::Scalar;

/// Fewer rows of a table than this for each row that is looked up are not worth it.
const WORTHWHILE: usize = 2;

/// The graph with sparse gradients in place of such tables.
pub fn sparse_rows(graph: &Graph) -> Graph {
    let scalars = broadcast_scalars(graph);
    let roots: Vec<Root> = graph.body.iter().filter_map(|node| Root::of(graph, node, &scalars)).collect();
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| {
        let &result = node.results.first()?;
        let (root, part) = roots.iter().find_map(|root| Some((root, root.parts.get(&result)?)))?;
        Some(vec![root.sparse(rewriter, node, *part, &scalars)])
    })
}

/// The values that are one number in every element, and that number.
type Scalars = HashMap<Value, Value>;

/// A gradient that is zero in most rows, and all that is made of it.
struct Root {
    ids: Value,
    parts: HashMap<Value, Part>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Zero in the same rows: has a compact form.
    Rows,
    /// A sum of all elements of one that has.
    Sum,
    /// A table to which one that has is added, or from which it is subtracted.
    Table,
}

impl Root {
    /// The gradient that `node` gives, if everything that is made of it is one of the [`Part`]s.
    fn of(graph: &Graph, node: &Node, scalars: &Scalars) -> Option<Self> {
        let Op::Scatter { rows } = node.op else { return None };
        if rows < WORTHWHILE * graph.ty(node.args[0]).len() {
            return None;
        }
        let mut root = Self { ids: node.args[0], parts: HashMap::from([(node.result(), Part::Rows)]) };
        for node in &graph.body {
            if node.operands().iter().any(|value| root.is_rows(value)) {
                let part = root.part(graph, node, scalars)?;
                root.parts.insert(node.result(), part);
            }
        }
        let handed_out = graph.outputs.iter().any(|output| root.is_rows(&output.value));
        (!handed_out).then_some(root)
    }

    fn is_rows(&self, value: &Value) -> bool {
        self.parts.get(value) == Some(&Part::Rows)
    }

    /// What a node that reads rows makes of them.
    fn part(&self, graph: &Graph, node: &Node, scalars: &Scalars) -> Option<Part> {
        let rows: Vec<bool> = node.args.iter().map(|arg| self.is_rows(arg)).collect();
        let fits = |place: usize| rows[place] || scalars.contains_key(&node.args[place]);
        match (&node.op, &rows[..]) {
            (Op::Map(Scalar::Neg | Scalar::Abs | Scalar::Sqrt), _) => Some(Part::Rows),
            (Op::Map(Scalar::Mul), _) if fits(0) && fits(1) => Some(Part::Rows),
            (Op::Map(Scalar::Div), [true, false]) if fits(1) => Some(Part::Rows),
            (Op::Map(Scalar::Add | Scalar::Sub), [true, true]) => Some(Part::Rows),
            (Op::Map(Scalar::Add | Scalar::Sub), [false, true]) if is_update(graph, node.args[0], node) => {
                Some(Part::Table)
            }
            (Op::Map(Scalar::Add), [true, false]) if is_update(graph, node.args[1], node) => {
                Some(Part::Table)
            }
            (Op::Reduce { kind: Reduce::Sum, axes }, _) if axes[..] == [0, 1] => Some(Part::Sum),
            _ => None,
        }
    }

    /// The node's result in the new graph, where rows have their compact form.
    fn sparse(&self, rewriter: &mut Rewriter, node: &Node, part: Part, scalars: &Scalars) -> Value {
        let ids = rewriter.get(self.ids);
        match (&node.op, part) {
            (Op::Scatter { rows }, _) => {
                let g = rewriter.get(node.args[1]);
                rewriter.new.op(Op::Combine { rows: *rows }, &[ids, g])
            }
            (Op::Reduce { kind, .. }, _) => {
                let x = rewriter.get(node.args[0]);
                let axes = (0..rewriter.new.shape(x).len()).collect();
                rewriter.new.reduce(*kind, x, axes)
            }
            (op, Part::Table) => {
                let place = usize::from(self.is_rows(&node.args[1]));
                let mut g = rewriter.get(node.args[place]);
                if *op == Op::Map(Scalar::Sub) {
                    g = rewriter.new.map(Scalar::Neg, &[g]);
                }
                let table = rewriter.get(node.args[1 - place]);
                rewriter.new.op(Op::AddRows, &[table, ids, g])
            }
            (op, _) => {
                let rows = node.args.iter().find(|arg| self.is_rows(arg)).map(|&arg| rewriter.get(arg));
                let shape = rows.map_or(vec![], |rows| rewriter.new.shape(rows));
                let args: Vec<Value> = node
                    .args
                    .iter()
                    .map(|arg| match scalars.get(arg) {
                        Some(&scalar) => {
                            let scalar = rewriter.get(scalar);
                            rewriter.new.spread_to(scalar, vec![], &shape)
                        }
                        None => rewriter.get(*arg),
                    })
                    .collect();
                rewriter.new.op(op.clone(), &args)
            }
        }
    }
}

fn broadcast_scalars(graph: &Graph) -> Scalars {
    let of = |node: &Node| match &node.op {
        Op::Broadcast { axes, .. } if axes.is_empty() => Some((node.result(), node.args[0])),
        _ => None,
    };
    graph.body.iter().filter_map(of).collect()
}

/// Whether `table` is an input whose new value `node` gives.
fn is_update(graph: &Graph, table: Value, node: &Node) -> bool {
    let input = graph.inputs.iter().find(|input| input.value == table);
    input.is_some_and(|input| graph.output(&OutputRole::Update(input.name.clone())) == Some(node.result()))
}
