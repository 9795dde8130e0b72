//! The tensors that outlive a step, by names that do not depend on how passes lay parameters side by side, so that
//! graphs, kernels and compiled code can be given the same values and their results compared.

use std::collections::BTreeMap;
use std::ops::Range;

use lstmc_compiler::graph::interp::Tensor;
use lstmc_compiler::graph::{Elem, Graph, Input, InputRole, OutputRole, Part};
use lstmc_compiler::scalar;
use ndarray::{ArrayD, ArrayViewD, Axis, Slice};

use super::values::{ID_BOUND, Inputs};

/// Real tensors by name: a parameter's own, `optimizer/<parameter>/<state>`, `carried/<state>`. What is read of a step
/// besides these is named `output/<place>` (see [`after`]).
pub type Tensors = BTreeMap<String, ArrayD<f64>>;

/// What else a step is given.
#[derive(Clone, Debug)]
pub struct Feed {
    pub tokens: Vec<u32>,
    pub targets: Vec<u32>,
    pub rate: f64,
    /// The number of the update, from 1.
    pub step: u64,
}

impl Feed {
    /// Whether it completes an update of two batches.
    pub fn is_last(&self) -> bool {
        self.step.is_multiple_of(2)
    }

    /// How much of the mean of the parameters it makes, if all are in it.
    pub fn mean_weight(&self) -> f64 {
        1.0 / self.step as f64
    }
}

/// A named tensor inside an input: these columns of its last axis, or all of it.
struct Piece {
    label: String,
    columns: Option<Range<usize>>,
}

fn pieces(graph: &Graph, input: &Input) -> Vec<Piece> {
    let cut = |parts: &[Part], label: &dyn Fn(&str) -> String| match parts {
        [] => vec![Piece { label: label(&input.name), columns: None }],
        parts => parts
            .iter()
            .map(|part| Piece { label: label(&part.name), columns: Some(part.start..part.start + part.len) })
            .collect(),
    };
    match &input.role {
        InputRole::Param { parts } => cut(parts, &|part| part.to_owned()),
        InputRole::OptimizerState { param, .. } => {
            let state = input.name.strip_prefix(&format!("{param}/")).unwrap_or(&input.name);
            let label = |part: &str| format!("optimizer/{part}/{state}");
            match graph.input(param).map(|owner| &owner.role) {
                Some(InputRole::Param { parts }) if !parts.is_empty() => cut(parts, &label),
                _ => vec![Piece { label: label(param), columns: None }],
            }
        }
        InputRole::Carried { .. } => {
            vec![Piece { label: format!("carried/{}", input.name), columns: None }]
        }
        InputRole::Tokens | InputRole::Targets | InputRole::Rate | InputRole::Step => vec![],
        InputRole::Last | InputRole::MeanWeight => vec![],
    }
}

/// What tensors start as. Those of optimizers are not negative, as means of squares are not.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// Multiples of 1/16 between -1 and 1, and neither of these: sums and products of a few are exact in every precision, so
    /// that no rounding turns a choice of a random graph, and a `tanh` that is 1 in one precision and almost 1 in another
    /// meets no 1.
    Sixteenths,
    /// Between -0.5 and 0.5, with 24 bits: no two sums of theirs are likely to be equal, so that a random model's kinks
    /// are away from its values.
    Halves,
}

pub fn start(graph: &Graph, values: Start) -> Tensors {
    let mut tensors = Tensors::new();
    for input in &graph.inputs {
        for piece in pieces(graph, input) {
            let mut shape = graph.shape(input.value).to_vec();
            if let (Some(columns), Some(last)) = (&piece.columns, shape.last_mut()) {
                *last = columns.len();
            }
            let seed = piece.label.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
            let key = scalar::random_key(seed, 0, 0);
            let mut index = 0..;
            let tensor = ArrayD::from_shape_simple_fn(shape, || {
                let uniform = f64::from(scalar::random(key, index.next().unwrap_or_default()));
                let value = match values {
                    Start::Sixteenths => ((uniform * 31.0).floor() - 15.0) / 16.0,
                    Start::Halves => uniform - 0.5,
                };
                if piece.label.starts_with("optimizer/") { value.abs() } else { value }
            });
            tensors.insert(piece.label, tensor);
        }
    }
    tensors
}

/// Ids below `bound` and numbers for step `step`.
pub fn feed(graph: &Graph, bound: u32, rate: f64, step: u64) -> Feed {
    let ids = |role: &InputRole, stream: u32| {
        let key = scalar::random_key(23, step, stream);
        let input = graph.inputs.iter().find(|input| input.role == *role);
        let len = input.map_or(0, |input| graph.ty(input.value).len());
        (0..len as u32).map(|at| (f64::from(scalar::random(key, at)) * f64::from(bound)) as u32).collect()
    };
    Feed { tokens: ids(&InputRole::Tokens, 0), targets: ids(&InputRole::Targets, 1), rate, step }
}

/// Ids that every table of a random graph has.
pub fn small_feed(graph: &Graph) -> Feed {
    feed(graph, ID_BOUND, 0.25, 2)
}

/// The inputs of `graph`, which may be merged, from tensors by name.
pub fn inputs(graph: &Graph, tensors: &Tensors, feed: &Feed) -> Inputs {
    let mut inputs = Inputs::new();
    for input in &graph.inputs {
        let ty = graph.ty(input.value);
        let ids = |ids: &[u32]| ArrayD::from_shape_vec(ty.shape.clone(), ids.to_vec()).expect("as many ids");
        let value = match &input.role {
            InputRole::Tokens => Tensor::Id(ids(&feed.tokens)),
            InputRole::Targets => Tensor::Id(ids(&feed.targets)),
            InputRole::Rate => Tensor::Real(ndarray::arr0(feed.rate).into_dyn()),
            InputRole::Step => Tensor::Real(ndarray::arr0(feed.step as f64).into_dyn()),
            InputRole::Last => Tensor::Real(ndarray::arr0(f64::from(u8::from(feed.is_last()))).into_dyn()),
            InputRole::MeanWeight => Tensor::Real(ndarray::arr0(feed.mean_weight()).into_dyn()),
            _ => {
                let pieces = pieces(graph, input);
                let missing = || panic!("a value for {:?}", input.name);
                let views: Vec<ArrayViewD<'_, f64>> = pieces
                    .iter()
                    .map(|piece| tensors.get(&piece.label).unwrap_or_else(missing).view())
                    .collect();
                match &views[..] {
                    [only] => Tensor::Real(only.to_owned()),
                    all => {
                        let axis = Axis(ty.shape.len() - 1);
                        Tensor::Real(ndarray::concatenate(axis, all).expect("columns of equal height"))
                    }
                }
            }
        };
        assert_eq!(value.ty(), *ty, "{}", input.name);
        inputs.insert(input.name.clone(), value);
    }
    inputs
}

/// The tensors after a step, from the values of `graph`'s outputs in their order: what was updated replaces what was
/// there before, and every other output is added under the name of its role.
pub fn after(graph: &Graph, before: &Tensors, outputs: Vec<ArrayD<f64>>) -> Tensors {
    assert_eq!(graph.outputs.len(), outputs.len());
    let mut tensors: Tensors = before
        .iter()
        .filter(|(name, _)| !name.starts_with("output/"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let mut others = 0;
    for (output, value) in graph.outputs.iter().zip(outputs) {
        let updated = match &output.role {
            OutputRole::Update(name) => graph.input(name),
            _ => None,
        };
        let Some(input) = updated else {
            let role = match &output.role {
                OutputRole::Loss => "loss".to_owned(),
                OutputRole::Hits => "hits".to_owned(),
                _ => others.to_string(),
            };
            others += usize::from(!matches!(output.role, OutputRole::Loss | OutputRole::Hits));
            tensors.insert(format!("output/{role}"), value);
            continue;
        };
        for piece in pieces(graph, input) {
            let part = match piece.columns {
                Some(columns) => {
                    let axis = Axis(value.ndim() - 1);
                    value.slice_axis(axis, Slice::from(columns)).to_owned()
                }
                None => value.clone(),
            };
            tensors.insert(piece.label, part);
        }
    }
    tensors
}

/// Ids of a graph, for executors that know them by buffer name.
pub fn ids(graph: &Graph, feed: &Feed) -> Vec<(String, Vec<u32>)> {
    let of = |input: &Input| match input.role {
        InputRole::Tokens => Some((input.name.clone(), feed.tokens.clone())),
        InputRole::Targets => Some((input.name.clone(), feed.targets.clone())),
        _ => None,
    };
    debug_assert!(graph.inputs.iter().all(|i| graph.ty(i.value).elem == Elem::Real || of(i).is_some()));
    graph.inputs.iter().filter_map(of).collect()
}

/// Fails where `found` lacks a name of `expected`, or a number of it is further from that of `expected` than
/// `tolerance` times its magnitude, taken as at least 1, or is not finite.
pub fn agree(expected: &Tensors, found: &Tensors, tolerance: f64) -> Result<(), String> {
    for (name, expected) in expected {
        let Some(found) = found.get(name) else { return Err(format!("no {name:?}")) };
        if expected.len() != found.len() {
            return Err(format!("{name:?} has {} elements, not {}", found.len(), expected.len()));
        }
        for (place, (&a, &b)) in expected.iter().zip(found).enumerate() {
            let error = (a - b).abs() / a.abs().max(1.0);
            if error.is_nan() || error > tolerance {
                return Err(format!("element {place} of {name:?} is {b}, not {a}"));
            }
        }
    }
    Ok(())
}
