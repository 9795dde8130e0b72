//! What a batch's shards come to is the same bits, whether one process computes them one after the other or several do, and also
//! when a training goes on in another number of processes. Here these are threads; `tests/ranks` has processes of MPI.

#[path = "../compiler/tests/support/checked.rs"]
mod checked;

use std::sync::Arc;
use std::time::Duration;

use checked::checked;
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_runtime::checkpoint::{Accept, Take};
use lstmc_runtime::engine::cpu::{self, Executable, Pair, Session};
use lstmc_runtime::engine::{Store, Trainee};
use lstmc_runtime::exchange::{Group, Local, Precision};
use lstmc_runtime::feed::random_ids;
use lstmc_runtime::monitor::Monitor;
use lstmc_runtime::run_dir::{RunDir, Settings};
use lstmc_runtime::text::Vocabulary;
use lstmc_runtime::train::{Inputs, Outcome, Recipe, Trainer, initialise};

const SEED: u64 = 3;
/// Longer than any thread here is kept from its turn.
const DEADLINE: Duration = Duration::from_secs(600);

fn model(batches: &str, chain: &str, train: &str) -> Model {
    let text = format!(
        "data {{ train: \"a\" valid: \"b\" tokens: words batches: {batches} }}\n\
         model {{ tokens -> {chain} -> dense(vocab) -> softmax }}\n\
         train {{ loss: cross_entropy {train} }}"
    );
    checked(&text, 40).unwrap_or_else(|errors| panic!("{errors}"))
}

fn session(model: &Model, purpose: Purpose) -> Session {
    let program = pipeline::program_of(model, purpose, &cpu::target(1));
    Session::new(Executable::compile(program).unwrap()).unwrap()
}

struct Training<'a> {
    model: &'a Model,
    ids: Vec<u32>,
    /// A folder for each run.
    dir: tempfile::TempDir,
}

impl<'a> Training<'a> {
    fn new(model: &'a Model) -> Self {
        Self { model, ids: random_ids(model.vocab, 300, SEED), dir: tempfile::tempdir().unwrap() }
    }

    fn run_dir(&self, name: &str) -> RunDir {
        let path = self.dir.path().join(name);
        if path.exists() {
            return RunDir::take_up(&path).unwrap();
        }
        let settings = Settings { data: "".into(), seed: SEED, texts: vec![], imported: None };
        RunDir::create(&path, "model {}", &Vocabulary::build(["a"], 0), &settings).unwrap()
    }

    /// Trains up to update `until` in so many ranks, from where the run of this name is.
    fn train(&self, name: &str, ranks: usize, until: u64) -> Vec<(String, Vec<u8>)> {
        let run = self.run_dir(name);
        let run = &run;
        std::thread::scope(|scope| {
            for local in Local::ranks(ranks, DEADLINE) {
                scope.spawn(move || self.rank(local, run, until));
            }
        });
        self.saved(run)
    }

    fn rank(&self, local: Local, run: &RunDir, until: u64) {
        let mut group = Arc::new(Group::new(Precision::F32, move || Ok(Box::new(local))).unwrap());
        let monitor = Monitor::default();
        let inputs = Inputs {
            train: &self.ids,
            valid: Some(&self.ids[..60]),
            valid_extent: None,
            run: (group.rank() == 0).then_some(run),
            source: "model {}",
            vocabulary: "v",
            monitor: &monitor,
            group: Some(&group),
        };
        let [train, evaluate] =
            [Purpose::Train, Purpose::Evaluate].map(|purpose| session(self.model, purpose));
        let mut programs = Pair::apart(train, evaluate).exchanging(&group);
        initialise(self.model, SEED, programs.train()).unwrap();
        let recipe = Recipe { limit: Some(until), ..Recipe::of(self.model, SEED) };
        let mut trainer = Trainer::new(recipe, inputs, Box::new(programs)).unwrap();
        if let Ok(checkpoint) = run.newest(Accept::Verified) {
            trainer.resume(&checkpoint).unwrap();
        }
        // No rank makes a checkpoint before all have looked for one.
        group.all_gather(&[]).unwrap();
        assert_eq!(trainer.run(&mut |_| {}).unwrap(), Outcome::Finished);
        drop(trainer);
        Arc::get_mut(&mut group).unwrap().close().unwrap();
    }

    /// Every tensor of the newest checkpoint.
    fn saved(&self, run: &RunDir) -> Vec<(String, Vec<u8>)> {
        let checkpoint = run.newest(Accept::Verified).unwrap();
        let whole = Model {
            train: lstmc_compiler::model::Train { shards: 1, ..self.model.train.clone() },
            ..self.model.clone()
        };
        let mut session = session(&whole, Purpose::Train);
        checkpoint.restore(&mut session, Take::Everything).unwrap();
        let bytes = |name: &str| (name.to_owned(), session.bytes(name).unwrap().into_owned());
        session.tensors().iter().map(|tensor| bytes(&tensor.name)).collect()
    }
}

#[track_caller]
fn same_in_any_number_of_ranks(batches: &str, chain: &str, train: &str) {
    let sharded = model(batches, chain, &format!("shards: 4 {train}"));
    let training = Training::new(&sharded);
    let one = training.train("1", 1, 12);
    for ranks in [2, 4] {
        assert!(training.train(&ranks.to_string(), ranks, 12) == one, "{ranks} ranks");
    }
    // Stopped in the middle of an epoch, where recurrent state is carried.
    for (ranks, until) in [(4, 5), (1, 8), (2, 12)] {
        training.train("resumed", ranks, until);
    }
    assert!(training.saved(&training.run_dir("resumed")) == one, "resumed in 4, 1 and 2 ranks");
}

#[test]
fn of_a_stream_with_dropout() {
    let chain = "embedding(8) -> dropout(0.5) -> lstm(12) -> dropout(0.5) -> lstm(12)";
    same_in_any_number_of_ranks(
        "stream(rows: 8, steps: 5)",
        chain,
        "optimizer: sgd(rate: 1) clip: norm(1) epochs: 3",
    );
}

#[test]
fn of_windows_with_an_optimizer_that_has_states() {
    let batches = "windows(length: 5, stride: 3, rows: 8, targets: last, shuffle: true)";
    let train = "optimizer: adam(rate: 0.02) weights: average(after: 1) epochs: 2";
    same_in_any_number_of_ranks(batches, "embedding(8) -> gru(12) -> last", train);
}

#[test]
fn of_several_batches_an_update() {
    let train = "optimizer: sgd(rate: 1) accumulate: 3 report: gradient_norm epochs: 3";
    same_in_any_number_of_ranks("stream(rows: 4, steps: 5)", "embedding(8) -> lstm(12)", train);
}

/// Random numbers are those of the rows of the whole batch, so only the order of sums differs.
#[test]
fn shards_compute_what_the_whole_batch_does() {
    let chain = "embedding(8) -> dropout(0.5) -> lstm(12) -> dropout(0.5)";
    let after = |shards: usize| {
        let train = format!("shards: {shards} optimizer: sgd(rate: 1) clip: norm(1) epochs: 3");
        let model = model("stream(rows: 8, steps: 5)", chain, &train);
        Training::new(&model).train("run", 1, 12)
    };
    let (whole, sharded) = (after(1), after(4));
    let mut differ = false;
    for ((name, whole), (other, sharded)) in whole.iter().zip(&sharded) {
        assert_eq!(name, other);
        differ |= whole != sharded;
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        for (a, b) in numbers(whole).iter().zip(numbers(sharded)) {
            // Twelve updates of numbers up to about 1, whose gradients are rounded to 24 bits in sums of other orders; other
            // dropout masks would move them by some hundredths.
            assert!((a - b).abs() < 1e-4, "{name}: {a} and {b}");
        }
    }
    assert!(differ, "sums of another order are other bits");
}
