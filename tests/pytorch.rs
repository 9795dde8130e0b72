//! Three training steps of small models against PyTorch's: loss, every gradient, every updated weight, final states.
//!
//! `pytorch/make_fixtures.py` says what is in `fixtures/` and wrote it. An [`Executor`] is one way to run a model's
//! training step; each must reproduce every fixture.

#[path = "../compiler/tests/support/checked.rs"]
mod checked;
#[path = "pytorch/fixture.rs"]
mod fixture;
#[path = "pytorch/interpreter.rs"]
mod interpreter;
#[path = "pytorch/native.rs"]
mod native;

use fixture::{Batch, Fixture, Tensor};
use interpreter::Interpreter;
use lstmc_compiler::graph::{Graph, Purpose, lower};
use lstmc_compiler::model::Model;
use lstmc_compiler::target::Target;
use lstmc_compiler::{grad, pipeline};
use native::Native;

/// A way to run training steps of one model. It holds tensors, named as the runtime names them: a parameter
/// `lstm_1.W_i`, its optimizer state `optimizer/lstm_1.W_i/s`, recurrent state `carried/lstm_1.h`.
trait Executor {
    /// Runs step `number`, counted from 1. Returns the mean cross-entropy per prediction, before the update.
    fn step(&mut self, number: u64, batch: &Batch) -> f64;

    /// A tensor's value, row by row.
    fn get(&mut self, name: &str) -> Option<Vec<f64>>;

    fn set(&mut self, name: &str, values: &[f64]);
}

/// Makes executors of models.
type Make = dyn Fn(&Model) -> Box<dyn Executor>;

/// Largest difference between an element and PyTorch's, relative to the largest element of its tensor. Both round each
/// of some hundred operations to 6e-8, in different orders.
const SINGLE: f64 = 1e-5;
/// The same in f64, where roundings are 1e-16.
const DOUBLE: f64 = 1e-12;
/// PyTorch adds 1e-6 to the norm that it clips by, which in these fixtures is at least 0.25.
const DOUBLE_CLIPPED: f64 = 1e-5;

fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|x| x.is_finite()));
    let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let error = found.iter().zip(expected).fold(0.0, |error: f64, (a, b)| error.max((a - b).abs()));
    // Where PyTorch's tensor is zero, the other must be.
    if error == 0.0 { 0.0 } else { error / largest }
}

/// What differs too much, each with its relative difference.
struct Differences {
    tolerance: f64,
    found: Vec<String>,
}

impl Differences {
    fn compare(&mut self, what: &str, found: Option<Vec<f64>>, expected: &Tensor) {
        match found {
            None => self.found.push(format!("{what} is missing")),
            Some(found) => {
                let error = distance(&found, &expected.values);
                if error > self.tolerance {
                    self.found.push(format!("{what} is off by {error:.2e}"));
                }
            }
        }
    }
}

/// An executor with the fixture's initial parameters.
fn start(fixture: &Fixture, make: &Make) -> Box<dyn Executor> {
    let mut executor = make(&fixture.model);
    for (name, tensor) in &fixture.start {
        executor.set(name, &tensor.values);
    }
    executor
}

/// Runs the fixture's steps and compares all that PyTorch recorded of them, in f32.
fn compare(fixture: &Fixture, make: &Make) -> Vec<String> {
    let mut differences = Differences { tolerance: SINGLE, found: vec![] };
    let mut executor = start(fixture, make);
    let mut keeper = make(&fixture.gradient_model);
    for (number, batch) in (1..).zip(&fixture.batches) {
        let states = fixture.tensors("state", number).map(|(name, _)| format!("carried/{name}"));
        for name in fixture.start.keys().cloned().chain(states) {
            let value = executor.get(&name).unwrap_or_else(|| panic!("there is no {name}"));
            keeper.set(&name, &value);
        }
        keeper.step(number, batch);
        for (name, expected) in fixture.tensors("gradient", number) {
            let found = keeper.get(&format!("optimizer/{name}/gradient"));
            differences.compare(&format!("gradient/{number}/{name}"), found, expected);
        }
        let loss = executor.step(number, batch);
        differences.compare(&format!("loss/{number}"), Some(vec![loss]), fixture.tensor("loss", number, ""));
        for (kind, prefix) in [("param", ""), ("state", "carried/")] {
            for (name, expected) in fixture.tensors(kind, number) {
                let found = executor.get(&format!("{prefix}{name}"));
                differences.compare(&format!("{kind}/{number}/{name}"), found, expected);
            }
        }
    }
    differences.found
}

/// Runs `check` on every fixture; fails with all that it found.
fn for_every_fixture(check: impl Fn(&Fixture) -> Vec<String>) {
    let fixtures = Fixture::all();
    assert!(fixtures.len() >= 12, "only {} fixtures", fixtures.len());
    let wrong: Vec<String> = fixtures
        .iter()
        .flat_map(|fixture| check(fixture).into_iter().map(|found| format!("{}: {found}", fixture.name)))
        .collect();
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

/// The training step with no pass run on it.
fn plain(model: &Model) -> Graph {
    let rules = grad::Rules::of(&model.train);
    grad::update(&grad::gradients(&lower(model, Purpose::Train)), &model.optimizer, rules)
}

fn optimised(model: &Model) -> Graph {
    pipeline::graph_of(model, Purpose::Train, &Target::cpu(1), &mut |_, _| {})
}

#[test]
fn the_graph_interpreter_agrees() {
    for_every_fixture(|fixture| {
        compare(fixture, &|model| Box::new(Interpreter::<f32>::new(plain(model), model)))
    });
}

#[test]
fn optimised_graphs_agree() {
    for_every_fixture(|fixture| {
        compare(fixture, &|model| Box::new(Interpreter::<f32>::new(optimised(model), model)))
    });
}

#[test]
fn machine_code_agrees() {
    for workers in [1, 2, 3] {
        for_every_fixture(|fixture| compare(fixture, &move |model| Box::new(Native::new(model, workers))));
    }
}

/// The same bits on any number of workers.
#[test]
fn workers_change_nothing() {
    for_every_fixture(|fixture| {
        let train = |workers: usize| {
            let mut executor = start(fixture, &move |model| Box::new(Native::new(model, workers)));
            let losses = (1..).zip(&fixture.batches).map(|(number, batch)| executor.step(number, batch));
            let losses: Vec<f64> = losses.collect();
            (losses, fixture.start.keys().map(|name| executor.get(name)).collect::<Vec<_>>())
        };
        let alone = train(1);
        let differ = |workers: &usize| train(*workers) != alone;
        [2, 3]
            .iter()
            .filter(|workers| differ(workers))
            .map(|n| format!("{n} workers differ from 1"))
            .collect()
    });
}

/// In f64 the losses of the second and third step, which follow from every update before them, agree almost exactly.
#[test]
fn losses_agree_in_double_precision() {
    for_every_fixture(|fixture| {
        let tolerance = if fixture.model.train.clip.is_some() { DOUBLE_CLIPPED } else { DOUBLE };
        let mut differences = Differences { tolerance, found: vec![] };
        let mut executor =
            start(fixture, &|model| Box::new(Interpreter::<f64>::new(optimised(model), model)));
        for (number, batch) in (1..).zip(&fixture.batches) {
            let loss = executor.step(number, batch);
            let expected = fixture.tensor("loss64", number, "");
            differences.compare(&format!("loss64/{number}"), Some(vec![loss]), expected);
        }
        differences.found
    });
}

/// The comparison itself can fail.
#[test]
fn a_wrong_weight_is_found() {
    let mut fixture = Fixture::all().swap_remove(0);
    let (name, start) = fixture.start.iter_mut().next().expect("a parameter");
    start.values[0] += 1e-3;
    let name = name.clone();
    let found = compare(&fixture, &|model| Box::new(Interpreter::<f32>::new(plain(model), model)));
    assert!(found.iter().any(|found| found.starts_with(&format!("param/1/{name} is off"))), "{found:?}");
}
