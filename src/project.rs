//! A model file with its texts, and a run with its model.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::{Data, Model};
use lstmc_runtime::Error;
use lstmc_runtime::checkpoint::{Accept, Checkpoint, Take};
use lstmc_runtime::engine::Engine;
use lstmc_runtime::engine::cpu::workers;
use lstmc_runtime::reading::Reading;
use lstmc_runtime::run_dir::{Choice, RunDir, Settings};
use lstmc_runtime::text::{
    Corpus, Encoded, Expected, Extent, Record, Role, Texts, Tokenizer, Vocabulary, encode_text, read_model,
};

use crate::args::{Device, ModelFile, Split, Trained, Used};
use crate::compile::{self, Source, Threads};
use crate::set::Setting;
use crate::{changes, find, ranks, show, terminal};

/// The number of worker threads: as asked for, or as many as help. More than can run at once would only wait for each
/// other's turn.
pub fn threads(asked: Option<u16>) -> Threads {
    let Some(asked) = asked.map(usize::from) else {
        return Threads::UpTo(ranks::share(workers::default_workers()));
    };
    let most = workers::most_workers();
    if asked > most {
        let most = show::many(most as u64, "processor");
        terminal::say(&format!(
            "note: --threads {asked}: this process may use {most}, so as many threads are used"
        ));
    }
    Threads::Exactly(asked.min(most))
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
    /// Reads a model file; texts are looked for in `data`, or where a run found them if the file is one of a run, or
    /// beside the file.
    ///
    /// # Errors
    /// A file that cannot be read; diagnostics.
    pub fn read(path: &Path, data: Option<&Path>) -> Result<Self> {
        if RunDir::holds_run(path) {
            bail!(
                "{} is a run, not a model file: go on with it with `lstmc train --resume {0}`, or name its model, {}",
                show::path(path),
                show::path(&path.join("model.lstm"))
            );
        }
        let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match RunDir::open(beside) {
            Ok(run) if path.file_name() == run.model_path().file_name() => Self::of_run(&run, path, data),
            _ => {
                let text = read_model(path, "the model file").map_err(find::model)?;
                Self::parse(path, text, data.unwrap_or(beside))
            }
        }
    }

    /// The model of a run, whose file is called `path` in messages.
    ///
    /// # Errors
    /// As [`Project::read`].
    pub fn of_run(run: &RunDir, path: &Path, data: Option<&Path>) -> Result<Self> {
        let text = run.source()?;
        match data {
            Some(data) => Self::parse(path, text, data),
            None => Self::parse(path, text, &run.settings()?.data),
        }
    }

    fn parse(path: &Path, text: String, folder: &Path) -> Result<Self> {
        let source = Source::parse(path, &text, terminal::colour())?;
        let data = source.data()?;
        Ok(Self { source, text, data, folder: folder.to_owned() })
    }

    /// The model with other numbers in its train block.
    ///
    /// # Errors
    /// As [`Source::set`]; diagnostics.
    pub fn with(self, path: &Path, settings: &[Setting]) -> Result<Self> {
        settings.iter().try_fold(self, |project, setting| {
            let text = project.source.set(&project.text, setting)?;
            Self::parse(path, text, &project.folder)
        })
    }

    /// What cuts texts, for a model with this vocabulary.
    pub fn tokenizer(&self, vocabulary: &Vocabulary) -> Tokenizer {
        Tokenizer::of(&self.data.tokens, vocabulary)
    }

    /// Where the texts are.
    pub fn texts(&self) -> Texts {
        Texts::of(&self.data, &self.folder)
    }

    /// The training and validation texts with their vocabulary. (Of the test text, if it is there, only the record:
    /// training does not read it.)
    ///
    /// # Errors
    /// As [`Corpus::read`].
    pub fn corpus(&self) -> Result<Corpus> {
        let Data { tokens, selection, .. } = &self.data;
        let mut corpus = Corpus::read(tokens, selection, &self.texts(), &[Role::Valid])?;
        corpus.records.extend(self.test(&corpus.vocabulary, Expected::Any)?);
        Ok(corpus)
    }

    /// [`Project::corpus`] of a run that is taken up again, with its vocabulary, where the texts must be those `expected`.
    ///
    /// # Errors
    /// As [`Corpus::read_again`].
    pub fn corpus_again(&self, vocabulary: Vocabulary, expected: Expected<'_>) -> Result<Corpus> {
        let (tokenizer, texts) = (self.tokenizer(&vocabulary), self.texts());
        let mut corpus = Corpus::read_again(&tokenizer, vocabulary, expected, &texts, &[Role::Valid])?;
        corpus.records.extend(self.test(&corpus.vocabulary, expected)?);
        Ok(corpus)
    }

    /// The record of the test text, if there is one.
    fn test(&self, vocabulary: &Vocabulary, expected: Expected<'_>) -> Result<Option<Record>> {
        let texts = self.texts();
        if !texts.has(Role::Test) {
            return Ok(None);
        }
        match Record::read(&self.tokenizer(vocabulary), Role::Test, &texts, expected) {
            Err(changed @ Error::ChangedText { .. }) => Err(changed.into()),
            // An evaluation on it will say so.
            other => Ok(other.ok()),
        }
    }
}

/// A model that is looked at and not trained: the vocabulary's size comes from the training text or from `--vocab`.
pub fn model_of(file: &ModelFile) -> Result<(Project, Option<Corpus>, Model)> {
    let project = Project::read(&file.model, file.data.as_deref())?;
    let corpus = match file.vocab {
        Some(_) => None,
        None => Some(project.corpus()?),
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
    pub checkpoint: Checkpoint,
    settings: Settings,
    /// The folder that the texts were said to be in.
    named: Option<PathBuf>,
    accept_changes: bool,
    /// What was changed since, to be said once if the checkpoint fits all the same.
    note: Cell<Option<String>>,
}

impl Opened {
    /// # Errors
    /// No run or no such checkpoint there; a broken checkpoint; one of another vocabulary or of other tokens.
    pub fn read(folder: &Path, which: &Choice, data: Option<&Path>, accept: Accept) -> Result<Self> {
        let run = RunDir::open(folder).map_err(find::run)?;
        let (settings, path) = (run.settings()?, run.model_path());
        let project = Project::of_run(&run, &path, data)?;
        let vocabulary = run.vocabulary()?;
        let checkpoint = run.chosen(which, accept)?;
        checkpoint.check_vocabulary(&vocabulary.fingerprint())?;
        let model = project.source.model(vocabulary.len())?;
        let changed = |lines| {
            let model = show::path(&path);
            format!("note: {model} is not as it was when the checkpoint was written: {lines}")
        };
        changes::same_tokens(&project, &checkpoint.meta)?;
        let note = Cell::new(changes::of_source(&project, &checkpoint.meta).map(changed));
        let named = data.map(Path::to_owned);
        Ok(Self { project, model, vocabulary, checkpoint, settings, named, accept_changes: false, note })
    }

    /// Whether any text is read, as `--accept-changes` says.
    #[must_use]
    pub fn accepting_changes(self, accept_changes: bool) -> Self {
        Self { accept_changes, ..self }
    }

    /// What cuts texts for the model.
    pub fn tokenizer(&self) -> Tokenizer {
        self.project.tokenizer(&self.vocabulary)
    }

    /// Updates that the model was trained for.
    pub fn steps(&self) -> u64 {
        self.checkpoint.meta.position.step
    }

    /// The model compiled for a purpose, with its trained parameters. `weights` as for [`compile::compile`].
    ///
    /// # Errors
    /// A checkpoint of another model; too little memory.
    pub fn engine(
        &self,
        purpose: Purpose,
        weights: Format,
        device: Device,
        threads: Threads,
    ) -> Result<Box<dyn Engine>> {
        let mut engine: Box<dyn Engine> = match device {
            Device::Cpu => Box::new(compile::compile(&self.model, purpose, weights, threads)?.session()?),
            Device::Cuda(number) => Box::new(compile::on_gpu(&self.model, purpose, weights, number)?.session),
        };
        self.restore(engine.as_mut())?;
        Ok(engine)
    }

    /// Gives a program of the model its trained parameters.
    ///
    /// # Errors
    /// A checkpoint of another model.
    pub fn restore(&self, engine: &mut dyn Engine) -> Result<()> {
        self.checkpoint.restore(engine, Take::Parameters)?;
        self.note.take().iter().for_each(|note| terminal::say(note));
        Ok(())
    }

    /// Which split it is, its ids, and how much text it is: without `split` the last that the model has.
    ///
    /// # Errors
    /// The model has no such text; one that the run was not trained with, without `--accept-changes`; a word that the
    /// vocabulary cannot name.
    pub fn text(&self, split: Option<Split>) -> Result<(Split, Vec<u32>, Extent)> {
        let texts = self.project.texts();
        let all = [Split::Test, Split::Valid, Split::Train];
        let mut found = all.into_iter().filter(|one| split.is_none_or(|split| split == *one));
        let Some(split) = found.find(|split| texts.has(split.role())) else {
            let name = split.map_or("test", Split::name);
            bail!("this model has no {name} text: name one in its data block, or choose another --split");
        };
        let records = &self.settings.texts;
        let expected = match &self.named {
            _ if self.accept_changes => Expected::Any,
            Some(folder) if texts.are_inside(folder, split.role()) => Expected::Any,
            _ => Expected::Recorded { records, named: None },
        };
        let tokenizer = self.tokenizer();
        let (Encoded { ids, unknown, extent }, record) =
            encode_text(&tokenizer, &self.vocabulary, (&texts, split.role()), expected)?;
        if let (Some(unknown), Some(id)) = (unknown, self.vocabulary.unknown()) {
            let (text, word) = (split.role().name(), self.vocabulary.show(id));
            terminal::say(&format!("note: {text} has {unknown}; they count as {word}"));
        }
        if self.accept_changes {
            changes::of_texts(records, &[record])
                .iter()
                .for_each(|change| terminal::say(&format!("note: {change}")));
        }
        Ok((split, ids, extent))
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
///
/// # Errors
/// As [`Opened::read`].
pub fn open(trained: &Trained) -> Result<Opened> {
    Ok(open_used(&trained.used, trained.data.as_deref())?.accepting_changes(trained.accept_changes))
}

/// A run that is used, with the texts in `data` if that is said.
///
/// # Errors
/// As [`Opened::read`].
pub fn open_used(used: &Used, data: Option<&Path>) -> Result<Opened> {
    Opened::read(&used.run, &used.checkpoint, data, accept(used.accept_unverified))
}

/// What `--accept-unverified` says.
pub fn accept(unverified: bool) -> Accept {
    if unverified { Accept::Unverified } else { Accept::Verified }
}
