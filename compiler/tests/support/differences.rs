//! Gradients against central differences of the graph interpreter in f64.

use std::collections::HashMap;

use lstmc_compiler::graph::interp::{self, Tensor};
use lstmc_compiler::graph::rewrite::Rewriter;
use lstmc_compiler::graph::{Graph, InputRole, Node, OutputRole, verify};
use ndarray::{ArrayD, Dimension};

use super::values::Inputs;

/// The step of the five-point formula. Its error is `STEP^4 / 30` of the fifth derivative: 3e-18 of a number that is
/// some 1 to 100 for single operations, and was seen to reach 3e7 where random graphs chain steep functions, which gives
/// 1e-10. The interpreter's rounding, some 1e-15 of an objective of up to some tens, is divided by `STEP`: 1e-11 to
/// 1e-10. Kinks and jumps are at least 0.02 away.
const STEP: f64 = 1e-4;

/// The largest relative error allowed: ten thousand times what [`STEP`] explains, and far below what any wrong term
/// makes.
const RELATIVE: f64 = 1e-6;

/// The largest absolute error allowed, for gradients near zero: ten times the rounding.
const ABSOLUTE: f64 = 1e-9;

/// The seed and step of every run, which decide what `random` gives.
const RUN: (u64, u64) = (5, 9);

/// `graph` with one objective made of all its outputs: the sum of their elements, each times a weight of its own, which
/// is a parameter as well, so that its gradient is the output itself.
pub fn objective(graph: &Graph) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    rewriter.nodes(&graph.body, &mut |_: &mut Rewriter, _: &Node| None);
    let mut sums = vec![];
    for (place, output) in graph.outputs.iter().enumerate() {
        let value = rewriter.get(output.value);
        let ty = rewriter.new.ty(value).clone();
        let weights = rewriter.new.input(format!("weights {place}"), ty, InputRole::Param { parts: vec![] });
        let weighted = rewriter.new.mul(value, weights);
        sums.push(rewriter.new.sum_all(weighted));
    }
    let objective = sums.into_iter().reduce(|a, b| rewriter.new.add(a, b)).expect("a graph with outputs");
    rewriter.new.output(objective, OutputRole::Objective);
    rewriter.new.finish()
}

fn only_objective(graph: &Graph, inputs: &Inputs) -> Result<f64, String> {
    let place = graph.outputs.iter().position(|output| output.role == OutputRole::Objective);
    let outputs = interp::run(graph, inputs, RUN.0, RUN.1)?;
    let value = place.and_then(|place| outputs[place].real()?.first().copied());
    value.ok_or_else(|| "no objective".into())
}

/// The derivative of `graph`'s objective by every element of the input called `name`.
pub fn central(graph: &Graph, inputs: &Inputs, name: &str) -> Result<ArrayD<f64>, String> {
    let Some(Tensor::Real(start)) = inputs.get(name) else {
        return Err(format!("{name:?} is not a real input"));
    };
    let mut derivative = ArrayD::zeros(start.raw_dim());
    for (index, slope) in derivative.iter_mut().enumerate() {
        let at = |steps: f64| {
            let mut moved = start.clone();
            if let Some(element) = moved.iter_mut().nth(index) {
                *element += steps * STEP;
            }
            let mut inputs = inputs.clone();
            inputs.insert(name.into(), Tensor::Real(moved));
            only_objective(graph, &inputs)
        };
        *slope = (at(-2.0)? - 8.0 * at(-1.0)? + 8.0 * at(1.0)? - at(2.0)?) / (12.0 * STEP);
    }
    Ok(derivative)
}

/// Checks every element of every gradient that `gradients` makes of `graph` against central differences of `reference`
/// (`graph` itself, but for operations through which no gradient flows). Returns the central differences.
pub fn check(
    gradients: fn(&Graph) -> Graph,
    graph: &Graph,
    reference: &Graph,
    inputs: &Inputs,
) -> Result<HashMap<String, ArrayD<f64>>, String> {
    verify(graph)?;
    let differentiated = gradients(graph);
    verify(&differentiated)
        .map_err(|fault| format!("the gradient graph is broken: {fault}\n{differentiated}"))?;
    let outputs = interp::run(&differentiated, inputs, RUN.0, RUN.1)?;
    let mut all = HashMap::new();
    for input in graph.inputs.iter().filter(|input| matches!(input.role, InputRole::Param { .. })) {
        let role = OutputRole::Gradient(input.name.clone());
        let place = differentiated.outputs.iter().position(|output| output.role == role);
        let place = place.ok_or_else(|| format!("no gradient of {:?}", input.name))?;
        let gradient = outputs[place].real().ok_or("a gradient of ids")?;
        let expected = central(reference, inputs, &input.name)?;
        for ((index, &found), &expected) in gradient.indexed_iter().zip(&expected) {
            let error = (found - expected).abs();
            let allowed = RELATIVE * found.abs().max(expected.abs()) + ABSOLUTE;
            if error.is_nan() || error > allowed {
                return Err(format!(
                    "gradient of {:?} at {:?} is {found}, but central differences give {expected}\n{graph}\n\
                     {differentiated}",
                    input.name,
                    index.slice()
                ));
            }
        }
        all.insert(input.name.clone(), expected);
    }
    Ok(all)
}
