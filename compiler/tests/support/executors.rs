//! One step of a graph, by each interpreter, on tensors by name.

use std::collections::HashMap;

use lstmc_compiler::graph::interp::{self, Tensor};
use lstmc_compiler::graph::{Graph, OutputRole};
use lstmc_compiler::kernel::{self, Machine, Module};
use lstmc_compiler::scalar::Real;
use ndarray::ArrayD;

use super::tensors::{Feed, Tensors, after, inputs};

/// The seed of every run, of which random numbers are a function.
pub const SEED: u64 = 3;

/// A step of the graph interpreter in f64.
pub fn by_graph(graph: &Graph, tensors: &Tensors, feed: &Feed) -> Result<Tensors, String> {
    let outputs = interp::run(graph, &inputs(graph, tensors, feed), SEED, feed.step)?;
    let real = |tensor: Tensor<f64>| tensor.real().cloned().unwrap_or_else(|| ArrayD::zeros(vec![0]));
    Ok(after(graph, tensors, outputs.into_iter().map(real).collect()))
}

/// The buffers of `module`, which was lowered from `graph`, with these inputs.
pub fn filled<R: Real>(
    graph: &Graph,
    module: &Module,
    tensors: &Tensors,
    feed: &Feed,
) -> Result<Machine<R>, String> {
    let mut machine = Machine::<R>::new(module);
    for (name, value) in inputs(graph, tensors, feed) {
        let no_buffer = || format!("no buffer is named {name:?}");
        match value {
            Tensor::Real(x) => {
                let to = machine.get_mut(&name).ok_or_else(no_buffer)?;
                to.iter_mut().zip(&x).for_each(|(to, &x)| *to = R::of(x));
            }
            Tensor::Id(x) => {
                let to = machine.ids_mut(&name).ok_or_else(no_buffer)?;
                to.iter_mut().zip(&x).for_each(|(to, &x)| *to = x);
            }
        }
    }
    Ok(machine)
}

/// A step of the kernel interpreter in the precision of `R`; `module` was lowered from `graph`.
pub fn by_kernels<R: Real>(
    graph: &Graph,
    module: &Module,
    tensors: &Tensors,
    feed: &Feed,
) -> Result<Tensors, String> {
    let mut machine = filled::<R>(graph, module, tensors, feed)?;
    kernel::run(module, &mut machine, SEED, feed.step)?;
    let mut outputs = vec![];
    for (place, output) in graph.outputs.iter().enumerate() {
        let name = match &output.role {
            OutputRole::Update(name) => name.clone(),
            _ => format!("out_{place}"),
        };
        let values = match graph.ty(output.value).is_real() {
            true => machine.get(&name).ok_or_else(|| format!("no buffer is named {name:?}"))?,
            false => &[],
        };
        let shape = if values.is_empty() { vec![0] } else { graph.shape(output.value).to_vec() };
        let values = values.iter().map(|&x| Real::to_f64(x)).collect();
        outputs.push(ArrayD::from_shape_vec(shape, values).map_err(|error| error.to_string())?);
    }
    Ok(after(graph, tensors, outputs))
}

/// Ids by the name of their buffer.
pub fn id_buffers(graph: &Graph, feed: &Feed) -> HashMap<String, Vec<u32>> {
    super::tensors::ids(graph, feed).into_iter().collect()
}
