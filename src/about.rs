//! What a model is, without training it: its layers, and what it takes of the machine.

use lstmc_compiler::model::{BatchKind, ExprOp, Model, Source};
use lstmc_runtime::error::bytes;
use lstmc_runtime::memory;

use crate::compile::Training;
use crate::show;

/// A layer with the parameters that bear its name, the tokens, or parameters that several layers share.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub name: String,
    /// Of its result for a batch, or of the parameters.
    pub shape: Vec<usize>,
    pub parameters: u64,
    /// Bytes of the parameters, and of what training keeps of each: the optimizer's states, sums and means.
    pub memory: u64,
    /// Floating-point operations of its products for each predicted token, forwards.
    pub flop: f64,
    /// What it carries from step to step.
    pub states: Vec<(String, usize)>,
}

/// Elements of all parameters.
pub fn parameters(model: &Model) -> u64 {
    model.params.iter().map(|param| size(&param.shape)).sum()
}

fn size(shape: &[usize]) -> u64 {
    shape.iter().product::<usize>() as u64
}

/// The tokens, each layer, and then the parameters that several layers share.
pub fn layers(model: &Model) -> Vec<Layer> {
    let batches = &model.data.batches;
    let kept = 1
        + model.optimizer.states.len() as u64
        + u64::from(model.train.accumulate > 1)
        + u64::from(model.train.shards > 1)
        + u64::from(model.train.average.is_some());
    let row = |name: String, shape: Vec<usize>, parameters: u64| {
        let memory = 4 * kept * parameters;
        Layer { name, shape, parameters, memory, flop: 0.0, states: Vec::new() }
    };
    let mut rows = vec![row("tokens".into(), vec![batches.steps, batches.rows], 0)];
    for (number, layer) in model.layers.iter().enumerate() {
        let shape = match layer.every_step {
            true => vec![batches.steps, batches.rows, layer.width],
            false => vec![batches.rows, layer.width],
        };
        let prefix = format!("{}.", layer.name);
        let own = model.params.iter().filter(|param| param.name.starts_with(&prefix));
        let row = row(layer.name.clone(), shape, own.map(|param| size(&param.shape)).sum());
        let states = layer.states.iter().map(|state| (state.name.clone(), state.width)).collect();
        rows.push(Layer { flop: flop(model, number), states, ..row });
    }
    for param in &model.params {
        if !model.layers.iter().any(|layer| param.name.starts_with(&format!("{}.", layer.name))) {
            rows.push(row(format!("param {}", param.name), param.shape.clone(), size(&param.shape)));
        }
    }
    rows
}

/// Floating-point operations of a layer's products for each predicted token, forwards.
fn flop(model: &Model, number: usize) -> f64 {
    let layer = &model.layers[number];
    let body = &layer.body;
    let product = |op: &ExprOp| match *op {
        ExprOp::MatMul { w, .. } => 2 * size(&body.exprs[w.0 as usize].shape),
        _ => 0,
    };
    let once: u64 = body.exprs.iter().map(|expr| product(&expr.op)).sum();
    // What reads only results of whole sequences is computed once for each of them.
    let every_step = layer.inputs.iter().any(|input| match *input {
        Source::Tokens => true,
        Source::Layer(other) => model.layers[other].every_step,
    });
    match (model.data.batches.window(), every_step) {
        (Some(window), true) => (window as u64 * once) as f64,
        _ => once as f64,
    }
}

/// What the model reads at once and how large it is, by name.
pub fn facts(model: &Model) -> Vec<(&'static str, String)> {
    let shape = &model.data.batches;
    let kind = match shape.kind {
        BatchKind::Stream => "contiguous stream",
        BatchKind::Windows { .. } => "windows",
    };
    let (rows, steps) = (show::many(shape.rows as u64, "row"), show::many(shape.steps as u64, "step"));
    vec![
        ("vocabulary", show::many(model.vocab as u64, "id")),
        ("batches", format!("{rows} of {steps}, {kind}")),
        ("parameters", show::count(parameters(model))),
    ]
}

/// What training takes of the memory at its peak: bytes, and what they are made of.
pub fn peak(training: &Training) -> (u64, String) {
    let own = memory::own();
    let mut parts = vec![format!("{} training", bytes(training.train.memory))];
    parts.push(match training.evaluation_memory() {
        0 => "evaluation in the same memory".to_owned(),
        evaluation => format!("{} evaluation", bytes(evaluation)),
    });
    parts.push(format!("{} lstmc itself", bytes(own)));
    (own + training.memory(), parts.join(", "))
}
