//! The host is one step behind the device, and nothing can be seen of it but the order of calls.

use std::path::Path;

use lstmc_compiler::graph::Purpose;
use lstmc_runtime::checkpoint::{Accept, Take};
use lstmc_runtime::engine::Store;
use lstmc_runtime::engine::{Control, Driver, Engine, StepInputs, StepOutputs, cuda};
use lstmc_runtime::evaluate::{evaluate, predict};
use lstmc_runtime::generate::{Request, generate};
use lstmc_runtime::monitor::Monitor;
use lstmc_runtime::reading::Reading;
use lstmc_runtime::run_dir::{RunDir, Settings};
use lstmc_runtime::sample::Sampler;
use lstmc_runtime::text::Vocabulary;
use lstmc_runtime::train::{Inputs, Outcome, Recipe, Trainer, initialise};
use lstmc_runtime::{Error, Result as RunResult};

use crate::device::Call::{Download, Prologue, Receive, Send, Step};
use crate::{Steps, model, on_cpu, on_gpu, steps, watched};

/// [`Steps`] that ends early, or waits.
#[derive(Default)]
struct Script {
    steps: Steps,
    stop_at: Option<u64>,
    fail_at: Option<u64>,
    waits: bool,
}

impl Driver for Script {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> RunResult<Control> {
        if self.stop_at == Some(step) {
            return Ok(Control::Stop);
        }
        self.steps.begin(step, inputs)
    }

    fn end(&mut self, step: u64, outputs: &dyn StepOutputs) -> RunResult<()> {
        if self.fail_at == Some(step) {
            return Err(Error::BadArgument(format!("step {step}")));
        }
        assert_eq!(self.steps.losses.len() as u64, step, "each step has its end, in order");
        self.steps.end(step, outputs)
    }

    fn waits(&self) -> bool {
        self.waits
    }
}

fn bits(engine: &dyn Engine) -> Vec<Vec<u8>> {
    engine.tensors().iter().map(|tensor| engine.bytes(&tensor.name).unwrap().into_owned()).collect()
}

fn trained() -> (cuda::Session, crate::Calls) {
    let (mut gpu, calls) = watched(&model(), Purpose::Train);
    initialise(&model(), 4, &mut gpu).unwrap();
    calls.lock().unwrap().clear();
    (gpu, calls)
}

#[test]
fn a_step_is_started_before_the_results_of_the_last_are_waited_for() {
    let (mut gpu, calls) = trained();
    steps(&mut gpu, 0, 4);
    assert_eq!(
        *calls.lock().unwrap(),
        [
            &[Prologue, Step, Send(0)][..],
            &[Step, Send(1), Receive(0)],
            &[Step, Send(0), Receive(1)],
            &[Step, Send(1), Receive(0)],
            &[Receive(1)],
        ]
        .concat()
    );
}

#[test]
fn nothing_runs_ahead_of_a_driver_that_waits() {
    let (mut gpu, calls) = trained();
    gpu.run(2, 9, &mut Script { waits: true, ..Script::default() }).unwrap();
    let expected = [Prologue, Step, Send(0), Receive(0), Step, Send(1), Receive(1)];
    assert_eq!(*calls.lock().unwrap(), expected);
}

#[test]
fn a_run_is_prepared_again_after_a_parameter_was_set_and_not_after_state_was() {
    let (mut gpu, calls) = trained();
    let prologues = || calls.lock().unwrap().iter().filter(|call| **call == Prologue).count();
    steps(&mut gpu, 0, 1);
    gpu.reset_carried();
    let values = gpu.read("carried/lstm_1.h").unwrap();
    gpu.write("carried/lstm_1.h", &values).unwrap();
    steps(&mut gpu, 1, 1);
    assert_eq!(prologues(), 1);
    let values = gpu.read("dense_1.b").unwrap();
    gpu.write("dense_1.b", &values).unwrap();
    steps(&mut gpu, 2, 1);
    assert_eq!(prologues(), 2);
}

#[test]
fn steps_run_together_leave_the_bits_of_steps_run_one_by_one() {
    let (mut gpu, _) = trained();
    let together = steps(&mut gpu, 0, 5);
    let (mut one, _) = trained();
    let one_by_one: Vec<f32> = (0..5).flat_map(|step| steps(&mut one, step, 1)).collect();
    assert_eq!(together, one_by_one);
    assert_eq!(bits(&gpu), bits(&one));
    let (mut waiting, _) = trained();
    let mut script = Script { waits: true, ..Script::default() };
    waiting.run(5, 9, &mut script).unwrap();
    assert_eq!(script.steps.losses, together);
    assert_eq!(bits(&waiting), bits(&gpu));
}

#[test]
fn a_run_that_is_stopped_has_ended_each_step() {
    let (mut gpu, _) = trained();
    let expected = steps(&mut gpu, 0, 3);
    let expected_bits = bits(&gpu);
    let (mut gpu, _) = trained();
    let mut script = Script { stop_at: Some(3), ..Script::default() };
    assert_eq!(gpu.run(5, 9, &mut script).unwrap(), 3);
    assert_eq!(script.steps.losses, expected);
    assert_eq!(bits(&gpu), expected_bits);
    assert_eq!(gpu.run(5, 9, &mut Script { stop_at: Some(0), ..Script::default() }).unwrap(), 0);
}

#[test]
fn results_that_an_error_has_left_are_not_those_of_the_next_run() {
    for fail_at in 0..3 {
        let (mut gpu, _) = trained();
        let error = gpu.run(5, 9, &mut Script { fail_at: Some(fail_at), ..Script::default() }).unwrap_err();
        assert_eq!(error.to_string(), format!("step {fail_at}"));
        // One step more than the driver was told of.
        let (mut other, _) = trained();
        steps(&mut other, 0, fail_at + 2);
        assert_eq!(bits(&gpu), bits(&other));
        assert_eq!(steps(&mut gpu, 7, 2), steps(&mut other, 7, 2));
    }
}

/// Two rows of three steps: eight batches an epoch.
fn text() -> Vec<u32> {
    (0..50).map(|i| i * i % 11).collect()
}

fn trainer<'a>(inputs: Inputs<'a>, limit: Option<u64>) -> Trainer<'a> {
    let model = model();
    let mut programs =
        cuda::Pair { train: on_gpu(&model, Purpose::Train), evaluate: on_gpu(&model, Purpose::Evaluate) };
    initialise(&model, 4, &mut programs.train).unwrap();
    Trainer::new(Recipe { limit, ..Recipe::of(&model, 4) }, inputs, Box::new(programs)).unwrap()
}

fn run_dir(folder: &Path) -> RunDir {
    let settings = Settings { data: "".into(), seed: 4, texts: vec![], imported: None };
    RunDir::create(folder, "model {}", &Vocabulary::build(["a"], 0), &settings).unwrap()
}

/// The tensors of a run's newest checkpoint, and how many updates they have had.
fn saved(run: &RunDir) -> (Vec<Vec<u8>>, u64) {
    let checkpoint = run.newest(Accept::Verified).unwrap();
    let mut gpu = on_gpu(&model(), Purpose::Train);
    checkpoint.restore(&mut gpu, Take::Everything).unwrap();
    (bits(&gpu), checkpoint.meta.position.step)
}

#[test]
fn a_checkpoint_holds_a_finished_step_and_a_resumed_run_has_the_bits_of_one_that_was_not_stopped() {
    let (dir, text, monitor) = (tempfile::tempdir().unwrap(), text(), Monitor::default());
    let (whole, cut) = (run_dir(&dir.path().join("whole")), run_dir(&dir.path().join("cut")));
    let inputs = |run| Inputs {
        valid_extent: None,
        train: &text,
        valid: Some(&text[..20]),
        run: Some(run),
        group: None,
        source: "model {}",
        vocabulary: "v",
        monitor: &monitor,
    };
    assert_eq!(trainer(inputs(&whole), None).run(&mut |_| {}).unwrap(), Outcome::Finished);
    trainer(inputs(&cut), Some(5)).run(&mut |_| {}).unwrap();
    let (at_five, updates) = saved(&cut);
    assert_eq!(updates, 5);
    let mut rest = trainer(inputs(&cut), None);
    rest.resume(&cut.newest(Accept::Verified).unwrap()).unwrap();
    assert_eq!(rest.run(&mut |_| {}).unwrap(), Outcome::Finished);
    assert_ne!(at_five, saved(&cut).0);
    assert_eq!(saved(&cut), saved(&whole));
    let losses = |run: &RunDir| {
        let row = run.metrics().unwrap().pop().unwrap();
        (row.train_loss, row.train_accuracy, row.valid_loss, row.valid_accuracy)
    };
    assert_eq!(losses(&cut), losses(&whole));
}

#[test]
fn evaluation_runs_ahead_and_copies_no_distributions_and_prediction_waits_for_its_own() {
    let (model, text, monitor) = (model(), text(), Monitor::default());
    let (mut gpu, calls) = watched(&model, Purpose::Evaluate);
    let mut cpu = on_cpu(&model, Purpose::Evaluate);
    initialise(&model, 4, &mut gpu).unwrap();
    initialise(&model, 4, &mut cpu).unwrap();
    calls.lock().unwrap().clear();
    let reading = Reading::new(&model.data.batches, text.len());
    let measure = |engine: &mut dyn Engine| evaluate(engine, &text, &reading, &monitor).unwrap().unwrap();
    let (found, expected) = (measure(&mut gpu), measure(&mut cpu));
    assert_eq!((found.predictions, found.hits), (expected.predictions, expected.hits));
    assert!((found.loss - expected.loss).abs() < 1e-4 * expected.loss, "{found:?}, not {expected:?}");
    assert!(!calls.lock().unwrap().contains(&Download));
    assert_eq!(calls.lock().unwrap()[..6], [Prologue, Step, Send(0), Step, Send(1), Receive(0)]);

    let look = |engine: &mut dyn Engine| {
        let found = predict(engine, &text, &reading, (10, 0), &monitor).unwrap();
        found.into_iter().map(|one| (one.read, one.actual, one.predicted)).collect::<Vec<_>>()
    };
    assert_eq!(look(&mut gpu), look(&mut cpu));
}

#[test]
fn generation_writes_what_a_cpu_does() {
    let model = model();
    let purpose = Purpose::Generate { tokens: 8 };
    let write = |engine: &mut dyn Engine| {
        initialise(&model, 4, engine).unwrap();
        let mut written = vec![];
        let request = Request { prompt: &[1, 2, 3], length: 5, sampler: Sampler::greedy(), reserve: 0 };
        let mut keep = |token| {
            written.push(token);
            Ok(true)
        };
        generate(engine, request, &Monitor::default(), &mut keep).unwrap();
        written
    };
    assert_eq!(write(&mut on_gpu(&model, purpose)), write(&mut on_cpu(&model, purpose)));
}
