//! Clipping and the optimizer's equations, on the gradients of a step.

use std::collections::HashMap;

use crate::graph::rewrite::Rewriter;
use crate::graph::{Builder, Graph, InputRole, Node, OutputRole, Type, Value};
use crate::model::{ExprId, ExprOp, Optimizer};
use crate::scalar::Scalar;

/// Replaces every `Gradient` output by updates of the parameter and of its optimizer states.
///
/// With `clip`, gradients are first scaled by `min(1, clip / norm)`, where `norm` is that of all of them together
/// (Pascanu et al. 2013, "On the difficulty of training recurrent neural networks").
pub fn update(graph: &Graph, optimizer: &Optimizer, clip: Option<f64>) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    rewriter.nodes(&graph.body, &mut |_: &mut Rewriter, _: &Node| None);
    let outputs: Vec<(Value, OutputRole)> =
        graph.outputs.iter().map(|output| (rewriter.get(output.value), output.role.clone())).collect();
    let params: HashMap<String, Value> = graph
        .inputs
        .iter()
        .filter(|input| matches!(input.role, InputRole::Param { .. }))
        .map(|input| (input.name.clone(), rewriter.get(input.value)))
        .collect();
    let mut builder = rewriter.new;
    let rate = builder.input("rate", Type::real([]), InputRole::Rate);
    let step = builder.input("step", Type::real([]), InputRole::Step);
    let mut gradients: Vec<(String, Value)> = vec![];
    for (value, role) in outputs {
        match role {
            OutputRole::Gradient(name) => gradients.push((name, value)),
            role => builder.output(value, role),
        }
    }
    if let Some(clip) = clip {
        clip_by_global_norm(&mut builder, &mut gradients, clip);
    }
    for (name, gradient) in gradients {
        let Some(param) = params.get(&name) else { continue };
        let mut rule = Rule { builder: &mut builder, rate, step, param: *param, gradient };
        rule.apply(optimizer, &name);
    }
    builder.finish()
}

fn clip_by_global_norm(builder: &mut Builder, gradients: &mut [(String, Value)], clip: f64) {
    let mut total = None;
    for (_, gradient) in gradients.iter() {
        let square = builder.mul(*gradient, *gradient);
        let sum = builder.sum_all(square);
        total = Some(match total {
            Some(total) => builder.add(total, sum),
            None => sum,
        });
    }
    let Some(total) = total else { return };
    let norm = builder.map(Scalar::Sqrt, &[total]);
    let limit = builder.constant(clip);
    let one = builder.constant(1.0);
    let above = builder.map(Scalar::Gt, &[norm, limit]);
    let ratio = builder.div(limit, norm);
    let factor = builder.map(Scalar::Select, &[above, ratio, one]);
    for (_, gradient) in gradients {
        let shape = builder.shape(*gradient);
        let spread = builder.spread_to(factor, vec![], &shape);
        *gradient = builder.mul(*gradient, spread);
    }
}

/// The optimizer's equations for one parameter.
struct Rule<'a> {
    builder: &'a mut Builder,
    rate: Value,
    step: Value,
    param: Value,
    gradient: Value,
}

impl Rule<'_> {
    fn apply(&mut self, optimizer: &Optimizer, name: &str) {
        let shape = self.builder.shape(self.param);
        let mut states = vec![];
        for state in &optimizer.states {
            let role = InputRole::OptimizerState { param: name.to_string(), start: state.start };
            let input = format!("{name}/{}", state.name);
            states.push((input.clone(), self.builder.input(input, Type::real(shape.clone()), role)));
        }
        let mut values: Vec<Value> = vec![];
        for expr in &optimizer.body.exprs {
            let at = |id: ExprId| values[id.0 as usize];
            let value = match &expr.op {
                ExprOp::Const(number) => self.builder.constant(*number),
                ExprOp::Input(0) => self.param,
                ExprOp::Input(_) => self.gradient,
                ExprOp::State(index) => states[*index].1,
                ExprOp::Rate => self.rate,
                ExprOp::Step => self.step,
                ExprOp::Training => self.builder.constant(1.0),
                ExprOp::Stop(x) => at(*x),
                ExprOp::Map(scalar, args) => {
                    let args: Vec<Value> = args.iter().map(|&arg| at(arg)).collect();
                    self.map(*scalar, &args)
                }
                op => unreachable!("the checker keeps {op:?} out of optimizers"),
            };
            values.push(value);
        }
        let full =
            |rule: &mut Self, id: ExprId| rule.builder.spread_to(values[id.0 as usize], vec![], &shape);
        let next: Vec<Value> = optimizer.body.next.iter().map(|&id| full(self, id)).collect();
        let result = full(self, optimizer.body.result);
        self.builder.output(result, OutputRole::Update(name.to_string()));
        for ((input, _), next) in states.into_iter().zip(next) {
            self.builder.output(next, OutputRole::Update(input));
        }
    }

    /// What depends on no tensor stays a number and is computed once.
    fn map(&mut self, scalar: Scalar, args: &[Value]) -> Value {
        let tensor = args.iter().find(|&&arg| self.builder.ty(arg).rank() > 0);
        let shape = tensor.map_or_else(Vec::new, |&arg| self.builder.shape(arg));
        let args: Vec<Value> = args
            .iter()
            .map(|&arg| {
                if self.builder.ty(arg).rank() > 0 {
                    arg
                } else {
                    self.builder.spread_to(arg, vec![], &shape)
                }
            })
            .collect();
        self.builder.map(scalar, &args)
    }
}
