//! The graph: tensor operations in SSA form, with a structured loop over time.
//!
//! Promises (checked by [`verify`]): every value is defined once, before its uses, in the same region or an enclosing
//! one; every operation's operand and result types agree; a loop's body reads outer values freely and hands values out
//! only through `carried` and `stacked`; loops do not nest, and carry and stack reals only. All operations are pure, so a
//! pass may move, drop or repeat them as it likes, as long as the graph's inputs and outputs keep their meaning. All
//! sizes are concrete.
//!
//! A pass takes one graph and builds another through [`Builder`], which infers result types.

mod build;
pub mod interp;
mod loops;
mod lower;
mod parse;
mod print;
pub mod rewrite;
mod types;
mod verify;

pub use build::Builder;
pub use loops::{Carried, Loop, Sliced, Stacked};
pub use lower::{Origin, Purpose, lower, lower_sequences, lower_with_origins};
pub use parse::{ParseError, parse};
pub use types::{Elem, Type, infer};
pub use verify::verify;

use std::collections::HashMap;

use crate::scalar::Scalar;

/// A value of a graph: an index into [`Graph::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

/// One function over tensors, such as a whole training step.
#[derive(Clone, Debug)]
pub struct Graph {
    pub name: String,
    /// Type of each value.
    pub types: Vec<Type>,
    pub inputs: Vec<Input>,
    pub body: Vec<Node>,
    pub outputs: Vec<Output>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub value: Value,
    /// Unique among the graph's inputs.
    pub name: String,
    pub role: InputRole,
}

/// What an input is to the run: where its value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum InputRole {
    /// A trained tensor. Several of the model's parameters may lie in it side by side, in columns.
    Param { parts: Vec<Part> },
    /// A state of the optimizer, shaped like the named parameter input.
    OptimizerState { param: String, start: f64 },
    /// Recurrent state carried from batch to batch, `[B, n]`.
    Carried { start: f64 },
    /// Token ids `[T, B]`.
    Tokens,
    /// Ids to predict, `[T, B]` or `[B]`.
    Targets,
    /// The learning rate, `[]`.
    Rate,
    /// The number of this update from 1, `[]`.
    Step,
    /// 1 where this batch's gradients complete an update, else 0, `[]`.
    Last,
    /// How much of the mean of the parameters is what this update makes of them: 0 where no mean is taken, `[]`.
    MeanWeight,
}

/// One of the model's parameters inside an input: its last axis's columns `start .. start + len`.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub name: String,
    pub start: usize,
    pub len: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub value: Value,
    pub role: OutputRole,
}

#[derive(Clone, Debug, PartialEq)]
pub enum OutputRole {
    /// The new value of the input of this name.
    Update(String),
    /// Cross-entropy in nats: of training the mean over the predicted tokens, `[]`, of evaluation that of each, shaped
    /// like the targets.
    Loss,
    /// Of training how many predictions were right, `[]`; of evaluation 1 for each that is and else 0, shaped like the
    /// targets.
    Hits,
    /// The norm of all gradients together, before they are clipped, `[]`.
    GradientNorm,
    /// The distribution over the vocabulary, `[T, B, vocab]` or `[B, vocab]`.
    Probabilities,
    /// The loss that is differentiated, `[]`; only between lowering and `grad`.
    Objective,
    /// The gradient of the parameter input of this name; only where a caller asks for gradients themselves.
    Gradient(String),
}

/// A tensor as one of `count` parts of the same shape that lie along `axis` of a larger one. Which one it is the run says: it is
/// the number of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sharded {
    pub axis: usize,
    pub count: usize,
}

impl Sharded {
    /// The shape of the whole tensor, of which a part has this `shape`; and how far it is there, in flat indices, from an element
    /// of a part to that of the next.
    pub fn whole(self, shape: &[usize]) -> (Vec<usize>, usize) {
        let mut whole = shape.to_vec();
        whole[self.axis] *= self.count;
        (whole, shape[self.axis..].iter().product())
    }
}

/// An operation with its operands and results.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub op: Op,
    pub args: Vec<Value>,
    pub results: Vec<Value>,
}

/// The operations. `f[..]` is a tensor of reals, `id[..]` of token ids; `..` stands for any leading axes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `-> f[]`
    Const(f64),
    /// Operand axis `i` becomes result axis `axes[i]` (ascending); the other axes repeat: `f[..] -> f[shape]`.
    Broadcast { axes: Vec<usize>, shape: Vec<usize> },
    /// Element by element: equal shapes.
    Map(Scalar),
    /// Over these axes (ascending), which go away.
    Reduce { kind: Reduce, axes: Vec<usize> },
    /// A matrix product; leading axes of a left operand are collapsed into rows. See [`Form`].
    MatMul(Form),
    /// A product of the first rows only of a left operand of two axes: `count`, which is the third operand, or all of them
    /// if there are no more. NN and NT give zero in the rows after them, and TN sums over them: `.., id[] -> ..`.
    MatMulPrefix(Form),
    /// Rows of a table: `f[rows, n], id[..] -> f[.., n]`.
    Take,
    /// Which ids there are, below `rows`, in the order in which each occurs first. Results: for each id its place among
    /// them; the ids themselves, and 0 after the last; how many there are; and of each row of a table its place among
    /// them, or 0, and whether it has one, 1 or 0: `id[..] -> id[..], id[len], id[], id[rows], f[rows]`, where `len` is the
    /// number of ids or `rows`, whichever is less. Belongs outside loops, which slice and read ids only.
    Distinct { rows: usize },
    /// The adjoint of `take`: row `r` is the sum of the `g` at which `id == r`: `id[..], f[.., n] -> f[rows, n]`.
    Scatter { rows: usize },
    /// The rows of `g` that go to the same row of a table of `rows` rows, added up in place: at the first place of each
    /// id the sum of the `g` at all places of that id, at its other places zero: `id[..], f[.., n] -> f[.., n]`.
    Combine { rows: usize },
    /// A table with rows added to: row `id` grows by each of its `g`, in order:
    /// `f[rows, n], id[..], f[.., n] -> f[rows, n]`.
    AddRows,
    /// `x[.., id[..]]`: `f[.., n], id[..] -> f[..]`.
    Pick,
    /// The adjoint of `pick`: zero but for `g` at each `id`: `f[..], id[..] -> f[.., n]`.
    Spread { len: usize },
    /// An id as a number: `id[..] -> f[..]`.
    Number,
    /// `0, 1, ..`, each element its own place: `-> f[len]`.
    Positions { len: usize },
    /// Uniform in [0, 1), a function of the run's seed, the step, the stream and the flat index: that in the whole tensor, if
    /// it is a part of one.
    Random { stream: u32, shape: Vec<usize>, part: Option<Sharded> },
    /// The sum over a batch's shards of what each of them has here, in their order: `f[..] -> f[..]`. It is whole in the last
    /// step of a batch, and zero in those before. An interpreter is a run of one shard. Belongs outside loops.
    SumShards,
    /// Cuts an axis into pieces of these sizes, one result each.
    Split { axis: usize, sizes: Vec<usize> },
    /// Joins along an axis.
    Concat { axis: usize },
    /// One index of the leading axis: `f[n, ..] -> f[..]`.
    At { index: usize },
    /// The adjoint of `at`: zero but for the operand at `index`: `f[..] -> f[len, ..]`.
    Put { index: usize, len: usize },
    /// Adds an axis of length 1 at the end: `f[..] -> f[.., 1]`.
    Unsqueeze,
    /// The adjoint of `unsqueeze`: drops a last axis of length 1.
    Squeeze,
    /// The operand, through which no gradient flows.
    Stop,
    /// A loop over time; `args` are empty, its operands are named in [`Loop`].
    Loop(Box<Loop>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    Sum,
    Max,
}

/// Which operand of a product is transposed. The three forms are closed under differentiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// `f[.., k] @ f[k, n] -> f[.., n]`
    NN,
    /// `f[.., n] @ f[k, n]^T -> f[.., k]`
    NT,
    /// `f[.., k]^T @ f[.., n] -> f[k, n]`: summed over all the leading axes, which agree.
    TN,
}

impl Op {
    /// The word that names the operation in graph text and in tests' tables; one for each variant.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Const(_) => "const",
            Op::Broadcast { .. } => "broadcast",
            Op::Map(op) => op.name(),
            Op::Reduce { kind: Reduce::Sum, .. } => "reduce_sum",
            Op::Reduce { kind: Reduce::Max, .. } => "reduce_max",
            Op::MatMul(Form::NN) => "matmul_nn",
            Op::MatMul(Form::NT) => "matmul_nt",
            Op::MatMul(Form::TN) => "matmul_tn",
            Op::MatMulPrefix(Form::NN) => "matmul_prefix_nn",
            Op::MatMulPrefix(Form::NT) => "matmul_prefix_nt",
            Op::MatMulPrefix(Form::TN) => "matmul_prefix_tn",
            Op::Take => "take",
            Op::Distinct { .. } => "distinct",
            Op::Scatter { .. } => "scatter",
            Op::Combine { .. } => "combine",
            Op::AddRows => "add_rows",
            Op::Pick => "pick",
            Op::Spread { .. } => "spread",
            Op::Number => "number",
            Op::Positions { .. } => "positions",
            Op::Random { .. } => "random",
            Op::SumShards => "sum_shards",
            Op::Split { .. } => "split",
            Op::Concat { .. } => "concat",
            Op::At { .. } => "at",
            Op::Put { .. } => "put",
            Op::Unsqueeze => "unsqueeze",
            Op::Squeeze => "squeeze",
            Op::Stop => "stop",
            Op::Loop(_) => "loop",
        }
    }
}

impl Node {
    /// The node's only result. Loops, splits and distinct ids have several.
    pub fn result(&self) -> Value {
        self.results[0]
    }

    /// Every value that the node reads from its own region or outside, loops' captured values included.
    pub fn operands(&self) -> Vec<Value> {
        match &self.op {
            Op::Loop(inner) => inner.operands(),
            _ => self.args.clone(),
        }
    }
}

impl Graph {
    pub fn ty(&self, value: Value) -> &Type {
        &self.types[value.0 as usize]
    }

    pub fn shape(&self, value: Value) -> &[usize] {
        &self.ty(value).shape
    }

    /// How many outer products a product adds up, if it is of the form that does.
    pub fn outer_products(&self, node: &Node) -> Option<usize> {
        let lead = || self.shape(node.args[0]).split_last().map_or(0, |(_, lead)| lead.iter().product());
        (node.op == Op::MatMul(Form::TN)).then(lead)
    }

    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// The inputs that each output is the new value of.
    pub fn replaced_inputs(&self) -> HashMap<Value, Vec<Value>> {
        let inputs: HashMap<&str, Value> =
            self.inputs.iter().map(|input| (input.name.as_str(), input.value)).collect();
        let mut replaced: HashMap<Value, Vec<Value>> = HashMap::new();
        for output in &self.outputs {
            if let OutputRole::Update(name) = &output.role
                && let Some(&input) = inputs.get(name.as_str())
            {
                replaced.entry(output.value).or_default().push(input);
            }
        }
        replaced
    }

    pub fn output(&self, role: &OutputRole) -> Option<Value> {
        self.outputs.iter().find(|output| output.role == *role).map(|output| output.value)
    }
}
