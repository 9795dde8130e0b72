//! The facts of a graph that lowering reads and never changes: who defines and who uses each value.

use std::collections::HashMap;

use crate::graph::{Graph, Node, Op, Reduce, Value};

/// How a value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// By the node that defines this value, in the same region as the value.
    Node(Value),
    /// By something that reads it from memory: a product, a scatter or a loop.
    Read,
    /// By a loop, each round of which sees one index of it as this parameter.
    Sliced(Value),
    /// By something that needs it at a certain place: an output, a loop's stack or `next`, a concatenation.
    Placed,
}

pub(super) struct Facts<'g> {
    pub graph: &'g Graph,
    definers: HashMap<Value, &'g Node>,
    /// In all regions.
    uses: HashMap<Value, Vec<Use>>,
    replaced: HashMap<Value, Vec<Value>>,
}

impl<'g> Facts<'g> {
    pub fn of(graph: &'g Graph) -> Self {
        let replaced = graph.replaced_inputs();
        let mut facts = Self { graph, definers: HashMap::new(), uses: HashMap::new(), replaced };
        facts.region(&graph.body);
        for output in &graph.outputs {
            facts.note(output.value, Use::Placed);
        }
        facts
    }

    fn note(&mut self, value: Value, how: Use) {
        self.uses.entry(value).or_default().push(how);
    }

    fn region(&mut self, nodes: &'g [Node]) {
        for node in nodes {
            for &result in &node.results {
                self.definers.insert(result, node);
            }
            if let Op::Loop(inner) = &node.op {
                inner.sliced.iter().for_each(|sliced| self.note(sliced.source, Use::Sliced(sliced.param)));
                inner.captured().into_iter().for_each(|value| self.note(value, Use::Read));
                for carried in &inner.carried {
                    self.note(carried.init, Use::Read);
                    self.note(carried.next, Use::Placed);
                }
                inner.stacked.iter().for_each(|stacked| self.note(stacked.value, Use::Placed));
                self.region(&inner.body);
                continue;
            }
            for &arg in &node.args {
                self.note(arg, use_by(node));
            }
        }
    }

    /// The node that defines a value; none for inputs and loop parameters.
    pub fn definer(&self, value: Value) -> Option<&'g Node> {
        self.definers.get(&value).copied()
    }

    pub fn uses(&self, value: Value) -> &[Use] {
        self.uses.get(&value).map_or(&[], |uses| uses)
    }

    /// The inputs that a value is the new value of.
    pub fn replaced_by(&self, value: Value) -> &[Value] {
        self.replaced.get(&value).map_or(&[], |inputs| inputs)
    }

    /// The inputs that the graph updates.
    pub fn all_replaced(&self) -> impl Iterator<Item = Value> {
        self.replaced.values().flatten().copied()
    }

    pub fn shape(&self, value: Value) -> &'g [usize] {
        self.graph.shape(value)
    }
}

/// How a node that is not a loop uses its operands.
fn use_by(node: &Node) -> Use {
    match node.op {
        Op::MatMul(_)
        | Op::MatMulPrefix(_)
        | Op::Distinct { .. }
        | Op::Scatter { .. }
        | Op::Combine { .. }
        | Op::SumShards
        | Op::AddRows => Use::Read,
        Op::Concat { .. } => Use::Placed,
        Op::Const(_) | Op::Positions { .. } | Op::Random { .. } | Op::Number | Op::Map(_) | Op::Stop => {
            Use::Node(node.results[0])
        }
        Op::Broadcast { .. } | Op::Reduce { .. } | Op::Split { .. } | Op::At { .. } => {
            Use::Node(node.results[0])
        }
        Op::Unsqueeze | Op::Squeeze | Op::Take | Op::Pick | Op::Spread { .. } | Op::Put { .. } => {
            Use::Node(node.results[0])
        }
        Op::Loop(_) => unreachable!("internal error: a loop's operands are used in it"),
    }
}

pub(super) fn is_product(node: &Node) -> bool {
    matches!(node.op, Op::MatMul(_) | Op::MatMulPrefix(_))
}

/// Whether a reduction runs along the last axis, and so is a fold within a row.
pub(super) fn is_row_reduction(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Reduce { axes, .. } => axes[..] == [graph.ty(node.args[0]).rank() - 1],
        _ => false,
    }
}

/// The axes that a reduction leaves.
pub(super) fn kept_axes(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|axis| !axes.contains(axis)).collect()
}

/// The name of a reduction in kernel names.
pub(super) fn reduce_name(kind: Reduce) -> &'static str {
    match kind {
        Reduce::Sum => "sum",
        Reduce::Max => "max",
    }
}
