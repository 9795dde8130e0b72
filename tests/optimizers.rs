//! Every optimizer of the prelude, and clipping, against formulas written here, over several updates in f64.

#[path = "../compiler/tests/support/checked.rs"]
mod checked;

use std::collections::HashMap;

use checked::checked;
use lstmc_compiler::graph::interp::{Tensor, run};
use lstmc_compiler::graph::{Elem, Graph, InputRole, OutputRole, Purpose};
use lstmc_compiler::model::Model;
use lstmc_compiler::target::Target;
use lstmc_compiler::{pipeline, scalar};
use ndarray::{ArrayD, IxDyn, Zip};

type Values = HashMap<String, Tensor<f64>>;
/// The states of one parameter, from the number of the update, the parameter and its gradient to the new parameter.
type Rule = fn(states: &mut [f64], step: f64, p: f64, g: f64) -> f64;

const RATE: f64 = 0.05;
const UPDATES: u64 = 4;

fn model(optimizer: &str, clip: &str) -> Model {
    let text = format!(
        "data {{ train: \"a\" tokens: words batches: stream(rows: 2, steps: 3) }}\n\
         model {{ tokens -> embedding(3) -> rnn(4) -> dense(vocab) -> softmax }}\n\
         train {{ loss: cross_entropy optimizer: {optimizer} {clip} epochs: 1 }}"
    );
    checked(&text, 5).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Values of all inputs at the first update: optimizer states at their start, all else drawn.
fn start(graph: &Graph) -> Values {
    let value = |(place, input): (usize, &lstmc_compiler::graph::Input)| {
        let ty = graph.ty(input.value);
        let key = scalar::random_key(11, 0, place as u32);
        let mut index = 0..;
        let mut uniform = || f64::from(scalar::random(key, index.next().unwrap()));
        let shape = IxDyn(&ty.shape);
        let tensor = match (&input.role, ty.elem) {
            (InputRole::OptimizerState { start, .. }, _) => Tensor::Real(ArrayD::from_elem(shape, *start)),
            (InputRole::Rate, _) => Tensor::Real(ArrayD::from_elem(shape, RATE)),
            (_, Elem::Id) => Tensor::Id(ArrayD::from_shape_simple_fn(shape, || (5.0 * uniform()) as u32)),
            (_, Elem::Real) => Tensor::Real(ArrayD::from_shape_simple_fn(shape, || 2.0 * uniform() - 1.0)),
        };
        (input.name.clone(), tensor)
    };
    graph.inputs.iter().enumerate().map(value).collect()
}

fn real<'a>(values: &'a Values, name: &str) -> &'a ArrayD<f64> {
    values[name].real().expect("a real input")
}

/// The gradients of all parameters, clipped to a global norm of `limit`, by the name of the parameter.
fn gradients(graph: &Graph, values: &Values, limit: f64) -> HashMap<String, ArrayD<f64>> {
    let results = run(graph, values, 1, 1).expect("the gradient graph runs");
    let mut found = HashMap::new();
    for (output, result) in graph.outputs.iter().zip(results) {
        if let (OutputRole::Gradient(name), Tensor::Real(gradient)) = (&output.role, result) {
            found.insert(name.clone(), gradient);
        }
    }
    let norm = found.values().flatten().map(|g| g * g).sum::<f64>().sqrt();
    assert!(norm > 0.1, "gradients that vanish prove nothing");
    let factor = if norm > limit { limit / norm } else { 1.0 };
    found.values_mut().for_each(|gradient| *gradient *= factor);
    found
}

#[track_caller]
fn agrees(optimizer: &str, states: &[&str], limit: Option<f64>, rule: Rule) {
    let clip = limit.map(|limit| format!("clip: norm({limit})")).unwrap_or_default();
    let model = model(optimizer, &clip);
    let training = pipeline::graph_of(&model, Purpose::Train, &Target::cpu(1), &mut |_, _| {});
    let derivative = pipeline::gradients_of(&model, &Target::cpu(1));
    let mut values = start(&training);
    let mut expected = values.clone();
    for step in 1..=UPDATES {
        for values in [&mut values, &mut expected] {
            values.insert("step".into(), Tensor::Real(ArrayD::from_elem(IxDyn(&[]), step as f64)));
        }
        let gradients = gradients(&derivative, &expected, limit.unwrap_or(f64::INFINITY));
        assert!(gradients.len() > 3);
        for (name, gradient) in gradients {
            let names = states.iter().map(|state| format!("{name}/{state}"));
            let mut olds: Vec<ArrayD<f64>> =
                names.clone().map(|name| real(&expected, &name).clone()).collect();
            let mut param = real(&expected, &name).clone();
            let mut element = 0;
            Zip::from(&mut param).and(&gradient).for_each(|p, &g| {
                let at = |old: &mut ArrayD<f64>| old.as_slice_mut().expect("in order")[element];
                let mut own: Vec<f64> = olds.iter_mut().map(at).collect();
                *p = rule(&mut own, step as f64, *p, g);
                for (old, new) in olds.iter_mut().zip(own) {
                    old.as_slice_mut().expect("in order")[element] = new;
                }
                element += 1;
            });
            for (name, new) in names.zip(olds).chain([(name.clone(), param)]) {
                expected.insert(name, Tensor::Real(new));
            }
        }
        let results = run(&training, &values, 1, 1).expect("the training graph runs");
        let mut updated = 0;
        for (output, result) in training.outputs.iter().zip(results) {
            let OutputRole::Update(name) = &output.role else { continue };
            if matches!(training.input(name).map(|input| &input.role), Some(InputRole::Carried { .. })) {
                continue;
            }
            let (found, wanted) = (result.real().expect("a real update"), real(&expected, name));
            for (found, wanted) in found.iter().zip(wanted) {
                // Rounding alone: both are sums of some ten products in f64.
                let error = (found - wanted).abs();
                assert!(
                    error <= 1e-11 * wanted.abs().max(1e-3),
                    "{name} at update {step}: {found}, not {wanted}"
                );
            }
            updated += 1;
            values.insert(name.clone(), result);
        }
        assert_eq!(updated, (states.len() + 1) * training.inputs.iter().filter(is_param).count());
    }
}

fn is_param(input: &&lstmc_compiler::graph::Input) -> bool {
    matches!(input.role, InputRole::Param { .. })
}

#[test]
fn sgd() {
    agrees("sgd(rate: 0.05)", &[], None, |_, _, p, g| p - RATE * g);
}

#[test]
fn clipping_is_by_the_norm_of_all_gradients() {
    agrees("sgd(rate: 0.05)", &[], Some(0.07), |_, _, p, g| p - RATE * g);
    // Never reached: nothing is clipped.
    agrees("sgd(rate: 0.05)", &[], Some(1e6), |_, _, p, g| p - RATE * g);
}

#[test]
fn momentum() {
    agrees("momentum(rate: 0.05, momentum: 0.8)", &["v"], None, |s, _, p, g| {
        s[0] = 0.8 * s[0] + g;
        p - RATE * s[0]
    });
}

#[test]
fn adagrad() {
    agrees("adagrad(rate: 0.05)", &["s"], None, |s, _, p, g| {
        s[0] += g * g;
        p - RATE * g / (s[0].sqrt() + 1e-10)
    });
}

#[test]
fn rmsprop() {
    agrees("rmsprop(rate: 0.05, decay: 0.8)", &["s"], None, |s, _, p, g| {
        s[0] = 0.8 * s[0] + 0.2 * g * g;
        p - RATE * g / (s[0].sqrt() + 1e-7)
    });
}

#[test]
fn adam() {
    agrees("adam(rate: 0.05, beta1: 0.8, beta2: 0.95)", &["m", "v"], None, |s, step, p, g| {
        s[0] = 0.8 * s[0] + 0.2 * g;
        s[1] = 0.95 * s[1] + 0.05 * g * g;
        let mean = s[0] / (1.0 - 0.8f64.powf(step));
        let variance = s[1] / (1.0 - 0.95f64.powf(step));
        p - RATE * mean / (variance.sqrt() + 1e-8)
    });
}
