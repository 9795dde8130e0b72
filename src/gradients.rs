//! The gradients that training uses against central differences, in f64.
//!
//! The gradients come out of the whole pipeline but for the update: merged, hoisted, differentiated, sunk. The
//! differences are those of the graph as it was lowered, which no pass has touched. Both run in the graph interpreter.

use std::collections::HashMap;
use std::thread;

use anyhow::{Context, Result, anyhow};
use lstmc_compiler::graph::interp::{self, Tensor};
use lstmc_compiler::graph::{self, Elem, Graph, InputRole, OutputRole, Purpose};
use lstmc_compiler::model::Model;
use lstmc_compiler::scalar::Real;
use lstmc_compiler::target::Target;
use lstmc_compiler::{pipeline, scalar};
use ndarray::{ArrayD, IxDyn};

/// Distinct words of the texts that the check makes up, beside the reserved ids.
const WORDS: usize = 11;
/// The batch: enough that rows differ and that state goes through a step that is neither the first nor the last.
const ROWS: usize = 2;
const STEPS: usize = 3;

/// The step of the five-point formula: its error is `STEP^4 / 30` of the fifth derivative, and the interpreter's
/// rounding, some 1e-15 of the objective, is divided by `STEP`.
const STEP: f64 = 1e-4;
/// What is tried where `STEP` disagrees, as it does across a kink such as that of `max(x, 0)`.
const SHORT_STEP: f64 = 2e-6;
/// Gradients below this are compared absolutely, at [`TOLERANCE`] of it: ten times the rounding.
const SMALL: f64 = 1e-3;
/// The largest relative difference that passes: ten thousand times what [`STEP`] explains, and far below what any wrong
/// term makes.
pub const TOLERANCE: f64 = 1e-6;

/// Multiplications that the differences of a large model may cost in all: a few seconds. It decides how many elements are
/// compared.
const BUDGET: f64 = 3e9;
/// The least and most elements of a parameter that are compared.
const SAMPLE: (usize, usize) = (2, 64);

/// The seed and step that decide what `random` gives: the same masks in every run.
const RUN: (u64, u64) = (5, 9);

type Inputs = HashMap<String, Tensor<f64>>;

/// How one parameter's gradient compares with central differences.
pub struct Comparison {
    pub parameter: String,
    pub shape: Vec<usize>,
    /// Elements that were compared.
    pub compared: usize,
    /// The largest relative difference.
    pub error: f64,
}

impl Comparison {
    /// A NaN does not pass either.
    pub fn passes(&self) -> bool {
        self.error < TOLERANCE
    }
}

/// The size of vocabulary to check a model at that reserves this many ids.
pub fn vocabulary(reserved: usize) -> usize {
    reserved + WORDS
}

/// Compares the gradient of every parameter: of all elements of small models, of a sample of large ones, half of it
/// where the gradient is largest.
///
/// # Errors
/// The interpreter refuses a graph, which is a fault of the compiler.
pub fn compare(mut model: Model) -> Result<Vec<Comparison>> {
    model.data.batches.rows = ROWS;
    model.data.batches.steps = STEPS;
    let reference = objective_of(&model)?;
    let inputs = values(&reference, &model);
    let gradients = gradients_of(&model, &inputs, RUN)?;
    let size: usize = model.params.iter().map(|param| param.shape.iter().product::<usize>()).sum();
    let runs = 4 * model.params.len().max(1);
    let affordable = BUDGET / (size * ROWS * STEPS * runs).max(1) as f64;
    let sample = (affordable as usize).clamp(SAMPLE.0, SAMPLE.1);
    let places: Vec<(usize, usize)> = gradients
        .iter()
        .enumerate()
        .flat_map(|(param, gradient)| chosen(gradient, sample).into_iter().map(move |place| (param, place)))
        .collect();
    let errors = compare_all(&reference, &inputs, &model, &gradients, &places)?;
    let comparison = |(index, param): (usize, &lstmc_compiler::model::Param)| {
        let own = places.iter().zip(&errors).filter(|(place, _)| place.0 == index);
        let errors: Vec<f64> = own.map(|(_, &error)| error).collect();
        Comparison {
            parameter: param.name.clone(),
            shape: param.shape.clone(),
            compared: errors.len(),
            // `max` would lose a NaN.
            error: errors.iter().fold(0.0, |most, &error| if error <= most { most } else { error }),
        }
    };
    Ok(model.params.iter().enumerate().map(comparison).collect())
}

/// The lowered graph with the objective as its only output.
fn objective_of(model: &Model) -> Result<Graph> {
    let mut graph = graph::lower(model, Purpose::Train);
    graph.outputs.retain(|output| output.role == OutputRole::Objective);
    if graph.outputs.is_empty() {
        return Err(fault("the training graph has no objective".into()));
    }
    Ok(graph)
}

/// Values for every input: parameters about as large as training starts with, but none zero, so that no product hides
/// a term; carried state between -1 and 1; any ids.
fn values(graph: &Graph, model: &Model) -> Inputs {
    let input = |(place, input): (usize, &graph::Input)| {
        let ty = graph.ty(input.value);
        let key = scalar::random_key(RUN.0, 0, place as u32);
        let uniform = |index: usize| f64::from(scalar::random(key, index as u32));
        let scale = match ty.shape.as_slice() {
            [rows, _] if matches!(input.role, InputRole::Param { .. }) => (3.0 / *rows as f64).sqrt(),
            _ => 1.0,
        };
        let shape = IxDyn(&ty.shape);
        let mut index = 0..;
        let mut next = || uniform(index.next().unwrap_or_default());
        let tensor = match ty.elem {
            Elem::Id => {
                Tensor::Id(ArrayD::from_shape_simple_fn(shape, || (next() * model.vocab as f64) as u32))
            }
            Elem::Real => Tensor::Real(ArrayD::from_shape_simple_fn(shape, || scale * (2.0 * next() - 1.0))),
        };
        (input.name.clone(), tensor)
    };
    graph.inputs.iter().enumerate().map(input).collect()
}

/// The gradient of every parameter of the model, in order. `run` are the seed and the step.
///
/// # Errors
/// The interpreter refuses the graph, which is a fault of the compiler.
pub fn gradients_of<R: Real>(
    model: &Model,
    inputs: &HashMap<String, Tensor<R>>,
    run: (u64, u64),
) -> Result<Vec<ArrayD<R>>> {
    let graph = pipeline::gradients_of(model, &Target::cpu(1));
    let mut joined = inputs.clone();
    for input in &graph.inputs {
        if let InputRole::Param { parts } = &input.role
            && !joined.contains_key(&input.name)
        {
            let parts: Vec<_> =
                parts.iter().filter_map(|part| Some(inputs.get(&part.name)?.real()?.view())).collect();
            let axis = ndarray::Axis(graph.shape(input.value).len().saturating_sub(1));
            let all = ndarray::concatenate(axis, &parts).context("internal error: parts do not join")?;
            joined.insert(input.name.clone(), Tensor::Real(all.as_standard_layout().into_owned()));
        }
    }
    let results = interp::run(&graph, &joined, run.0, run.1).map_err(fault)?;
    let mut gradients = HashMap::new();
    for (output, result) in graph.outputs.iter().zip(&results) {
        let OutputRole::Gradient(name) = &output.role else { continue };
        let Some(InputRole::Param { parts }) = graph.input(name).map(|input| &input.role) else { continue };
        let gradient = result.real().ok_or_else(|| fault(format!("the gradient of {name} holds ids")))?;
        if parts.is_empty() {
            gradients.insert(name.clone(), gradient.clone());
        }
        for part in parts {
            let columns = ndarray::Slice::from(part.start..part.start + part.len);
            let own = gradient.slice_axis(ndarray::Axis(gradient.ndim() - 1), columns);
            gradients.insert(part.name.clone(), own.as_standard_layout().into_owned());
        }
    }
    let take = |param: &lstmc_compiler::model::Param| {
        gradients.remove(&param.name).ok_or_else(|| fault(format!("{} has no gradient", param.name)))
    };
    model.params.iter().map(take).collect()
}

/// The elements to compare, as flat indices: all if they are few.
fn chosen(gradient: &ArrayD<f64>, sample: usize) -> Vec<usize> {
    if gradient.len() <= sample {
        return (0..gradient.len()).collect();
    }
    let elements: Vec<f64> = gradient.iter().copied().collect();
    let mut order: Vec<usize> = (0..elements.len()).collect();
    let largest_first = |a: &usize, b: &usize| elements[*b].abs().total_cmp(&elements[*a].abs());
    let half = sample.div_ceil(2);
    order.select_nth_unstable_by(half - 1, largest_first);
    let mut places = order[..half].to_vec();
    let key = scalar::random_key(RUN.0, 1, gradient.len() as u32);
    let others = (0..).map(|index| (f64::from(scalar::random(key, index)) * elements.len() as f64) as usize);
    places.extend(others.take(sample - half));
    places.sort_unstable();
    places.dedup();
    places
}

/// The relative difference at each place, computed by as many threads as help.
fn compare_all(
    reference: &Graph,
    inputs: &Inputs,
    model: &Model,
    gradients: &[ArrayD<f64>],
    places: &[(usize, usize)],
) -> Result<Vec<f64>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
    let chunk = places.len().div_ceil(threads).max(1);
    let compare_some = |places: &[(usize, usize)]| -> Result<Vec<f64>> {
        let mut inputs = inputs.clone();
        let mut error = |&(param, place): &(usize, usize)| {
            let found = gradients[param].iter().nth(place).copied().unwrap_or(f64::NAN);
            let name = &model.params[param].name;
            let mut at = |step| {
                let expected = central(reference, &mut inputs, name, place, step)?;
                anyhow::Ok((found - expected).abs() / found.abs().max(expected.abs()).max(SMALL))
            };
            let error = at(STEP)?;
            Ok(if error < TOLERANCE { error } else { error.min(at(SHORT_STEP)?) })
        };
        places.iter().map(&mut error).collect()
    };
    thread::scope(|scope| {
        let begin = |places| {
            let thread = thread::Builder::new().spawn_scoped(scope, move || compare_some(places));
            thread.map_err(|_| places)
        };
        let parts: Vec<_> = places.chunks(chunk).map(begin).collect();
        let mut errors = vec![];
        for part in parts {
            errors.extend(match part {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                // The system has no thread for it.
                Err(places) => compare_some(places)?,
            });
        }
        Ok(errors)
    })
}

/// The derivative of the objective by one element, by the five-point formula.
fn central(graph: &Graph, inputs: &mut Inputs, name: &str, place: usize, step: f64) -> Result<f64> {
    let start = *element(inputs, name, place)?;
    let mut at = |steps: f64| {
        *element(inputs, name, place)? = start + steps * step;
        let outputs = interp::run(graph, inputs, RUN.0, RUN.1).map_err(fault)?;
        *element(inputs, name, place)? = start;
        let objective = outputs.first().and_then(|output| output.real()?.first().copied());
        objective.ok_or_else(|| fault("the objective is not a number".into()))
    };
    Ok((at(-2.0)? - 8.0 * at(-1.0)? + 8.0 * at(1.0)? - at(2.0)?) / (12.0 * step))
}

fn element<'a>(inputs: &'a mut Inputs, name: &str, place: usize) -> Result<&'a mut f64> {
    let values = match inputs.get_mut(name) {
        Some(Tensor::Real(values)) => values.as_slice_mut(),
        _ => None,
    };
    values
        .and_then(|values| values.get_mut(place))
        .ok_or_else(|| fault(format!("{name} has no element {place}")))
}

/// A fault of the compiler.
pub fn fault(message: String) -> anyhow::Error {
    anyhow!("internal error: {message}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::compile::Source;

    const MODEL: &str = "
        data { train: \"a\" tokens: words batches: stream(rows: 1, steps: 1) }
        model { tokens -> embedding(3) -> rnn(2, activation: relu) -> dense(vocab) -> softmax }
        train { loss: cross_entropy optimizer: sgd epochs: 1 }";

    fn model() -> Model {
        let source = Source::parse(Path::new("a.lstm"), MODEL, false).unwrap();
        let mut model = source.model(vocabulary(0)).unwrap();
        (model.data.batches.rows, model.data.batches.steps) = (ROWS, STEPS);
        model
    }

    #[test]
    fn right_gradients_pass_and_all_elements_of_a_small_model_are_compared() {
        let found = compare(model()).unwrap();
        assert_eq!(found.len(), model().params.len());
        for one in found {
            assert!(one.passes(), "{}: {}", one.parameter, one.error);
            assert_eq!(one.compared, one.shape.iter().product::<usize>(), "{}", one.parameter);
        }
    }

    #[test]
    fn one_wrong_element_fails() {
        let model = model();
        let reference = objective_of(&model).unwrap();
        let inputs = values(&reference, &model);
        let mut gradients = gradients_of(&model, &inputs, RUN).unwrap();
        let places = [(0, 0), (0, 1), (1, 0)];
        let errors =
            |gradients: &[ArrayD<f64>]| compare_all(&reference, &inputs, &model, gradients, &places).unwrap();
        assert!(errors(&gradients).iter().all(|&error| error < TOLERANCE));
        *gradients[0].iter_mut().nth(1).unwrap() += 1e-5;
        let found = errors(&gradients);
        assert!(found[0] < TOLERANCE && found[1] > TOLERANCE && found[2] < TOLERANCE, "{found:?}");
    }

    #[test]
    fn half_of_a_sample_is_where_the_gradient_is_largest() {
        let mut gradient = ArrayD::zeros(IxDyn(&[50, 20]));
        for place in [7, 123, 999] {
            *gradient.iter_mut().nth(place).unwrap() = -1.0;
        }
        let places = chosen(&gradient, 6);
        assert!([7, 123, 999].iter().all(|place| places.contains(place)), "{places:?}");
        assert!(places.len() > 3 && places.len() <= 6 && places == chosen(&gradient, 6), "{places:?}");
    }
}
