//! What a device refuses, and an error of a step that is noticed late.

use lstmc_compiler::backend::ptx::{self, Ptx};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use lstmc_runtime::Error;
use lstmc_runtime::engine::Engine;
use lstmc_runtime::engine::cuda::{DeviceError, Session};
use lstmc_runtime::train::initialise;

use crate::device::Simulated;
use crate::support::steps::GPU;
use crate::{Steps, model};

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
