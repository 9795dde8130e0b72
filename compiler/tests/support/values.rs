//! Values for a graph's inputs: a function of the input's place and the element's index.

use std::collections::HashMap;

use lstmc_compiler::graph::interp::Tensor;
use lstmc_compiler::graph::{Elem, Graph, Type};
use lstmc_compiler::scalar;
use ndarray::{ArrayD, IxDyn};

pub type Inputs = HashMap<String, Tensor<f64>>;

/// Token ids lie below this, and repeat in any tensor of more elements: tables of the tests have at least as many rows.
pub const ID_BOUND: u32 = 3;

/// What the reals of an input are like.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Uniform between these.
    Uniform(f64, f64),
    /// At least 0.2 apart within an input of up to 23 elements and between inputs at the same index, at least 0.1 from
    /// zero: away from the kinks of `abs`, `max` and comparisons.
    Spaced,
    /// Multiples of 1/16 between -1 and 1, exact in every precision.
    Sixteenths,
}

/// Values for every input of `graph`; reals as `values` says. An input called `held x` gets what `x` gets.
pub fn inputs(graph: &Graph, values: Values) -> Inputs {
    let mut inputs = Inputs::new();
    for (place, input) in graph.inputs.iter().enumerate() {
        let held = input.name.strip_prefix("held ").and_then(|name| inputs.get(name).cloned());
        let value = held.unwrap_or_else(|| tensor(graph.ty(input.value), place, values));
        inputs.insert(input.name.clone(), value);
    }
    inputs
}

fn tensor(ty: &Type, place: usize, values: Values) -> Tensor<f64> {
    let key = scalar::random_key(17, 0, place as u32);
    let uniform = |index: usize| f64::from(scalar::random(key, index as u32));
    let shape = IxDyn(&ty.shape);
    let mut index = 0..;
    let mut next = || index.next().unwrap_or_default();
    match ty.elem {
        Elem::Id => {
            Tensor::Id(ArrayD::from_shape_simple_fn(shape, || (uniform(next()) * f64::from(ID_BOUND)) as u32))
        }
        Elem::Real => Tensor::Real(ArrayD::from_shape_simple_fn(shape, || match values {
            Values::Uniform(low, high) => low + (high - low) * uniform(next()),
            Values::Spaced => ((next() * 5 + place * 11) % 23) as f64 * 0.2 - 2.1,
            Values::Sixteenths => ((uniform(next()) * 31.0).floor() - 15.0) / 16.0,
        })),
    }
}
