//! Reverse-mode differentiation: graph -> graph.
//!
//! [`gradients`] copies the forward graph and appends the adjoint of every value that the `Objective` depends on and
//! that depends on a parameter; it adds one `Gradient` output for each parameter input and drops `Objective`.
//! [`update`] then appends sums over batches, clipping and the optimizer's equations, and turns gradients into updates.
//!
//! There is one local rule per operation, in `rules/`, and adjoints are named `x_adj`. What a backward loop reads of
//! its forward loop becomes a stack of it (the tape): the rule asks [`Reverse::primal`], which stacks on demand.

mod between;
mod rules;
mod update;

use std::collections::{HashMap, HashSet};

use crate::graph::rewrite::Rewriter;
use crate::graph::{Builder, Graph, InputRole, Loop, Node, Op, OutputRole, Sliced, Value};
use crate::scalar::Scalar;

pub use between::{GRADIENT_SUM, PARAM_MEAN};
pub use update::{Rules, update};

/// Appends the gradient of `Objective` with respect to every `Param` input. A parameter that the objective does not
/// depend on gets zeros.
pub fn gradients(graph: &Graph) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    rewriter.nodes(&graph.body, &mut |_: &mut Rewriter, _: &Node| None);
    let inputs: Vec<(Value, String)> = graph
        .inputs
        .iter()
        .filter(|input| matches!(input.role, InputRole::Param { .. }))
        .map(|input| (rewriter.get(input.value), input.name.clone()))
        .collect();
    let outputs: Vec<_> =
        graph.outputs.iter().map(|output| (rewriter.get(output.value), output.role.clone())).collect();
    let forward = rewriter.new;
    let body = forward.nodes().to_vec();
    let mut reverse = Reverse::new(forward, &body, inputs.iter().map(|input| input.0));
    if let Some((objective, _)) = outputs.iter().find(|(_, role)| *role == OutputRole::Objective) {
        let seed = reverse.builder.constant(1.0);
        reverse.add(*objective, seed);
        reverse.nodes(&body);
    }
    for (value, role) in outputs {
        if role != OutputRole::Objective {
            reverse.builder.output(value, role);
        }
    }
    for (value, name) in inputs {
        let gradient = reverse.adjoint(value);
        reverse.builder.output(gradient, OutputRole::Gradient(name));
    }
    reverse.builder.finish()
}

/// The state of one reverse sweep.
struct Reverse {
    builder: Builder,
    /// Values that depend on a parameter; only these have adjoints.
    active: HashSet<Value>,
    /// The adjoint so far, valid in the region being built.
    adjoints: HashMap<Value, Value>,
    /// The forward loop whose body is being reversed.
    inside: Option<Inside>,
}

/// What the backward loop under construction reads of its forward loop.
struct Inside {
    /// The sources of the forward loop's slices.
    sources: HashMap<Value, Value>,
    /// A result of the forward loop, by which the builder finds it.
    handle: Value,
    defined: HashSet<Value>,
    /// Slices of the tape, by forward value.
    tape: HashMap<Value, Sliced>,
}

impl Reverse {
    fn new(builder: Builder, body: &[Node], params: impl Iterator<Item = Value>) -> Self {
        let mut active: HashSet<Value> = params.collect();
        mark_active(body, &mut active);
        Self { builder, active, adjoints: HashMap::new(), inside: None }
    }

    fn is_active(&self, value: Value) -> bool {
        self.active.contains(&value)
    }

    /// Adds a contribution to a value's adjoint.
    fn add(&mut self, value: Value, contribution: Value) {
        if !self.is_active(value) {
            return;
        }
        let sum = match self.adjoints.get(&value) {
            Some(&before) => self.builder.add(before, contribution),
            None => contribution,
        };
        self.adjoints.insert(value, sum);
    }

    /// The adjoint of a value, zeros if nothing flowed to it.
    fn adjoint(&mut self, value: Value) -> Value {
        match self.adjoints.get(&value) {
            Some(&adjoint) => adjoint,
            None => self.zeros(value),
        }
    }

    fn zeros(&mut self, like: Value) -> Value {
        let shape = self.builder.shape(like);
        self.builder.full(0.0, &shape)
    }

    /// The forward value, as readable in the region being built: itself outside loops; in a backward loop a captured
    /// value itself, a constant built again, anything else a slice of the tape.
    fn primal(&mut self, value: Value) -> Value {
        let Some(inside) = &self.inside else { return value };
        if !inside.defined.contains(&value) {
            return value;
        }
        if let Some(node) = self.builder.definition(value).cloned()
            && (matches!(node.op, Op::Const(_)) || matches!(node.op, Op::Broadcast { .. }))
        {
            let args: Vec<Value> = node.args.iter().map(|&arg| self.primal(arg)).collect();
            return self.builder.op(node.op, &args);
        }
        if let Some(slice) = inside.tape.get(&value) {
            return slice.param;
        }
        let source = match inside.sources.get(&value) {
            Some(&source) => source,
            None => self.builder.stack_in(inside.handle, value),
        };
        let slice = self.builder.slice(source);
        if let Some(inside) = &mut self.inside {
            inside.tape.insert(value, slice);
        }
        slice.param
    }

    /// Propagates adjoints from results to operands, last node first.
    fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes.iter().rev() {
            if !node.results.iter().any(|result| self.adjoints.contains_key(result)) {
                continue;
            }
            match &node.op {
                Op::Loop(inner) => rules::time_loop(self, inner, node.results[0]),
                _ => {
                    for (arg, arg_adj) in rules::local(self, node) {
                        self.add(arg, arg_adj);
                    }
                }
            }
        }
    }
}

/// Whether gradients flow from an operation's result to its operands at all.
fn is_smooth(op: &Op) -> bool {
    match op {
        Op::Stop | Op::Number | Op::Distinct { .. } => false,
        // They have no operands.
        Op::Const(_) | Op::Positions { .. } | Op::Random { .. } => false,
        Op::Map(scalar) => match scalar {
            Scalar::Lt | Scalar::Le | Scalar::Gt | Scalar::Ge | Scalar::Eq | Scalar::Ne => false,
            Scalar::Neg | Scalar::Abs | Scalar::Exp | Scalar::Log | Scalar::Sqrt => true,
            Scalar::Tanh | Scalar::Sigmoid | Scalar::Select => true,
            Scalar::Add | Scalar::Sub | Scalar::Mul | Scalar::Div | Scalar::Pow => true,
            Scalar::Max | Scalar::Min => true,
        },
        Op::SumShards | Op::Broadcast { .. } | Op::Reduce { .. } | Op::MatMul(_) | Op::MatMulPrefix(_) => {
            true
        }
        Op::Take | Op::Scatter { .. } | Op::Combine { .. } | Op::AddRows => true,
        Op::Pick | Op::Spread { .. } | Op::Split { .. } | Op::Concat { .. } => true,
        Op::At { .. } | Op::Put { .. } | Op::Unsqueeze | Op::Squeeze | Op::Loop(_) => true,
    }
}

/// Extends `active` by every value that depends on it.
fn mark_active(body: &[Node], active: &mut HashSet<Value>) {
    for node in body {
        match &node.op {
            Op::Loop(inner) => mark_active_loop(inner, active),
            op if is_smooth(op) && node.args.iter().any(|arg| active.contains(arg)) => {
                active.extend(node.results.iter().copied());
            }
            _ => {}
        }
    }
}

fn mark_active_loop(inner: &Loop, active: &mut HashSet<Value>) {
    active.extend(
        inner.sliced.iter().filter(|s| active.contains(&s.source)).map(|s| s.param).collect::<Vec<_>>(),
    );
    // What a round carries may depend on a parameter only from the second round on: repeat until nothing is added.
    loop {
        let before = active.len();
        for carried in &inner.carried {
            if active.contains(&carried.init) || active.contains(&carried.next) {
                active.insert(carried.param);
            }
        }
        mark_active(&inner.body, active);
        if active.len() == before {
            break;
        }
    }
    for carried in &inner.carried {
        if active.contains(&carried.param) || active.contains(&carried.next) {
            active.insert(carried.last);
        }
    }
    active.extend(
        inner.stacked.iter().filter(|s| active.contains(&s.value)).map(|s| s.result).collect::<Vec<_>>(),
    );
}
