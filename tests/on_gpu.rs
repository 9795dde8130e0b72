//! What a real GPU computes. Left out where there may be none; on a machine with one:
//!
//! ```sh
//! cargo test --release --test on_gpu -- --ignored
//! ```
//!
//! Steps of small versions of the shipped models against the kernel interpreter, products by cuBLASLt against it too, trainings at
//! full size against the processor, the same bits twice, and, where `compute-sanitizer` is installed, its checks of short trainings.

#[path = "../compiler/tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lstmc_compiler::backend::ptx::{self, Control, Ptx};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::{self, BufferKind, Elem};
use lstmc_compiler::model::{Model, Precision, Train};
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::Program;
use lstmc_compiler::target::{LibraryProducts, Nvidia, Target};
use lstmc_runtime::engine::Engine;
use lstmc_runtime::engine::Store;
use lstmc_runtime::engine::cpu::{Executable, Session, workers};
use lstmc_runtime::engine::cuda::{self, Device, DeviceError, Gpu};
use lstmc_runtime::feed::{Feed, random_ids};
use lstmc_runtime::train::initialise;
use support::checked::checked;
use support::executors::SEED;
use support::files::files;
use support::shipped;
use support::steps::{apart, left, machine};
use support::tensors::feed;

const VOCABULARY: usize = 10_000;

/// One test at a time has the GPU: the CTAs of a time loop are all of it.
static IN_USE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open() -> (Gpu, Target) {
    let gpu = Gpu::open(0).unwrap_or_else(|error| panic!("{error}"));
    let nvidia = Nvidia { sm: gpu.capability, multiprocessors: gpu.multiprocessors };
    (gpu, Target::nvidia(nvidia))
}

/// The texts of the shipped models, by name.
fn models() -> Vec<(String, String)> {
    let paths = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), "lstm");
    assert!(paths.len() > 8, "{paths:?}");
    let named = |path: &std::path::PathBuf| {
        (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
    };
    paths.iter().map(named).collect()
}

fn with(model: Model, precision: Precision) -> Model {
    let train = Train { precision: Some(precision), ..model.train };
    Model { train, ..model }
}

/// A step of a program from the buffers of `machine`, into which comes what it leaves.
fn step(
    device: &mut dyn Device,
    program: &Program,
    ptx: &Ptx,
    machine: &mut kernel::Machine<f32>,
    number: u64,
) -> Result<(), DeviceError> {
    let (arena, control) = (device.allocate(ptx.arena_bytes)?, device.allocate(ptx.control_bytes)?);
    device.load(ptx, arena, control)?;
    let lasting = |buffer: &&kernel::Buffer| {
        matches!(buffer.kind, BufferKind::Input(_) | BufferKind::Output(_)) && buffer.elem == Elem::Real
    };
    let place = |index: usize| arena + program.offsets[index] as u64;
    for (index, buffer) in program.module.buffers.iter().enumerate() {
        let bytes: Vec<u8> = match (&buffer.kind, buffer.elem) {
            (BufferKind::Input(_), Elem::Real) => {
                machine.get(&buffer.name).unwrap().iter().flat_map(|x| x.to_le_bytes()).collect()
            }
            (BufferKind::Input(_), Elem::Id) => {
                machine.ids(&buffer.name).unwrap().iter().flat_map(|x| x.to_le_bytes()).collect()
            }
            _ => continue,
        };
        device.upload(place(index), &bytes)?;
    }
    device.upload(control + Control::SEED as u64, &SEED.to_le_bytes())?;
    device.upload(control + Control::STEP as u64, &number.to_le_bytes())?;
    device.prologue()?;
    device.step()?;
    for (index, buffer) in program.module.buffers.iter().enumerate().filter(|(_, buffer)| lasting(buffer)) {
        let mut bytes = vec![0; 4 * buffer.len()];
        device.download(place(index), &mut bytes)?;
        let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        machine.get_mut(&buffer.name).unwrap().iter_mut().zip(values).for_each(|(to, from)| *to = from);
    }
    Ok(())
}

/// Compares a step on a GPU with the kernel interpreter in double precision, by the norm of each tensor.
fn check(name: &str, model: &Model, purpose: Purpose, tolerance: f64) {
    let (mut gpu, target) = open();
    let graph = pipeline::graph_of(model, purpose, &target, &mut |_, _| {});
    let program = pipeline::program_of(model, purpose, &target);
    let feed = feed(&graph, model.vocab as u32, 0.25, 1);
    let mut expected = machine::<f64>(&graph, &program.module, &feed);
    kernel::run(&program.module, &mut expected, SEED, feed.step).unwrap();
    let mut found = machine::<f32>(&graph, &program.module, &feed);
    step(&mut gpu, &program, &ptx::compile(&program), &mut found, feed.step)
        .unwrap_or_else(|error| panic!("{name}, {purpose:?}: {error}"));
    let (expected, found) = (left(&program.module, &expected), left(&program.module, &found));
    if let Some(difference) = apart(&expected, &found, tolerance) {
        panic!("{name}, {purpose:?}, {:?}: {difference}", model.train.precision);
    }
}

/// The tolerances are those of `compiler/tests/ptx.rs`.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn small_models_have_the_steps_of_the_interpreter() {
    let _alone = alone();
    for (name, text) in models() {
        let model = |precision| with(checked(&shipped::small(&text), 50).unwrap(), precision);
        for (precision, tolerance) in
            [(Precision::F32, 1e-5), (Precision::Tf32, 1e-3), (Precision::Bf16, 1.5e-2)]
        {
            check(&name, &model(precision), Purpose::Train, tolerance);
        }
        for purpose in [Purpose::Evaluate, Purpose::Generate { tokens: 10 }] {
            check(&name, &model(Precision::F32), purpose, 1e-5);
        }
    }
}

/// A product of matrices that begin inside their buffers and have longer rows than are multiplied.
fn product(form: &str, precision: &str, assign: &str) -> kernel::Module {
    let text = format!(
        r#"module product {{
  buffer %0: f[300, 300] input "a" carried start 0.0
  buffer %1: f[300, 300] input "b" carried start 0.0
  buffer %2: f[300, 300] input "c" carried start 0.0
  gemm {form} 200x261x183 {precision}: %2 + 4 stride 300 {assign} %0 + 8 stride 300 @ %1 + 12 stride 300
}}
"#
    );
    kernel::parse(&text).unwrap()
}

/// Twice what rounding loses in a kernel: the library is not said to round to the nearest.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn products_by_a_library_are_those_of_the_interpreter() {
    let _alone = alone();
    let numbers = |name: &str, len: usize| -> Vec<f32> {
        let seed = name.bytes().next().unwrap().into();
        random_ids(2001, len, seed).into_iter().map(|id| id as f32 / 1000.0 - 1.0).collect()
    };
    for (form, assign) in ["nn", "nt", "tn"].into_iter().flat_map(|form| [(form, "="), (form, "+=")]) {
        for (precision, tolerance) in [("tf32", 2e-3), ("bf16", 1.5e-2)] {
            let module = product(form, precision, assign);
            let mut expected = kernel::Machine::<f64>::new(&module);
            let mut before = kernel::Machine::<f32>::new(&module);
            for name in ["a", "b", "c"] {
                let values = numbers(name, 300 * 300);
                before.get_mut(name).unwrap().copy_from_slice(&values);
                let to = expected.get_mut(name).unwrap();
                to.iter_mut().zip(values).for_each(|(to, x)| *to = x.into());
            }
            kernel::run(&module, &mut expected, SEED, 0).unwrap();
            let by = |library: Option<LibraryProducts>| {
                let (mut gpu, target) = open();
                let program = pipeline::plan_of(module.clone(), &Target { library, ..target });
                let ptx = ptx::compile(&program);
                let count = gpu.by_library(&ptx).unwrap();
                let mut machine = before.clone();
                step(&mut gpu, &program, &ptx, &mut machine, 0).unwrap();
                (count, left(&module, &machine))
            };
            let any = || Some(LibraryProducts { min_work: 0, alignment: 16 });
            let ((none, of_kernel), (count, found)) = (by(None), by(any()));
            assert_eq!(none, 0);
            if count == 0 {
                writeln!(
                    std::io::stderr(),
                    "SKIPPED: no cuBLASLt, or none that multiplies {form} in {precision}"
                )
                .unwrap();
                continue;
            }
            let expected = left(&module, &expected);
            for (who, found) in [("a kernel", &of_kernel), ("the library", &found)] {
                if let Some(difference) = apart(&expected, found, tolerance) {
                    panic!("{form} {precision} {assign} by {who}: {difference}");
                }
            }
            assert!(found == by(any()).1, "{form} {precision} {assign}: other bits");
        }
    }
}

/// A model at full size with a text of its own, in which words differ in how often they come, so that there is something to
/// learn.
fn training(name: &str, precision: Precision) -> (Model, Feed) {
    let (_, text) = models().into_iter().find(|(model, _)| model == name).expect("a shipped model");
    let model = with(checked(&text, VOCABULARY).unwrap(), precision);
    let ids = random_ids(VOCABULARY, 100_000, SEED).into_iter();
    let ids = ids.map(|id| (u64::from(id).pow(2) / VOCABULARY as u64) as u32).collect();
    let feed = Feed::new(&model, ids, SEED).unwrap();
    (model, feed)
}

fn on_gpu(model: &Model) -> cuda::Session {
    let (gpu, target) = open();
    let program = pipeline::program_of(model, Purpose::Train, &target);
    let mut session = cuda::Session::new(Box::new(gpu), &program, &ptx::compile(&program)).unwrap();
    initialise(model, SEED, &mut session).unwrap();
    session
}

fn on_cpu(model: &Model) -> Session {
    let target = Target::cpu(workers::default_workers());
    let program = pipeline::program_of(model, Purpose::Train, &target);
    let mut session = Session::new(Executable::compile(program).unwrap()).unwrap();
    initialise(model, SEED, &mut session).unwrap();
    session
}

/// The losses of so many steps.
fn losses(engine: &mut dyn Engine, feed: &mut Feed, steps: usize) -> Vec<f64> {
    let one = |_| {
        assert_eq!(engine.run(1, SEED, feed).unwrap(), 1);
        feed.take_loss()
    };
    (0..steps).map(one).collect()
}
/// How far losses may be from each other, relative, on a GPU and on a processor, which multiplies `tf32` in `f32`. On a processor
/// alone, 100 steps of ptb-small moved by 2e-7 (`f32`) and 6e-5 (`bf16`) when all parameters began 1e-5 of themselves away, and
/// `bf16` is 8e-5 away from `f32`; `tf32` rounds to an eighth of it. The tolerances are some ten times that.
const DRIFT: [(Precision, f64); 3] =
    [(Precision::F32, 1e-5), (Precision::Tf32, 1e-4), (Precision::Bf16, 5e-4)];

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn trainings_have_the_losses_of_a_cpu() {
    let _alone = alone();
    for (name, steps) in [("ptb-small", 100), ("ptb-keras", 20), ("ptb-medium", 20), ("ptb-large", 5)] {
        for (precision, drift) in DRIFT {
            let (model, mut feed) = training(name, precision);
            let found = losses(&mut on_gpu(&model), &mut feed, steps);
            let (model, mut feed) = training(name, precision);
            let expected = losses(&mut on_cpu(&model), &mut feed, steps);
            for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let far = (found - expected).abs() / expected;
                assert!(
                    far <= drift,
                    "{name}, {precision:?}, step {step}: {found}, not {expected} ({far:e})"
                );
            }
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn the_same_steps_leave_the_same_bits() {
    let _alone = alone();
    for name in ["ptb-small", "ptb-keras", "ptb-medium", "ptb-large"] {
        let run = || {
            let (model, mut feed) = training(name, Precision::Tf32);
            let mut gpu = on_gpu(&model);
            losses(&mut gpu, &mut feed, 3);
            gpu.tensors()
                .iter()
                .map(|tensor| gpu.bytes(&tensor.name).unwrap().into_owned())
                .collect::<Vec<_>>()
        };
        assert!(run() == run(), "{name}");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_run_moves_from_cpu_to_gpu_and_back() {
    let _alone = alone();
    let (model, mut feed) = training("ptb-small", Precision::F32);
    let expected = losses(&mut on_cpu(&model), &mut feed, 6);
    let (model, mut feed) = training("ptb-small", Precision::F32);
    let (mut cpu, mut gpu) = (on_cpu(&model), on_gpu(&model));
    let mut found = losses(&mut cpu, &mut feed, 2);
    move_over(&cpu, &mut gpu);
    found.extend(losses(&mut gpu, &mut feed, 2));
    move_over(&gpu, &mut cpu);
    found.extend(losses(&mut cpu, &mut feed, 2));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= DRIFT[0].1 * expected, "{found}, not {expected}");
    }
}

/// All tensors of one engine into another.
fn move_over(from: &dyn Engine, to: &mut dyn Engine) {
    for tensor in from.tensors() {
        to.write(&tensor.name, &from.read(&tensor.name).unwrap()).unwrap();
    }
}

/// What `compute-sanitizer` watches: weights in registers and shared memory, elements and partial sums that travel.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn short_trainings() {
    let _alone = alone();
    for (name, steps) in [("ptb-small", 2), ("ptb-medium", 1)] {
        let (model, mut feed) = training(name, Precision::Tf32);
        let losses = losses(&mut on_gpu(&model), &mut feed, steps);
        assert!(losses.iter().all(|loss| loss.is_finite()), "{name}: {losses:?}");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU, and compute-sanitizer"]
fn sanitizers_find_nothing() {
    let _alone = alone();
    open();
    // What tests print is shown only if they fail; this is to be seen.
    let say = |line: &str| writeln!(std::io::stderr(), "{line}").unwrap();
    for tool in ["memcheck", "racecheck", "synccheck"] {
        let mut command = Command::new("compute-sanitizer");
        command.args(["--tool", tool, "--error-exitcode", "3"]).arg(std::env::current_exe().unwrap());
        match command.args(["--ignored", "--exact", "short_trainings"]).output() {
            Err(error) => return say(&format!("SKIPPED: compute-sanitizer cannot be run ({error})")),
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stdout);
                assert!(done.status.success(), "{tool}:\n{said}");
                assert!(said.contains("0 errors") || said.contains("0 hazards"), "{tool}:\n{said}");
            }
        }
    }
}
