//! Trains a model on a text that is in memory, and lets it write: no command, no run folder.
//!
//! ```text
//! cargo run --release --example train_from_rust
//! ```

use std::error::Error;

use lstmc_compiler::diag::{Diagnostics, SourceMap};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::{self, Model};
use lstmc_compiler::target::Target;
use lstmc_compiler::{pipeline, syntax};
use lstmc_runtime::batches::Batcher;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::engine::{Control, Driver, Engine, StepInputs, StepOutputs};
use lstmc_runtime::generate::{Request, generate};
use lstmc_runtime::monitor::Monitor;
use lstmc_runtime::sample::Sampler;
use lstmc_runtime::text::{Tokenizer, Vocabulary, encode};
use lstmc_runtime::train::initialise;

const SOURCE: &str = r#"
data {
    train: "in memory"
    tokens: words
    batches: stream(rows: 1, steps: 8)
}

model {
    tokens -> embedding(16) -> gru(32) -> dense(vocab) -> softmax
}

train {
    loss: cross_entropy
    optimizer: adam(rate: 0.01)
    epochs: 60
}
"#;

/// Words to write.
const LENGTH: usize = 12;

const TEXT: &str = "the cat sat on the mat and the dog sat on the cat so the cat ran off the mat and the dog ran \
                    after the cat until the dog and the cat sat on the mat again";

const SEED: u64 = 1;
const WORKERS: usize = 1;
const EPOCHS: u64 = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let vocabulary = Vocabulary::build(TEXT.split_whitespace(), 0);
    let mut sources = SourceMap::default();
    let model = check(&mut sources, vocabulary.len()).map_err(|errors| sources.render(&errors, false))?;
    let tokenizer = Tokenizer::new(&model.data.tokens);
    let ids = encode(&tokenizer, &vocabulary, TEXT, "the text")?.ids;

    let mut session = compile(&model, Purpose::Train)?;
    initialise(&model, SEED, &mut session)?;
    let batcher = Batcher::new(&model.data.batches, ids.len(), SEED)?;
    let steps = EPOCHS * batcher.per_epoch();
    let mut training = Training { ids: &ids, batcher, rate: model.optimizer.rate as f32, loss: 0.0 };
    session.run(steps, SEED, &mut training)?;

    let mut writing = compile(&model, Purpose::Generate { tokens: LENGTH })?;
    writing.copy_params_from(&session)?;
    let mut text = String::from("the dog");
    let prompt = encode(&tokenizer, &vocabulary, &text, "the prompt")?.ids;
    let request = Request { prompt: &prompt, length: LENGTH, sampler: Sampler::greedy(), reserve: 0 };
    generate(&mut writing, request, &Monitor::default(), &mut |id| {
        text += &format!(" {}", vocabulary.show(id));
        Ok(true)
    })?;
    println!("{text}");
    Ok(())
}

fn check(sources: &mut SourceMap, vocabulary: usize) -> Result<Model, Diagnostics> {
    let id = sources.add("model.lstm", SOURCE);
    let file = syntax::parse(sources, id)?;
    let mut prelude = Vec::new();
    for (name, text) in model::prelude() {
        let id = sources.add(name, text);
        prelude.push(syntax::parse(sources, id)?);
    }
    model::check(&file, &prelude, vocabulary)
}

/// Machine code with its memory.
fn compile(model: &Model, purpose: Purpose) -> lstmc_runtime::Result<Session> {
    Session::new(Executable::compile(pipeline::program_of(model, purpose, &Target::cpu(WORKERS)))?)
}

/// The host's part of each training step. The loop over steps is compiled code, which calls these two.
struct Training<'a> {
    ids: &'a [u32],
    batcher: Batcher,
    rate: f32,
    loss: f32,
}

impl Driver for Training<'_> {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> lstmc_runtime::Result<Control> {
        let (epoch, place) = self.batcher.place(step);
        // Each epoch begins with fresh recurrent state; within one, a stream carries it from batch to batch.
        if place == 0 {
            inputs.reset_carried();
        }
        let (tokens, targets) = inputs.batch_mut()?;
        self.batcher.fill(self.ids, epoch, place, tokens, targets);
        inputs.set_rate_and_step(self.rate, step + 1);
        Ok(Control::Step(step + 1))
    }

    fn end(&mut self, step: u64, outputs: &dyn StepOutputs) -> lstmc_runtime::Result<()> {
        self.loss += outputs.loss()?;
        let per_epoch = self.batcher.per_epoch();
        if (step + 1).is_multiple_of(10 * per_epoch) {
            println!("epoch {:>2}  loss {:.3}", (step + 1) / per_epoch, self.loss / (10 * per_epoch) as f32);
            self.loss = 0.0;
        }
        Ok(())
    }
}
