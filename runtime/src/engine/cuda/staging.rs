//! The host's copy of what a step is given and what it leaves.

use lstmc_compiler::kernel::{InputRole, OutputRole};

use crate::engine::layout::{Layout, Located, row_width};
use crate::engine::{StepInputs, StepOutputs};
use crate::error::{Error, Result};

/// What goes to the device before a step, and what has come back after the last one.
#[derive(Debug)]
pub(super) struct Staging {
    tokens: Option<Located>,
    targets: Option<Located>,
    rate: Option<Located>,
    step: Option<Located>,
    loss: Option<Located>,
    hits: Option<Located>,
    probabilities: Option<Located>,
    ids: Vec<u32>,
    target_ids: Vec<u32>,
    numbers: [f32; 2],
    results: [Vec<f32>; 3],
    /// Whether recurrent state is to start anew before the next step.
    pub reset: bool,
}

impl Staging {
    pub fn of(layout: &Layout) -> Self {
        let input = |role| layout.input(&role, "").ok().cloned();
        let output = |role| layout.output(&role, "").ok().cloned();
        let (tokens, targets) = (input(InputRole::Tokens), input(InputRole::Targets));
        let len = |located: &Option<Located>| located.as_ref().map_or(0, |located| located.words.len());
        Self {
            ids: vec![0; len(&tokens)],
            target_ids: vec![0; len(&targets)],
            tokens,
            targets,
            rate: input(InputRole::Rate),
            step: input(InputRole::Step),
            loss: output(OutputRole::Loss),
            hits: output(OutputRole::Hits),
            probabilities: output(OutputRole::Probabilities),
            numbers: [0.0; 2],
            results: [vec![], vec![], vec![]],
            reset: false,
        }
    }

    /// What goes to the device before a step: where it lies in the arena, in words, and its bits.
    pub fn inputs(&self) -> Vec<(usize, Vec<u8>)> {
        let ids = [(&self.tokens, &self.ids), (&self.targets, &self.target_ids)];
        let ids = ids.into_iter().filter_map(|(located, ids)| {
            let bytes = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            located.as_ref().map(|located| (located.words.start, bytes))
        });
        let numbers = [(&self.rate, self.numbers[0]), (&self.step, self.numbers[1])];
        let numbers = numbers.into_iter().filter_map(|(located, number)| {
            located.as_ref().map(|located| (located.words.start, number.to_le_bytes().to_vec()))
        });
        ids.chain(numbers).collect()
    }

    /// Takes over what a step has left; `read` reads words of the arena.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn take_results(&mut self, read: impl Fn(&std::ops::Range<usize>) -> Result<Vec<f32>>) -> Result<()> {
        let buffers = [&self.loss, &self.hits, &self.probabilities];
        for (located, values) in buffers.into_iter().zip(&mut self.results) {
            if let Some(located) = located {
                *values = read(&located.words)?;
            }
        }
        Ok(())
    }

    fn result(&self, index: usize, what: &str) -> Result<&[f32]> {
        let values = &self.results[index];
        if values.is_empty() { Err(Error::MissingBuffer(what.into())) } else { Ok(values) }
    }
}

impl StepInputs for Staging {
    fn batch_mut(&mut self) -> Result<(&mut [u32], &mut [u32])> {
        if self.tokens.is_none() {
            return Err(Error::MissingBuffer("tokens".into()));
        }
        Ok((&mut self.ids, &mut self.target_ids))
    }

    fn set_rate_and_step(&mut self, rate: f32, step: u64) {
        self.numbers = [rate, step as f32];
    }

    fn reset_carried(&mut self) {
        self.reset = true;
    }
}

impl StepOutputs for Staging {
    fn loss(&self) -> Result<f32> {
        Ok(self.result(0, "loss")?[0])
    }

    fn hits(&self) -> Result<f32> {
        Ok(self.result(1, "hits")?[0])
    }

    fn outcomes(&self) -> Result<(&[f32], &[f32])> {
        Ok((self.result(0, "loss")?, self.result(1, "hits")?))
    }

    fn probabilities(&self) -> Result<(&[f32], usize)> {
        let values = self.result(2, "probabilities")?;
        let width = self.probabilities.as_ref().map_or(0, |located| row_width(&located.shape));
        Ok((values, width))
    }
}
