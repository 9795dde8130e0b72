//! A model file with its texts, and a run with its model.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::{Data, Model};
use lstmc_runtime::Error;
use lstmc_runtime::checkpoint::{Checkpoint, Take};
use lstmc_runtime::reading::Reading;
use lstmc_runtime::run_dir::{RunDir, Settings};
use lstmc_runtime::session::Session;
use lstmc_runtime::text::{Corpus, Tokenizer, Vocabulary, encode_file, read_text};
use lstmc_runtime::workers;

use crate::args::{ModelFile, Split, Trained};
use crate::compile::{self, Source, Threads};
use crate::terminal;

/// The number of worker threads: as asked for, or as many as help.
pub fn threads(asked: Option<u16>) -> Threads {
    match asked {
        Some(asked) => Threads::Exactly(usize::from(asked)),
        None => Threads::UpTo(workers::default_workers()),
    }
}

/// What stands between two tokens in a row of them.
pub fn between(tokenizer: &Tokenizer) -> &'static str {
    if tokenizer.join(["a", "b"]) == "ab" { "" } else { " " }
}

/// A parsed model file.
pub struct Project {
    pub source: Source,
    pub text: String,
    pub data: Data,
    /// The folder that the texts are in.
    pub folder: PathBuf,
}

impl Project {
    /// Reads a model file; texts are looked for in `data`, or beside the file.
    ///
    /// # Errors
    /// A file that cannot be read; diagnostics.
    pub fn read(path: &Path, data: Option<&Path>) -> Result<Self> {
        if RunDir::holds_run(path) {
            bail!(
                "{path:?} is a run, not a model file: go on with it with `lstmc train --resume {run}`, or name its \
                 model, {run}/model.lstm",
                run = path.display()
            );
        }
        let text = read_text(path, "the model file")?;
        let source = Source::parse(path, &text, terminal::colour())?;
        let block = source.data()?;
        let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = data.unwrap_or(beside).to_owned();
        Ok(Self { source, text, data: block, folder })
    }

    pub fn tokenizer(&self) -> Tokenizer {
        Tokenizer::new(&self.data.tokens)
    }

    /// Where the text of a split lies, if the model has one.
    pub fn path(&self, split: Split) -> Option<PathBuf> {
        let name = match split {
            Split::Train => Some(&self.data.train),
            Split::Valid => self.data.valid.as_ref(),
            Split::Test => self.data.test.as_ref(),
        };
        name.map(|(name, _)| self.folder.join(name))
    }

    /// The training and validation texts with their vocabulary. (The test text is not training's business.)
    ///
    /// # Errors
    /// As [`Corpus::read`].
    pub fn corpus(&self) -> Result<Corpus> {
        let (train, valid) = (self.folder.join(&self.data.train.0), self.path(Split::Valid));
        Ok(Corpus::read(&self.tokenizer(), self.data.tokens.reserve, &train, valid.as_deref(), None)?)
    }
}

/// A model that is looked at and not trained: the vocabulary's size comes from the training text or from `--vocab`.
pub fn model_of(file: &ModelFile) -> Result<(Project, Option<Corpus>, Model)> {
    let project = Project::read(&file.model, file.data.as_deref())?;
    let corpus = match file.vocab {
        Some(_) => None,
        None => Some(project.corpus().map_err(|error| match error.downcast_ref() {
            Some(Error::MissingText { .. }) => {
                anyhow!("{error}; or give the vocabulary's size with --vocab N")
            }
            _ => error,
        })?),
    };
    let vocab = match (&corpus, file.vocab) {
        (Some(corpus), _) => corpus.vocabulary.len(),
        (None, vocab) => vocab.unwrap_or(1) as usize,
    };
    let model = project.source.model(vocab)?;
    Ok((project, corpus, model))
}

/// A finished or unfinished run, opened to use its model.
pub struct Opened {
    pub project: Project,
    pub model: Model,
    pub vocabulary: Vocabulary,
    /// The newest checkpoint's file.
    pub path: PathBuf,
    checkpoint: Checkpoint,
}

impl Opened {
    /// # Errors
    /// No run there; a broken checkpoint; one of another vocabulary.
    pub fn read(folder: &Path, data: Option<&Path>) -> Result<Self> {
        let run = RunDir::open(folder)?;
        let Settings { data: trained_on, .. } = run.settings()?;
        let project = Project::read(&run.model_path(), Some(data.unwrap_or(&trained_on)))?;
        let vocabulary = run.vocabulary()?;
        let path = run.latest()?;
        let checkpoint = Checkpoint::read(&path)?;
        checkpoint.check_vocabulary(&path, &vocabulary.fingerprint())?;
        let model = project.source.model(vocabulary.len())?;
        Ok(Self { project, model, vocabulary, path, checkpoint })
    }

    /// Updates that the model was trained for.
    pub fn steps(&self) -> u64 {
        self.checkpoint.meta.position.step
    }

    /// The model compiled for a purpose, with its trained parameters. `weights` as for [`compile::compile`].
    ///
    /// # Errors
    /// A checkpoint of another model; too little memory.
    pub fn session(&self, purpose: Purpose, weights: Format, threads: Threads) -> Result<Session> {
        let mut session = compile::compile(&self.model, purpose, weights, threads)?.session()?;
        self.checkpoint.restore(&self.path, session.arena_mut(), Take::Parameters)?;
        Ok(session)
    }

    /// The ids of a split, and which one it is: without `split` the last that the model has.
    ///
    /// # Errors
    /// The model has no such text; a word that the vocabulary cannot name.
    pub fn text(&self, split: Option<Split>) -> Result<(Split, Vec<u32>)> {
        let all = [Split::Test, Split::Valid, Split::Train];
        let found = all.into_iter().filter(|one| split.is_none_or(|split| split == *one));
        let Some((split, path)) = found.filter_map(|one| Some((one, self.project.path(one)?))).next() else {
            let name = split.map_or("test", Split::name);
            bail!("this model has no {name} text: name one in its data block, or choose another --split");
        };
        let ids = encode_file(&self.project.tokenizer(), &self.vocabulary, &path, "the text")?;
        Ok((split, ids))
    }
}

/// How a text is read in the model's batches.
///
/// # Errors
/// [`Error::NothingToPredict`] if the text is too short for any prediction.
pub fn reading(model: &Model, split: Split, ids: &[u32]) -> Result<Reading> {
    let reading = Reading::new(&model.data.batches, ids.len());
    if reading.batches() > 0 {
        return Ok(reading);
    }
    let (what, found, needed) = (split.name().into(), ids.len(), reading.needed());
    Err(Error::NothingToPredict { what, found, needed }.into())
}

/// [`Opened`], as the arguments say.
pub fn open(trained: &Trained) -> Result<Opened> {
    Opened::read(&trained.run, trained.data.as_deref())
}
