//! A step of training of a small version of every shipped model: the PTX machine leaves what compiled code on a processor does,
//! by the norm of each tensor. The processor multiplies in `f32`.

use lstmc_compiler::backend::ptx;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::{Form, Precision};
use lstmc_compiler::model::{Model, Train};
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::Verified;
use lstmc_compiler::target::{Grid, LibraryProducts, Partition, Target};
use lstmc_runtime::Result as RunResult;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::engine::{Control, Driver, Engine, StepInputs, StepOutputs, cuda};

use crate::device::Simulated;
use crate::library::Library;
use crate::support::executors::SEED;
use crate::support::shipped;
use crate::support::steps::{GPU, Left, apart};
use crate::support::tensors::{Feed, Start, Tensors, feed, start};

/// Runs one step, and keeps its loss.
struct One<'a> {
    feed: &'a Feed,
    loss: f64,
}

impl Driver for One<'_> {
    fn begin(&mut self, _: u64, inputs: &mut dyn StepInputs) -> RunResult<Control> {
        let (tokens, targets) = inputs.batch_mut()?;
        tokens.copy_from_slice(&self.feed.tokens);
        targets.copy_from_slice(&self.feed.targets);
        inputs.set_rate_and_step(self.feed.rate as f32, self.feed.step);
        Ok(Control::Step(self.feed.step))
    }

    fn end(&mut self, _: u64, outputs: &dyn StepOutputs) -> RunResult<()> {
        self.loss = outputs.loss()?.into();
        Ok(())
    }
}

/// What a step leaves of these tensors, and its loss.
fn left(mut engine: impl Engine, tensors: &Tensors, feed: &Feed) -> Left {
    for (name, values) in tensors {
        engine.fill(name, &mut values.iter().map(|&value| value as f32)).unwrap();
    }
    let mut one = One { feed, loss: f64::NAN };
    assert_eq!(engine.run(1, SEED, &mut one).unwrap(), 1);
    let values = |name: &String| engine.read(name).unwrap().into_iter().map(f64::from).collect();
    let mut left: Left = tensors.keys().map(|name| (name.clone(), values(name))).collect();
    left.push(("loss".into(), vec![one.loss]));
    left
}

fn program(model: &Model, precision: Precision, target: &Target) -> Verified {
    let train = Train { precision: Some(precision), ..model.train.clone() };
    pipeline::program_of(&Model { train, ..model.clone() }, Purpose::Train, target)
}

/// Returns in how many programs CTAs send each other partial sums.
fn check(target: &Target, limits: &[(Precision, f64)]) -> usize {
    let mut with_partial_sums = 0;
    for (name, model) in shipped::models(50, shipped::small) {
        let graph = pipeline::graph_of(&model, Purpose::Train, target, &mut |_, _| {});
        let (tensors, feed) = (start(&graph, Start::Halves), feed(&graph, model.vocab as u32, 0.25, 1));
        let cpu = Executable::compile(program(&model, Precision::F32, &Target::cpu(1))).unwrap();
        let expected = left(Session::new(cpu).unwrap(), &tensors, &feed);
        for &(precision, tolerance) in limits {
            let program = program(&model, precision, target);
            let ptx = ptx::compile(&program);
            // They travel through what lies behind the arena.
            with_partial_sums += usize::from(ptx.arena_bytes > program.arena_bytes);
            let gpu = cuda::Session::new(Box::new(Simulated::default()), &program, &ptx).unwrap();
            if let Some(difference) = apart(&expected, &left(gpu, &tensors, &feed), tolerance) {
                panic!("{name}, {precision:?}: {difference}");
            }
        }
    }
    with_partial_sums
}

#[test]
fn shipped_models_train_as_on_a_cpu() {
    let limits = [(Precision::F32, 1e-5), (Precision::Tf32, 1e-3), (Precision::Bf16, 1.5e-2)];
    assert_eq!(check(&Target::nvidia(GPU), &limits), 0);
}

#[test]
fn shipped_models_train_as_on_a_cpu_by_partial_sums() {
    let partition = Partition::Grid(Grid { partial_sums: 0 });
    let target = Target { partition, ..Target::nvidia(GPU) };
    assert!(check(&target, &[(Precision::F32, 1e-5), (Precision::Bf16, 1.5e-2)]) > 0);
}

/// What a library multiplies is what the kernels do that it takes the place of.
#[test]
fn shipped_models_train_by_a_library() {
    let library = Some(LibraryProducts { min_work: 0, alignment: 4 });
    let target = Target { library, ..Target::nvidia(GPU) };
    let used = Library::default();
    for (name, model) in shipped::models(50, shipped::small) {
        let graph = pipeline::graph_of(&model, Purpose::Train, &target, &mut |_, _| {});
        let (tensors, feed) = (start(&graph, Start::Halves), feed(&graph, model.vocab as u32, 0.25, 1));
        for (precision, tolerance) in [(Precision::Tf32, 1e-5), (Precision::Bf16, 1e-5)] {
            let program = program(&model, precision, &target);
            let ptx = ptx::compile(&program);
            let run = |device: Simulated| {
                let session = cuda::Session::new(Box::new(device), &program, &ptx).unwrap();
                left(session, &tensors, &feed)
            };
            let expected = run(Simulated::default());
            let found = run(Simulated::with_library(used.clone()));
            if let Some(difference) = apart(&expected, &found, tolerance) {
                panic!("{name}, {precision:?}: {difference}");
            }
        }
    }
    let multiplied = used.multiplied();
    for form in [Form::NN, Form::NT, Form::TN] {
        assert!(multiplied.iter().any(|product| product.form == form), "{form:?}");
    }
}
