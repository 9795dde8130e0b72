//! Operators for operations, in order.
//!
//! ONNX repeats a tensor along its axes of size 1 where an element-wise operator needs it, as it does along axes that are not
//! there at its front. So a `broadcast` costs nothing until something else reads it: a value may be [`Held`] with fewer elements
//! than it has.

use std::collections::HashMap;

use super::proto::{self, Attribute, Data, Dim, Elem, Tensor};
use super::{BATCH, PROBABILITIES, STEPS, TOKENS};
use crate::graph::{Form, Graph, InputRole, Loop, Node, Op, OutputRole, Reduce, Value};
use crate::scalar::Scalar;

/// A tensor that holds a value.
#[derive(Clone, Debug)]
struct Held {
    name: String,
    /// How many axes at its front are not there.
    missing: usize,
    /// Of each of the value's axes, whether the tensor has one element there in place of all.
    thin: Vec<bool>,
}

pub struct Nodes<'a> {
    graph: &'a Graph,
    /// Of each value.
    dims: Vec<Vec<Dim>>,
    held: HashMap<Value, Held>,
    /// Truth values that were made into numbers.
    truths: HashMap<Value, String>,
    /// Nodes of the open regions; first what all others may read.
    regions: Vec<Vec<proto::Node>>,
    initializers: Vec<Tensor>,
    /// Names of constants by their bits, and of shapes.
    numbers: HashMap<u32, String>,
    lists: HashMap<(Vec<i64>, bool), String>,
    shapes: HashMap<Vec<Dim>, String>,
    /// Names given out.
    names: usize,
}

impl<'a> Nodes<'a> {
    pub fn new(graph: &'a Graph, dims: Vec<Vec<Dim>>) -> Self {
        Self {
            graph,
            dims,
            held: HashMap::new(),
            truths: HashMap::new(),
            regions: vec![vec![], vec![]],
            initializers: vec![],
            numbers: HashMap::new(),
            lists: HashMap::new(),
            shapes: HashMap::new(),
            names: 0,
        }
    }

    /// The input of tokens, sequence by sequence, which is brought into the order of the graph.
    pub fn tokens(&mut self, one: bool) -> proto::Value {
        let input = self.graph.inputs.iter().find(|input| input.role == InputRole::Tokens);
        let value = input.unwrap_or_else(|| unreachable!("a model reads tokens")).value;
        let [steps, batch] = self.dims[value.0 as usize][..] else { unreachable!("tokens are [T, B]") };
        let name = match one {
            true => {
                let first = self.list(vec![0]);
                self.op("Unsqueeze", &[TOKENS.into(), first])
            }
            false => self.with("Transpose", &[TOKENS.into()], [("perm", Attribute::Ints(vec![1, 0]))]),
        };
        self.name(value, &name);
        let dims = if one { vec![batch] } else { vec![batch, steps] };
        proto::Value { name: TOKENS.into(), elem: Elem::Int, dims }
    }

    /// The first output, sequence by sequence.
    pub fn probabilities(&mut self, one: bool) -> proto::Value {
        let value = self.graph.output(&OutputRole::Probabilities);
        let value = value.unwrap_or_else(|| unreachable!("a model that does not train has probabilities"));
        let mut dims = self.dims[value.0 as usize].clone();
        let mut name = self.full(value);
        if let [steps, batch, vocab] = dims[..] {
            if one {
                let first = self.list(vec![0]);
                name = self.op("Squeeze", &[name, first]);
                dims = vec![batch, vocab];
            } else {
                name = self.with("Transpose", &[name], [("perm", Attribute::Ints(vec![1, 0, 2]))]);
                dims = vec![batch, steps, vocab];
            }
        }
        self.push("Identity", vec![name], vec![PROBABILITIES.into()], vec![]);
        proto::Value { name: PROBABILITIES.into(), elem: Elem::Real, dims }
    }

    /// An output of this name.
    pub fn output(&mut self, name: &str, value: Value) -> proto::Value {
        let full = self.full(value);
        self.push("Identity", vec![full], vec![name.into()], vec![]);
        self.described(name, value)
    }

    /// The name of a tensor, with the type of a value.
    pub fn described(&self, name: &str, value: Value) -> proto::Value {
        let elem = if self.graph.ty(value).is_real() { Elem::Real } else { Elem::Int };
        proto::Value { name: name.into(), elem, dims: self.dims[value.0 as usize].clone() }
    }

    /// Says that a tensor holds all of a value.
    pub fn name(&mut self, value: Value, name: &str) {
        let thin = vec![false; self.graph.ty(value).rank()];
        self.held.insert(value, Held { name: name.into(), missing: 0, thin });
    }

    pub fn finish(self, inputs: Vec<proto::Value>, outputs: Vec<proto::Value>) -> proto::Graph {
        let nodes = self.regions.into_iter().flatten().collect();
        proto::Graph { name: String::new(), nodes, initializers: self.initializers, inputs, outputs }
    }

    /// Operations in order.
    ///
    /// # Errors
    /// One that ONNX does not have.
    pub fn region(&mut self, nodes: &[Node]) -> Result<(), String> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), String> {
        let rank = |value: &Value| self.graph.ty(*value).rank();
        match &node.op {
            Op::Loop(inner) => return self.scan(inner),
            Op::Map(scalar) => self.map(*scalar, node),
            Op::Broadcast { axes, .. } => self.broadcast(axes, node),
            Op::Const(number) => {
                let name = self.number(*number as f32);
                self.name(node.result(), &name);
            }
            Op::Stop => {
                let same = self.held[&node.args[0]].clone();
                self.held.insert(node.result(), same);
            }
            Op::Split { axis, sizes } => {
                let (x, sizes) = (self.full(node.args[0]), self.list(integers(sizes)));
                let pieces: Vec<String> = node.results.iter().map(|_| self.fresh()).collect();
                let axis = ("axis", Attribute::Int(*axis as i64));
                self.push("Split", vec![x, sizes], pieces.clone(), vec![axis]);
                node.results.iter().zip(&pieces).for_each(|(&value, piece)| self.name(value, piece));
            }
            Op::Positions { len } => {
                let data = Data::Real((0..*len).map(|place| place as f32).collect());
                let name = self.constant(vec![*len], data);
                self.name(node.result(), &name);
            }
            Op::Reduce { kind: Reduce::Sum, axes } => {
                let (x, axes) = (self.full(node.args[0]), self.list(integers(axes)));
                let name = self.with("ReduceSum", &[x, axes], [("keepdims", Attribute::Int(0))]);
                self.name(node.result(), &name);
            }
            Op::MatMul(Form::NT) if rank(&node.args[0]) == 2 => {
                let [a, b] = [self.full(node.args[0]), self.full(node.args[1])];
                let name = self.with("Gemm", &[a, b], [("transB", Attribute::Int(1))]);
                self.name(node.result(), &name);
            }
            op => {
                let full: Vec<String> = node.args.iter().map(|&arg| self.full(arg)).collect();
                let name = self.plain(op, full, node)?;
                self.name(node.result(), &name);
            }
        }
        Ok(())
    }

    /// The result of an operation that takes its operands with all their elements.
    fn plain(&mut self, op: &Op, mut args: Vec<String>, node: &Node) -> Result<String, String> {
        let int = Attribute::Int;
        Ok(match op {
            Op::Reduce { axes, .. } => {
                let attributes = [("axes", Attribute::Ints(integers(axes))), ("keepdims", int(0))];
                self.with("ReduceMax", &args, attributes)
            }
            Op::MatMul(Form::NN) => self.op("MatMul", &args),
            Op::MatMul(Form::NT) => {
                args[1] = self.with("Transpose", &args[1..], [("perm", Attribute::Ints(vec![1, 0]))]);
                self.op("MatMul", &args)
            }
            Op::Take => self.op("Gather", &args),
            Op::Number => self.cast(args.swap_remove(0), Elem::Real),
            Op::Concat { axis } => self.with("Concat", &args, [("axis", int(*axis as i64))]),
            Op::At { index } => {
                // The last of steps that are open is the last of any number of them.
                let last = index + 1 == self.graph.shape(node.args[0])[0];
                args.push(self.scalar(if last { -1 } else { *index as i64 }));
                self.op("Gather", &args)
            }
            Op::Unsqueeze | Op::Squeeze => {
                args.push(self.list(vec![-1]));
                self.op(if *op == Op::Squeeze { "Squeeze" } else { "Unsqueeze" }, &args)
            }
            Op::Random { .. } => {
                let what = "the model draws random numbers though it is not training, and ONNX draws other ones; \
                            draw them with `if training then .. else ..`";
                return Err(what.into());
            }
            _ => return Err(format!("internal error: {} has no operator", op.name())),
        })
    }

    /// An element-wise operation; comparisons give numbers.
    fn map(&mut self, scalar: Scalar, node: &Node) {
        let held: Vec<Held> = node.args.iter().map(|arg| self.held[arg].clone()).collect();
        let mut args: Vec<String> = held.iter().map(|held| held.name.clone()).collect();
        let mut truth = None;
        let name = match operator(scalar) {
            Operator::Plain(op) => self.op(op, &args),
            Operator::Compares(op) => {
                let compared = self.op(op, &args);
                let is = if scalar == Scalar::Ne { self.op("Not", &[compared]) } else { compared };
                truth = Some(is.clone());
                self.cast(is, Elem::Real)
            }
            Operator::Chooses => {
                args[0] = match self.truths.get(&node.args[0]) {
                    Some(truth) => truth.clone(),
                    None => self.cast(args[0].clone(), Elem::Bool),
                };
                self.op("Where", &args)
            }
        };
        let missing = held.iter().map(|held| held.missing).min().unwrap_or(0);
        let axes = 0..self.graph.ty(node.result()).rank();
        let thin = axes.map(|axis| held.iter().all(|held| held.thin[axis])).collect();
        self.held.insert(node.result(), Held { name, missing, thin });
        self.truths.extend(truth.map(|truth| (node.result(), truth)));
    }

    fn broadcast(&mut self, axes: &[usize], node: &Node) {
        let held = self.held[&node.args[0]].clone();
        let rank = self.graph.ty(node.result()).rank();
        let there = &axes[held.missing..];
        let missing = there.first().copied().unwrap_or(rank);
        let gaps: Vec<usize> =
            (missing..rank).filter(|axis| !there.contains(axis)).map(|axis| axis - missing).collect();
        let name = match gaps.is_empty() {
            true => held.name,
            false => {
                let gaps = self.list(integers(&gaps));
                self.op("Unsqueeze", &[held.name, gaps])
            }
        };
        let thin_at = |axis| axes.iter().position(|&to| to == axis).is_none_or(|from| held.thin[from]);
        let thin = (0..rank).map(thin_at).collect();
        self.held.insert(node.result(), Held { name, missing, thin });
    }

    /// A tensor with all of a value's elements.
    fn full(&mut self, value: Value) -> String {
        let Held { name, missing, thin } = self.held[&value].clone();
        let dims = self.dims[value.0 as usize].clone();
        let is_thin = thin.iter().zip(&dims).any(|(&thin, &dim)| thin && dim != Dim::Fixed(1));
        if missing == 0 && !is_thin {
            return name;
        }
        let shape = self.shape(&dims);
        self.op("Expand", &[name, shape])
    }

    /// A loop over time. What it reads from outside it sees by name.
    fn scan(&mut self, inner: &Loop) -> Result<(), String> {
        let mut inputs: Vec<String> = inner.carried.iter().map(|carried| self.full(carried.init)).collect();
        inputs.extend(inner.sliced.iter().map(|sliced| self.full(sliced.source)).collect::<Vec<_>>());
        let mut params: Vec<Value> = inner.carried.iter().map(|carried| carried.param).collect();
        params.extend(inner.sliced.iter().map(|sliced| sliced.param));
        let mut slices = inner.sliced.len();
        let mut body_inputs: Vec<proto::Value> = vec![];
        for &param in &params {
            let name = self.fresh();
            self.name(param, &name);
            body_inputs.push(self.described(&name, param));
        }
        if slices == 0 {
            // Its rounds are as many as its slices, so it has some.
            let tokens = self.graph.inputs.iter().find(|input| input.role == InputRole::Tokens);
            let tokens = tokens.unwrap_or_else(|| unreachable!("a model reads tokens")).value;
            inputs.push(self.full(tokens));
            let dims = vec![Dim::Named(BATCH)];
            body_inputs.push(proto::Value { name: self.fresh(), elem: Elem::Int, dims });
            slices = 1;
        }
        self.regions.push(vec![]);
        self.region(&inner.body)?;
        let given = inner.carried.iter().map(|c| c.next).chain(inner.stacked.iter().map(|s| s.value));
        let body_outputs: Vec<proto::Value> = given
            .map(|value| {
                let name = self.fresh();
                self.output(&name, value)
            })
            .collect();
        let nodes = self.regions.pop().unwrap_or_default();
        let name = self.fresh();
        let body =
            proto::Graph { name, nodes, initializers: vec![], inputs: body_inputs, outputs: body_outputs };
        let outputs: Vec<String> = inner.results().iter().map(|_| self.fresh()).collect();
        inner.results().iter().zip(&outputs).for_each(|(&value, name)| self.name(value, name));
        let count = |count: usize| Attribute::Ints(vec![i64::from(inner.reverse); count]);
        let attributes = vec![
            ("body", Attribute::Graph(body)),
            ("num_scan_inputs", Attribute::Int(slices as i64)),
            ("scan_input_directions", count(slices)),
            ("scan_output_directions", count(inner.stacked.len())),
        ];
        self.push("Scan", inputs, outputs, attributes);
        Ok(())
    }

    /// A tensor with these sizes, which all regions may read.
    fn shape(&mut self, dims: &[Dim]) -> String {
        if dims.iter().all(|dim| matches!(dim, Dim::Fixed(_))) {
            return self.list(
                dims.iter().map(|dim| if let Dim::Fixed(size) = dim { *size as i64 } else { 0 }).collect(),
            );
        }
        if let Some(name) = self.shapes.get(dims) {
            return name.clone();
        }
        // Before all other nodes: a body that asks first is not the only one that reads it.
        let inner = self.regions.split_off(1);
        let sizes: Vec<String> = dims
            .iter()
            .map(|&dim| match dim {
                Dim::Fixed(size) => self.list(vec![size as i64]),
                Dim::Named(name) => {
                    // Of the tokens as they come in, `[batch]` or `[batch, steps]`.
                    let axis = i64::from(name == STEPS);
                    let part = [("start", Attribute::Int(axis)), ("end", Attribute::Int(axis + 1))];
                    self.with("Shape", &[TOKENS.into()], part)
                }
            })
            .collect();
        let name = self.with("Concat", &sizes, [("axis", Attribute::Int(0))]);
        self.regions.extend(inner);
        self.shapes.insert(dims.to_vec(), name.clone());
        name
    }

    fn cast(&mut self, x: String, to: Elem) -> String {
        self.with("Cast", &[x], [("to", Attribute::Int(to as i64))])
    }

    fn op(&mut self, op: &'static str, inputs: &[String]) -> String {
        self.with(op, inputs, [])
    }

    fn with<const N: usize>(
        &mut self,
        op: &'static str,
        inputs: &[String],
        attributes: [(&'static str, Attribute); N],
    ) -> String {
        let name = self.fresh();
        self.push(op, inputs.to_vec(), vec![name.clone()], attributes.into());
        name
    }

    fn push(
        &mut self,
        op: &'static str,
        inputs: Vec<String>,
        outputs: Vec<String>,
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        if let Some(region) = self.regions.last_mut() {
            region.push(proto::Node { op, inputs, outputs, attributes });
        }
    }

    /// A real without axes.
    fn number(&mut self, number: f32) -> String {
        if let Some(name) = self.numbers.get(&number.to_bits()) {
            return name.clone();
        }
        let name = self.constant(vec![], Data::Real(vec![number]));
        self.numbers.insert(number.to_bits(), name.clone());
        name
    }

    /// Whole numbers.
    fn list(&mut self, numbers: Vec<i64>) -> String {
        self.whole(numbers, true)
    }

    /// A whole number without axes.
    fn scalar(&mut self, number: i64) -> String {
        self.whole(vec![number], false)
    }

    fn whole(&mut self, numbers: Vec<i64>, axis: bool) -> String {
        let key = (numbers, axis);
        if let Some(name) = self.lists.get(&key) {
            return name.clone();
        }
        let dims = if axis { vec![key.0.len()] } else { vec![] };
        let name = self.constant(dims, Data::Int(key.0.clone()));
        self.lists.insert(key, name.clone());
        name
    }

    fn constant(&mut self, dims: Vec<usize>, data: Data) -> String {
        let name = self.fresh();
        self.initializers.push(Tensor { name: name.clone(), dims, data });
        name
    }

    /// A name that no parameter or state has: none of theirs goes on with a digit after a point.
    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("v.{}", self.names)
    }
}

fn integers(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}

/// How ONNX says a scalar operation.
enum Operator {
    Plain(&'static str),
    /// Gives truth values.
    Compares(&'static str),
    /// Takes a truth value first.
    Chooses,
}

fn operator(scalar: Scalar) -> Operator {
    use Operator::{Chooses, Compares, Plain};
    match scalar {
        Scalar::Neg => Plain("Neg"),
        Scalar::Abs => Plain("Abs"),
        Scalar::Exp => Plain("Exp"),
        Scalar::Log => Plain("Log"),
        Scalar::Sqrt => Plain("Sqrt"),
        Scalar::Tanh => Plain("Tanh"),
        Scalar::Sigmoid => Plain("Sigmoid"),
        Scalar::Add => Plain("Add"),
        Scalar::Sub => Plain("Sub"),
        Scalar::Mul => Plain("Mul"),
        Scalar::Div => Plain("Div"),
        Scalar::Pow => Plain("Pow"),
        Scalar::Max => Plain("Max"),
        Scalar::Min => Plain("Min"),
        Scalar::Lt => Compares("Less"),
        Scalar::Le => Compares("LessOrEqual"),
        Scalar::Gt => Compares("Greater"),
        Scalar::Ge => Compares("GreaterOrEqual"),
        // `Ne` is what is not equal.
        Scalar::Eq | Scalar::Ne => Compares("Equal"),
        Scalar::Select => Chooses,
    }
}
