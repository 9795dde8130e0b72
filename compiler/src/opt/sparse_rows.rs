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
//! Otherwise, as where the optimizer has a state that decays in every row, what reads it element by element finds the rows
//! that there are in the sums of each distinct id, and never a whole table of mostly zeros:
//!
//! ```text
//! d = scatter(ids, g)                     places, _, _, ranks, present = distinct(ids)
//!                                         c = scatter(places, g)           as many rows as ids
//! sum(d * d)                      ->      sum(c * c)
//! state + d                               state + select(present, take(c, ranks), 0)
//! ```
//!
//! Where `ids` are distinct already and `g` has zeros after them, as `distinct_rows` leaves it, `c` is `g` in both.
//!
//! Assumes any verified graph.

mod compact;

use std::collections::{BTreeSet, HashMap, HashSet};

use super::over_time;
use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Graph, Node, Op, Reduce, Value};
use crate::scalar::Scalar;
use crate::target::Target;
use compact::{Compact, by_rank, combined, sums};

/// The graph with sparse gradients in place of such tables, where the target gains from it.
pub fn sparse_rows(graph: &Graph, target: &Target) -> Graph {
    let Some(worthwhile) = target.sparse_rows else { return graph.clone() };
    let scalars = broadcast_scalars(graph);
    let around = Around {
        graph,
        worthwhile,
        scalars: &scalars,
        readers: over_time::readers(&graph.body),
        replaced: graph.replaced_inputs(),
        outputs: graph.outputs.iter().map(|output| output.value).collect(),
    };
    let roots: Vec<Root> = graph.body.iter().filter_map(|node| Root::of(&around, node)).collect();
    let mut parts: HashMap<Value, (&Root, Part)> = HashMap::new();
    for root in &roots {
        for (&value, &part) in &root.parts {
            parts.entry(value).or_insert((root, part));
        }
    }
    let mut compact = Compact::new(&scalars);
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| {
        let &result = node.results.first()?;
        let &(root, part) = parts.get(&result)?;
        match (&node.op, part) {
            (Op::Scatter { rows }, _) if root.by_element => {
                let (c, ranks, present) = sums(rewriter, node, *rows);
                compact.insert(result, c);
                Some(vec![by_rank(rewriter, c, ranks, present)])
            }
            (Op::Scatter { rows }, _) => {
                let c = combined(rewriter, node, *rows);
                compact.insert(result, c);
                Some(vec![c])
            }
            (Op::Reduce { kind, .. }, _) => {
                let x = compact.get(node.args[0])?;
                let axes = (0..rewriter.new.shape(x).len()).collect();
                Some(vec![rewriter.new.reduce(*kind, x, axes)])
            }
            (op, Part::Table) if !root.by_element => {
                let place = usize::from(root.is_rows(&node.args[1]));
                let mut g = compact.get(node.args[place])?;
                if *op == Op::Map(Scalar::Sub) {
                    g = rewriter.new.map(Scalar::Neg, &[g]);
                }
                let (table, ids) = (rewriter.get(node.args[1 - place]), rewriter.get(root.ids));
                Some(vec![rewriter.new.op(Op::AddRows, &[table, ids, g])])
            }
            (_, Part::Rows) => {
                let c = compact.map(rewriter, node)?;
                // What is read by element is also there for each row of the table.
                (!root.by_element).then_some(vec![c])
            }
            _ => None,
        }
    })
}

/// The values that are one number in every element, and that number.
type Scalars = HashMap<Value, Value>;

/// What is known of the graph.
struct Around<'a> {
    graph: &'a Graph,
    /// Fewer rows of a table than this for each row that is looked up are not worth it.
    worthwhile: usize,
    scalars: &'a Scalars,
    readers: HashMap<Value, Vec<usize>>,
    /// The inputs that each output is the new value of.
    replaced: HashMap<Value, Vec<Value>>,
    outputs: HashSet<Value>,
}

impl Around<'_> {
    fn readers_of(&self, value: Value) -> &[usize] {
        self.readers.get(&value).map_or(&[], |readers| readers)
    }

    /// Whether `table` is an input whose new value `node` gives.
    fn is_update(&self, table: Value, node: &Node) -> bool {
        self.replaced.get(&node.result()).is_some_and(|inputs| inputs.contains(&table))
    }
}

/// A gradient that is zero in most rows, and what is made of it.
struct Root {
    ids: Value,
    parts: HashMap<Value, Part>,
    /// Whether something else than the [`Part`]s is made of it, element by element.
    by_element: bool,
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
    /// The gradient that `node` gives, if its whole table need not be computed.
    fn of(around: &Around, node: &Node) -> Option<Self> {
        let Op::Scatter { rows } = node.op else { return None };
        if rows < around.worthwhile * around.graph.ty(node.args[0]).len() {
            return None;
        }
        let gradient = node.result();
        let parts = HashMap::from([(gradient, Part::Rows)]);
        let mut root = Self { ids: node.args[0], parts, by_element: false };
        let mut readers: BTreeSet<usize> = around.readers_of(gradient).iter().copied().collect();
        while let Some(reader) = readers.pop_first() {
            let node = &around.graph.body[reader];
            match root.part(around, node) {
                Some(part) => {
                    root.parts.insert(node.result(), part);
                    if part == Part::Rows {
                        readers.extend(around.readers_of(node.result()));
                    }
                }
                None if node.operands().contains(&gradient) && !matches!(node.op, Op::Map(_)) => return None,
                None => root.by_element = true,
            }
        }
        let handed_out = |value: &Value| around.outputs.contains(value);
        root.by_element |= root.parts.iter().any(|(value, part)| *part == Part::Rows && handed_out(value));
        (!handed_out(&gradient)).then_some(root)
    }

    fn is_rows(&self, value: &Value) -> bool {
        self.parts.get(value) == Some(&Part::Rows)
    }

    /// What a node that reads rows makes of them.
    fn part(&self, around: &Around, node: &Node) -> Option<Part> {
        let rows: Vec<bool> = node.args.iter().map(|arg| self.is_rows(arg)).collect();
        let fits = |place: usize| rows[place] || around.scalars.contains_key(&node.args[place]);
        match (&node.op, &rows[..]) {
            (Op::Map(Scalar::Neg | Scalar::Abs | Scalar::Sqrt), _) => Some(Part::Rows),
            (Op::Map(Scalar::Mul), _) if fits(0) && fits(1) => Some(Part::Rows),
            (Op::Map(Scalar::Div), [true, false]) if fits(1) => Some(Part::Rows),
            (Op::Map(Scalar::Add | Scalar::Sub), [true, true]) => Some(Part::Rows),
            (Op::Map(Scalar::Add | Scalar::Sub), [false, true]) if around.is_update(node.args[0], node) => {
                Some(Part::Table)
            }
            (Op::Map(Scalar::Add), [true, false]) if around.is_update(node.args[1], node) => {
                Some(Part::Table)
            }
            (Op::Reduce { kind: Reduce::Sum, axes }, _) if axes[..] == [0, 1] => Some(Part::Sum),
            _ => None,
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
