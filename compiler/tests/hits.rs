//! What counts as a right prediction: of several tokens that are equally likely the first is predicted; in the graph as it
//! is lowered, after the passes, and by kernels.

mod support;

use lstmc_compiler::graph::{self, Graph, OutputRole, Purpose};
use lstmc_compiler::kernel::Numbers;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use support::checked::checked;
use support::executors::{by_graph, by_kernels};
use support::tensors::{Feed, Start, Tensors, feed, start};

const VOCABULARY: usize = 60;

/// The logits of a token are its row of the table: sixteenths between -1 and 1, so that in most rows several are largest.
const SOURCE: &str = "data { train: \"t\"; tokens: words; batches: stream(rows: 8, steps: 8) }
    model { tokens -> embedding(vocab) -> softmax }
    train { loss: cross_entropy; optimizer: sgd; epochs: 1 }";

/// The ids of the largest elements, in order.
fn largest(row: &[f64]) -> Vec<u32> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (0..row.len()).filter(|&id| row[id] == most).map(|id| id as u32).collect()
}

/// Targets of which every third is the prediction, every third equally likely, and the others any; how many are right.
fn targets(tensors: &Tensors, feed: &mut Feed) -> f64 {
    let table = &tensors["embedding_1.E"];
    let mut right = 0.0;
    for (place, (&token, target)) in feed.tokens.iter().zip(&mut feed.targets).enumerate() {
        let row: Vec<f64> = table.index_axis(ndarray::Axis(0), token as usize).iter().copied().collect();
        let largest = largest(&row);
        *target = match place % 3 {
            0 => largest[0],
            1 => largest[largest.len() - 1],
            _ => *target,
        };
        right += f64::from(*target == largest[0]);
    }
    right
}

fn check(purpose: Purpose) {
    let model = checked(SOURCE, VOCABULARY).unwrap_or_else(|errors| panic!("{errors}"));
    let plain = graph::lower(&model, purpose);
    let tensors = start(&plain, Start::Sixteenths);
    let mut feed = feed(&plain, VOCABULARY as u32, 0.0, 1);
    let right = targets(&tensors, &mut feed);
    assert!((22.0..60.0).contains(&right), "{right} of 64 are not a test");

    let hits = |graph: &Graph| by_graph(graph, &tensors, &feed).map(|found| found["output/hits"].sum());
    assert_eq!(hits(&plain), Ok(right), "as it is lowered");
    let graph = pipeline::graph_of(&model, purpose, &Target::cpu(1), &mut |_, _| {});
    assert!(graph.output(&OutputRole::Hits).is_some());
    assert_eq!(hits(&graph), Ok(right), "after the passes");
    let module = pipeline::kernels_of(&graph, Numbers::default(), &Target::cpu(1), &mut |_, _| {});
    let found = by_kernels::<f32>(&graph, &module, &tensors, &feed).map(|found| found["output/hits"].sum());
    assert_eq!(found, Ok(right), "by kernels");
}

#[test]
fn the_first_of_equals_is_the_prediction() {
    check(Purpose::Train);
    check(Purpose::Evaluate);
}
