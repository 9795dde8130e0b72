//! What the engine of `lstmc predict` says after each token.

use std::path::Path;

use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::{BatchKind, Model, Targets};
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use lstmc_runtime::Result;
use lstmc_runtime::checkpoint::{Accept, Take};
use lstmc_runtime::engine::Store;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::engine::{Control, Driver, Engine, StepInputs, StepOutputs};
use lstmc_runtime::feed::random_ids;
use lstmc_runtime::run_dir::RunDir;

use crate::checked::checked;

/// A sequence, and the distributions after each of its tokens or windows.
pub struct Row {
    /// The length of a window, if the model reads windows.
    pub window: Option<usize>,
    pub tokens: Vec<u32>,
    pub probabilities: Vec<f32>,
}

/// Reads the tokens from the first one on, so many at once.
struct Reader<'a> {
    tokens: &'a [u32],
    steps: usize,
    found: Vec<f32>,
}

impl Driver for Reader<'_> {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> Result<Control> {
        if step == 0 {
            inputs.reset_carried();
        }
        let first = step as usize * self.steps;
        inputs.batch_mut()?.0.copy_from_slice(&self.tokens[first..first + self.steps]);
        Ok(Control::Step(step + 1))
    }

    fn end(&mut self, _: u64, outputs: &dyn StepOutputs) -> Result<()> {
        self.found.extend_from_slice(outputs.probabilities()?.0);
        Ok(())
    }

    fn waits(&self) -> bool {
        true
    }
}

/// How many ids a run's vocabulary has.
pub fn vocabulary(run: &Path) -> usize {
    RunDir::open(run).expect("a run").vocabulary().expect("its vocabulary").len()
}

/// A run's model.
fn model(run: &RunDir) -> Model {
    let vocabulary = run.vocabulary().expect("its vocabulary");
    let source = run.source().expect("its model");
    checked(&source, vocabulary.len()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Whether the models of these tests look rows of this parameter up.
fn is_table(name: &str) -> bool {
    name == "E" || name.ends_with(".E")
}

/// The values of each of the parameters in the newest checkpoint of a run.
pub fn parameters(run: &Path) -> Vec<(String, Vec<f32>)> {
    let run = RunDir::open(run).expect("a run");
    let checkpoint = run.newest(Accept::Verified).expect("a checkpoint");
    let param = |name: String| (name.clone(), checkpoint.parameter(&name).expect("a parameter"));
    model(&run).params.into_iter().map(|one| param(one.name)).collect()
}

/// `count` random tokens or windows, which the newest checkpoint of a run reads.
pub fn row(run: &Path, count: usize, seed: u64) -> Row {
    row_with(run, count, seed, Format::F32, false)
}

/// [`row`] with weights in a format; with `tables`, the rows of tables that are looked up too.
pub fn row_with(run: &Path, count: usize, seed: u64, weights: Format, tables: bool) -> Row {
    let run = RunDir::open(run).expect("a run");
    let mut model = model(&run);
    let batches = &mut model.data.batches;
    let last = matches!(batches.kind, BatchKind::Windows { targets: Targets::Last, .. });
    batches.rows = 1;
    if !last {
        // One token at a time, with the state carried through all of them.
        (batches.kind, batches.steps) = (BatchKind::Stream, 1);
    }
    let steps = batches.steps;
    let program = pipeline::program_in(&model, Purpose::Evaluate, weights, &Target::cpu(1));
    let executable = Executable::compile(program).expect("machine code");
    let mut session = Session::new(executable).expect("memory");
    let checkpoint = run.newest(Accept::Verified).expect("a checkpoint");
    checkpoint.restore(&mut session, Take::Parameters).expect("parameters");
    for param in model.params.iter().filter(|param| tables && is_table(&param.name)) {
        let mut values = checkpoint.parameter(&param.name).expect("a parameter");
        values.chunks_exact_mut(param.shape[1]).for_each(|row| weights.round(row));
        session.fill(&param.name, &mut values.into_iter()).expect("a parameter");
    }
    let tokens = random_ids(model.vocab, count * steps, seed);
    let mut reader = Reader { tokens: &tokens, steps, found: vec![] };
    assert_eq!(session.run(count as u64, 0, &mut reader).expect("a run"), count as u64);
    Row { window: last.then_some(steps), probabilities: reader.found, tokens }
}
