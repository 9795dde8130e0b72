//! Sums over batches, clipping and the optimizer's equations, on the gradients of a step.

use std::collections::HashMap;

use super::between::{Accumulation, Mean};
use crate::graph::rewrite::Rewriter;
use crate::graph::{Builder, Graph, InputRole, Node, OutputRole, Type, Value};
use crate::model::{ExprId, ExprOp, Metric, Optimizer, Train};
use crate::scalar::Scalar;

/// What is done with gradients, beside the optimizer's equations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rules {
    /// The largest global norm of the gradients.
    pub clip: Option<f64>,
    /// Of how many batches the gradients' mean makes an update; 0 and 1 are one.
    pub batches: usize,
    /// Into how many shards a batch is cut, each a step of its own; 0 and 1 are one.
    pub shards: usize,
    /// Whether the mean of the parameters is kept.
    pub mean: bool,
    /// Whether the gradients' norm is told though nothing is clipped by it.
    pub norm: bool,
}

impl Rules {
    pub fn of(train: &Train) -> Self {
        Self {
            clip: train.clip,
            batches: train.accumulate,
            shards: train.shards,
            mean: train.average.is_some(),
            norm: train.report.contains(&Metric::GradientNorm),
        }
    }
}

/// Replaces every `Gradient` output by updates of the parameter and of its optimizer states.
///
/// With several `batches` or `shards`, gradients are added up first, and the rest is of their mean and changes nothing but at the
/// last of these steps. With `clip`, gradients are then scaled by `min(1, clip / norm)`, where `norm` is that of all of them together
/// (Pascanu et al. 2013, "On the difficulty of training recurrent neural networks").
pub fn update(graph: &Graph, optimizer: &Optimizer, rules: Rules) -> Graph {
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
    let steps = [rules.shards.max(1), rules.batches.max(1)];
    let several = steps != [1, 1];
    let sums = several.then(|| Accumulation::of(&mut builder, &mut gradients, steps));
    let mean = rules.mean.then(|| Mean::new(&mut builder));
    let wanted = rules.clip.is_some() || rules.norm;
    if let Some(norm) = wanted.then(|| global_norm(&mut builder, &gradients)).flatten() {
        builder.output(norm, OutputRole::GradientNorm);
        if let Some(clip) = rules.clip {
            scale_down(&mut builder, &mut gradients, norm, clip);
        }
    }
    for (name, gradient) in gradients {
        let Some(param) = params.get(&name) else { continue };
        let (builder, sums) = (&mut builder, sums.as_ref());
        let new = Rule { builder, rate, step, param: *param, gradient, sums }.apply(optimizer, &name);
        if let Some(mean) = &mean {
            mean.take(builder, &name, new);
        }
    }
    builder.finish()
}

/// None of a model without parameters.
fn global_norm(builder: &mut Builder, gradients: &[(String, Value)]) -> Option<Value> {
    let mut total = None;
    for (_, gradient) in gradients {
        let square = builder.mul(*gradient, *gradient);
        let sum = builder.sum_all(square);
        total = Some(match total {
            Some(total) => builder.add(total, sum),
            None => sum,
        });
    }
    total.map(|total| builder.map(Scalar::Sqrt, &[total]))
}

fn scale_down(builder: &mut Builder, gradients: &mut [(String, Value)], norm: Value, clip: f64) {
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
    sums: Option<&'a Accumulation>,
}

impl Rule<'_> {
    /// Updates the parameter and its states; the new value of the parameter.
    fn apply(&mut self, optimizer: &Optimizer, name: &str) -> Value {
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
        let result = self.chosen(result, self.param);
        self.builder.output(result, OutputRole::Update(name.to_string()));
        for ((input, state), next) in states.into_iter().zip(next) {
            let next = self.chosen(next, state);
            self.builder.output(next, OutputRole::Update(input));
        }
        result
    }

    /// The new value where this batch completes an update, else the old one.
    fn chosen(&mut self, new: Value, old: Value) -> Value {
        self.sums.map_or(new, |sums| sums.choose(self.builder, new, old))
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
