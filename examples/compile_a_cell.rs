//! Compiles a recurrent cell given as a string and prints its plan: memory, kernels, library calls and barriers.
//!
//! ```text
//! cargo run --example compile_a_cell
//! ```

use lstmc_compiler::diag::{Diagnostics, SourceMap};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::{self, Model};
use lstmc_compiler::target::Target;
use lstmc_compiler::{pipeline, syntax};

const SOURCE: &str = r#"
layer leaky(x: [in], units) {
    param W, V: [in, units]
    param U: [units, units]
    param b: [units] = zeros
    state s: [units] = zeros

    gate = sigmoid(x @ W + s @ U + b)
    next s = gate * s + (1 - gate) * tanh(x @ V)
    return next s
}

data {
    train: "story.txt"
    tokens: words
    batches: stream(rows: 8, steps: 16)
}

model {
    tokens -> embedding(32) -> leaky(64) -> dense(vocab) -> softmax
}

train {
    loss: cross_entropy
    optimizer: sgd(rate: 0.1)
    epochs: 1
}
"#;

/// Ids that tokens can have. The data block's text is not read here, so the number is given here.
const VOCABULARY: usize = 1000;

/// Threads that the plan is for.
const WORKERS: usize = 2;

fn main() {
    let mut sources = SourceMap::default();
    match check(&mut sources) {
        Ok(model) => print!("{}", pipeline::program_of(&model, Purpose::Train, &Target::cpu(WORKERS))),
        Err(errors) => {
            eprint!("{}", sources.render(&errors, false));
            std::process::exit(1);
        }
    }
}

/// The typed model of [`SOURCE`]. The prelude's layers and optimizers are source text like any other.
fn check(sources: &mut SourceMap) -> Result<Model, Diagnostics> {
    let id = sources.add("cell.lstm", SOURCE);
    let file = syntax::parse(sources, id)?;
    let mut prelude = Vec::new();
    for (name, text) in model::prelude() {
        let id = sources.add(name, text);
        prelude.push(syntax::parse(sources, id)?);
    }
    model::check(&file, &prelude, VOCABULARY)
}
