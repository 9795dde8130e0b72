//! ONNX: a model's graph for other programs to run, in primitive operators.
//!
//! ```text
//! tokens [batch], states [batch, n]        -> probabilities [batch, vocab], new states      one step
//! tokens [batch, window]                   -> probabilities [batch, vocab]                  a model that reads windows
//! tokens [batch, steps], states [batch, n] -> probabilities [batch, steps, vocab], states   a sequence
//! ```
//!
//! A graph has concrete sizes and an exchanged one has not, so it is made of two graphs of the same model that differ in the
//! number of sequences, and of steps where these are open too ([`axes`]): where they differ in a size, it is one that is open.
//! [`nodes`] translates operation by operation, and a loop over time becomes a `Scan`. So it knows no layer: what a graph
//! can say has its operators, or none, and then it is refused. [`proto`] is the file.

mod axes;
mod nodes;
mod proto;

pub use axes::Steps;

use crate::graph::{Graph, InputRole, OutputRole, Part};
use nodes::Nodes;
use proto::{Data, Model, Tensor};

/// The names of the open sizes.
const BATCH: &str = "batch";
const STEPS: &str = "steps";

/// The first output; the others are the new states, in the order of the inputs.
const PROBABILITIES: &str = "probabilities";
/// The first input; the others are the states.
const TOKENS: &str = "tokens";

/// A model without its weights.
#[derive(Clone, Debug)]
pub struct Exchange {
    model: Model,
    params: Vec<Param>,
    pub states: Vec<State>,
}

/// A constant of the model: some of its parameters, side by side in columns.
#[derive(Clone, Debug)]
struct Param {
    name: String,
    shape: Vec<usize>,
    parts: Vec<Part>,
}

/// What is carried from one run of the model to the next: an input and an output `[batch, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub input: String,
    pub output: String,
    pub width: usize,
    /// What every element is before the first token.
    pub start: f64,
}

/// What the model's file says beside the operators.
#[derive(Clone, Debug)]
pub struct About {
    pub name: String,
    /// The version of lstmc.
    pub version: String,
    pub metadata: Vec<(String, String)>,
}

impl Exchange {
    /// Of the same graph in the two sizes that [`Steps::sizes`] says.
    ///
    /// # Errors
    /// An operation that ONNX does not have.
    pub fn of(graphs: [&Graph; 2], steps: Steps) -> Result<Self, String> {
        let graph = graphs[0];
        let mut nodes = Nodes::new(graph, axes::of(graphs, steps.sizes()));
        let (mut params, mut states) = (vec![], vec![]);
        let mut inputs = vec![nodes.tokens(steps == Steps::One)];
        for input in &graph.inputs {
            match &input.role {
                InputRole::Param { parts } => {
                    nodes.name(input.value, &input.name);
                    let (name, shape) = (input.name.clone(), graph.shape(input.value).to_vec());
                    params.push(Param { name, shape, parts: parts.clone() });
                }
                InputRole::Carried { start } => {
                    nodes.name(input.value, &input.name);
                    inputs.push(nodes.described(&input.name, input.value));
                    let (name, width) = (input.name.clone(), graph.shape(input.value)[1]);
                    let output = format!("{name}.next");
                    states.push(State { input: name, output, width, start: *start });
                }
                _ => {}
            }
        }
        nodes.region(&graph.body)?;
        let mut outputs = vec![nodes.probabilities(steps == Steps::One)];
        for state in &states {
            let role = OutputRole::Update(state.input.clone());
            let value = graph.output(&role).ok_or_else(|| format!("{} is never changed", state.input))?;
            outputs.push(nodes.output(&state.output, value));
        }
        let model = Model { graph: nodes.finish(inputs, outputs), ..Model::default() };
        // What only training reads is not there.
        let read = model.graph.read();
        params.retain(|param| read.contains(param.name.as_str()));
        Ok(Self { model, params, states })
    }

    /// The file, with the values of each parameter.
    ///
    /// # Errors
    /// Those of `weights`.
    pub fn encode<E>(
        mut self,
        about: About,
        weights: &mut dyn FnMut(&str) -> Result<Vec<f32>, E>,
    ) -> Result<Vec<u8>, E> {
        for param in &self.params {
            let data = Data::Real(param.assemble(weights)?);
            let (name, dims) = (param.name.clone(), param.shape.clone());
            self.model.graph.initializers.push(Tensor { name, dims, data });
        }
        self.model.graph.name = about.name;
        self.model.producer = ["lstmc".into(), about.version];
        self.model.metadata = about.metadata;
        Ok(self.model.encode())
    }
}

impl Param {
    /// Its values, row by row.
    fn assemble<E>(&self, weights: &mut dyn FnMut(&str) -> Result<Vec<f32>, E>) -> Result<Vec<f32>, E> {
        let columns = self.shape.last().copied().unwrap_or(1);
        let mut all = vec![0.0; self.shape.iter().product()];
        for part in &self.parts {
            let values = weights(&part.name)?;
            for (row, from) in all.chunks_exact_mut(columns).zip(values.chunks_exact(part.len)) {
                row[part.start..part.start + part.len].copy_from_slice(from);
            }
        }
        Ok(all)
    }
}
