//! A trained model as Rust programs use it: what comes next, how likely a text is, what may follow it.

use std::fmt::{self, Debug};
use std::path::Path;

use lstmc_compiler::diag::{Diagnostics, SourceMap};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::model::{self, Model};
use lstmc_compiler::syntax;

use crate::checkpoint::{Accept, Checkpoint, Take};
use crate::continuation::Continuation;
use crate::engine::{Engine, compiled};
use crate::error::{Error, Result};
use crate::generate::{Request, distribution, generate};
use crate::monitor::Monitor;
use crate::run_dir::{Choice, RunDir};
use crate::sample::Sampler;
use crate::score::{self, Score, most_likely};
use crate::text::{Encoded, Tokenizer, Unknown, Vocabulary, encode_prompt};

/// About how many tokens are written at once: what is computed before is worth it for so many.
const WRITTEN: usize = 100;

/// How a run is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    checkpoint: Choice,
    threads: Option<usize>,
    unverified: bool,
}

impl Options {
    /// Which checkpoint: the newest unless said.
    #[must_use]
    pub fn checkpoint(mut self, which: Choice) -> Self {
        self.checkpoint = which;
        self
    }

    /// Worker threads of each call: as many as help unless said, and never more than there are processors. Results are the same
    /// bits on any number.
    #[must_use]
    pub fn threads(mut self, count: usize) -> Self {
        self.threads = Some(count.max(1));
        self
    }

    /// Takes a checkpoint without checksums, too, as other programs write them.
    #[must_use]
    pub fn accept_unverified(mut self) -> Self {
        self.unverified = true;
        self
    }

    /// # Errors
    /// No run or no such checkpoint there; a broken one, or one of another vocabulary.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Run> {
        let folder = RunDir::open(path.as_ref())?;
        let vocabulary = folder.vocabulary()?;
        let accept = if self.unverified { Accept::Unverified } else { Accept::Verified };
        let checkpoint = folder.chosen(&self.checkpoint, accept)?;
        checkpoint.check_vocabulary(&vocabulary.fingerprint())?;
        // The model as it was trained, whatever became of the run's model file.
        let model = model_of(&checkpoint.meta.source, vocabulary.len())
            .map_err(|reason| Error::BadFile { path: checkpoint.path.clone(), reason })?;
        let tokenizer = Tokenizer::of(&model.data.tokens, &vocabulary);
        let programs = Programs { model, checkpoint, threads: self.threads };
        Ok(Run { tokenizer, vocabulary, programs, alone: None, together: None, writing: None })
    }
}

/// The model of a source text, or what is wrong with it.
fn model_of(source: &str, vocab: usize) -> std::result::Result<Model, String> {
    let mut map = SourceMap::default();
    let checked = |map: &mut SourceMap| -> std::result::Result<Model, Diagnostics> {
        let id = map.add("model.lstm", source);
        let file = syntax::parse(map, id)?;
        let mut prelude = Vec::new();
        for (name, text) in model::prelude() {
            let id = map.add(name, text);
            prelude.push(syntax::parse(map, id)?);
        }
        model::check(&file, &prelude, vocab)
    };
    checked(&mut map).map_err(|errors| format!("its model has errors\n{}", map.render(&errors, false)))
}

/// A compiled program of the model, with its parameters.
type Program = Box<dyn Engine>;

/// What programs are made of.
struct Programs {
    model: Model,
    checkpoint: Checkpoint,
    threads: Option<usize>,
}

impl Programs {
    /// The model compiled for a purpose, with its trained parameters.
    fn engine(&self, model: &Model, purpose: Purpose) -> Result<Program> {
        let mut engine = compiled(model, purpose, self.threads)?;
        self.checkpoint.restore(engine.as_mut(), Take::Parameters)?;
        Ok(engine)
    }

    /// A program that scores up to `texts` texts at once, with the model whose batches it has.
    fn scoring(&self, texts: usize) -> Result<(Program, Model)> {
        let mut model = self.model.clone();
        model.data.batches = score::batches(&model.data.batches, model.vocab, texts);
        Ok((self.engine(&model, Purpose::Evaluate)?, model))
    }

    /// A program that writes.
    fn writing(&self) -> Result<Program> {
        self.engine(&self.model, Purpose::Generate { tokens: WRITTEN })
    }
}

/// A trained model. Each use compiles what it needs at the first call, in some milliseconds, and keeps it; several runs may be
/// open and used at once.
pub struct Run {
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    programs: Programs,
    /// What scores one text, and many.
    alone: Option<(Program, Model)>,
    together: Option<(Program, Model)>,
    writing: Option<Program>,
}

impl Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({:?})", self.programs.checkpoint.path)
    }
}

/// What the model says comes next.
#[derive(Clone, Debug)]
pub struct Next<'a> {
    vocabulary: &'a Vocabulary,
    probabilities: Vec<f32>,
    /// The words of the context that were read as the unknown one, if there are any.
    pub unknown: Option<Unknown>,
}

impl Next<'_> {
    /// By token id; they add up to 1.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// That of a word; `None` if the vocabulary does not have it.
    pub fn of(&self, word: &str) -> Option<f32> {
        self.probabilities.get(self.vocabulary.known(word)? as usize).copied()
    }

    /// The most likely words, the most likely first.
    pub fn top(&self, count: usize) -> Vec<(String, f32)> {
        words(self.vocabulary, &most_likely(&self.probabilities, count))
    }
}

/// What the model says of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The scored tokens, in order.
    pub tokens: Vec<ScoredToken>,
    /// The sum of theirs, in nats.
    pub log_probability: f64,
    /// `None` if nothing was scored.
    pub perplexity: Option<f64>,
    /// The words that were read as the unknown one, if there are any.
    pub unknown: Option<Unknown>,
}

/// One token of a [`Scored`] text.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredToken {
    pub token: String,
    /// In nats.
    pub log_probability: f64,
    /// The most likely tokens in its place, as many as were asked for.
    pub top: Vec<(String, f32)>,
}

/// How text is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Writing {
    /// How many tokens, at most.
    pub length: usize,
    /// Which token is chosen. Another seed gives another text; the same seed the same one.
    pub sampler: Sampler,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
}

impl Default for Writing {
    /// A hundred tokens, drawn from the model's distributions with seed 0.
    fn default() -> Self {
        let sampler = Sampler { temperature: 1.0, top_k: None, top_p: None, seed: 0 };
        Self { length: WRITTEN, sampler, stop: Vec::new() }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What follows the prompt, with the space between the two if there is one.
    pub text: String,
    /// How many tokens were chosen, those of a stop text among them.
    pub tokens: usize,
    /// Whether one of the stop texts came.
    pub stopped: bool,
    /// The words of the prompt that were read as the unknown one, if there are any.
    pub unknown: Option<Unknown>,
}

impl Run {
    /// A run that `lstmc train` made, with its newest checkpoint.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// To open another checkpoint, or otherwise.
    pub fn options() -> Options {
        Options::default()
    }

    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The checkpoint's file.
    pub fn checkpoint(&self) -> &Path {
        &self.programs.checkpoint.path
    }

    /// How likely each token is after a context, which is read as [`Run::generate`] reads a prompt.
    ///
    /// # Errors
    /// [`Error::ShortPrompt`] of a context from which the model cannot say anything; [`Error::UnknownPrompt`] of words that it
    /// does not know; those of the machine.
    pub fn next_probabilities(&mut self, context: &str) -> Result<Next<'_>> {
        let Encoded { ids, unknown, .. } = encode_prompt(&self.tokenizer, &self.vocabulary, context)?;
        let Self { programs, writing, .. } = self;
        let probabilities = distribution(kept(writing, || programs.writing())?.as_mut(), &ids)?;
        Ok(Next { vocabulary: &self.vocabulary, probabilities, unknown })
    }

    /// How likely a text is as a line of its own. Where the model has a token for the end of a line, the first token, which
    /// follows such an end, and the line's own end are scored too; else all tokens but the first are.
    ///
    /// # Errors
    /// [`Error::UnknownWords`] where the model has no word for them; those of the machine.
    pub fn score(&mut self, text: &str) -> Result<Scored> {
        let Self { tokenizer, vocabulary, programs, alone, .. } = self;
        let program = kept(alone, || programs.scoring(1))?;
        Ok(scored(program, tokenizer, vocabulary, &[text], 0)?.remove(0))
    }

    /// [`Run::score`] of many texts, each for itself, with the `top` most likely tokens at each place. They are scored many at
    /// once, which takes a fraction of the time. A text has the same bits whatever others are there; those of [`Run::score`] may
    /// be rounded otherwise.
    ///
    /// # Errors
    /// As [`Run::score`]; the line that an error names is the text's number.
    pub fn score_all(&mut self, texts: &[impl AsRef<str>], top: usize) -> Result<Vec<Scored>> {
        let Self { tokenizer, vocabulary, programs, together, .. } = self;
        let program = kept(together, || programs.scoring(usize::MAX))?;
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        scored(program, tokenizer, vocabulary, &texts, top)
    }

    /// Writes what may follow a prompt.
    ///
    /// # Errors
    /// As [`Run::next_probabilities`].
    pub fn generate(&mut self, prompt: &str, how: &Writing) -> Result<Written> {
        let Encoded { ids, unknown, .. } = encode_prompt(&self.tokenizer, &self.vocabulary, prompt)?;
        let Self { tokenizer, vocabulary, programs, writing, .. } = self;
        let program = kept(writing, || programs.writing())?;
        let mut text = String::new();
        let mut continuation = Continuation::new(tokenizer, vocabulary, &how.stop, &ids);
        let reserve = vocabulary.reserved();
        let request = Request { prompt: &ids, length: how.length, sampler: how.sampler, reserve };
        let tokens = generate(program.as_mut(), request, &Monitor::default(), &mut |id| {
            text += &continuation.next(id);
            Ok(!continuation.stopped())
        })?;
        let stopped = continuation.stopped();
        text += &continuation.rest();
        Ok(Written { text, tokens, stopped, unknown })
    }
}

/// What is made at its first use.
fn kept<T>(place: &mut Option<T>, make: impl FnOnce() -> Result<T>) -> Result<&mut T> {
    match place {
        Some(there) => Ok(there),
        none => Ok(none.insert(make()?)),
    }
}

fn scored(
    (program, model): &mut (Program, Model),
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
    texts: &[&str],
    top: usize,
) -> Result<Vec<Scored>> {
    let line = |(at, text): (usize, &&str)| score::line(tokenizer, vocabulary, text, ("the text", at + 1));
    let encoded = texts.iter().enumerate().map(line).collect::<Result<Vec<Encoded>>>()?;
    let ids: Vec<&[u32]> = encoded.iter().map(|encoded| encoded.ids.as_slice()).collect();
    let scores = score::score(program.as_mut(), &model.data.batches, &ids, top, &Monitor::default())?;
    // Only a monitor stops it.
    let scores = scores.unwrap_or_default();
    let named = |(encoded, score): (Encoded, Score)| {
        let token = |place: &score::Place| ScoredToken {
            token: vocabulary.show(encoded.ids[place.at]),
            log_probability: place.log_probability,
            top: words(vocabulary, &place.top),
        };
        Scored {
            tokens: score.places.iter().map(token).collect(),
            log_probability: score.log_probability(),
            perplexity: score.perplexity(),
            unknown: encoded.unknown,
        }
    };
    Ok(encoded.into_iter().zip(scores).map(named).collect())
}

fn words(vocabulary: &Vocabulary, top: &[(u32, f32)]) -> Vec<(String, f32)> {
    top.iter().map(|&(id, probability)| (vocabulary.show(id), probability)).collect()
}
