//! Random graphs and models through every stage up to the plan: each pass and the kernels keep the meaning of the graph
//! as it was first built, and plans for several workers stand up to the [`simulator`].

mod support;

use std::path::{Path, PathBuf};

use lstmc_compiler::grad::{self, Rules};
use lstmc_compiler::graph::{Graph, InputRole, Purpose, verify};
use lstmc_compiler::kernel::{Module, Numbers};
use lstmc_compiler::model::{Model, Optimizer};
use lstmc_compiler::target::{FusedSums, Target};
use lstmc_compiler::{graph, kernel, opt, pipeline, plan};
use proptest::prelude::*;
use support::checked::checked;
use support::executors::{by_graph, by_kernels, id_buffers};
use support::files;
use support::random_graphs::{Menu, RandomGraph, graphs};
use support::random_models::models;
use support::simulator::simulate;
use support::tensors::{Feed, Start, Tensors, agree, feed, small_feed, start};

/// A pass as the pipeline calls it.
struct Pass {
    name: &'static str,
    run: fn(&Graph) -> Graph,
}

/// In f64, passes and kernels may only reassociate: some dozen roundings of 1e-16 each, magnified by at most a few
/// tens in each of a few nested products.
const REASSOCIATION: f64 = 1e-9;

/// 6e-8 a rounding, magnified likewise.
const SINGLE: f64 = 1e-3;

/// A target for which sums are worth it in the smallest matrices.
fn eager() -> Target {
    Target {
        column_sums: Some(1),
        fused_sums: Some(FusedSums { min_rows: 1, min_elements: 1 }),
        ..Target::cpu(1)
    }
}

/// What a graph is run on, and what must come out.
struct Case {
    tensors: Tensors,
    feed: Feed,
    expected: Tensors,
}

impl Case {
    fn new(graph: &Graph, values: Start, feed: Feed) -> Result<Self, String> {
        let tensors = start(graph, values);
        let expected = by_graph(graph, &tensors, &feed)?;
        if expected.values().flatten().any(|x| !x.is_finite()) {
            return Err("not finite".into());
        }
        Ok(Self { tensors, feed, expected })
    }

    fn graph(&self, graph: &Graph, pass: &str) -> Result<(), String> {
        verify(graph).map_err(|fault| format!("{pass} broke the graph: {fault}\n{graph}"))?;
        let found = by_graph(graph, &self.tensors, &self.feed).map_err(|fault| format!("{pass}: {fault}"))?;
        agree(&self.expected, &found, REASSOCIATION).map_err(|fault| format!("{pass}: {fault}\n{graph}"))
    }

    fn kernels(&self, graph: &Graph) -> Result<(), String> {
        self.kernels_for(graph, &Target::cpu(1))?;
        self.kernels_for(&opt::square_sums(graph, &eager()), &eager())
    }

    fn kernels_for(&self, graph: &Graph, target: &Target) -> Result<(), String> {
        let mut stages: Vec<(String, Module)> = vec![];
        let module = pipeline::kernels_of(graph, Numbers::default(), target, &mut |pass, module| {
            if stages.last().is_none_or(|(_, before)| before != module) {
                stages.push((pass.into(), module.clone()));
            }
        });
        for (pass, module) in &stages {
            let told = |fault: String| format!("{pass}: {fault}\n{graph}\n{module}");
            kernel::verify(module).map_err(told)?;
            let wide = by_kernels::<f64>(graph, module, &self.tensors, &self.feed).map_err(told)?;
            agree(&self.expected, &wide, REASSOCIATION).map_err(told)?;
        }
        let told = |fault: String| format!("kernels: {fault}\n{graph}\n{module}");
        let narrow = by_kernels::<f32>(graph, &module, &self.tensors, &self.feed).map_err(told)?;
        agree(&self.expected, &narrow, SINGLE).map_err(|fault| told(format!("in f32: {fault}")))?;
        let ids = id_buffers(graph, &self.feed);
        for workers in 1..=3 {
            let program = plan::plan(module.clone(), &target.with_workers(workers));
            let told = |fault: String| format!("{fault}\n{program}\n{module}");
            plan::verify(&program).map_err(told)?;
            simulate(&program, &ids).map_err(told)?;
        }
        Ok(())
    }
}

/// `graph` with no input of the names that the update adds.
fn without_rate(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for input in graph.inputs.iter_mut().filter(|input| input.role == InputRole::Rate) {
        input.name = "speed".into();
        input.role = InputRole::Carried { start: 0.0 };
    }
    graph
}

const CLIP: Option<f64> = Some(0.5);

/// The passes in the order of the pipeline, each compared with the step as it is without any.
fn training(
    forward: &Graph,
    optimizer: &Optimizer,
    rules: Rules,
    values: Start,
    feed: Feed,
) -> Result<(), String> {
    let plain = grad::update(&grad::gradients(forward), optimizer, rules);
    let case = Case::new(&plain, values, feed)?;
    let mut graph = forward.clone();
    let before: [Pass; 5] = [
        Pass { name: "simplify-1", run: opt::simplify },
        Pass { name: "merge_products", run: opt::merge_products },
        Pass { name: "hoist", run: opt::hoist },
        Pass { name: "distinct_rows", run: |graph| opt::distinct_rows(graph, 1, &Target::cpu(1)) },
        Pass { name: "simplify-2", run: opt::simplify },
    ];
    for Pass { name, run } in before {
        graph = run(&graph);
        verify(&graph).map_err(|fault| format!("{name} broke the graph: {fault}\n{graph}"))?;
        case.graph(&grad::update(&grad::gradients(&graph), optimizer, rules), name)?;
    }
    graph = grad::update(&grad::gradients(&graph), optimizer, rules);
    let after: [Pass; 5] = [
        Pass { name: "simplify-3", run: opt::simplify },
        Pass { name: "sink", run: opt::sink },
        Pass { name: "sparse_rows", run: |graph| opt::sparse_rows(graph, &Target::cpu(1)) },
        Pass { name: "simplify-4", run: opt::simplify },
        Pass { name: "square_sums", run: |graph| opt::square_sums(graph, &eager()) },
    ];
    for Pass { name, run } in after {
        graph = run(&graph);
        case.graph(&graph, name)?;
    }
    case.kernels(&graph)
}

fn forward(graph: &Graph, values: Start, feed: Feed) -> Result<(), String> {
    let case = Case::new(graph, values, feed)?;
    case.kernels(graph)?;
    let hoisted = opt::hoist(&opt::merge_products(&opt::simplify(graph)));
    let optimised = opt::simplify(&opt::distinct_rows(&hoisted, 1, &Target::cpu(1)));
    case.graph(&optimised, "the passes")?;
    case.kernels(&optimised)
}

/// Graphs that are easy to lower or plan wrongly, as most of them once were, each with a word on why.
#[test]
fn known_graphs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lowering");
    let paths = files::files(&root, "txt");
    assert!(!paths.is_empty(), "no graphs in {}", root.display());
    let check = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let graph = graph::parse(&text).map_err(|error| error.to_string())?;
        verify(&graph)?;
        forward(&graph, Start::Sixteenths, small_feed(&graph))
    };
    let fault = |path: &PathBuf| Some(format!("{}: {}", path.display(), check(path).err()?));
    let faults: Vec<String> = paths.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{} of {} fail\n\n{}", faults.len(), paths.len(), faults.join("\n\n"));
}

fn optimizer(text: &str) -> Optimizer {
    let text = format!(
        "data {{ train: \"t\"; tokens: words; batches: stream(rows: 1, steps: 1) }}
        model {{ tokens -> embedding(1) -> dense(vocab) -> softmax }}
        train {{ loss: cross_entropy; optimizer: {text}; epochs: 1 }}"
    );
    checked(&text, 5).unwrap_or_else(|errors| panic!("{errors}")).optimizer
}

fn model_feed(graph: &Graph, model: &Model, step: u64) -> Feed {
    feed(graph, model.vocab as u32, 0.25, step)
}

fn passed(result: Result<(), String>) -> Result<(), TestCaseError> {
    result.map_err(TestCaseError::fail)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn random_graphs(RandomGraph(graph) in graphs(Menu::All)) {
        passed(forward(&graph, Start::Sixteenths, small_feed(&graph)))?;
    }

    #[test]
    fn random_graphs_with_gradients(RandomGraph(graph) in graphs(Menu::All), adam in any::<bool>()) {
        let text = if adam { "adam(epsilon: 0.1)" } else { "momentum(rate: 0.1)" };
        let graph = without_rate(&graph);
        passed(training(&graph, &optimizer(text), Rules { clip: CLIP.filter(|_| adam), ..Rules::default() }, Start::Sixteenths, small_feed(&graph)))?;
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn random_models(random in models()) {
        let model = checked(&random.text, random.vocab).map_err(TestCaseError::fail)?;
        let graph = graph::lower(&model, Purpose::Train);
        let feed = model_feed(&graph, &model, 2);
        passed(training(&graph, &model.optimizer, Rules::of(&model.train), Start::Halves, feed))?;
        for purpose in [Purpose::Evaluate, Purpose::Generate { tokens: 1 }] {
            let graph = graph::lower(&model, purpose);
            passed(forward(&graph, Start::Halves, model_feed(&graph, &model, 2)))?;
        }
    }
}
