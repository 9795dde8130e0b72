//! Three training steps of small models against PyTorch's: loss, every gradient, every updated weight, final states.
//!
//! `pytorch/make_fixtures.py` says what is in `fixtures/` and wrote it. An [`Executor`] is one way to run a model's
//! training step; each must reproduce every fixture.

#[path = "pytorch/fixture.rs"]
mod fixture;
#[path = "pytorch/interpreter.rs"]
mod interpreter;

use std::collections::BTreeMap;

use fixture::{Batch, Fixture, Tensor};
use interpreter::Interpreter;
use lstmc_compiler::graph::Graph;
use lstmc_compiler::opt;

/// Tensors by the model's names for them.
pub type Named = BTreeMap<String, Vec<f64>>;

/// A way to run training steps of one model, with its parameters and states.
pub trait Executor {
    /// Runs step `number`, counted from 1.
    fn step(&mut self, number: u64, batch: &Batch) -> Outcome;

    /// The present value of a parameter (`lstm_1.W_i`) or a carried state (`lstm_1.h`).
    fn tensor(&self, name: &str) -> Option<Vec<f64>>;
}

pub struct Outcome {
    /// Mean cross-entropy per prediction, before the update.
    pub loss: f64,
    /// Before clipping, by parameter, from executors that hand them out.
    pub gradients: Option<Named>,
}

/// Largest difference between an element and PyTorch's, relative to the largest element of its tensor. Both round each
/// of some hundred operations to 6e-8, in different orders.
const SINGLE: f64 = 1e-5;
/// The same in f64, where roundings of 1e-16 are magnified by at most the thousand of Adam's 1 / sqrt(v).
const DOUBLE: f64 = 1e-12;
/// PyTorch adds 1e-6 to the norm that it clips by, which here is at least 0.25.
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
    fn compare(&mut self, what: &str, found: Option<&[f64]>, expected: &Tensor) {
        match found {
            None => self.found.push(format!("{what} is missing")),
            Some(found) => {
                let error = distance(found, &expected.values);
                if error > self.tolerance {
                    self.found.push(format!("{what} is off by {error:.2e}"));
                }
            }
        }
    }
}

/// Runs the fixture's steps and compares all that PyTorch recorded of them, in f32.
fn compare(fixture: &Fixture, executor: &mut dyn Executor) -> Vec<String> {
    let mut differences = Differences { tolerance: SINGLE, found: vec![] };
    for (number, batch) in (1..).zip(&fixture.batches) {
        let outcome = executor.step(number, batch);
        differences.compare(
            &format!("loss/{number}"),
            Some(&[outcome.loss]),
            fixture.tensor("loss", number, ""),
        );
        for (name, expected) in fixture.tensors("gradient", number) {
            if let Some(gradients) = &outcome.gradients {
                let found = gradients.get(name).map(Vec::as_slice);
                differences.compare(&format!("gradient/{number}/{name}"), found, expected);
            }
        }
        for kind in ["param", "state"] {
            for (name, expected) in fixture.tensors(kind, number) {
                let found = executor.tensor(name);
                differences.compare(&format!("{kind}/{number}/{name}"), found.as_deref(), expected);
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

fn as_it_is(graph: &Graph) -> Graph {
    graph.clone()
}

fn before_differentiation(graph: &Graph) -> Graph {
    opt::merge_products(&opt::simplify(graph))
}

fn after_differentiation(graph: &Graph) -> Graph {
    opt::remove_dead(&opt::simplify(&opt::sink(&opt::hoist(&opt::simplify(graph)))))
}

#[test]
fn the_graph_interpreter_agrees() {
    for_every_fixture(|fixture| compare(fixture, &mut Interpreter::<f32>::new(fixture, as_it_is, as_it_is)));
}

#[test]
fn optimised_graphs_agree() {
    for_every_fixture(|fixture| {
        let mut executor = Interpreter::<f32>::new(fixture, before_differentiation, after_differentiation);
        compare(fixture, &mut executor)
    });
}

/// In f64 the losses of the second and third step, which follow from every update before them, agree almost exactly.
#[test]
fn losses_agree_in_double_precision() {
    for_every_fixture(|fixture| {
        let tolerance = if fixture.model.train.clip.is_some() { DOUBLE_CLIPPED } else { DOUBLE };
        let mut differences = Differences { tolerance, found: vec![] };
        let mut executor = Interpreter::<f64>::new(fixture, as_it_is, as_it_is);
        for (number, batch) in (1..).zip(&fixture.batches) {
            let loss = executor.step(number, batch).loss;
            let expected = fixture.tensor("loss64", number, "");
            differences.compare(&format!("loss64/{number}"), Some(&[loss]), expected);
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
    let found = compare(&fixture, &mut Interpreter::<f32>::new(&fixture, as_it_is, as_it_is));
    assert!(found.iter().any(|found| found.starts_with(&format!("param/1/{name} is off"))), "{found:?}");
}
