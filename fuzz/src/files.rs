//! Files of a run: checkpoints, vocabularies, and whole folders; and the weights that one begins with.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use lstmc_compiler::graph::Purpose;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use lstmc_runtime::checkpoint::{Accept, Meta, Position, Take};
use lstmc_runtime::engine::cpu::{Executable, Session};
use lstmc_runtime::run_dir::{Choice, RunDir, Settings};
use lstmc_runtime::text::Vocabulary;
use lstmc_runtime::weights::Weights;
use tempfile::TempDir;

use crate::checked::checked;
use crate::texts::WORDS;

const MODEL: &str = "data { train: \"t\" tokens: words batches: stream(rows: 1, steps: 2) }
model { tokens -> embedding(2) -> lstm(2) -> dense(vocab) -> softmax }
train { loss: cross_entropy optimizer: sgd(rate: 1) epochs: 1 }
";

/// A run's folder with one checkpoint, and a program that the checkpoint fits.
struct Run {
    folder: TempDir,
    session: Session,
}

impl Run {
    const CHECKPOINT: &str = "epoch-1";

    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let model = checked(MODEL, WORDS).expect("a model");
        let program = pipeline::program_of(&model, Purpose::Train, &Target::cpu(1));
        let executable = Executable::compile(program).expect("memory for a small program");
        let run = Self { folder, session: Session::new(executable).expect("memory for a small program") };
        let settings = Settings { data: PathBuf::new(), seed: 1, texts: vec![], imported: None };
        let vocabulary = vocabulary_of_model();
        let files = RunDir::create(&run.path(), MODEL, &vocabulary, &settings).expect("a new run");
        let meta = Meta::new(MODEL.into(), vocabulary.fingerprint(), 1, Position::default());
        files.save(Self::CHECKPOINT, &run.session, &meta).expect("a checkpoint");
        run
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The checkpoint's file.
    fn checkpoint(&self) -> PathBuf {
        self.path().join("checkpoints").join(Self::CHECKPOINT).with_extension("safetensors")
    }
}

fn vocabulary_of_model() -> Vocabulary {
    Vocabulary::build(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"], 0)
}

/// Calls `look` with the run that all cases of a process share.
fn with_run(look: impl FnOnce(&mut Run)) {
    static RUN: OnceLock<Mutex<Run>> = OnceLock::new();
    let run = RUN.get_or_init(|| Mutex::new(Run::new()));
    look(&mut run.lock().expect("no case before has panicked"));
}

/// The bytes of a checkpoint that every other one is made of, for a corpus.
pub fn example_checkpoint() -> Vec<u8> {
    let run = Run::new();
    fs::read(run.checkpoint()).expect("a checkpoint")
}

/// A checkpoint: refused, or restored.
pub fn checkpoint(bytes: &[u8]) {
    with_run(|run| {
        fs::write(run.checkpoint(), bytes).expect("room for a file");
        let files = RunDir::open(&run.path()).expect("a run");
        let Ok(checkpoint) = files.load(Run::CHECKPOINT, Accept::Unverified) else { return };
        let _ = checkpoint.check_vocabulary(&vocabulary_of_model().fingerprint());
        for take in [Take::Parameters, Take::Everything] {
            let _ = checkpoint.restore(&mut run.session, take);
        }
    });
}

/// A run's `vocab.json`.
pub fn vocabulary(bytes: &[u8]) {
    let Ok(vocabulary) = serde_json::from_slice::<Vocabulary>(bytes) else { return };
    let (len, reserved) = (vocabulary.len(), vocabulary.reserved());
    vocabulary.fingerprint();
    let around = |id: usize| (id as u32).saturating_sub(2)..(id as u32).saturating_add(2);
    for id in around(0).chain(around(len)).chain(around(reserved)) {
        vocabulary.show(id);
        if let Some(word) = vocabulary.word(id) {
            assert!(vocabulary.id(word).is_some());
        }
    }
}

/// Weights of another program: refused, or all of them read.
pub fn weights(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("weights");
    fs::write(&path, bytes).expect("room for a file");
    let Ok(mut weights) = Weights::open(&path) else { return };
    weights.under("model");
    for name in weights.tensors.keys() {
        if let Ok(values) = weights.values(name) {
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }
}

/// The files of a run, one after the other with a byte 255 between: `latest`, `run.json`, `metrics.jsonl`, `vocab.json`,
/// `model.lstm`, a checkpoint. A file that is not there is left as it was before.
pub fn run(bytes: &[u8]) {
    with_run(|run| {
        let path = run.path();
        let names = ["latest", "run.json", "metrics.jsonl", "vocab.json", "model.lstm"];
        let places = names.into_iter().map(|name| path.join(name)).chain([run.checkpoint()]);
        for (place, bytes) in places.zip(bytes.splitn(6, |&byte| byte == 255)) {
            fs::write(place, bytes).expect("room for a file");
        }
        let Ok(files) = RunDir::open(&path) else { return };
        let _ = (files.source(), files.vocabulary(), files.settings(), files.metrics());
        let _ = (files.best(), files.chosen(&Choice::Best, Accept::Verified));
        let _ = files.chosen(&Choice::Number(7), Accept::Verified);
        let _ = files.forget_after(7);
        if let Ok(checkpoint) = files.newest(Accept::Verified) {
            let _ = checkpoint.restore(&mut run.session, Take::Everything);
        }
    });
}
