//! Training on any number of workers leaves the same bits, also on more than there are processors: the command has no more
//! than those.

#[path = "../compiler/tests/support/checked.rs"]
mod checked;

use checked::checked;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::Verified;
use lstmc_runtime::engine::Engine;
use lstmc_runtime::engine::Store;
use lstmc_runtime::engine::cpu::{self, Executable, Session};
use lstmc_runtime::feed::{Feed, random_ids};
use lstmc_runtime::train::initialise;

const SEED: u64 = 3;
const STEPS: u64 = 12;

fn model(batches: &str, chain: &str, more: &str, vocabulary: usize) -> Model {
    let text = format!(
        "data {{ train: \"a\" tokens: words batches: {batches} }}\n\
         model {{ tokens -> {chain} -> dense(vocab) -> softmax }}\n\
         train {{ loss: cross_entropy optimizer: adam(rate: 0.02) clip: norm(5) {more} epochs: 1 }}"
    );
    checked(&text, vocabulary).unwrap_or_else(|errors| panic!("{errors}"))
}

fn program(model: &Model, workers: usize) -> Verified {
    pipeline::program_of(model, Purpose::Train, &cpu::target(workers))
}

/// Every tensor after some updates, and the sum of their losses.
fn trained(model: &Model, workers: usize) -> (Vec<(String, Vec<u8>)>, u64) {
    let mut session = Session::new(Executable::compile(program(model, workers)).unwrap()).unwrap();
    initialise(model, SEED, &mut session).unwrap();
    let mut feed = Feed::new(model, random_ids(model.vocab, 400, SEED), SEED).unwrap();
    assert_eq!(session.run(STEPS, SEED, &mut feed).unwrap(), STEPS);
    let bytes = |name: &str| (name.to_owned(), session.bytes(name).unwrap().into_owned());
    let tensors = session.tensors().iter().map(|tensor| bytes(&tensor.name)).collect();
    (tensors, feed.take_loss().to_bits())
}

#[track_caller]
fn same_on_any_number(model: &Model) {
    let one = trained(model, 1);
    for workers in [2, 3, 5] {
        assert!(trained(model, workers) == one, "{workers} workers");
    }
}

const CHAIN: &str = "embedding(8) -> lstm(16) -> dropout(0.1)";

#[test]
fn of_few_rows() {
    same_on_any_number(&model("stream(rows: 2, steps: 5)", CHAIN, "", 9));
}

#[test]
fn of_products_in_bf16() {
    for precision in ["precision: bf16", "precision: bf16x3"] {
        same_on_any_number(&model("stream(rows: 6, steps: 5)", CHAIN, precision, 9));
    }
}

/// Each distinct word's row is multiplied once.
#[test]
fn of_many_words() {
    let model = model("stream(rows: 9, steps: 8)", "embedding(64) -> lstm(16)", "", 60);
    assert!(program(&model, 3).to_string().contains("  distinct "));
    same_on_any_number(&model);
}

/// Products are cut into parts.
#[test]
fn of_one_row() {
    let model = model("stream(rows: 1, steps: 8)", "embedding(8) -> lstm(256)", "", 9);
    assert!(program(&model, 3).to_string().contains(" parts 2:"));
    same_on_any_number(&model);
}
