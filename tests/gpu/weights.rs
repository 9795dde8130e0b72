//! Rounded weights: an evaluation on a GPU has the losses of a processor with weights in the same format.

use lstmc_compiler::backend::ptx;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::engine::{Engine, cuda};
use lstmc_runtime::evaluate::evaluate;
use lstmc_runtime::monitor::Monitor;
use lstmc_runtime::reading::Reading;
use lstmc_runtime::train::initialise;

use crate::device::Simulated;
use crate::model;
use crate::support::steps::GPU;

/// The mean loss of a text, with parameters of one seed and then of another.
fn losses(mut engine: impl Engine) -> [f64; 2] {
    let text: Vec<u32> = (0..40).map(|i| i * i % 11).collect();
    let reading = Reading::new(&model().data.batches, text.len());
    [4, 5].map(|seed| {
        initialise(&model(), seed, &mut engine).unwrap();
        for param in &model().params {
            // As large as training makes them.
            let values: Vec<f32> =
                engine.read(&param.name).unwrap().iter().map(|value| 8.0 * value).collect();
            engine.write(&param.name, &values).unwrap();
        }
        evaluate(&mut engine, &text, &reading, &Monitor::default()).unwrap().unwrap().mean_loss()
    })
}

fn on_cpu(format: Format) -> [f64; 2] {
    let program = pipeline::program_in(&model(), Purpose::Evaluate, format, &Target::cpu(1));
    losses(Session::new(Executable::compile(program).unwrap()).unwrap())
}

fn on_gpu(format: Format) -> [f64; 2] {
    let target = Target::nvidia(GPU);
    let (program, weights) = pipeline::program_with_rounded(&model(), Purpose::Evaluate, format, &target);
    let ptx = ptx::compile(&program);
    let session = cuda::Session::new(Box::new(Simulated::default()), &program, &ptx).unwrap();
    losses(session.rounding(&program, weights))
}

#[test]
fn weights_are_rounded_as_on_a_cpu_whenever_they_are_set() {
    let exact = on_gpu(Format::F32);
    for format in [Format::Bf16, Format::Int8] {
        for ((found, expected), exact) in on_gpu(format).into_iter().zip(on_cpu(format)).zip(exact) {
            assert!((found - expected).abs() < 1e-6, "{format}: {found}, not {expected}");
            assert!((found - exact).abs() > 1e-5, "{format}: {found} is as without rounding");
        }
    }
}
