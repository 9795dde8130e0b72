//! What a step on a GPU begins with and what it leaves.

use lstmc_compiler::graph::Graph;
use lstmc_compiler::kernel::{BufferKind, Machine, Module};
use lstmc_compiler::scalar::Real;
use lstmc_compiler::target::Nvidia;

use super::executors::filled;
use super::tensors::{Feed, Start, start};

/// A GPU of few multiprocessors, each of which has much to do.
pub const GPU: Nvidia = Nvidia { sm: 80, multiprocessors: 3 };

/// The buffers of `module` before a step, with random tensors and what `feed` gives.
pub fn machine<R: Real>(graph: &Graph, module: &Module, feed: &Feed) -> Machine<R> {
    filled(graph, module, &start(graph, Start::Halves), feed).unwrap_or_else(|error| panic!("{error}"))
}

/// The buffers of reals that outlive a step or are read after it, by name.
pub type Left = Vec<(String, Vec<f64>)>;

pub fn left<R: Real>(module: &Module, machine: &Machine<R>) -> Left {
    let stays = |kind: &BufferKind| matches!(kind, BufferKind::Input(_) | BufferKind::Output(_));
    let lasting = module.buffers.iter().filter(|buffer| stays(&buffer.kind));
    let named = |name: &String| {
        let values = machine.get(name)?;
        Some((name.clone(), values.iter().map(|&value| Real::to_f64(value)).collect()))
    };
    lasting.filter_map(|buffer| named(&buffer.name)).collect()
}

/// The first tensor that is further from the expected one than `tolerance` times its norm.
pub fn apart(expected: &Left, found: &Left, tolerance: f64) -> Option<String> {
    // Loss and hits of a step are single numbers, which may be 0.
    apart_from(expected, found, tolerance, 1e-3)
}

/// [`apart`], with norms below `least` taken as that.
pub fn apart_from(expected: &Left, found: &Left, tolerance: f64, least: f64) -> Option<String> {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    expected.iter().zip(found).find_map(|((name, expected), (_, found))| {
        let size = norm(&mut expected.iter().copied());
        let error = norm(&mut expected.iter().zip(found).map(|(a, b)| a - b));
        let far = error.is_nan() || error > tolerance * size.max(least);
        far.then(|| format!("{name:?} differs by {error:e} of {size:e}"))
    })
}
