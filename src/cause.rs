//! Where the numbers of a training step that failed stop being finite: the step is computed again by the graph interpreter, in
//! `f32`, from the graph that no pass has touched, whose values have their places in the source.

use std::collections::HashMap;

use anyhow::Result;
use lstmc_compiler::diag::Diagnostic;
use lstmc_compiler::graph::interp::{self, Tensor};
use lstmc_compiler::graph::{self, Graph, InputRole, Origin, Purpose, Value};
use lstmc_compiler::model::{ExprId, Layer, Model, Param};
use lstmc_runtime::train::Before;
use ndarray::{ArrayD, IxDyn};

use crate::gradients;

/// The code of errors of a model that is running.
const CODE: &str = "E0501";

/// The first number that is not finite.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    layer: usize,
    expr: ExprId,
    /// From 0, where the layer works on every step.
    step: Option<usize>,
    /// From 0, where there is one for each row of the batch.
    row: Option<usize>,
    value: f32,
}

/// What `error`, the message of a failed training, comes from, shown in the source: an expression, else the gradient of a parameter,
/// else the optimizer.
///
/// # Errors
/// The interpreter refuses a graph, which is a fault of the compiler.
pub fn of(error: &str, model: &Model, before: &Before, seed: u64) -> Result<Diagnostic> {
    let (graph, origins) = graph::lower_with_origins(model, Purpose::Train);
    let inputs = inputs(&graph, before);
    let run = (seed, before.update);
    if let Some(found) = first(&graph, &origins, &inputs, run)? {
        return Ok(in_layer(error, model, &found, before.update));
    }
    let gradients = gradients::gradients_of(model, &inputs, run)?;
    let bad = |(param, gradient): (_, &ArrayD<f32>)| {
        gradient.iter().find(|value| !value.is_finite()).map(|&value| (param, value))
    };
    // The gradients of what is nearest to the loss are computed first.
    Ok(match model.params.iter().zip(&gradients).filter_map(bad).next_back() {
        Some((param, value)) => in_gradient(error, model, param, value, before.update),
        None => in_optimizer(error, model, before.update),
    })
}

fn in_layer(error: &str, model: &Model, found: &Found, update: u64) -> Diagnostic {
    let layer = &model.layers[found.layer];
    let expr = &layer.body.exprs[found.expr.0 as usize];
    let name = expr.name.as_ref().map_or("this".into(), |name| format!("`{name}`"));
    let step = found.step.map_or(String::new(), |step| format!(", time step {}", step + 1));
    let row = found.row.map_or(String::new(), |row| format!(", row {}", row + 1));
    let text =
        format!("{name} is the first that is not finite: {} in update {update}{step}{row}", found.value);
    in_use(Diagnostic::error(CODE, expr.span, error).at(text), layer)
}

fn in_use(diagnostic: Diagnostic, layer: &Layer) -> Diagnostic {
    diagnostic.label(layer.span, format!("in this use, `{}`", layer.name))
}

fn in_gradient(error: &str, model: &Model, param: &Param, value: f32, update: u64) -> Diagnostic {
    let text = format!(
        "the gradient of `{}` is the first that is not finite: {value} in update {update}; forwards all is finite",
        param.name
    );
    let diagnostic = Diagnostic::error(CODE, param.span, error).at(text);
    let owner = param.name.split_once('.').map(|(layer, _)| layer);
    match model.layers.iter().find(|layer| Some(layer.name.as_str()) == owner) {
        Some(layer) => in_use(diagnostic, layer),
        None => diagnostic,
    }
}

fn in_optimizer(error: &str, model: &Model, update: u64) -> Diagnostic {
    let body = &model.optimizer.body;
    let span = body.exprs[body.result.0 as usize].span;
    let text = format!(
        "in update {update} all gradients are finite, and what `{}` makes of them is not",
        model.optimizer.name
    );
    Diagnostic::error(CODE, span, error).at(text)
}

/// The first value of an expression that has a number which is not finite.
fn first(
    graph: &Graph,
    origins: &[Origin],
    inputs: &HashMap<String, Tensor<f32>>,
    run: (u64, u64),
) -> Result<Option<Found>> {
    let mut by_value: HashMap<Value, &Origin> = HashMap::new();
    for origin in origins {
        by_value.entry(origin.value).or_insert(origin);
    }
    let mut first = None;
    let mut see = |value: Value, step: Option<usize>, tensor: &Tensor<f32>| {
        let (None, Some(origin), Some(numbers)) = (&first, by_value.get(&value), tensor.real()) else {
            return;
        };
        if let Some((index, &value)) = numbers.indexed_iter().find(|(_, value)| !value.is_finite()) {
            let row = (numbers.ndim() > 1).then(|| index[0]);
            first = Some(Found { layer: origin.layer, expr: origin.expr, step, row, value });
        }
    };
    interp::watch(graph, inputs, run, &mut see).map_err(gradients::fault)?;
    Ok(first)
}

/// What the graph reads, by name.
fn inputs(graph: &Graph, before: &Before) -> HashMap<String, Tensor<f32>> {
    let value = |input: &graph::Input| {
        let ty = graph.ty(input.value);
        let shape = IxDyn(&ty.shape);
        let ids = |ids: &[u32]| ArrayD::from_shape_vec(shape.clone(), ids.to_vec()).ok().map(Tensor::Id);
        let reals =
            |values: &[f32]| ArrayD::from_shape_vec(shape.clone(), values.to_vec()).ok().map(Tensor::Real);
        let tensor = match &input.role {
            InputRole::Tokens => ids(&before.tokens),
            InputRole::Targets => ids(&before.targets),
            InputRole::Carried { .. } => {
                before.tensors.get(&format!("carried/{}", input.name)).and_then(|v| reals(v))
            }
            _ => before.tensors.get(&input.name).and_then(|v| reals(v)),
        };
        Some((input.name.clone(), tensor?))
    };
    graph.inputs.iter().filter_map(value).collect()
}
