//! Training steps by the graph interpreter.

use std::collections::HashMap;

use lstmc_compiler::grad;
use lstmc_compiler::graph::interp::{Tensor, run};
use lstmc_compiler::graph::{Graph, InputRole, OutputRole, Purpose, lower};
use lstmc_compiler::scalar::Real;
use ndarray::{ArrayD, Axis, Slice};

use crate::fixture::{Batch, Fixture, Ids};
use crate::{Executor, Named, Outcome};

/// A pass or several.
type Passes = fn(&Graph) -> Graph;

/// A model's training step as a graph, with the values of its inputs.
pub struct Interpreter<R> {
    gradients: Graph,
    update: Graph,
    inputs: HashMap<String, Tensor<R>>,
}

impl<R: Real> Interpreter<R> {
    /// With the fixture's initial parameters; `before` runs on the forward graph, `after` on whole steps.
    pub fn new(fixture: &Fixture, before: Passes, after: Passes) -> Self {
        let model = &fixture.model;
        let gradients = grad::gradients(&before(&lower(model, Purpose::Train)));
        let update = grad::update(&gradients, &model.optimizer, model.train.clip);
        let mut interpreter =
            Self { gradients: after(&gradients), update: after(&update), inputs: HashMap::new() };
        for input in &interpreter.update.inputs {
            let shape = interpreter.update.shape(input.value);
            let full = |value: f64| ArrayD::from_elem(shape, R::of(value));
            let value = match &input.role {
                InputRole::Param { .. } | InputRole::Step => full(0.0),
                InputRole::OptimizerState { start, .. } | InputRole::Carried { start } => full(*start),
                InputRole::Rate => full(model.optimizer.rate),
                InputRole::Tokens | InputRole::Targets => continue,
            };
            interpreter.inputs.insert(input.name.clone(), Tensor::Real(value));
        }
        for (name, tensor) in &fixture.start {
            interpreter.write(name, &tensor.shape, &tensor.values);
        }
        interpreter
    }

    /// Where a parameter lies: the input's name and the columns.
    fn place(&self, name: &str) -> Option<(&String, Slice)> {
        self.update.inputs.iter().find_map(|input| match &input.role {
            InputRole::Param { parts } => {
                let part = parts.iter().find(|part| part.name == name)?;
                Some((&input.name, Slice::from(part.start..part.start + part.len)))
            }
            _ => None,
        })
    }

    fn write(&mut self, name: &str, shape: &[usize], values: &[f64]) {
        let place = self.place(name).unwrap_or_else(|| panic!("the model has no parameter {name}"));
        let (input, columns) = (place.0.clone(), place.1);
        let values = values.iter().map(|&value| R::of(value)).collect();
        let values = ArrayD::from_shape_vec(shape, values).expect("as many values as the shape has");
        let Some(Tensor::Real(all)) = self.inputs.get_mut(&input) else { panic!("{input} holds no reals") };
        let last = Axis(all.ndim() - 1);
        let mut view = all.slice_axis_mut(last, columns);
        assert_eq!(view.shape(), shape, "{name}");
        view.assign(&values);
    }

    fn run(&self, graph: &Graph, number: u64) -> Vec<(OutputRole, ArrayD<R>)> {
        let values = run(graph, &self.inputs, 0, number).unwrap_or_else(|fault| panic!("{fault}"));
        let roles = graph.outputs.iter().map(|output| output.role.clone());
        roles.zip(values).filter_map(|(role, value)| Some((role, value.real()?.clone()))).collect()
    }

    /// A gradient for each of the model's parameters, cut out of those of the graph's inputs.
    fn gradients(&self, number: u64, names: impl Iterator<Item = String>) -> Named {
        let outputs: HashMap<String, ArrayD<R>> = self
            .run(&self.gradients, number)
            .into_iter()
            .filter_map(|(role, value)| match role {
                OutputRole::Gradient(input) => Some((input, value)),
                _ => None,
            })
            .collect();
        let cut = |name: String| {
            let (input, columns) = self.place(&name)?;
            let all = outputs.get(input)?;
            let values =
                all.slice_axis(Axis(all.ndim() - 1), columns).iter().map(|&x| Real::to_f64(x)).collect();
            Some((name, values))
        };
        names.filter_map(cut).collect()
    }

    fn names(&self) -> Vec<String> {
        let parts = self.update.inputs.iter().filter_map(|input| match &input.role {
            InputRole::Param { parts } => Some(parts.iter().map(|part| part.name.clone())),
            _ => None,
        });
        parts.flatten().collect()
    }
}

fn ids<R>(ids: &Ids) -> Tensor<R> {
    let array = ArrayD::from_shape_vec(&ids.shape[..], ids.values.clone());
    Tensor::Id(array.expect("as many ids as the shape has"))
}

impl<R: Real> Executor for Interpreter<R> {
    fn step(&mut self, number: u64, batch: &Batch) -> Outcome {
        let step = Tensor::Real(ArrayD::from_elem(&[][..], R::of(number as f64)));
        for input in &self.update.inputs {
            let value = match input.role {
                InputRole::Tokens => ids(&batch.tokens),
                InputRole::Targets => ids(&batch.targets),
                InputRole::Step => step.clone(),
                _ => continue,
            };
            self.inputs.insert(input.name.clone(), value);
        }
        let gradients = self.gradients(number, self.names().into_iter());
        let mut loss = f64::NAN;
        for (role, value) in self.run(&self.update, number) {
            match role {
                OutputRole::Loss => loss = Real::to_f64(value.sum()),
                OutputRole::Update(input) => _ = self.inputs.insert(input, Tensor::Real(value)),
                _ => (),
            }
        }
        Outcome { loss, gradients: Some(gradients) }
    }

    fn tensor(&self, name: &str) -> Option<Vec<f64>> {
        let values = |all: ndarray::ArrayViewD<R>| all.iter().map(|&x| Real::to_f64(x)).collect();
        if let Some((input, columns)) = self.place(name) {
            let all = self.inputs.get(input)?.real()?;
            return Some(values(all.slice_axis(Axis(all.ndim() - 1), columns)));
        }
        Some(values(self.inputs.get(name)?.real()?.view()))
    }
}
