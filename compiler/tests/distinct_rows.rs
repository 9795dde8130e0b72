//! Products of looked-up rows, once for each distinct id: whatever the ids are, a training step is the same as with a
//! product for each id, by graphs, by kernels, and in the eyes of the plan.

mod support;

use lstmc_compiler::graph::{Graph, Op, verify};
use lstmc_compiler::kernel::Numbers;
use lstmc_compiler::target::Target;
use lstmc_compiler::{grad, graph, kernel, opt, pipeline, plan};
use support::checked::checked;
use support::executors::{by_graph, by_kernels, id_buffers};
use support::simulator::simulate;
use support::tensors::{Feed, Start, agree, feed, start};

const VOCABULARY: usize = 100;

/// Of 64 ids in a batch, which are looked up for each gate's product; clipping sees all gradients.
fn source(optimizer: &str) -> String {
    format!(
        "data {{ train: \"t\"; tokens: words; batches: stream(rows: 8, steps: 8) }}
        model {{ tokens -> embedding(64) -> gru(6) -> dense(vocab) -> softmax }}
        train {{ loss: cross_entropy; optimizer: {optimizer}; epochs: 1; clip: norm(0.5) }}"
    )
}

fn count(graph: &Graph, is_one: fn(&Op) -> bool) -> usize {
    graph.body.iter().filter(|node| is_one(&node.op)).count()
}

/// The step with and without the pass, from the same tensors.
fn check(optimizer: &str, tokens: Option<Vec<u32>>) -> Result<(), String> {
    let model = checked(&source(optimizer), VOCABULARY)?;
    let forward = opt::simplify(&opt::hoist(&opt::merge_products(&opt::simplify(&graph::lower(
        &model,
        graph::Purpose::Train,
    )))));
    let finish = |forward: &Graph| {
        let step = grad::update(&grad::gradients(forward), &model.optimizer, grad::Rules::of(&model.train));
        opt::simplify(&opt::sparse_rows(&opt::sink(&opt::simplify(&step)), &Target::cpu(1)))
    };
    let plain = finish(&forward);
    let once = finish(&opt::simplify(&opt::distinct_rows(&forward, 1, &Target::cpu(1))));
    verify(&once)?;
    let products = |graph: &Graph| count(graph, |op| matches!(op, Op::MatMulPrefix(_)));
    assert_eq!((products(&plain), products(&once)), (0, 3), "{once}");

    let tensors = start(&plain, Start::Halves);
    let mut feed: Feed = feed(&plain, VOCABULARY as u32, 0.1, 2);
    feed.tokens = tokens.unwrap_or(feed.tokens);
    let expected = by_graph(&plain, &tensors, &feed)?;
    // Passes and kernels may only reassociate.
    agree(&expected, &by_graph(&once, &tensors, &feed)?, 1e-10)?;
    let module = pipeline::kernels_of(&once, Numbers::default(), &Target::cpu(1), &mut |_, _| {});
    kernel::verify(&module)?;
    agree(&expected, &by_kernels::<f64>(&once, &module, &tensors, &feed)?, 1e-10)?;
    for workers in 1..=3 {
        let program = plan::plan(module.clone(), &Target::cpu(workers));
        plan::verify(&program)?;
        simulate(&program, &id_buffers(&once, &feed)).map_err(|fault| format!("{fault}\n{program}"))?;
    }
    Ok(())
}

#[test]
fn a_step_is_the_same_whatever_the_ids() {
    for optimizer in ["sgd(rate: 0.1)", "adam(rate: 0.1)"] {
        let ids = [
            ("some", None),
            ("different ones", Some((0..64).rev().collect())),
            ("one", Some(vec![17; 64])),
            ("the first, last", Some((0..64).map(|at| if at < 63 { 99 } else { 0 }).collect())),
        ];
        for (name, tokens) in ids {
            check(optimizer, tokens).unwrap_or_else(|fault| panic!("{optimizer}, {name}: {fault}"));
        }
    }
}

/// The rows of the gradient that were looked up stay few, so that `sgd` changes these only.
#[test]
fn the_table_is_updated_by_distinct_rows() {
    let model = checked(&source("sgd(rate: 0.1)"), 10_000).unwrap_or_else(|errors| panic!("{errors}"));
    let graph = pipeline::graph_of(&model, graph::Purpose::Train, &Target::cpu(1), &mut |_, _| {});
    assert_eq!(count(&graph, |op| *op == Op::AddRows), 1, "{graph}");
    assert_eq!(count(&graph, |op| matches!(op, Op::Scatter { rows: 10_000 })), 0, "{graph}");
}

/// Where every row has a state, the update finds the rows of the gradient by itself: no table of mostly zeros is made.
#[test]
fn a_state_in_every_row_finds_its_gradient() {
    for layers in ["gru(6)", "dropout(0.5) -> gru(6)"] {
        let text = source("adam(rate: 0.1)").replace("gru(6)", layers);
        let model = checked(&text, 10_000).unwrap_or_else(|errors| panic!("{errors}"));
        let graph = pipeline::graph_of(&model, graph::Purpose::Train, &Target::cpu(1), &mut |_, _| {});
        assert_eq!(count(&graph, |op| matches!(op, Op::Scatter { rows: 10_000 })), 0, "{layers}: {graph}");
        let module = pipeline::kernels_of(&graph, Numbers::default(), &Target::cpu(1), &mut |_, _| {});
        let tables = module.buffers.iter().filter(|buffer| buffer.shape == [10_000, 64]);
        let kept = tables.filter(|buffer| buffer.kind == kernel::BufferKind::Temp).count();
        assert_eq!(kept, 0, "{layers}: {module}");
    }
}
