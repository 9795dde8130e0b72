//! The host's part of a step: what it is given, and what it has left.

use std::cell::OnceCell;
use std::ops::Range;

use lstmc_compiler::kernel::{InputRole, OutputRole};

use crate::engine::layout::{Layout, Located, row_width};
use crate::engine::{StepInputs, StepOutputs};
use crate::error::{Error, Result};

/// The inputs of a step that are numbers.
const NUMBERS: [InputRole; 4] = [InputRole::Rate, InputRole::Step, InputRole::Last, InputRole::MeanWeight];

/// What goes to the device before a step.
#[derive(Debug)]
pub(super) struct Inputs {
    tokens: Option<Located>,
    targets: Option<Located>,
    /// Where the [`NUMBERS`] lie.
    places: [Option<Located>; NUMBERS.len()],
    ids: Vec<u32>,
    target_ids: Vec<u32>,
    numbers: [f32; NUMBERS.len()],
    /// Whether recurrent state is to start anew before the next step.
    pub reset: bool,
}

impl Inputs {
    pub fn of(layout: &Layout) -> Self {
        let input = |role| layout.input(&role, "").ok().cloned();
        let (tokens, targets) = (input(InputRole::Tokens), input(InputRole::Targets));
        Self {
            ids: vec![0; len(&tokens)],
            target_ids: vec![0; len(&targets)],
            tokens,
            targets,
            places: NUMBERS.map(input),
            numbers: [0.0; NUMBERS.len()],
            reset: false,
        }
    }

    /// Whether all ids of the batch are ones that the program can look up.
    ///
    /// # Errors
    /// [`Error::UnknownId`].
    pub fn check(&self) -> Result<()> {
        let both = [(&self.tokens, &self.ids), (&self.targets, &self.target_ids)];
        both.into_iter()
            .filter_map(|(located, ids)| Some((located.as_ref()?, ids)))
            .try_for_each(|(located, ids)| located.check_ids(ids))
    }

    /// Where each lies in the arena, in words, and its bits.
    pub fn staged(&self) -> Vec<(usize, Vec<u8>)> {
        let ids = [(&self.tokens, &self.ids), (&self.targets, &self.target_ids)];
        let ids = ids.into_iter().filter_map(|(located, ids)| {
            let bytes = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            located.as_ref().map(|located| (located.words.start, bytes))
        });
        let numbers = self.places.iter().zip(self.numbers).filter_map(|(located, number)| {
            located.as_ref().map(|located| (located.words.start, number.to_le_bytes().to_vec()))
        });
        ids.chain(numbers).collect()
    }
}

impl StepInputs for Inputs {
    fn batch_mut(&mut self) -> Result<(&mut [u32], &mut [u32])> {
        if self.tokens.is_none() {
            return Err(Error::MissingBuffer("tokens".into()));
        }
        Ok((&mut self.ids, &mut self.target_ids))
    }

    fn set_rate_and_step(&mut self, rate: f32, step: u64) {
        self.numbers[..2].copy_from_slice(&[rate, step as f32]);
    }

    fn set_last_and_weight(&mut self, last: bool, weight: f32) {
        self.numbers[2..].copy_from_slice(&[f32::from(u8::from(last)), weight]);
    }

    fn reset_carried(&mut self) {
        self.reset = true;
    }
}

/// Where what a step leaves lies on the device.
#[derive(Debug)]
pub(super) struct Results {
    loss: Option<Located>,
    hits: Option<Located>,
    gradient_norm: Option<Located>,
    probabilities: Option<Located>,
}

impl Results {
    pub fn of(layout: &Layout) -> Self {
        let output = |role| layout.find_output(&role).cloned();
        Self {
            loss: output(OutputRole::Loss),
            hits: output(OutputRole::Hits),
            gradient_norm: output(OutputRole::GradientNorm),
            probabilities: output(OutputRole::Probabilities),
        }
    }

    /// What every driver is given: losses, then hits, then the norm of the gradients, in words of the arena.
    pub fn outcomes(&self) -> impl Iterator<Item = Range<usize>> {
        [&self.loss, &self.hits, &self.gradient_norm]
            .into_iter()
            .flatten()
            .map(|located| located.words.clone())
    }
}

/// Reads words of the arena.
pub(super) type Read<'a> = &'a dyn Fn(&Range<usize>) -> Result<Vec<f32>>;

/// What one step has left.
pub(super) struct Outputs<'a> {
    results: &'a Results,
    /// What [`Results::outcomes`] says.
    outcomes: Vec<f32>,
    /// None once a later step has been started.
    read: Option<Read<'a>>,
    probabilities: OnceCell<Vec<f32>>,
}

impl<'a> Outputs<'a> {
    pub fn new(results: &'a Results, outcomes: Vec<f32>, read: Option<Read<'a>>) -> Self {
        Self { results, outcomes, read, probabilities: OnceCell::new() }
    }

    fn losses_and_hits(&self) -> (&[f32], &[f32]) {
        let (losses, others) = self.outcomes.split_at(len(&self.results.loss));
        (losses, &others[..len(&self.results.hits)])
    }
}

impl StepOutputs for Outputs<'_> {
    fn loss(&self) -> Result<f32> {
        first(self.losses_and_hits().0, "loss")
    }

    fn hits(&self) -> Result<f32> {
        first(self.losses_and_hits().1, "hits")
    }

    fn gradient_norm(&self) -> Result<Option<f32>> {
        let before = len(&self.results.loss) + len(&self.results.hits);
        Ok(self.outcomes.get(before).copied())
    }

    fn outcomes(&self) -> Result<(&[f32], &[f32])> {
        self.loss()?;
        self.hits()?;
        Ok(self.losses_and_hits())
    }

    fn probabilities(&self) -> Result<(&[f32], usize)> {
        let missing = |what: &str| Error::MissingBuffer(what.into());
        let located = self.results.probabilities.as_ref().ok_or_else(|| missing("probabilities"))?;
        let read =
            self.read.ok_or_else(|| missing("probabilities of a step that another one has followed"))?;
        if self.probabilities.get().is_none() {
            let _ = self.probabilities.set(read(&located.words)?);
        }
        Ok((self.probabilities.get().map_or(&[], Vec::as_slice), row_width(&located.shape)))
    }
}

fn len(located: &Option<Located>) -> usize {
    located.as_ref().map_or(0, |located| located.words.len())
}

fn first(values: &[f32], what: &str) -> Result<f32> {
    values.first().copied().ok_or_else(|| Error::MissingBuffer(what.into()))
}
