//! Compiled code against the interpreters: random graphs and random models, from source to machine code that runs with
//! the real products, workers and barriers.
//!
//! The first broken link names the fault: the graph interpreter on the graph as first built is compared with the kernel
//! interpreter in f64, that with the kernel interpreter in f32, and that with compiled code on one worker, whose bits
//! must be those of compiled code on two and three. What lies between (each pass, each plan) is compared in the
//! compiler's own tests.

#[path = "../compiler/tests/support/mod.rs"]
mod support;

use lstmc_compiler::graph::rewrite::Rewriter;
use lstmc_compiler::graph::{self, Graph, InputRole, Node, OutputRole, Purpose};
use lstmc_compiler::kernel::{self, Format, Item, Module, Numbers, Precision};
use lstmc_compiler::model::Model;
use lstmc_compiler::plan::{Verified, plan};
use lstmc_compiler::target::Target;
use lstmc_compiler::{grad, opt, pipeline};
use lstmc_runtime::Result as RunResult;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::engine::{Control, Driver, Engine, StepInputs, StepOutputs, Store};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;
use support::checked::checked;
use support::executors::{SEED, by_graph, by_kernels};
use support::random_graphs::{Menu, RandomGraph, graphs};
use support::random_models::models;
use support::tensors::{Feed, Start, Tensors, agree, feed, small_feed, start};

/// In f64, passes and kernels may only reassociate: some dozen roundings of 1e-16 each, magnified by at most a few
/// tens in each of a few nested products.
const REASSOCIATION: f64 = 1e-9;

/// 6e-8 a rounding, magnified likewise. Of numbers below 1 it is the absolute error that is bounded: sums cancel.
const SINGLE: f64 = 1e-3;

/// Between two executors in f32: as [`SINGLE`], on both sides.
const COMPILED: f64 = 2e-3;

/// As [`COMPILED`], with products in bf16: what differs a little may be rounded the other way, by 2^-8, as an operand of
/// up to a few units.
const COMPILED_BF16: f64 = 3e-2;

/// Feeds steps and keeps the outputs of the last one.
struct Steps<'a> {
    feeds: &'a [Feed],
    outputs: Tensors,
}

impl Driver for Steps<'_> {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> RunResult<Control> {
        let feed = &self.feeds[step as usize];
        if let Ok((tokens, targets)) = inputs.batch_mut() {
            tokens.copy_from_slice(&feed.tokens);
            targets.copy_from_slice(&feed.targets);
        }
        inputs.set_rate_and_step(feed.rate as f32, feed.step);
        inputs.set_last_and_weight(feed.is_last(), feed.mean_weight() as f32);
        Ok(Control::Step(feed.step))
    }

    fn end(&mut self, _: u64, outputs: &dyn StepOutputs) -> RunResult<()> {
        if let Ok((losses, hits)) = outputs.outcomes() {
            for (name, values) in [("output/loss", losses), ("output/hits", hits)] {
                self.outputs.insert(name.into(), array(&[values.len()], values.to_vec()));
            }
        }
        Ok(())
    }
}

fn array(shape: &[usize], values: Vec<f32>) -> ArrayD<f64> {
    let values = values.into_iter().map(f64::from).collect();
    ArrayD::from_shape_vec(IxDyn(shape), values).expect("as many elements as the shape says")
}

fn session(module: &Module, workers: usize) -> Result<Session, String> {
    let program = Verified::new(plan(module.clone(), &Target::cpu(workers)))?;
    let executable = Executable::compile(program).map_err(|error| error.to_string())?;
    Session::new(executable).map_err(|error| error.to_string())
}

/// What each of the steps leaves when compiled code runs them.
fn by_machine(
    module: &Module,
    workers: usize,
    tensors: &Tensors,
    feeds: &[Feed],
) -> Result<Vec<Tensors>, String> {
    by_session(&mut session(module, workers)?, tensors, feeds)
}

/// As [`by_machine`], in a session that may have run before. Run one by one or in one go, steps leave the same bits.
fn by_session(session: &mut Session, tensors: &Tensors, feeds: &[Feed]) -> Result<Vec<Tensors>, String> {
    start_from(session, tensors)?;
    let mut found = vec![];
    for feed in feeds {
        found.push(after(session, std::slice::from_ref(feed))?);
    }
    start_from(session, tensors)?;
    let at_once = after(session, feeds)?;
    match found.last().and_then(|last| other_bits(last, &at_once)) {
        Some(name) => Err(format!("{name} is another after all steps in one go")),
        None => Ok(found),
    }
}

fn start_from(session: &mut Session, tensors: &Tensors) -> Result<(), String> {
    let names: Vec<String> = session.tensors().iter().map(|tensor| tensor.name.clone()).collect();
    for name in names {
        let values: Vec<f32> =
            tensors.get(&name).ok_or_else(|| format!("no {name:?}"))?.iter().map(|&x| x as f32).collect();
        session.write(&name, &values).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What the last of these steps leaves.
fn after(session: &mut Session, feeds: &[Feed]) -> Result<Tensors, String> {
    let mut steps = Steps { feeds, outputs: Tensors::new() };
    session.run(feeds.len() as u64, SEED, &mut steps).map_err(|error| error.to_string())?;
    let mut found = steps.outputs;
    for tensor in session.tensors() {
        let values = session.read(&tensor.name).map_err(|error| error.to_string())?;
        found.insert(tensor.name.clone(), array(&tensor.shape, values));
    }
    Ok(found)
}

/// Every link, over as many steps as there are feeds; `plain` and `optimised` are the same step.
fn chain(plain: &Graph, optimised: &Graph, values: Start, feeds: &[Feed]) -> Result<(), String> {
    let module = pipeline::kernels_of(optimised, Numbers::default(), &Target::cpu(1), &mut |_, _| {});
    kernel::verify(&module).map_err(|fault| format!("kernels: {fault}"))?;
    let tensors = start(plain, values);
    let (mut graph, mut wide, mut narrow) = (tensors.clone(), tensors.clone(), tensors.clone());
    let mut expected = vec![];
    for feed in feeds {
        graph = by_graph(plain, &graph, feed)?;
        wide = by_kernels::<f64>(optimised, &module, &wide, feed)?;
        agree(&graph, &wide, REASSOCIATION).map_err(|fault| format!("kernels in f64: {fault}\n{module}"))?;
        narrow = by_kernels::<f32>(optimised, &module, &narrow, feed)?;
        agree(&graph, &narrow, SINGLE).map_err(|fault| format!("kernels in f32: {fault}\n{module}"))?;
        expected.push(narrow.clone());
    }
    compiled(&module, &tensors, feeds, &expected, COMPILED)
}

/// The last links: compiled code on one worker against what the kernel interpreter left of each step, and on two and
/// three against one.
fn compiled(
    module: &Module,
    tensors: &Tensors,
    feeds: &[Feed],
    expected: &[Tensors],
    tolerance: f64,
) -> Result<(), String> {
    let first = by_machine(module, 1, tensors, feeds).map_err(|fault| format!("{fault}\n{module}"))?;
    for (step, (expected, found)) in expected.iter().zip(&first).enumerate() {
        let told = |fault| format!("compiled, step {step}: {fault}\n{module}");
        agree(&seen_by_host(expected), found, tolerance).map_err(told)?;
    }
    for workers in [2, 3] {
        let found = by_machine(module, workers, tensors, feeds)?;
        for (step, (one, several)) in first.iter().zip(&found).enumerate() {
            if let Some(difference) = other_bits(one, several) {
                let program = plan(module.clone(), &Target::cpu(workers));
                return Err(format!(
                    "{workers} workers, step {step}: {difference}\n{program}\n{}",
                    program.module
                ));
            }
        }
    }
    Ok(())
}

/// What the runtime can read of a step: outputs other than loss and hits are read by other means, or not at all.
fn seen_by_host(tensors: &Tensors) -> Tensors {
    let seen = |name: &String| !name.starts_with("output/") || name == "output/loss" || name == "output/hits";
    tensors.iter().filter(|(name, _)| seen(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn other_bits(one: &Tensors, several: &Tensors) -> Option<String> {
    one.iter().find_map(|(name, a)| {
        let b = &several[name];
        let place = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits())?;
        let at = |x: &ArrayD<f64>| x.iter().nth(place).copied().unwrap_or(f64::NAN);
        Some(format!("element {place} of {name:?} is {}, not {}", at(b), at(a)))
    })
}

/// `graph` with every output that the runtime cannot read by name, and whatever name the update adds, turned into a
/// carried tensor.
fn observable(graph: &Graph) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    rewriter.nodes(&graph.body, &mut |_: &mut Rewriter, _: &Node| None);
    for (place, output) in graph.outputs.iter().enumerate() {
        let value = rewriter.get(output.value);
        match &output.role {
            OutputRole::Probabilities | OutputRole::Objective | OutputRole::Gradient(_) => {
                let name = format!("seen {place}");
                let ty = rewriter.new.ty(value).clone();
                rewriter.new.input(&name, ty, InputRole::Carried { start: 0.0 });
                rewriter.new.output(value, OutputRole::Update(name));
            }
            role => rewriter.new.output(value, role.clone()),
        }
    }
    rewriter.new.finish()
}

fn without_rate(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for input in graph.inputs.iter_mut().filter(|input| input.role == InputRole::Rate) {
        input.name = "speed".into();
        input.role = InputRole::Carried { start: 0.0 };
    }
    graph
}

/// The order of `pipeline`, up to gradients.
fn with_gradients(graph: &Graph) -> Graph {
    let forward = opt::simplify(&opt::hoist(&opt::merge_products(&opt::simplify(graph))));
    opt::simplify(&opt::sink(&opt::simplify(&grad::gradients(&forward))))
}

fn model_feeds(graph: &Graph, model: &Model) -> Vec<Feed> {
    (1..=2).map(|step| feed(graph, model.vocab as u32, 0.25, step)).collect()
}

fn training(model: &Model) -> Result<(), String> {
    let plain = graph::lower(model, Purpose::Train);
    let plain = grad::update(&grad::gradients(&plain), &model.optimizer, grad::Rules::of(&model.train));
    let optimised = pipeline::graph_of(model, Purpose::Train, &Target::cpu(1), &mut |_, _| {});
    chain(&plain, &optimised, Start::Halves, &model_feeds(&plain, model))
}

/// A training step with products in bf16, by the kernel interpreter and compiled.
fn training_in_bf16(model: &Model) -> Result<(), String> {
    let graph = pipeline::graph_of(model, Purpose::Train, &Target::cpu(1), &mut |_, _| {});
    let numbers = Numbers { products: Precision::Bf16, ..Numbers::default() };
    let module = pipeline::kernels_of(&graph, numbers, &Target::cpu(1), &mut |_, _| {});
    kernel::verify(&module).map_err(|fault| format!("kernels: {fault}\n{module}"))?;
    let (feeds, tensors) = (model_feeds(&graph, model), start(&graph, Start::Halves));
    let (mut narrow, mut expected) = (tensors.clone(), vec![]);
    for feed in &feeds {
        narrow = by_kernels::<f32>(&graph, &module, &narrow, feed)?;
        expected.push(narrow.clone());
    }
    compiled(&module, &tensors, &feeds, &expected, COMPILED_BF16)
}

/// Evaluation and generation with weights in a format, by the kernel interpreter and compiled.
fn rounded(model: &Model, format: Format) -> Result<(), String> {
    for purpose in [Purpose::Evaluate, Purpose::Generate { tokens: 1 }, Purpose::Generate { tokens: 1000 }] {
        let graph = observable(&pipeline::graph_of(model, purpose, &Target::cpu(1), &mut |_, _| {}));
        let module =
            pipeline::kernels_of(&graph, Numbers::weights_in(format), &Target::cpu(1), &mut |_, _| {});
        kernel::verify(&module).map_err(|fault| format!("kernels: {fault}\n{module}"))?;
        let (feeds, tensors) = (model_feeds(&graph, model), start(&graph, Start::Halves));
        let (mut wide, mut narrow, mut expected) = (tensors.clone(), tensors.clone(), vec![]);
        for feed in &feeds {
            wide = by_kernels::<f64>(&graph, &module, &wide, feed)?;
            narrow = by_kernels::<f32>(&graph, &module, &narrow, feed)?;
            agree(&wide, &narrow, SINGLE).map_err(|fault| format!("kernels in f32: {fault}\n{module}"))?;
            expected.push(narrow.clone());
        }
        compiled(&module, &tensors, &feeds, &expected, COMPILED)?;
    }
    Ok(())
}

fn passed(result: Result<(), String>) -> Result<(), TestCaseError> {
    result.map_err(TestCaseError::fail)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 1_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn random_graphs_compiled(RandomGraph(graph) in graphs(Menu::All)) {
        let graph = observable(&without_rate(&graph));
        passed(chain(&graph, &graph, Start::Sixteenths, &[small_feed(&graph)]))?;
    }

    #[test]
    fn random_gradients_compiled(RandomGraph(graph) in graphs(Menu::All)) {
        let graph = without_rate(&graph);
        let plain = observable(&grad::gradients(&graph));
        let feed = small_feed(&plain);
        // Gradients of merged parameters are merged too: they are compared by way of an update of the parameters.
        passed(chain(&as_updates(&grad::gradients(&graph)), &as_updates(&with_gradients(&graph)), Start::Sixteenths, &[feed]))?;
    }

    #[test]
    fn random_models_with_rounded_weights_compiled(random in models(), int8 in any::<bool>()) {
        let model = checked(&random.text, random.vocab).map_err(TestCaseError::fail)?;
        let format = if int8 { Format::Int8 } else { Format::Bf16 };
        passed(rounded(&model, format))?;
    }

    #[test]
    fn random_models_with_products_in_bf16_compiled(random in models()) {
        let model = checked(&random.text, random.vocab).map_err(TestCaseError::fail)?;
        passed(training_in_bf16(&model))?;
    }

    #[test]
    fn random_models_compiled(random in models()) {
        let model = checked(&random.text, random.vocab).map_err(TestCaseError::fail)?;
        passed(training(&model))?;
    }
}

/// Of words that are wide enough to be multiplied before.
const WRITER: &str = "data { train: \"t\"; tokens: words; batches: stream(rows: 2, steps: 3) }
    model { tokens -> embedding(64) -> lstm(8) -> dense(vocab) -> softmax }
    train { loss: cross_entropy; optimizer: sgd; epochs: 1 }";

/// The observable graph of a model that writes so many tokens.
fn writing(model: &Model, tokens: usize) -> Graph {
    observable(&pipeline::graph_of(model, Purpose::Generate { tokens }, &Target::cpu(1), &mut |_, _| {}))
}

/// To the bit, the words of a long text, whose products are computed before, are those of a short one.
#[test]
fn long_texts_begin_as_short_ones_do() {
    let model = checked(WRITER, 30).unwrap_or_else(|errors| panic!("{errors}"));
    let [short, long] = [1, 1000].map(|tokens| writing(&model, tokens));
    let (feeds, values) = (model_feeds(&short, &model), start(&short, Start::Halves));
    for format in Format::OF_WEIGHTS {
        let [short, long] = [&short, &long].map(|graph| {
            pipeline::kernels_of(graph, Numbers::weights_in(format), &Target::cpu(1), &mut |_, _| {})
        });
        let multiplies = |item: &Item| matches!(item, Item::Gemm(_));
        assert!(!short.prologue.iter().any(multiplies), "{short}");
        assert!(long.prologue.iter().any(multiplies), "{long}");
        for workers in [1, 2] {
            let [short, long] =
                [&short, &long].map(|module| by_machine(module, workers, &values, &feeds).unwrap());
            for (short, long) in short.iter().zip(&long) {
                assert_eq!(other_bits(short, long), None, "{format:?}, {workers} workers");
            }
        }
    }
}

/// A session packs its weights once and multiplies words by them, and again when they have changed.
#[test]
fn weights_written_between_two_runs_are_packed_again() {
    let model = checked(WRITER, 30).unwrap_or_else(|errors| panic!("{errors}"));
    let graph = writing(&model, 1000);
    let module =
        pipeline::kernels_of(&graph, Numbers::weights_in(Format::Int8), &Target::cpu(1), &mut |_, _| {});
    let feeds = model_feeds(&graph, &model);
    let (first, second) = (start(&graph, Start::Halves), start(&graph, Start::Sixteenths));
    for workers in [1, 2] {
        let mut used = session(&module, workers).unwrap();
        let before = by_session(&mut used, &first, &feeds).unwrap();
        let again = by_session(&mut used, &second, &feeds).unwrap();
        let fresh = by_machine(&module, workers, &second, &feeds).unwrap();
        assert_eq!(other_bits(&fresh[1], &again[1]), None);
        assert!(other_bits(&before[1], &again[1]).is_some());
    }
}

/// `graph` with each gradient as the update of its parameter.
fn as_updates(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for output in &mut graph.outputs {
        if let OutputRole::Gradient(name) = &output.role {
            output.role = OutputRole::Update(name.clone());
        }
    }
    observable(&graph)
}
