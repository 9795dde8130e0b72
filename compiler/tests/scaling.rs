//! Long models: what is compiled grows with the model, not with its square, and expressions that use one another twice take
//! no more than those that do so once.
//!
//! Time is asserted nowhere. What these tests compile took minutes, or did not end, where a pass looked at everything for
//! everything; that is seen by waiting.

mod support;

use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::{Task, Verified};
use lstmc_compiler::target::Target;
use support::checked::checked;

fn model(layers: &str, definitions: &str) -> Model {
    let text = format!(
        "data {{ train: \"t.txt\" tokens: words batches: stream(rows: 2, steps: 3) }}
{definitions}
model {{ tokens -> embedding(4) -> {layers} -> dense(vocab) -> softmax }}
train {{ loss: cross_entropy optimizer: adam(rate: 0.1) clip: norm(5) epochs: 1 }}
"
    );
    checked(&text, 7).unwrap()
}

fn chain(layer: &str, count: usize) -> Model {
    model(&vec![layer; count].join(" -> "), "")
}

/// A layer of so many equations, each of which reads the one before twice.
fn doubling(count: usize, state: bool) -> Model {
    let (mut equations, mut last) = (String::new(), "x".to_owned());
    for index in 0..count {
        equations += &format!("    e{index} = 0.5 * {last} + 0.5 * tanh({last})\n");
        last = format!("e{index}");
    }
    let end = match state {
        true => format!("    state h: [4] = zeros\n{equations}    next h = h + {last}\n    return next h\n"),
        false => format!("{equations}    return {last}\n"),
    };
    model("doubling", &format!("layer doubling(x: [4]) {{\n{end}}}\n"))
}

fn compiled(model: &Model, purpose: Purpose, workers: usize) -> Verified {
    pipeline::program_in(model, purpose, Format::F32, &Target::cpu(workers))
}

/// Lines of a program's text: its buffers and the statements of its kernels.
fn size(model: &Model, purpose: Purpose) -> usize {
    compiled(model, purpose, 1).module.to_string().lines().count()
}

#[test]
fn code_grows_with_the_number_of_layers() {
    for layer in ["rnn(4)", "lstm(4)", "dense(4, activation: tanh)", "dropout(0.5)", "layer_norm"] {
        for purpose in [Purpose::Train, Purpose::Evaluate] {
            let sizes = [20, 40, 80].map(|count| size(&chain(layer, count), purpose));
            let [first, second] = [sizes[1] - sizes[0], sizes[2] - sizes[1]];
            // Twice as many layers more are twice as much code more.
            assert!(10 * second <= 23 * first, "{layer} for {purpose:?}: {sizes:?}");
        }
    }
}

#[test]
fn expressions_that_read_one_another_twice_grow_in_proportion() {
    for state in [false, true] {
        let sizes = [20, 40, 80].map(|count| size(&doubling(count, state), Purpose::Train));
        let [first, second] = [sizes[1] - sizes[0], sizes[2] - sizes[1]];
        assert!(10 * second <= 23 * first, "{sizes:?}");
    }
}

#[test]
fn a_thousand_layers_compile() {
    let program = compiled(&chain("dense(4, activation: tanh)", 1000), Purpose::Train, 2);
    let products = program.step_schedule().tasks().filter(|task| matches!(task, Task::Gemm(..))).count();
    assert!(products >= 2000, "{products} products");
}
