//! Weights that the host of a GPU rounds are those that a CPU packs rounded: the same products read the same numbers.

mod support;

use lstmc_compiler::graph::{Graph, Purpose};
use lstmc_compiler::kernel::{self, Format, Machine, Module, Numbers, RoundedWeight, passes};
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::{Nvidia, Target};
use proptest::prelude::*;
use support::checked::checked;
use support::executors::{SEED, filled};
use support::random_models::models;
use support::shipped;
use support::steps::{Left, apart, left};
use support::tensors::{Feed, Start, feed, start};

const PURPOSES: [Purpose; 2] = [Purpose::Evaluate, Purpose::Generate { tokens: 4 }];

/// In f64, sums of another order: some dozen roundings of 1e-16 each. A weight that one of the two does not round, or rounds
/// otherwise, is off by 1e-3.
const REASSOCIATION: f64 = 1e-12;

/// What a step leaves of the outputs, in double precision.
fn outputs(module: &Module, mut machine: Machine<f64>, feed: &Feed) -> Left {
    kernel::run(module, &mut machine, SEED, feed.step).unwrap();
    left(module, &machine).into_iter().filter(|(name, _)| name.starts_with("out_")).collect()
}

fn machine(graph: &Graph, module: &Module, feed: &Feed) -> Machine<f64> {
    filled(graph, module, &start(graph, Start::Halves), feed).unwrap()
}

fn round(module: &Module, weights: &[RoundedWeight], machine: &mut Machine<f64>) {
    let name = |id| &module.buffer(id).name;
    for weight in weights {
        let from: Vec<f32> =
            machine.get(name(weight.from.at.buffer)).unwrap().iter().map(|&x| x as f32).collect();
        let to = machine.get_mut(name(weight.to)).unwrap();
        to.iter_mut().zip(weight.rounded(&from)).for_each(|(to, x)| *to = f64::from(x));
    }
}

/// Of two targets whose graphs are the same; whether it makes a difference that weights are rounded.
fn check(name: &str, model: &Model, purpose: Purpose, format: Format) -> bool {
    let (cpu, gpu) = (Target::cpu(1), Target::nvidia(Nvidia::SM_80));
    let graph = pipeline::graph_of(model, purpose, &gpu, &mut |_, _| {});
    let feed = feed(&graph, model.vocab as u32, 0.25, 1);
    let packed = pipeline::kernels_of(&graph, Numbers::weights_in(format), &cpu, &mut |_, _| {});
    let expected = outputs(&packed, machine(&graph, &packed, &feed), &feed);
    assert!(!expected.is_empty());

    let module = pipeline::kernels_of(&graph, Numbers::default(), &gpu, &mut |_, _| {});
    let exact = outputs(&module, machine(&graph, &module, &feed), &feed);
    let (module, weights) = passes::round_weights(module, format);
    kernel::verify(&module).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let mut machine = machine(&graph, &module, &feed);
    round(&module, &weights, &mut machine);
    let found = outputs(&module, machine, &feed);
    if let Some(difference) = apart(&expected, &found, REASSOCIATION) {
        panic!("{name}, {purpose:?}, {format}: {difference}\n{module}");
    }
    apart(&exact, &found, 1e-6).is_some()
}

#[test]
fn shipped_models_have_the_weights_of_a_cpu() {
    for (name, model) in shipped::models(50, shipped::small) {
        for purpose in PURPOSES {
            for format in [Format::Bf16, Format::Int8] {
                assert!(check(&name, &model, purpose, format), "{name}");
            }
        }
    }
}

/// A lookup in a table reads it as it was trained, and a product by the same table reads it rounded.
#[test]
fn what_is_not_a_product_is_not_rounded() {
    let text = r#"
        data { train: "t"; tokens: words; batches: stream(rows: 2, steps: 3) }
        layer lookup(t: token, E: [rows, n]) { return E[t] }
        layer readout(x: [n], E: [rows, n]) { return x @ transpose(E) }
        model { param E: [vocab, 6] let x = tokens -> lookup(E); x -> lstm(6) -> readout(E) -> softmax }
        train { loss: cross_entropy; optimizer: sgd; epochs: 1 }
    "#;
    let model = checked(text, 20).unwrap_or_else(|error| panic!("{error}"));
    for format in [Format::Bf16, Format::Int8] {
        assert!(check("tied", &model, Purpose::Evaluate, format));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_models_have_the_weights_of_a_cpu(random in models(), int8 in any::<bool>()) {
        let model = checked(&random.text, random.vocab).map_err(TestCaseError::fail)?;
        let format = if int8 { Format::Int8 } else { Format::Bf16 };
        for purpose in PURPOSES {
            check(&random.text, &model, purpose, format);
        }
    }
}
