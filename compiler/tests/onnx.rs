//! What is written for ONNX is read back: every name is there before it is used and has one meaning, and the open sizes are
//! open. That it computes what the model does is for `tests/export.rs`, which has another program run it.

#[path = "onnx/decode.rs"]
mod decode;
#[path = "support/mod.rs"]
mod support;

use std::collections::HashSet;

use decode::{Graph, Model};
use lstmc_compiler::model::Model as Checked;
use lstmc_compiler::onnx::{About, Steps};
use lstmc_compiler::pipeline;
use proptest::prelude::*;
use support::checked::checked;
use support::{random_models, shipped};

fn exported(model: &Checked, steps: Steps) -> Result<Model, String> {
    let about =
        About { name: "it".into(), version: "1".into(), metadata: vec![("key".into(), "välue".into())] };
    let exchange = pipeline::exchange_of(model, steps)?;
    let mut weights = |name: &str| -> Result<Vec<f32>, String> {
        let param = model.params.iter().find(|param| param.name == name).ok_or("an unknown parameter")?;
        Ok(vec![0.5; param.shape.iter().product()])
    };
    Ok(decode::model(&exchange.encode(about, &mut weights)?))
}

/// Every output and initializer has a name of its own, and every input of an operator is there before it.
fn names_are_sound(
    graph: &Graph,
    outer: &HashSet<String>,
    taken: &mut HashSet<String>,
) -> Result<(), String> {
    let mut known = outer.clone();
    let mut define = |name: &String| match taken.insert(name.clone()) {
        true => Ok(name.clone()),
        false => Err(format!("{name} is there twice")),
    };
    for (name, _) in graph.inputs.iter().chain(&graph.initializers) {
        known.insert(define(name)?);
    }
    for node in &graph.nodes {
        if let Some(missing) = node.inputs.iter().find(|name| !known.contains(*name)) {
            return Err(format!("{} reads {missing} before it is there", node.op));
        }
        if let Some(body) = &node.body {
            names_are_sound(body, &known, taken)?;
        }
        for name in &node.outputs {
            match taken.insert(name.clone()) {
                true => known.insert(name.clone()),
                false => return Err(format!("{name} is there twice")),
            };
        }
    }
    match graph.outputs.iter().find(|(name, _)| !known.contains(name)) {
        Some((missing, _)) => Err(format!("the output {missing} is not there")),
        None => Ok(()),
    }
}

fn check(name: &str, model: &Checked) {
    for steps in [Steps::One, Steps::Fixed(4), Steps::Any] {
        let found = exported(model, steps).unwrap_or_else(|error| panic!("{name}: {error}"));
        let sound = names_are_sound(&found.graph, &HashSet::new(), &mut HashSet::new());
        sound.unwrap_or_else(|error| panic!("{name}, {steps:?}: {error}"));
        let read = found.graph.read();
        for (tensor, dims, bytes) in &found.tensors {
            assert!(read.contains(tensor.as_str()), "{name}: {tensor} is never read");
            assert_eq!(dims.iter().product::<usize>(), *bytes, "{name}: {tensor}");
        }
        let (tokens, dims) = &found.graph.inputs[0];
        assert_eq!((tokens.as_str(), dims[0].as_str()), ("tokens", "batch"), "{name}");
        let (probabilities, dims) = &found.graph.outputs[0];
        assert_eq!(probabilities, "probabilities", "{name}");
        assert_eq!((dims[0].as_str(), &dims[dims.len() - 1]), ("batch", &model.vocab.to_string()), "{name}");
        assert_eq!(found.metadata, [("key".to_owned(), "välue".to_owned())]);
        assert_eq!((found.graph.name.as_str(), found.opset), ("it", 17));
    }
}

#[test]
fn shipped_models_are_sound() {
    for (name, model) in shipped::models(100, shipped::small) {
        check(&name, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_models_are_sound(random in random_models::models()) {
        let model = checked(&random.text, random.vocab).map_err(TestCaseError::fail)?;
        // Some draw random numbers though they do not train.
        match pipeline::exchange_of(&model, Steps::One) {
            Ok(_) => check(&random.text, &model),
            Err(reason) => prop_assert!(reason.starts_with("the model draws random numbers"), "{}", reason),
        }
    }
}

#[test]
fn random_numbers_are_refused_where_they_stay() {
    let text = |drawn: &str| {
        format!(
            "layer noisy(x: [in]) {{ return x + {drawn} }}\ndata {{ train: \"a\" tokens: words batches: stream(rows: 2, steps: 3) }}\n\
             model {{ tokens -> embedding(4) -> noisy -> dense(vocab) }}\ntrain {{ loss: cross_entropy optimizer: sgd epochs: 1 }}"
        )
    };
    let exported = |drawn: &str| exported(&checked(&text(drawn), 9).expect("a model"), Steps::One);
    let refused = exported("random(x)").expect_err("random numbers");
    assert!(refused.contains("if training then"), "{refused}");
    assert!(exported("(if training then random(x) else 0)").is_ok());
}

/// The check itself can fail.
#[test]
fn a_name_that_is_not_there_is_seen() {
    let (_, model) = shipped::models(100, shipped::small).swap_remove(0);
    let sound = |graph: &Graph| names_are_sound(graph, &HashSet::new(), &mut HashSet::new());
    let mut found = exported(&model, Steps::One).expect("a file");
    let first = found.graph.nodes.remove(0);
    assert!(sound(&found.graph).unwrap_err().contains(&first.outputs[0]));
    found.graph.nodes.splice(0..0, [first.clone(), first]);
    assert!(sound(&found.graph).unwrap_err().contains("twice"));
}
