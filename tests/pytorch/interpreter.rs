//! Training steps by the graph interpreter.

use std::collections::HashMap;

use lstmc_compiler::graph::interp::{Tensor, run};
use lstmc_compiler::graph::{Graph, InputRole, OutputRole};
use lstmc_compiler::model::Model;
use lstmc_compiler::scalar::Real;
use ndarray::{ArrayD, ArrayViewMutD, Axis, Slice};

use crate::Executor;
use crate::fixture::{Batch, Ids};

/// A model's training step as a graph, with the values of its inputs.
pub struct Interpreter<R> {
    graph: Graph,
    inputs: HashMap<String, Tensor<R>>,
}

impl<R: Real> Interpreter<R> {
    /// `graph` is the model's training step.
    pub fn new(graph: Graph, model: &Model) -> Self {
        let mut inputs = HashMap::new();
        for input in &graph.inputs {
            let start = match input.role {
                InputRole::OptimizerState { start, .. } | InputRole::Carried { start } => start,
                InputRole::Rate => model.optimizer.rate,
                InputRole::Param { .. } | InputRole::Step | InputRole::MeanWeight => 0.0,
                InputRole::Last => 1.0,
                InputRole::Tokens | InputRole::Targets => continue,
            };
            let value = ArrayD::from_elem(graph.shape(input.value), R::of(start));
            inputs.insert(input.name.clone(), Tensor::Real(value));
        }
        Self { graph, inputs }
    }

    /// The input that holds a tensor, and the columns of it.
    fn place(&self, name: &str) -> Option<(String, Slice)> {
        if let Some(carried) = name.strip_prefix("carried/") {
            return Some((carried.to_string(), Slice::from(..)));
        }
        if let Some((param, state)) = name.strip_prefix("optimizer/").and_then(|name| name.rsplit_once('/')) {
            let (input, columns) = self.place(param)?;
            return Some((format!("{input}/{state}"), columns));
        }
        self.graph.inputs.iter().find_map(|input| match &input.role {
            InputRole::Param { parts } => {
                let part = parts.iter().find(|part| part.name == name)?;
                Some((input.name.clone(), Slice::from(part.start..part.start + part.len)))
            }
            _ => None,
        })
    }

    fn view(&mut self, name: &str) -> Option<ArrayViewMutD<'_, R>> {
        let (input, columns) = self.place(name)?;
        match self.inputs.get_mut(&input)? {
            Tensor::Real(all) => {
                let last = Axis(all.ndim() - 1);
                Some(all.slice_axis_mut(last, columns))
            }
            Tensor::Id(_) => None,
        }
    }
}

fn ids<R>(ids: &Ids) -> Tensor<R> {
    let array = ArrayD::from_shape_vec(&ids.shape[..], ids.values.clone());
    Tensor::Id(array.expect("as many ids as the shape has"))
}

impl<R: Real> Executor for Interpreter<R> {
    fn step(&mut self, number: u64, batch: &Batch) -> f64 {
        for input in &self.graph.inputs {
            let value = match input.role {
                InputRole::Tokens => ids(&batch.tokens),
                InputRole::Targets => ids(&batch.targets),
                InputRole::Step => Tensor::Real(ArrayD::from_elem(&[][..], R::of(number as f64))),
                _ => continue,
            };
            self.inputs.insert(input.name.clone(), value);
        }
        let values = run(&self.graph, &self.inputs, 0, number).unwrap_or_else(|fault| panic!("{fault}"));
        let mut loss = f64::NAN;
        for (output, value) in self.graph.outputs.iter().zip(values) {
            match &output.role {
                OutputRole::Loss => loss = value.real().map_or(loss, |loss| Real::to_f64(loss.sum())),
                OutputRole::Update(input) => _ = self.inputs.insert(input.clone(), value),
                _ => (),
            }
        }
        loss
    }

    fn get(&mut self, name: &str) -> Option<Vec<f64>> {
        Some(self.view(name)?.iter().map(|&x| Real::to_f64(x)).collect())
    }

    fn set(&mut self, name: &str, values: &[f64]) {
        let mut view = self.view(name).unwrap_or_else(|| panic!("there is no {name}"));
        assert_eq!(view.len(), values.len(), "{name}");
        view.iter_mut().zip(values).for_each(|(to, &value)| *to = R::of(value));
    }
}
