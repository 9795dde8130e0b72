//! The engine on GPUs, with the PTX machine as its device: whole trainings through the same interface as on a CPU, the same
//! losses within rounding, and runs that move between the two.

#[path = "gpu/device.rs"]
mod device;
#[path = "gpu/library.rs"]
mod library;
#[path = "gpu/order.rs"]
mod order;
#[path = "gpu/refusals.rs"]
mod refusals;
#[path = "gpu/shipped.rs"]
mod shipped_models;
#[path = "../compiler/tests/support/mod.rs"]
mod support;
#[path = "gpu/weights.rs"]
mod weights;

use device::{Calls, Simulated};
use lstmc_compiler::backend::ptx;
use lstmc_compiler::grad::{GRADIENT_SUM, PARAM_MEAN};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::{Model, Precision};
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use lstmc_runtime::Result as RunResult;
use lstmc_runtime::engine::Store;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::engine::cuda;
use lstmc_runtime::engine::{Control, Driver, Engine, StepInputs, StepOutputs, Trainee};
use lstmc_runtime::train::initialise;
use support::checked::checked;
use support::steps::GPU;

/// Two layers, a vocabulary of 11, clipping, dropout and Adam: state of all kinds.
const MODEL: &str = r#"
data { train: "t" tokens: words batches: stream(rows: 2, steps: 3) }
model { tokens -> embedding(5) -> dropout(0.3) -> lstm(6) -> gru(4) -> dense(vocab) -> softmax }
train { loss: cross_entropy optimizer: adam(rate: 0.05) clip: norm(1) precision: f32 epochs: 1 }
"#;

fn model() -> Model {
    checked(MODEL, 11).unwrap()
}

fn on_gpu(model: &Model, purpose: Purpose) -> cuda::Session {
    watched(model, purpose).0
}

/// A program on a device, and what the device is asked to do.
fn watched(model: &Model, purpose: Purpose) -> (cuda::Session, Calls) {
    let program = pipeline::program_of(model, purpose, &Target::nvidia(GPU));
    let device = Simulated::default();
    let calls = device.calls.clone();
    (cuda::Session::new(Box::new(device), &program, &ptx::compile(&program)).unwrap(), calls)
}

fn on_cpu(model: &Model, purpose: Purpose) -> Session {
    let program = pipeline::program_of(model, purpose, &Target::cpu(2));
    Session::new(Executable::compile(program).unwrap()).unwrap()
}

/// Feeds batches that differ, starts anew in the third step, and keeps the losses.
#[derive(Default)]
struct Steps {
    first: u64,
    losses: Vec<f32>,
}

impl Driver for Steps {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> RunResult<Control> {
        let update = self.first + step + 1;
        let (tokens, targets) = inputs.batch_mut()?;
        tokens.iter_mut().enumerate().for_each(|(i, id)| *id = (i as u32 * 7 + update as u32 * 3) % 11);
        targets.iter_mut().enumerate().for_each(|(i, id)| *id = (i as u32 * 5 + update as u32) % 11);
        if update == 3 {
            inputs.reset_carried();
        }
        inputs.set_rate_and_step(0.05, update);
        inputs.set_last_and_weight(update.is_multiple_of(2), 1.0 / update as f32);
        Ok(Control::Step(update))
    }

    fn end(&mut self, _: u64, outputs: &dyn StepOutputs) -> RunResult<()> {
        self.losses.push(outputs.loss()?);
        Ok(())
    }
}

fn steps(engine: &mut dyn Engine, first: u64, count: u64) -> Vec<f32> {
    let mut driver = Steps { first, losses: vec![] };
    assert_eq!(engine.run(count, 9, &mut driver).unwrap(), count);
    driver.losses
}

/// Rounding of sums of some dozen numbers, over a few updates.
fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs().max(1.0))
}

/// All tensors of one engine into another.
fn move_over(from: &dyn Engine, to: &mut dyn Engine) {
    for tensor in from.tensors() {
        to.write(&tensor.name, &from.read(&tensor.name).unwrap()).unwrap();
    }
}

#[test]
fn a_training_has_the_losses_of_a_cpu() {
    let model = model();
    let (mut gpu, mut cpu) = (on_gpu(&model, Purpose::Train), on_cpu(&model, Purpose::Train));
    initialise(&model, 4, &mut gpu).unwrap();
    initialise(&model, 4, &mut cpu).unwrap();
    let (found, expected) = (steps(&mut gpu, 0, 4), steps(&mut cpu, 0, 4));
    assert!(close(&expected, &found), "{found:?}, not {expected:?}");
    for tensor in cpu.tensors() {
        let (found, expected) = (gpu.read(&tensor.name).unwrap(), cpu.read(&tensor.name).unwrap());
        assert!(close(&expected, &found), "{}", tensor.name);
    }
}

#[test]
fn sums_of_gradients_and_means_of_weights_are_those_of_a_cpu() {
    let train = lstmc_compiler::model::Train { accumulate: 2, average: Some(1), ..model().train };
    let model = Model { train, ..model() };
    let (mut gpu, mut cpu) = (on_gpu(&model, Purpose::Train), on_cpu(&model, Purpose::Train));
    initialise(&model, 4, &mut gpu).unwrap();
    initialise(&model, 4, &mut cpu).unwrap();
    // The fifth step leaves a sum.
    let (found, expected) = (steps(&mut gpu, 0, 5), steps(&mut cpu, 0, 5));
    assert!(close(&expected, &found), "{found:?}, not {expected:?}");
    let (sums, means) = (GRADIENT_SUM, PARAM_MEAN);
    for tensor in cpu.tensors() {
        let (found, expected) = (gpu.read(&tensor.name).unwrap(), cpu.read(&tensor.name).unwrap());
        assert!(close(&expected, &found), "{}", tensor.name);
        let kept = [sums, means].iter().any(|kept| tensor.name.ends_with(kept));
        assert!(!kept || expected.iter().any(|value| *value != 0.0), "{}", tensor.name);
    }
    assert!(cpu.tensors().iter().any(|tensor| tensor.name.ends_with(sums)));
}

#[test]
fn a_run_moves_from_gpu_to_cpu_and_back() {
    let model = model();
    let (mut gpu, mut cpu) = (on_gpu(&model, Purpose::Train), on_cpu(&model, Purpose::Train));
    initialise(&model, 4, &mut cpu).unwrap();
    let expected = steps(&mut cpu, 0, 5);
    let mut cpu = on_cpu(&model, Purpose::Train);
    initialise(&model, 4, &mut cpu).unwrap();
    let mut found = steps(&mut cpu, 0, 2);
    move_over(&cpu, &mut gpu);
    found.extend(steps(&mut gpu, 2, 2));
    move_over(&gpu, &mut cpu);
    found.extend(steps(&mut cpu, 4, 1));
    assert!(close(&expected, &found), "{found:?}, not {expected:?}");
}

#[test]
fn the_same_steps_leave_the_same_bits() {
    let model = model();
    let run = || {
        let mut gpu = on_gpu(&model, Purpose::Train);
        initialise(&model, 4, &mut gpu).unwrap();
        let losses = steps(&mut gpu, 0, 2);
        (losses, gpu.read("lstm_1.W_i").unwrap())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_trained_model_is_measured_with_its_parameters() {
    let model = model();
    let (train, evaluate) = (on_gpu(&model, Purpose::Train), on_gpu(&model, Purpose::Evaluate));
    let mut pair = cuda::Pair { train, evaluate };
    initialise(&model, 4, pair.train()).unwrap();
    steps(pair.train(), 0, 1);
    let trained = pair.trained().read("dense_1.W").unwrap();
    let mut seen = vec![];
    pair.measure(&mut |engine| {
        seen = engine.read("dense_1.W")?;
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, trained);
}

#[test]
fn a_model_that_says_nothing_is_multiplied_on_tensor_cores() {
    let said = |precision: Option<Precision>| {
        let model = Model { train: lstmc_compiler::model::Train { precision, ..model().train }, ..model() };
        let program = pipeline::program_of(&model, Purpose::Train, &Target::nvidia(GPU));
        let text = ptx::compile(&program).text;
        ["tf32.tf32.f32", "bf16.bf16.f32"].map(|operands| text.contains(operands))
    };
    assert_eq!(said(None), [true, false]);
    assert_eq!(said(Some(Precision::F32)), [false, false]);
    assert_eq!(said(Some(Precision::Bf16)), [false, true]);
}
