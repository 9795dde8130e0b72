//! What a training starts from: a model file with its texts, or a run that is taken up again, locked and compared with
//! what it was.

use std::path::Path;

use anyhow::{Context, Result, bail};
use lstmc_compiler::model::Batches;
use lstmc_runtime::batches::Batcher;
use lstmc_runtime::checkpoint::Meta;
use lstmc_runtime::error::Error;
use lstmc_runtime::run_dir::{Choice, RunDir, Settings};
use lstmc_runtime::text::{Corpus, Expected, Record, Role};

use crate::args::Train;
use crate::project::Project;
use crate::{changes, find, project, show};

pub struct Start {
    pub project: Project,
    pub corpus: Corpus,
    pub seed: u64,
    /// The run that is taken up again.
    pub run: Option<RunDir>,
    /// The checkpoint that it goes on from. A run that ended before its first one starts from the beginning.
    pub checkpoint: Option<Choice>,
    /// How many updates that has seen.
    pub step: Option<u64>,
    /// What of it is not as it was, in words.
    pub changes: Vec<String>,
}

impl Start {
    /// The run or the model file that is named, with its texts. A run that this process `writes` is locked.
    ///
    /// # Errors
    /// No run there, or one that another process writes; what was changed since and cannot be gone on with, or not
    /// without `--accept-changes`. As [`Project::read`] and [`Project::corpus`].
    pub fn read(args: &Train, writes: bool) -> Result<Self> {
        if let Some(folder) = &args.resume {
            return Self::again(folder, args, writes);
        }
        let path = args.model.as_deref().context("name a model file")?;
        let project = Project::read(path, args.data.as_deref())?.with(path, &args.set)?;
        let corpus = project.corpus()?;
        let seed = args.seed.unwrap_or(0);
        Ok(Self { project, corpus, seed, run: None, checkpoint: None, step: None, changes: Vec::new() })
    }

    fn again(folder: &Path, args: &Train, writes: bool) -> Result<Self> {
        let run = if writes { RunDir::take_up(folder) } else { RunDir::open(folder) };
        let run = run.map_err(find::run)?;
        let settings = run.settings()?;
        let data = args.data.as_deref().unwrap_or(&settings.data);
        let project = Project::of_run(&run, &run.model_path(), Some(data))?;
        if let Some(named) = &args.model {
            same_model(named, data, &project, folder)?;
        }
        let vocabulary = run.vocabulary()?;
        let which = args.checkpoint.clone().unwrap_or_default();
        let checkpoint = match run.chosen(&which, project::accept(args.accept_unverified)) {
            Err(Error::NoCheckpoint { .. }) if which == Choice::Newest => match &settings.imported {
                Some(weights) => bail!(
                    "the import of {} into {} did not end: import it again",
                    show::path(weights),
                    show::path(folder)
                ),
                None => None,
            },
            read => Some(read?),
        };
        let (mut changes, mut batches) = (Vec::new(), None);
        if let Some(checkpoint) = &checkpoint {
            checkpoint.check_vocabulary(&vocabulary.fingerprint())?;
            let meta = &checkpoint.meta;
            same_seed(&checkpoint.path, meta, &settings, folder)?;
            changes::same_tokens(&project, meta)?;
            if let Some(lines) = changes::of_source(&project, meta) {
                batches = changes::of_batches(&project, meta);
                if batches.is_some() && meta.position.step > 0 && !args.accept_changes {
                    bail!(
                        "`batches` of {} was changed after {}: {lines}; epochs are counted in batches, so the run's \
                         place in its epoch and in its schedule would be another; change it back, or go on with \
                         --accept-changes",
                        show::path(&run.model_path()),
                        show::many(meta.position.step, "update"),
                    );
                }
                changes.push(format!("the model since the last checkpoint: {lines}"));
            }
        }
        let expected = match args.accept_changes {
            true => Expected::Any,
            false => Expected::Recorded { records: &settings.texts, named: args.data.as_deref() },
        };
        let corpus = project.corpus_again(vocabulary, expected)?;
        changes.extend(changes::of_texts(&settings.texts, &corpus.records));
        let batches = batches.as_ref().unwrap_or(&project.data.batches);
        changes.extend(epochs(batches, &project, &settings, &corpus));
        // It is read again when there is a program to take it.
        let step = checkpoint.as_ref().map(|checkpoint| checkpoint.meta.position.step);
        let checkpoint = checkpoint.map(|_| which);
        Ok(Self { project, corpus, seed: settings.seed, run: Some(run), checkpoint, step, changes })
    }

    /// The folder of a new run.
    ///
    /// # Errors
    /// As [`RunDir::create`].
    pub fn create(&self, args: &Train) -> Result<RunDir> {
        let data = std::path::absolute(&self.project.folder).context("cannot tell where the texts are")?;
        let settings = Settings { data, seed: self.seed, texts: self.corpus.records.clone(), imported: None };
        let (source, vocabulary) = (&self.project.text, &self.corpus.vocabulary);
        if let Some(path) = &args.out {
            return Ok(RunDir::create(path, source, vocabulary, &settings)?);
        }
        let stem = args.model.as_deref().and_then(Path::file_stem);
        let name = stem.map_or("model".into(), |stem| stem.to_string_lossy());
        Ok(RunDir::create_in(find::RUNS.as_ref(), &name, source, vocabulary, &settings)?)
    }

    /// Writes down the texts that a run goes on with.
    ///
    /// # Errors
    /// The run's files cannot be read or written.
    pub fn remember(&self, run: &RunDir) -> Result<()> {
        let settings = run.settings()?;
        let mut texts = self.corpus.records.clone();
        let gone = settings.texts.iter().filter(|old| !texts.iter().any(|new| new.role == old.role));
        let gone: Vec<Record> = gone.cloned().collect();
        texts.extend(gone);
        if texts != settings.texts {
            run.set_settings(&Settings { texts, ..settings })?;
        }
        Ok(())
    }
}

/// A model file that is named beside `--resume` can only be the run's own.
fn same_model(named: &Path, data: &Path, project: &Project, folder: &Path) -> Result<()> {
    let text = Project::read(named, Some(data))?.text;
    if text != project.text {
        bail!(
            "{} is not the model that {} was begun with: {}; leave it out to go on with the run's own, or begin a new run",
            show::path(named),
            show::path(folder),
            changes::lines(&project.text, &text)
        );
    }
    Ok(())
}

fn same_seed(path: &Path, meta: &Meta, settings: &Settings, folder: &Path) -> Result<()> {
    if meta.seed != settings.seed {
        bail!(
            "{} says seed {}, and {} was trained with seed {}: the file was altered; put it back as it was",
            show::path(&folder.join("run.json")),
            settings.seed,
            show::path(path),
            meta.seed
        );
    }
    Ok(())
}

/// Says how many batches an epoch has now, if it had another number of `before`.
fn epochs(before: &Batches, project: &Project, settings: &Settings, corpus: &Corpus) -> Option<String> {
    let tokens = settings.texts.iter().find(|text| text.role == Role::Train).map(|text| text.tokens as usize);
    let per_epoch = |batches: &Batches, tokens: usize| {
        Batcher::new(batches, tokens, 0).ok().map(|batches| batches.per_epoch())
    };
    let now = per_epoch(&project.data.batches, corpus.train.len())?;
    let then = per_epoch(before, tokens.unwrap_or(corpus.train.len()))?;
    (now != then).then(|| format!("an epoch has {}, and had {then}", show::many(now, "batch")))
}
