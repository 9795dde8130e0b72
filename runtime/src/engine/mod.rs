//! What training, evaluation and generation need of a running program, whatever it runs on.
//!
//! A program's loop over steps belongs to the engine: compiled code on the processor, a sequence of launches on a device.
//! A [`Driver`] is the host's part of it: it puts a batch in before each step and reads what the step leaves. It knows
//! nothing of where the numbers lie.

mod compiled;
pub mod cpu;
pub mod cuda;
mod layout;

use std::borrow::Cow;
use std::fmt::Debug;

pub use compiled::compiled;

use crate::error::{Error, Result};

/// Named tensors that outlive a step.
pub trait Store {
    /// Parameters, optimizer state and carried state, in the program's order.
    fn tensors(&self) -> &[Tensor];

    /// A tensor's values as little-endian `f32`, row by row.
    ///
    /// # Errors
    /// [`Error::MissingBuffer`] if no tensor has this name.
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>>;

    /// Sets as many values of a tensor, row by row, as there are.
    ///
    /// # Errors
    /// [`Error::MissingBuffer`] if no tensor has this name.
    fn fill(&mut self, name: &str, values: &mut dyn Iterator<Item = f32>) -> Result<()>;

    /// A tensor's values, row by row.
    ///
    /// # Errors
    /// As [`Engine::bytes`].
    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.bytes(name)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Sets all values of a tensor, row by row.
    ///
    /// # Errors
    /// [`Error::MissingBuffer`]; [`Error::WrongLength`].
    fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let tensor = self.tensors().iter().find(|tensor| tensor.name == name);
        let expected = tensor.ok_or_else(|| Error::MissingBuffer(name.into()))?.len();
        if expected != values.len() {
            return Err(Error::WrongLength { name: name.into(), expected, found: values.len() });
        }
        self.fill(name, &mut values.iter().copied())
    }

    /// The first tensor that has an element which is not a finite number.
    ///
    /// # Errors
    /// Those of the machine.
    fn first_not_finite(&self) -> Result<Option<&Tensor>> {
        for tensor in self.tensors() {
            let bytes = self.bytes(&tensor.name)?;
            if !bytes.as_chunks::<4>().0.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite()) {
                return Ok(Some(tensor));
            }
        }
        Ok(None)
    }
}

/// A compiled program in its memory.
pub trait Engine: Store + Send + Debug {
    /// Runs at most `steps` steps and returns how many were run to their end. All random numbers are a function of `seed`
    /// and of the updates' numbers.
    ///
    /// # Errors
    /// The first error of the driver; those of the machine.
    ///
    /// # Panics
    /// As the driver does.
    fn run(&mut self, steps: u64, seed: u64, driver: &mut dyn Driver) -> Result<u64>;

    /// How many steps of how many rows a batch has.
    ///
    /// # Errors
    /// [`Error::MissingBuffer`] if the program reads no tokens.
    fn batch_shape(&self) -> Result<[usize; 2]>;

    /// Recurrent state as at the start of a sequence.
    fn reset_carried(&mut self);

    /// Takes all parameters over from another program of the same model.
    ///
    /// # Errors
    /// A parameter that the other program does not have, or not with this shape; some may have been taken over by then.
    fn copy_params_from(&mut self, other: &dyn Engine) -> Result<()> {
        let all = self.tensors().iter().filter(|tensor| tensor.kind == TensorKind::Param);
        let names: Vec<String> = all.map(|tensor| tensor.name.clone()).collect();
        names.iter().try_for_each(|name| self.write(name, &other.read(name)?))
    }
}

/// A training program beside the program that measures what it has learned.
pub trait Trainee: Send + Debug {
    fn trained(&self) -> &dyn Engine;

    fn train(&mut self) -> &mut dyn Engine;

    /// Calls `run` with the program that evaluates, when it has the parameters that the other has now.
    ///
    /// # Errors
    /// What `run` returns; a parameter that the programs do not share.
    fn measure(&mut self, run: &mut dyn FnMut(&mut dyn Engine) -> Result<()>) -> Result<()>;
}

/// The host's part of each step.
pub trait Driver: Send {
    /// Fills the inputs of a step; steps are counted from 0 in each run.
    ///
    /// # Errors
    /// End the run.
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> Result<Control>;

    /// Reads what a step has left. An engine may call this after `begin` of the next step, unless the driver
    /// [waits](Driver::waits), and calls it for each step that was run.
    ///
    /// # Errors
    /// End the run.
    fn end(&mut self, step: u64, outputs: &dyn StepOutputs) -> Result<()>;

    /// Whether the next step's inputs depend on what this one has left, or its distributions are looked at.
    fn waits(&self) -> bool {
        false
    }
}

/// Whether a step is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Run it; this is the number of the update, of which its random numbers are a function.
    Step(u64),
    Stop,
}

/// What a step reads.
pub trait StepInputs {
    /// The token ids, `[steps, rows]`, and the ids to predict, `[steps, rows]` or `[rows]`. A program without targets has an
    /// empty one. The step is not run if an id lies outside what the program looks up by it: [`Engine::run`] then ends with
    /// [`Error::UnknownId`].
    ///
    /// # Errors
    /// [`Error::MissingBuffer`] if the program reads no tokens.
    fn batch_mut(&mut self) -> Result<(&mut [u32], &mut [u32])>;

    /// Sets the learning rate and the number of the update, where the program reads them.
    fn set_rate_and_step(&mut self, rate: f32, step: u64);

    /// Sets whether the batch completes an update, and how much the mean of the parameters takes of it, where the program reads
    /// them.
    fn set_last_and_weight(&mut self, last: bool, weight: f32);

    /// Says which shard of its batch the step is, where the program sums over shards.
    fn set_shard(&mut self, _shard: Shard) {}

    /// Puts recurrent state in that another step has left, and takes out what is there: all of it, tensor by tensor. Nothing stands
    /// for the start of a sequence. Only where the program sums over shards.
    fn swap_carried(&mut self, _held: &mut Vec<f32>) {}

    /// Recurrent state as at the start of a sequence.
    fn reset_carried(&mut self);
}

/// Which shard of its batch a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0, in the batch.
    pub number: u32,
    /// How many steps of the batch this process has made before.
    pub round: usize,
    /// Whether it makes no more after this one, which then has the sums over all shards.
    pub last: bool,
}

/// The only one.
impl Default for Shard {
    fn default() -> Self {
        Self { number: 0, round: 0, last: true }
    }
}

/// What a step has left. What a program does not compute is [`Error::MissingBuffer`].
pub trait StepOutputs {
    /// The mean loss of the predicted tokens, in nats, of a step of training.
    ///
    /// # Errors
    /// The program does not compute it.
    fn loss(&self) -> Result<f32>;

    /// How many predictions were right, of a step of training.
    ///
    /// # Errors
    /// The program does not compute it.
    fn hits(&self) -> Result<f32>;

    /// The norm of all gradients together, before they are clipped; none of a program that does not compute it.
    ///
    /// # Errors
    /// Those of the machine.
    fn gradient_norm(&self) -> Result<Option<f32>>;

    /// Of an evaluation the loss of each target in nats, and 1 for each that was predicted, both shaped like the targets.
    /// (Of training the two have one element: see [`StepOutputs::loss`] and [`StepOutputs::hits`].)
    ///
    /// # Errors
    /// The program does not compute them.
    fn outcomes(&self) -> Result<(&[f32], &[f32])>;

    /// The distributions, `[steps * rows, vocab]` or `[rows, vocab]`, and the vocabulary's size. Only a driver that
    /// [waits](Driver::waits) can count on them: where the next step has been started, they may be gone.
    ///
    /// # Errors
    /// The program does not compute them.
    fn probabilities(&self) -> Result<(&[f32], usize)>;
}

/// A named tensor that outlives a step: a parameter of the model, or what belongs to one.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Unique: `lstm_1.W_i`; `optimizer/lstm_1.W_i/s`; `carried/lstm_1.h`.
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: TensorKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TensorKind {
    Param,
    /// Starts at this value.
    OptimizerState(f64),
    /// Starts at this value, and again at the start of each sequence.
    Carried(f64),
}

impl Tensor {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
