//! Building graphs: new values with inferred types, appended to the region that is open.

use std::collections::HashMap;

use super::types::infer;
use super::{
    Carried, Form, Graph, Input, InputRole, Loop, Node, Op, Output, OutputRole, Reduce, Sliced, Stacked,
};
use super::{Type, Value};
use crate::scalar::Scalar;

/// Appends operations to a graph. Regions nest: [`Builder::open_loop`] starts a body, [`Builder::close_loop`] ends it.
pub struct Builder {
    graph: Graph,
    /// Operations of the open regions, outermost first. Never empty.
    regions: Vec<Vec<Node>>,
    /// The node that defines each value, loops and loop parameters excepted.
    definitions: Vec<Option<Node>>,
    /// Where the loop lies that gives a value: its region and its place there.
    loops: HashMap<Value, (usize, usize)>,
}

impl Builder {
    pub fn new(name: impl Into<String>) -> Self {
        let graph = Graph { name: name.into(), types: vec![], inputs: vec![], body: vec![], outputs: vec![] };
        Self { graph, regions: vec![vec![]], definitions: vec![], loops: HashMap::new() }
    }

    pub fn finish(mut self) -> Graph {
        assert_eq!(self.regions.len(), 1, "a loop was opened and not closed");
        self.graph.body = self.regions.pop().unwrap_or_default();
        self.graph
    }

    pub fn ty(&self, value: Value) -> &Type {
        self.graph.ty(value)
    }

    pub fn shape(&self, value: Value) -> Vec<usize> {
        self.graph.shape(value).to_vec()
    }

    /// A fresh value that nothing defines yet: loop parameters and results.
    pub fn value(&mut self, ty: Type) -> Value {
        self.graph.types.push(ty);
        Value(self.graph.types.len() as u32 - 1)
    }

    pub fn input(&mut self, name: impl Into<String>, ty: Type, role: InputRole) -> Value {
        let value = self.value(ty);
        self.graph.inputs.push(Input { value, name: name.into(), role });
        value
    }

    pub fn output(&mut self, value: Value, role: OutputRole) {
        self.graph.outputs.push(Output { value, role });
    }

    /// Appends an operation and returns its results. Panics on operands of wrong types: a pass that builds such a node
    /// is a bug in the compiler, never the user's error.
    pub fn emit(&mut self, op: Op, args: &[Value]) -> Vec<Value> {
        let types: Vec<&Type> = args.iter().map(|&arg| self.graph.ty(arg)).collect();
        let results = match infer(&op, &types) {
            Ok(results) => results,
            Err(reason) => panic!("internal error in graph construction: {reason}"),
        };
        let results: Vec<Value> = results.into_iter().map(|ty| self.value(ty)).collect();
        self.push(Node { op, args: args.to_vec(), results: results.clone() });
        results
    }

    pub fn op(&mut self, op: Op, args: &[Value]) -> Value {
        self.emit(op, args)[0]
    }

    /// The operation that gave `value`; `None` for inputs, loop parameters and loop results.
    pub fn definition(&self, value: Value) -> Option<&Node> {
        self.definitions.get(value.0 as usize)?.as_ref()
    }

    /// The number that every element of `value` is, if it is a constant.
    pub fn as_constant(&self, value: Value) -> Option<f64> {
        let node = self.definition(value)?;
        match node.op {
            Op::Const(number) => Some(number),
            Op::Broadcast { .. } => self.as_constant(node.args[0]),
            _ => None,
        }
    }

    /// The operations of the open region so far.
    pub fn nodes(&self) -> &[Node] {
        self.regions.last().map_or(&[], |region| region)
    }

    /// Whether a loop body is open.
    pub fn in_loop(&self) -> bool {
        self.regions.len() > 1
    }

    fn push(&mut self, node: Node) {
        let place = (self.regions.len() - 1, self.nodes().len());
        self.definitions.resize(self.graph.types.len(), None);
        for &result in &node.results {
            match node.op {
                Op::Loop(_) => _ = self.loops.insert(result, place),
                _ => self.definitions[result.0 as usize] = Some(node.clone()),
            }
        }
        if let Some(region) = self.regions.last_mut() {
            region.push(node);
        }
    }

    pub fn constant(&mut self, value: f64) -> Value {
        self.op(Op::Const(value), &[])
    }

    /// Lets the loop that defines `loop_result` keep `value` of its body for all rounds, and returns the stack; an
    /// existing stack of the value is used again. The loop must lie in an open region.
    pub fn stack_in(&mut self, loop_result: Value, value: Value) -> Value {
        let ty = self.graph.ty(value).clone();
        let fresh = Value(self.graph.types.len() as u32);
        let place = self.loops.get(&loop_result).copied();
        let node = place.and_then(|(region, index)| self.regions.get_mut(region)?.get_mut(index));
        let Some(Node { op: Op::Loop(inner), results, .. }) = node else {
            panic!("internal error in graph construction: {loop_result} is not a loop's result");
        };
        if let Some(stacked) = inner.stacked.iter().find(|stacked| stacked.value == value) {
            return stacked.result;
        }
        inner.stacked.push(Stacked { value, result: fresh });
        results.push(fresh);
        self.loops.extend(place.map(|place| (fresh, place)));
        let shape = [&[inner.rounds], &ty.shape[..]].concat();
        self.graph.types.push(Type { elem: ty.elem, shape });
        fresh
    }

    /// A constant in every element.
    pub fn full(&mut self, value: f64, shape: &[usize]) -> Value {
        let scalar = self.constant(value);
        self.spread_to(scalar, vec![], shape)
    }

    /// `x` with its axes at `axes` of `shape`; nothing where the shape is the same already.
    pub fn spread_to(&mut self, x: Value, axes: Vec<usize>, shape: &[usize]) -> Value {
        if self.graph.shape(x) == shape {
            return x;
        }
        self.op(Op::Broadcast { axes, shape: shape.to_vec() }, &[x])
    }

    pub fn map(&mut self, scalar: Scalar, args: &[Value]) -> Value {
        self.op(Op::Map(scalar), args)
    }

    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.map(Scalar::Add, &[a, b])
    }

    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.map(Scalar::Sub, &[a, b])
    }

    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.map(Scalar::Mul, &[a, b])
    }

    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.map(Scalar::Div, &[a, b])
    }

    pub fn neg(&mut self, a: Value) -> Value {
        self.map(Scalar::Neg, &[a])
    }

    /// `x` times a number.
    pub fn scale(&mut self, x: Value, factor: f64) -> Value {
        let shape = self.shape(x);
        let factor = self.full(factor, &shape);
        self.mul(x, factor)
    }

    pub fn reduce(&mut self, kind: Reduce, x: Value, axes: Vec<usize>) -> Value {
        if axes.is_empty() {
            return x;
        }
        self.op(Op::Reduce { kind, axes }, &[x])
    }

    pub fn sum_all(&mut self, x: Value) -> Value {
        let axes = (0..self.graph.ty(x).rank()).collect();
        self.reduce(Reduce::Sum, x, axes)
    }

    pub fn matmul(&mut self, form: Form, a: Value, b: Value) -> Value {
        self.op(Op::MatMul(form), &[a, b])
    }

    /// A product of the first `count` rows, where that is given, or of all.
    pub fn matmul_prefix(&mut self, form: Form, a: Value, b: Value, count: Option<Value>) -> Value {
        match count {
            Some(count) => self.op(Op::MatMulPrefix(form), &[a, b, count]),
            None => self.matmul(form, a, b),
        }
    }

    /// Starts a loop body: operations emitted from now on are in it, until [`Builder::close_loop`].
    pub fn open_loop(&mut self) {
        self.regions.push(vec![]);
    }

    /// A body parameter that sees one index of `source`'s leading axis.
    pub fn slice(&mut self, source: Value) -> Sliced {
        let ty = self.graph.ty(source);
        let ty = Type { elem: ty.elem, shape: ty.shape[1..].to_vec() };
        Sliced { source, param: self.value(ty) }
    }

    /// A body parameter carried from round to round; `next` and `last` are filled in when the loop is closed.
    pub fn carry(&mut self, init: Value) -> Value {
        self.value(self.graph.ty(init).clone())
    }

    /// Ends the open body. `carried` is `(init, param, next)`; returns the carried values' last and the stacks.
    pub fn close_loop(
        &mut self,
        rounds: usize,
        reverse: bool,
        carried: &[(Value, Value, Value)],
        sliced: &[Sliced],
        stacked: &[Value],
    ) -> (Vec<Value>, Vec<Value>) {
        assert!(self.regions.len() > 1, "close_loop without open_loop");
        let body = self.regions.pop().unwrap_or_default();
        let carried: Vec<Carried> = carried
            .iter()
            .map(|&(init, param, next)| Carried { init, param, next, last: self.carry(init) })
            .collect();
        let stacked: Vec<Stacked> = stacked
            .iter()
            .map(|&value| {
                let ty = self.graph.ty(value);
                let ty = Type { elem: ty.elem, shape: [&[rounds], &ty.shape[..]].concat() };
                Stacked { value, result: self.value(ty) }
            })
            .collect();
        let inner = Loop { rounds, reverse, carried, sliced: sliced.to_vec(), body, stacked };
        let lasts = inner.carried.iter().map(|c| c.last).collect();
        let stacks = inner.stacked.iter().map(|s| s.result).collect();
        let results = inner.results();
        self.push(Node { op: Op::Loop(Box::new(inner)), args: vec![], results });
        (lasts, stacks)
    }
}
