//! Training steps by machine code, in the runtime that trains.

use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use lstmc_runtime::engine::Store;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::engine::{Control, Driver, Engine, StepInputs, StepOutputs};

use crate::Executor;
use crate::fixture::Batch;

pub struct Native {
    session: Session,
    rate: f64,
}

impl Native {
    pub fn new(model: &Model, workers: usize) -> Self {
        let program = pipeline::program_of(model, Purpose::Train, &Target::cpu(workers));
        let executable = Executable::compile(program).unwrap_or_else(|error| panic!("{error}"));
        let session = Session::new(executable).unwrap_or_else(|error| panic!("{error}"));
        Self { session, rate: model.optimizer.rate }
    }
}

/// The host's part of one step.
struct OneStep<'a> {
    number: u64,
    rate: f64,
    batch: &'a Batch,
    loss: f64,
}

impl Driver for OneStep<'_> {
    fn begin(&mut self, _: u64, inputs: &mut dyn StepInputs) -> lstmc_runtime::Result<Control> {
        let (tokens, targets) = inputs.batch_mut()?;
        tokens.copy_from_slice(&self.batch.tokens.values);
        targets.copy_from_slice(&self.batch.targets.values);
        inputs.set_rate_and_step(self.rate as f32, self.number);
        Ok(Control::Step(self.number))
    }

    fn end(&mut self, _: u64, outputs: &dyn StepOutputs) -> lstmc_runtime::Result<()> {
        self.loss = f64::from(outputs.loss()?);
        Ok(())
    }
}

impl Executor for Native {
    fn step(&mut self, number: u64, batch: &Batch) -> f64 {
        let mut step = OneStep { number, rate: self.rate, batch, loss: f64::NAN };
        let done = self.session.run(1, 0, &mut step).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(done, 1);
        step.loss
    }

    fn get(&mut self, name: &str) -> Option<Vec<f64>> {
        Some(self.session.read(name).ok()?.into_iter().map(f64::from).collect())
    }

    fn set(&mut self, name: &str, values: &[f64]) {
        let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        self.session.write(name, &values).unwrap_or_else(|error| panic!("{error}"));
    }
}
