//! Random graphs: what holds for each of them, and that all executors and passes agree on it.

mod support;

use lstmc_compiler::grad::gradients;
use lstmc_compiler::graph::interp::{Tensor, run};
use lstmc_compiler::graph::{Graph, Op, parse, verify};
use lstmc_compiler::opt;
use lstmc_compiler::scalar::Real;
use lstmc_compiler::target::Target;
use ndarray::{ArrayD, Axis};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use support::differences;
use support::random_graphs::{LARGEST, Menu, RandomGraph, graphs};
use support::values::{Inputs, Values, inputs};

fn outputs<R: Real>(
    graph: &Graph,
    inputs: &std::collections::HashMap<String, Tensor<R>>,
) -> Vec<ArrayD<f64>> {
    let outputs = run(graph, inputs, 1, 2).unwrap_or_else(|fault| panic!("{fault}"));
    let real = |tensor: Tensor<R>| tensor.real().map(|x| x.mapv(Real::to_f64));
    outputs.into_iter().filter_map(real).collect()
}

/// The inputs that `merge_products` lays side by side, joined as their name `a|b` says.
fn joined(graph: &Graph, inputs: &Inputs) -> Inputs {
    let mut all = inputs.clone();
    for input in graph.inputs.iter().filter(|input| !inputs.contains_key(&input.name)) {
        let pieces: Vec<_> = input.name.split('|').filter_map(|name| inputs.get(name)?.real()).collect();
        let views: Vec<_> = pieces.iter().map(|piece| piece.view()).collect();
        let wide = ndarray::concatenate(Axis(1), &views).expect("columns of equal height");
        all.insert(input.name.clone(), Tensor::Real(wide));
    }
    all
}

/// The largest difference, relative to a magnitude of at least 1.
fn distance(a: &[ArrayD<f64>], b: &[ArrayD<f64>]) -> f64 {
    assert_eq!(a.len(), b.len());
    let mut largest = 0.0_f64;
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.shape(), b.shape());
        for (a, b) in a.iter().zip(b) {
            assert!(a.is_finite() && b.is_finite(), "{a} and {b}");
            largest = largest.max((a - b).abs() / a.abs().max(1.0));
        }
    }
    largest
}

/// In f64, a pass may only reassociate: some dozen roundings of 1e-16 each, magnified by at most `LARGEST` in each of a
/// few nested products.
const REASSOCIATION: f64 = 1e-9;

/// `pass` leaves a valid graph with the same outputs.
fn keeps_meaning(pass: fn(&Graph) -> Graph, graph: &Graph) -> Result<(), TestCaseError> {
    let inputs = inputs(graph, Values::Sixteenths);
    let after = pass(graph);
    if let Err(fault) = verify(&after) {
        return Err(TestCaseError::fail(format!("the pass broke the graph: {fault}\n{after}")));
    }
    let error = distance(&outputs(graph, &inputs), &outputs(&after, &joined(&after, &inputs)));
    prop_assert!(error < REASSOCIATION, "off by {}\n{}", error, after);
    Ok(())
}

/// The passes around differentiation, in the order that a training step sees them.
fn all_passes(graph: &Graph) -> Graph {
    let forward = opt::simplify(&opt::distinct_rows(&opt::simplify(graph), 1, &Target::cpu(1)));
    opt::simplify(&opt::sparse_rows(
        &opt::sink(&opt::hoist(&opt::simplify(&gradients(&forward)))),
        &Target::cpu(1),
    ))
}

fn config() -> ProptestConfig {
    // Graphs shrink slowly: nearly every number of theirs has to be lowered by itself.
    ProptestConfig {
        cases: 256,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_graphs_verify_and_are_read_back(RandomGraph(graph) in graphs(Menu::All)) {
        prop_assert_eq!(verify(&graph), Ok(()));
        let text = graph.to_string();
        let again = parse(&text).expect("printed text parses");
        prop_assert_eq!(again.to_string(), text);
        prop_assert_eq!(again.body, graph.body);
        prop_assert_eq!(again.inputs, graph.inputs);
        prop_assert_eq!(again.outputs, graph.outputs);
    }

    /// The strategy keeps its word: magnitudes are bounded, and single precision suffices.
    #[test]
    fn single_precision_is_close(RandomGraph(graph) in graphs(Menu::All)) {
        let inputs = inputs(&graph, Values::Sixteenths);
        let wide = outputs(&graph, &inputs);
        prop_assert!(wide.iter().flatten().all(|x| x.abs() <= LARGEST));
        let narrow = inputs.into_iter().map(|(name, tensor)| {
            let tensor = match tensor {
                Tensor::Real(x) => Tensor::Real(x.mapv(|e| e as f32)),
                Tensor::Id(ids) => Tensor::Id(ids),
            };
            (name, tensor)
        });
        // 6e-8 a rounding, magnified by up to `LARGEST` in each of a few nested products.
        let error = distance(&wide, &outputs(&graph, &narrow.collect()));
        prop_assert!(error < 1e-3, "off by {}", error);
    }

    #[test]
    fn remove_dead_keeps_the_meaning(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::remove_dead, &graph)?;
    }

    #[test]
    fn simplify_keeps_the_meaning(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::simplify, &graph)?;
    }

    #[test]
    fn merge_products_keeps_the_meaning(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::merge_products, &graph)?;
    }

    #[test]
    fn hoist_keeps_the_meaning(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::hoist, &graph)?;
    }

    #[test]
    fn distinct_rows_keeps_the_meaning(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(|graph| opt::distinct_rows(graph, 1, &Target::cpu(1)), &graph)?;
        keeps_meaning(|graph| opt::distinct_rows(graph, 100, &Target::cpu(1)), &graph)?;
    }

    #[test]
    fn sink_keeps_the_meaning(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::sink, &graph)?;
    }

    #[test]
    fn sparse_rows_keeps_the_meaning(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(|graph| opt::sparse_rows(graph, &Target::cpu(1)), &graph)?;
    }

    #[test]
    fn square_sums_keeps_the_meaning(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(|graph| opt::square_sums(graph, &Target::cpu(1)), &graph)?;
    }

    #[test]
    fn remove_dead_keeps_the_meaning_of_gradients(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::remove_dead, &gradients(&graph))?;
    }

    #[test]
    fn simplify_keeps_the_meaning_of_gradients(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::simplify, &gradients(&graph))?;
    }

    #[test]
    fn hoist_keeps_the_meaning_of_gradients(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::hoist, &gradients(&graph))?;
    }

    #[test]
    fn sink_keeps_the_meaning_of_gradients(RandomGraph(graph) in graphs(Menu::All)) {
        keeps_meaning(opt::sink, &gradients(&graph))?;
    }

    #[test]
    fn all_passes_keep_the_gradients(RandomGraph(graph) in graphs(Menu::Smooth)) {
        let graph = opt::merge_products(&graph);
        let inputs = joined(&graph, &inputs(&graph, Values::Sixteenths));
        if let Err(fault) = differences::check(all_passes, &graph, &graph, &inputs) {
            return Err(TestCaseError::fail(fault));
        }
    }

    #[test]
    fn gradients_are_central_differences(RandomGraph(graph) in graphs(Menu::Smooth)) {
        let inputs = inputs(&graph, Values::Sixteenths);
        if let Err(fault) = differences::check(gradients, &graph, &graph, &inputs) {
            return Err(TestCaseError::fail(fault));
        }
    }
}

/// The strategy reaches every operation, in loops and outside, and loops of both directions.
#[test]
fn random_graphs_have_everything() {
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let graph = graphs(Menu::All).new_tree(&mut runner).expect("a graph").current().0;
        for node in &graph.body {
            seen.insert((node.op.name(), false));
            if let Op::Loop(inner) = &node.op {
                seen.insert((if inner.reverse { "reverse" } else { "forward" }, true));
                seen.extend(inner.body.iter().map(|node| (node.op.name(), true)));
            }
        }
    }
    let scalars = lstmc_compiler::scalar::Scalar::ALL.map(|scalar| scalar.name());
    let others = [
        "const",
        "broadcast",
        "reduce_sum",
        "reduce_max",
        "matmul_nn",
        "matmul_nt",
        "matmul_tn",
        "take",
        "distinct",
        "matmul_prefix_nn",
        "matmul_prefix_nt",
        "matmul_prefix_tn",
        "scatter",
        "combine",
        "add_rows",
        "pick",
        "spread",
        "number",
        "positions",
        "random",
        "split",
        "concat",
        "at",
        "put",
        "unsqueeze",
        "squeeze",
        "stop",
    ];
    for name in scalars.into_iter().chain(others) {
        assert!(seen.contains(&(name, false)), "no {name} outside loops");
        assert!(seen.contains(&(name, name != "distinct")), "no {name} in a loop");
    }
    assert!(seen.contains(&("forward", true)) && seen.contains(&("reverse", true)));
}
