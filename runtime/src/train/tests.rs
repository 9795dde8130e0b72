//! Training with a hand-made program: `w += rate * noise - 0.01 * s`, with state that a resume must bring back.

mod checkpoints;

use std::fs;

use lstmc_compiler::backend::cpu::abi::Run;
use lstmc_compiler::diag::Span;
use lstmc_compiler::kernel::{BufferKind, InputRole, OutputRole, Part};
use lstmc_compiler::model::{BatchKind, Batches, Course, Schedule, Start, Targets};

use super::*;
use crate::checkpoint::Accept;
use crate::engine::cpu::{Pair, Session, library};
use crate::run_dir::{Point, Settings};
use crate::testing::{buffer, outer_loop, program};
use crate::text::Vocabulary;

const ROWS: usize = 2;
const STEPS: usize = 3;

/// A token that no text of these tests has but some, and what it does to the loss or the parameter.
const NAN_LOSS: u32 = 99;
const JUMP: u32 = 98;
const NAN_UPDATE: u32 = 97;
const NAN_IN_EVALUATION: u32 = 96;

/// Lines of the arena: w, s, h, tokens, targets, rate, loss, hits, probabilities. The last three have one element for the
/// batch, or in evaluation one for each target, all alike.
unsafe fn body<const TRAIN: bool>(run: *mut Run, worker: u32) {
    if worker != 0 {
        return;
    }
    // SAFETY: each buffer has its line, as `buffers` lays them out; only worker 0 is here.
    unsafe {
        let line = |n: usize| (*run).arena.add(64 * n).cast::<f32>();
        let tokens = std::slice::from_raw_parts(line(3).cast::<u32>(), ROWS * STEPS);
        let sum = tokens.iter().sum::<u32>() as f32;
        let (w, s, h) = (&mut *line(0), &mut *line(1), &mut *line(2));
        *h = 0.5 * *h + sum;
        // A parameter as large as after a jump has no finite loss.
        let mut loss = if w.abs() > 1e9 { f32::INFINITY } else { (*w + 0.001 * *h).abs() };
        if !TRAIN && tokens.contains(&NAN_IN_EVALUATION) {
            loss = f32::NAN;
        }
        // Where there is one target in a row, the others lie in what the line has left.
        for element in 0..if TRAIN { 1 } else { ROWS * STEPS } {
            *line(6).add(element) = loss;
            *line(7).add(element) = (sum as u32 % 3) as f32;
        }
        if TRAIN {
            let noise = (library().random_key)(run, 0) as f32 / u32::MAX as f32;
            *s = 0.9 * *s + noise;
            *w += *line(5) * noise - 0.01 * *s;
            if tokens.contains(&NAN_LOSS) {
                *line(6) = f32::NAN;
            }
            if tokens.contains(&JUMP) {
                *w = 1e10;
            }
            if tokens.contains(&NAN_UPDATE) {
                *w = f32::NAN;
            }
        }
    }
}

unsafe extern "C" fn train_entry(run: *mut Run, worker: u32) {
    // SAFETY: called by a session, with its own run.
    unsafe { outer_loop(run, worker, body::<true>) }
}

unsafe extern "C" fn evaluate_entry(run: *mut Run, worker: u32) {
    // SAFETY: called by a session, with its own run.
    unsafe { outer_loop(run, worker, body::<false>) }
}

fn session(train: bool, targets: usize) -> Session {
    let input = BufferKind::Input;
    let parts = vec![Part { name: "w".into(), start: 0, len: 1 }];
    let state = if train {
        input(InputRole::OptimizerState { param: "w".into(), start: 0.25 })
    } else {
        BufferKind::Temp
    };
    let each = [targets];
    let outcomes: &[usize] = if train { &[] } else { &each };
    let program = program(
        "train",
        vec![
            buffer("w", &[1], input(InputRole::Param { parts })),
            buffer("w/s", &[1], state),
            buffer("l.h", &[1, 1], input(InputRole::Carried { start: 0.0 })),
            buffer("tokens", &[STEPS, ROWS], input(InputRole::Tokens)),
            buffer("targets", &[targets], input(InputRole::Targets)),
            buffer("rate", &[], input(InputRole::Rate)),
            buffer("loss", outcomes, BufferKind::Output(OutputRole::Loss)),
            buffer("hits", outcomes, BufferKind::Output(OutputRole::Hits)),
            buffer("p", &[targets, 1], BufferKind::Output(OutputRole::Probabilities)),
        ],
    );
    let entry = if train { train_entry } else { evaluate_entry };
    // SAFETY: the functions above do what the program's buffers say.
    unsafe { Session::from_parts(&program, entry, Box::new(())) }.unwrap()
}

/// A folder with a run in it, its texts and its monitor.
struct Bench {
    dir: tempfile::TempDir,
    train: Vec<u32>,
    valid: Vec<u32>,
    monitor: Monitor,
    recipe: Recipe,
    /// Where the parameter starts.
    start: f32,
}

impl Bench {
    /// 30 tokens in 2 rows of 3 steps: 4 batches an epoch.
    fn new(kind: BatchKind, length: Length) -> Self {
        let batches = Batches { kind, rows: ROWS, steps: STEPS, span: Span::default() };
        let schedule = Schedule { warmup: 0, course: Course::Decay { factor: 0.5, after: 1 } };
        Self {
            dir: tempfile::tempdir().unwrap(),
            train: (0..30).map(|i| i * 7 % 11).collect(),
            valid: (0..20).collect(),
            monitor: Monitor::default(),
            recipe: Recipe { seed: 4, ..Recipe::plain(batches, length, schedule, 0.1) },
            start: 0.0,
        }
    }

    fn stream(epochs: usize) -> Self {
        Self::new(BatchKind::Stream, Length::Epochs(epochs))
    }

    fn create(&self, name: &str) -> RunDir {
        let settings = Settings { data: "".into(), seed: 4, texts: vec![], imported: None };
        let vocabulary = Vocabulary::build(["a"], 0);
        RunDir::create(&self.dir.path().join(name), "model {}", &vocabulary, &settings).unwrap()
    }

    fn trainer<'a>(&'a self, run: &'a RunDir, limit: Option<u64>) -> Trainer<'a> {
        let inputs = Inputs {
            valid_extent: None,
            train: &self.train,
            valid: Some(&self.valid),
            run: Some(run),
            source: "model {}",
            vocabulary: "v",
            monitor: &self.monitor,
            group: None,
        };
        let targets = match self.recipe.batches.kind {
            BatchKind::Windows { targets: Targets::Last, .. } => ROWS,
            _ => ROWS * STEPS,
        };
        let recipe = Recipe { limit, ..self.recipe.clone() };
        let mut programs = Pair::apart(session(true, targets), session(false, targets));
        programs.train().write("w", &[self.start]).unwrap();
        Trainer::new(recipe, inputs, Box::new(programs)).unwrap()
    }

    fn resumed<'a>(&'a self, run: &'a RunDir, limit: Option<u64>) -> Trainer<'a> {
        let mut trainer = self.trainer(run, limit);
        trainer.resume(&run.newest(Accept::Verified).unwrap()).unwrap();
        trainer
    }
}

fn bits(trainer: &Trainer<'_>) -> Vec<u32> {
    let engine = trainer.trained();
    engine.tensors().iter().flat_map(|tensor| engine.read(&tensor.name).unwrap()).map(f32::to_bits).collect()
}

/// Metrics without what depends on the clock.
fn timeless(run: &RunDir) -> Vec<Row> {
    let rows = run.metrics().unwrap();
    rows.into_iter().map(|row| Row { words_per_second: None, seconds: None, ..row }).collect()
}

/// The points of the curves likewise.
fn points(run: &RunDir) -> Vec<Point> {
    let points = run.points().unwrap();
    assert!(points.iter().all(|point| point.words_per_second.is_some()));
    points.into_iter().map(|point| Point { words_per_second: None, ..point }).collect()
}

#[test]
fn each_epoch_has_a_row_and_a_checkpoint() {
    let bench = Bench::stream(3);
    let run = bench.create("a");
    let mut trainer = bench.trainer(&run, None);
    let mut reports = Vec::new();
    let outcome = trainer.run(&mut |report| reports.push(report.clone())).unwrap();
    assert_eq!(outcome, Outcome::Finished);
    let rows = run.metrics().unwrap();
    assert_eq!(rows, reports.iter().map(|report| report.row.clone()).collect::<Vec<_>>());
    assert_eq!(rows.iter().map(|row| (row.epoch, row.step)).collect::<Vec<_>>(), [(1, 4), (2, 8), (3, 12)]);
    let rates: Vec<f64> = rows.iter().filter_map(|row| row.learning_rate).collect();
    assert_eq!(rates, [0.1, 0.05, 0.025]);
    for (row, name) in rows.iter().zip(["epoch-01", "epoch-02", "epoch-03"]) {
        assert!(run.checkpoint(name).exists());
        assert_eq!(row.train_perplexity.unwrap(), row.train_loss.unwrap().exp());
        assert!(row.valid_loss.is_some() && row.valid_accuracy.is_some());
    }
    assert_eq!(run.latest().unwrap(), "epoch-03");
}

#[test]
fn accuracy_and_loss_are_means_over_the_epoch() {
    let bench = Bench::stream(1);
    let run = bench.create("a");
    let mut trainer = bench.trainer(&run, None);
    trainer.run(&mut |_| {}).unwrap();
    let mut batches = Batcher::new(&bench.recipe.batches, 30, 4).unwrap();
    let mut hits = 0;
    for step in 0..4 {
        let (mut tokens, mut targets) = ([0; 6], [0; 6]);
        batches.fill(&bench.train, 0, step, &mut tokens, &mut targets);
        hits += tokens.iter().sum::<u32>() % 3;
    }
    assert_eq!(run.metrics().unwrap()[0].train_accuracy.unwrap(), f64::from(hits) / 24.0);
}

#[test]
fn the_curves_have_points_between_reports() {
    // 1,500 batches in two reports: points of one or two updates.
    let kind = BatchKind::Windows { stride: 4, targets: Targets::Last, start: Start::Random, shuffle: false };
    let mut bench = Bench::new(kind, Length::Iterations { count: 1500, report_every: 750 });
    // It falls by about 0.05 in each update, and the loss is its distance from zero.
    bench.start = 55.0;
    let run = bench.create("a");
    bench.trainer(&run, None).run(&mut |_| {}).unwrap();
    let (points, rows) = (points(&run), run.metrics().unwrap());
    assert_eq!((points.len(), points.last().unwrap().step), (1000, 1500));
    let mut before = 0;
    for row in rows {
        let own: Vec<&Point> =
            points.iter().filter(|point| (before + 1..=row.step).contains(&point.step)).collect();
        let (mut loss, mut hits) = (0.0, 0.0);
        let mut from = before;
        for point in own {
            let updates = (point.step - from) as f64;
            loss += updates * point.train_loss.unwrap();
            hits += updates * point.train_accuracy.unwrap();
            from = point.step;
            assert_eq!(point.learning_rate, Some(0.1 * 0.5f64.powf(point.epoch as f64 - 1.0)));
        }
        let updates = (row.step - before) as f64;
        assert!((loss / updates - row.train_loss.unwrap()).abs() < 1e-9, "sums in another order");
        assert!((hits / updates - row.train_accuracy.unwrap()).abs() < 1e-9);
        before = row.step;
    }
}

#[test]
fn a_point_goes_on_where_a_run_was_cut() {
    // Points of one and of two updates.
    let kind = BatchKind::Windows { stride: 4, targets: Targets::Last, start: Start::Random, shuffle: false };
    let bench = Bench::new(kind, Length::Iterations { count: 1500, report_every: 750 });
    let whole = bench.create("whole");
    bench.trainer(&whole, Some(10)).run(&mut |_| {}).unwrap();
    assert!((4..10).contains(&points(&whole).len()), "{:?}", points(&whole));
    for cut in 1..10 {
        let run = bench.create(&format!("cut-{cut}"));
        bench.trainer(&run, Some(cut)).run(&mut |_| {}).unwrap();
        bench.resumed(&run, Some(10)).run(&mut |_| {}).unwrap();
        assert_eq!(points(&run), points(&whole), "cut at {cut}");
    }
}

#[test]
fn a_run_cut_at_any_step_ends_with_the_same_bits() {
    let last = BatchKind::Windows { stride: 4, targets: Targets::Last, start: Start::Random, shuffle: false };
    let shuffled =
        BatchKind::Windows { stride: 3, targets: Targets::Each, start: Start::First, shuffle: true };
    for (kind, length) in [
        (BatchKind::Stream, Length::Epochs(3)),
        (shuffled, Length::Epochs(3)),
        (last, Length::Iterations { count: 11, report_every: 4 }),
    ] {
        let bench = Bench::new(kind, length);
        let whole_run = bench.create("whole");
        let mut whole = bench.trainer(&whole_run, None);
        whole.run(&mut |_| {}).unwrap();
        for cut in 1..whole.total_steps() {
            let run = bench.create(&format!("cut-{cut}"));
            bench.trainer(&run, Some(cut)).run(&mut |_| {}).unwrap();
            let mut rest = bench.resumed(&run, None);
            assert_eq!(rest.run(&mut |_| {}).unwrap(), Outcome::Finished);
            assert_eq!(bits(&rest), bits(&whole), "cut at {cut}");
            let interval = whole.interval();
            let mut rows = timeless(&run);
            // A run that is told to end at a step has a row there.
            rows.retain(|row| row.step % interval == 0 || row.step == whole.total_steps());
            assert_eq!(rows, timeless(&whole_run), "cut at {cut}");
            assert_eq!(points(&run), points(&whole_run), "cut at {cut}");
        }
    }
}

#[test]
fn stopping_saves_and_resuming_goes_on() {
    let bench = Bench::stream(3);
    let whole_run = bench.create("whole");
    let mut whole = bench.trainer(&whole_run, None);
    whole.run(&mut |_| {}).unwrap();
    let bench = Bench::stream(3);
    let run = bench.create("a");
    let outcome = bench.trainer(&run, None).run(&mut |report| {
        if report.row.epoch == 2 {
            bench.monitor.stop();
        }
    });
    assert_eq!(outcome.unwrap(), Outcome::Interrupted);
    assert_eq!(run.latest().unwrap(), "step-000008");
    let bench = Bench { monitor: Monitor::default(), ..bench };
    let mut rest = bench.resumed(&run, None);
    assert_eq!(rest.run(&mut |_| {}).unwrap(), Outcome::Finished);
    assert_eq!(bits(&rest), bits(&whole));
    assert_eq!(timeless(&run), timeless(&whole_run));
    assert!(!run.checkpoint("step-000008").exists());
}

#[test]
fn a_run_stopped_before_its_first_step_can_be_resumed() {
    let bench = Bench::stream(1);
    let run = bench.create("a");
    bench.monitor.stop();
    assert_eq!(bench.trainer(&run, None).run(&mut |_| {}).unwrap(), Outcome::Interrupted);
    let bench = Bench { monitor: Monitor::default(), ..bench };
    assert_eq!(bench.resumed(&run, None).run(&mut |_| {}).unwrap(), Outcome::Finished);
    assert_eq!(run.metrics().unwrap().len(), 1);
}

#[test]
fn resuming_drops_rows_that_will_be_written_again() {
    let bench = Bench::stream(2);
    let run = bench.create("a");
    bench.trainer(&run, None).run(&mut |_| {}).unwrap();
    run.set_latest("epoch-01").unwrap();
    bench.resumed(&run, None).run(&mut |_| {}).unwrap();
    let steps: Vec<u64> = run.metrics().unwrap().iter().map(|row| row.step).collect();
    assert_eq!(steps, [4, 8]);
}

#[test]
fn a_run_of_some_steps_ends_with_a_row_without_validation() {
    let bench = Bench::stream(2);
    let run = bench.create("a");
    bench.trainer(&run, Some(6)).run(&mut |_| {}).unwrap();
    let rows = run.metrics().unwrap();
    assert_eq!(rows.iter().map(|row| (row.epoch, row.step)).collect::<Vec<_>>(), [(1, 4), (2, 6)]);
    assert!(rows[1].train_loss.is_some() && rows[1].valid_loss.is_none());
    assert!(run.checkpoint("step-000006").exists());
    assert_eq!(bench.resumed(&run, Some(6)).run(&mut |_| {}).unwrap(), Outcome::Finished);
    assert_eq!(run.metrics().unwrap().len(), 2, "nothing is left to do");
}

#[test]
fn a_run_of_no_steps_leaves_what_it_starts_from() {
    let bench = Bench::stream(1);
    let run = bench.create("a");
    let mut none = bench.trainer(&run, Some(0));
    let start = bits(&none);
    assert_eq!(none.run(&mut |_| {}).unwrap(), Outcome::Finished);
    assert_eq!(run.latest().unwrap(), "step-000000");
    let mut rest = bench.resumed(&run, None);
    assert_eq!(bits(&rest), start);
    assert_eq!(rest.run(&mut |_| {}).unwrap(), Outcome::Finished);
    let whole_run = bench.create("whole");
    let mut whole = bench.trainer(&whole_run, None);
    whole.run(&mut |_| {}).unwrap();
    assert_eq!(bits(&rest), bits(&whole));
}

#[test]
fn iterations_are_reported_with_a_sample_and_keep_one_checkpoint() {
    let kind = BatchKind::Windows { stride: 4, targets: Targets::Last, start: Start::Random, shuffle: false };
    let bench = Bench::new(kind, Length::Iterations { count: 10, report_every: 4 });
    let run = bench.create("a");
    let mut samples = Vec::new();
    bench.trainer(&run, None).run(&mut |report| samples.extend(report.sample.clone())).unwrap();
    assert_eq!(run.metrics().unwrap().iter().map(|row| row.step).collect::<Vec<_>>(), [4, 8, 10]);
    assert_eq!(samples.len(), 3);
    let text: Vec<u32> = [samples[0].context.as_slice(), &[samples[0].actual]].concat();
    assert!(bench.train.windows(4).any(|window| window == text), "{text:?}");
    assert_eq!(fs::read_dir(run.path().join("checkpoints")).unwrap().count(), 1);
    assert!(run.checkpoint("step-000010").exists());
}

#[test]
fn a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_last_checkpoint() {
    let mut bench = Bench::stream(2);
    bench.train[0] = NAN_LOSS;
    let run = bench.create("a");
    let error = bench.trainer(&run, None).run(&mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Diverged { epoch: 1, step: 1, .. }), "{error}");
    assert_eq!(run.latest().unwrap(), "step-000000", "what it starts from");
}

/// Windows over 80 tokens in their order, with a report after every 3 updates; update 9 reads `token` and nothing before does.
fn bench_with(token: u32) -> Bench {
    let kind = BatchKind::Windows { stride: 3, targets: Targets::Last, start: Start::First, shuffle: false };
    let mut bench = Bench::new(kind, Length::Iterations { count: 20, report_every: 3 });
    bench.train = (0..80).map(|i| i * 7 % 11).collect();
    // Each batch has the next two windows of three tokens.
    bench.train[8 * 6 + 1] = token;
    bench
}

#[test]
fn a_diverged_update_leaves_the_checkpoint_before_it() {
    for token in [JUMP, NAN_UPDATE] {
        let bench = bench_with(token);
        let run = bench.create("a");
        let error = bench.trainer(&run, None).run(&mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::BadUpdate { step: 9, .. }), "{error}");
        assert_eq!(run.latest().unwrap(), "step-000006");
        let kept = fs::read_dir(run.path().join("checkpoints")).unwrap().count();
        assert_eq!(kept, 1, "nothing of update 9");
        let steps: Vec<u64> = run.metrics().unwrap().iter().map(|row| row.step).collect();
        assert_eq!(steps, [3, 6, 9], "its losses were those of good parameters");
        // A run that is stopped there has nothing else to go on from.
        let run = bench.create("stopped");
        let error = bench.trainer(&run, Some(9)).run(&mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::BadUpdate { step: 9, .. }), "{error}");
        assert_eq!(run.latest().unwrap(), "step-000006");
    }
}

#[test]
fn a_validation_without_a_finite_loss_is_no_diverged_training() {
    let mut bench = Bench::stream(3);
    bench.valid[5] = NAN_IN_EVALUATION;
    let run = bench.create("a");
    let error = bench.trainer(&run, None).run(&mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, Error::BadEvaluation { text, loss } if text == "validation" && loss.is_nan()),
        "{error}"
    );
    let rows = run.metrics().unwrap();
    assert_eq!((rows.len(), rows[0].step, rows[0].valid_loss), (1, 4, None));
    assert!(rows[0].train_loss.is_some());
    assert_eq!(run.latest().unwrap(), "epoch-01", "the parameters are good");
}

#[test]
fn a_validation_text_of_any_length_will_do() {
    for (tokens, measured) in [(0, false), (1, false), (2, true), (7, true)] {
        let mut bench = Bench::stream(1);
        bench.valid.truncate(tokens);
        let run = bench.create("a");
        bench.trainer(&run, None).run(&mut |_| {}).unwrap();
        assert_eq!(run.metrics().unwrap()[0].valid_loss.is_some(), measured, "{tokens} tokens");
    }
}

#[test]
fn a_training_that_ends_far_worse_than_guessing_has_failed() {
    let bench = Bench::stream(1);
    let run = bench.create("a");
    assert!(bench.trainer(&run, Some(2)).run(&mut |_| {}).is_ok());
    let mut trainer = bench.trainer(&run, Some(3));
    trainer.programs.train().write("w", &[100.0]).unwrap();
    let error = trainer.run(&mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::WorseThanGuessing { vocabulary: 1, .. }), "{error}");
    assert_eq!(run.latest().unwrap(), "step-000003", "to be looked at");
}
