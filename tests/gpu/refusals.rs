//! What a device refuses, and an error of a step that is noticed late.

use lstmc_compiler::backend::ptx::{self, Ptx};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use lstmc_runtime::engine::cuda::{DeviceError, Session};
use lstmc_runtime::engine::{Control, Driver, Engine, StepInputs, StepOutputs};
use lstmc_runtime::train::initialise;
use lstmc_runtime::{Error, Result as RunResult};

use crate::device::Simulated;
use crate::support::steps::GPU;
use crate::{Steps, model, on_cpu, on_gpu};

fn session(device: Simulated, change: impl Fn(&mut Ptx)) -> Result<Session, Error> {
    let program = pipeline::program_of(&model(), Purpose::Train, &Target::nvidia(GPU));
    let mut ptx = ptx::compile(&program);
    change(&mut ptx);
    Session::new(Box::new(device), &program, &ptx)
}

#[test]
fn too_little_memory_says_how_much_is_needed() {
    let device = Simulated::with_memory(1 << 10);
    let error = session(device, |_| {}).unwrap_err();
    assert!(
        matches!(error, Error::Device(DeviceError::Memory { needed, free: 1024 }) if needed > 1024),
        "{error}"
    );
}

#[test]
fn a_refused_program_comes_with_the_words_of_the_driver() {
    let error = session(Simulated::default(), |ptx| ptx.text += "\nnonsense").unwrap_err();
    let Error::Device(DeviceError::Refused { log }) = &error else { panic!("{error}") };
    assert!(!log.is_empty() && error.to_string().ends_with(log), "{error}");
}

#[test]
fn an_error_of_a_step_ends_the_run_after_the_steps_before_it() {
    for steps_before in 0..3 {
        let device = Simulated::breaking_after(steps_before);
        let mut gpu = session(device, |_| {}).unwrap();
        initialise(&model(), 4, &mut gpu).unwrap();
        let mut driver = Steps::default();
        let error = gpu.run(5, 9, &mut driver).unwrap_err();
        assert_eq!(error.to_string(), "running a step on the GPU: an illegal memory access");
        assert_eq!(driver.losses.len() as u64, steps_before);
    }
}

/// A batch of one id where every other is 0: in the tokens, or else in the targets.
struct One {
    id: u32,
    in_tokens: bool,
    ended: u64,
}

impl Driver for One {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> RunResult<Control> {
        let (tokens, targets) = inputs.batch_mut()?;
        tokens.fill(0);
        targets.fill(0);
        let ids = if self.in_tokens { tokens } else { targets };
        ids[step as usize] = if step == 1 { self.id } else { 0 };
        inputs.set_rate_and_step(0.1, step + 1);
        Ok(Control::Step(step + 1))
    }

    fn end(&mut self, _: u64, _: &dyn StepOutputs) -> RunResult<()> {
        self.ended += 1;
        Ok(())
    }
}

#[test]
fn an_id_that_is_no_word_is_refused_before_the_step() {
    let model = model();
    let engines: [Box<dyn Engine>; 2] =
        [Box::new(on_gpu(&model, Purpose::Train)), Box::new(on_cpu(&model, Purpose::Train))];
    for mut engine in engines {
        initialise(&model, 4, &mut *engine).unwrap();
        for in_tokens in [true, false] {
            let mut last = One { id: 10, in_tokens, ended: 0 };
            assert_eq!(engine.run(2, 1, &mut last).unwrap(), 2);
            for id in [11, u32::MAX] {
                let mut outside = One { id, in_tokens, ended: 0 };
                let error = engine.run(3, 1, &mut outside).unwrap_err();
                assert!(matches!(error, Error::UnknownId { id: found, limit: 11 } if found == id), "{error}");
                assert!(outside.ended <= 1);
            }
        }
    }
}
