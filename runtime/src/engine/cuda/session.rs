//! A program on a device, as an [`Engine`].
//!
//! The host is one step behind, so that the device has work while the host adds up losses and puts a batch together:
//!
//! ```text
//! driver      begin 0          begin 1          end 0  begin 2          end 1  ...
//! device              step 0           step 1                  step 2
//! ```
//!
//! What is promised all the same:
//!
//! - A step sees its own inputs. All work of a device is done in the order in which it was started, copies too, so a batch
//!   takes the place of the one before when the step that reads that has ended. The host may fill the next batch at once: a copy
//!   to the device has read the host's bytes when [`Device::upload`] returns.
//! - `end` of a step sees its own results. They are copied to the host behind the step and before the next one, into one of two
//!   slots by turns, which is read before the step after the next one is started.
//! - `end` is called for every step in order, and for all of them before a run returns, stopped or not. What lies between two
//!   runs (checkpoints, evaluation, the look for numbers that are not finite) sees the last step's tensors, and no step is running.
//! - After an error of the driver (a loss that is not a number) one more step may have changed the tensors, whose results
//!   are dropped.
//! - Nothing runs ahead of a driver that [waits](Driver::waits). Distributions, which can be as large as a model, are copied only
//!   when they are asked for, which only such a driver may do.

use std::borrow::Cow;
use std::ops::Range;

use lstmc_compiler::backend::ptx::{Control, Ptx};
use lstmc_compiler::kernel::{BufferId, RoundedWeight};
use lstmc_compiler::plan::{Program, Verified};

use super::staging::{Inputs, Outputs, Results};
use super::{Device, DeviceError};
use crate::engine::layout::Layout;
use crate::engine::{self, Driver, Engine, Store, Tensor, TensorKind, Trainee};
use crate::error::Result;

/// A program in a device's memory.
#[derive(Debug)]
pub struct Session {
    device: Box<dyn Device>,
    layout: Layout,
    inputs: Inputs,
    results: Results,
    arena: u64,
    control: u64,
    control_bytes: usize,
    rounded: Vec<Rounded>,
    /// Whether the program's prologue, which reads parameters and nothing else, has run on them as they are.
    prepared: bool,
}

/// A weight, in words of the arena, and where its rounded copy begins.
#[derive(Debug)]
struct Rounded {
    weight: RoundedWeight,
    from: Range<usize>,
    to: usize,
}

impl Session {
    /// Memory on a device for a program and its text, with optimizer and recurrent state at their start.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub fn new(mut device: Box<dyn Device>, program: &Verified, ptx: &Ptx) -> Result<Self> {
        let layout = Layout::of(program);
        let arena = device.allocate(ptx.arena_bytes)?;
        let control = device.allocate(ptx.control_bytes)?;
        device.load(ptx, arena, control)?;
        let mut session = Self {
            device,
            inputs: Inputs::of(&layout),
            results: Results::of(&layout),
            layout,
            arena,
            control,
            control_bytes: ptx.control_bytes,
            rounded: vec![],
            prepared: false,
        };
        session.restart(|kind| matches!(kind, TensorKind::OptimizerState(_) | TensorKind::Carried(_)))?;
        Ok(session)
    }

    /// Has the program multiply by rounded copies of weights, which it was planned with.
    pub fn rounding(mut self, program: &Program, weights: Vec<RoundedWeight>) -> Self {
        let first = |id: BufferId| program.offsets[id.0 as usize] / 4;
        let located = |weight: RoundedWeight| {
            let from = weight.from.at.buffer;
            let words = first(from)..first(from) + program.module.buffer(from).len();
            Rounded { from: words, to: first(weight.to), weight }
        };
        self.rounded = weights.into_iter().map(located).collect();
        self
    }

    /// Sets state to the values that it starts at.
    fn restart(&mut self, which: impl Fn(TensorKind) -> bool) -> Result<()> {
        for index in 0..self.layout.tensors().len() {
            let kind = self.layout.tensors()[index].kind;
            if let TensorKind::OptimizerState(start) | TensorKind::Carried(start) = kind
                && which(kind)
            {
                self.set(index, &mut std::iter::repeat(start as f32))?;
            }
        }
        Ok(())
    }

    /// Sets as many values of tensor number `index` as there are.
    fn set(&mut self, index: usize, values: &mut dyn Iterator<Item = f32>) -> Result<()> {
        let (located, whole) = self.layout.located(index);
        let words = located.words.clone();
        let mut buffer =
            if whole { vec![0.0; words.len()] } else { read(&*self.device, self.arena, &words)? };
        for row in self.layout.rows(index) {
            let row = &mut buffer[row.start - words.start..row.end - words.start];
            row.iter_mut().zip(&mut *values).for_each(|(to, from)| *to = from);
        }
        Ok(self.device.upload(address(self.arena, words.start), &bytes(&buffer))?)
    }

    /// Starts what depends on parameters only, if they are others than at the last step.
    fn prepare(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.prepared, true) {
            return Ok(());
        }
        for Rounded { weight, from, to } in &self.rounded {
            let values = weight.rounded(&read(&*self.device, self.arena, from)?);
            self.device.upload(address(self.arena, *to), &bytes(&values))?;
        }
        Ok(self.device.prologue()?)
    }

    /// Starts a step with the inputs that are staged, and the copy of its results.
    fn start(&mut self, step: u64, seed: u64, update: u64) -> Result<()> {
        if std::mem::take(&mut self.inputs.reset) {
            self.restart(|kind| matches!(kind, TensorKind::Carried(_)))?;
        }
        let mut control = vec![0; self.control_bytes];
        control[Control::SEED..][..8].copy_from_slice(&seed.to_le_bytes());
        control[Control::STEP..][..8].copy_from_slice(&update.to_le_bytes());
        self.device.upload(self.control, &control)?;
        for (word, bytes) in self.inputs.staged() {
            self.device.upload(address(self.arena, word), &bytes)?;
        }
        self.prepare()?;
        self.device.step()?;
        let place = |words: Range<usize>| (address(self.arena, words.start), 4 * words.len());
        let outcomes: Vec<(u64, usize)> = self.results.outcomes().map(place).collect();
        Ok(self.device.send(slot(step), &outcomes)?)
    }

    /// Waits for a step and shows the driver what it has left; `last` if none was started after it.
    fn end(&mut self, step: u64, last: bool, driver: &mut dyn Driver) -> Result<()> {
        let outcomes = reals(self.device.receive(slot(step))?);
        let (device, arena) = (&*self.device, self.arena);
        let read = |words: &Range<usize>| read(device, arena, words);
        driver.end(step, &Outputs::new(&self.results, outcomes, last.then_some(&read)))
    }
}

/// Where the host has a step's results.
fn slot(step: u64) -> usize {
    (step % 2) as usize
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn reals(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Where a word of an arena lies.
fn address(arena: u64, word: usize) -> u64 {
    arena + 4 * word as u64
}

/// Words of an arena, after all that was started.
fn read(device: &dyn Device, arena: u64, words: &Range<usize>) -> Result<Vec<f32>> {
    let mut bytes = vec![0; 4 * words.len()];
    device.download(address(arena, words.start), &mut bytes)?;
    Ok(reals(&bytes))
}

impl Engine for Session {
    fn run(&mut self, steps: u64, seed: u64, driver: &mut dyn Driver) -> Result<u64> {
        let (mut started, mut ended) = (0, 0);
        loop {
            let next = match started < steps {
                true => driver.begin(started, &mut self.inputs).and_then(|control| {
                    self.inputs.check()?;
                    Ok(control)
                }),
                false => Ok(engine::Control::Stop),
            };
            let behind = match next {
                Ok(engine::Control::Step(update)) => {
                    self.start(started, seed, update)?;
                    started += 1;
                    u64::from(!driver.waits())
                }
                _ => 0,
            };
            while ended + behind < started {
                self.end(ended, ended + 1 == started, driver)?;
                ended += 1;
            }
            if next? == engine::Control::Stop {
                return Ok(ended);
            }
        }
    }

    fn batch_shape(&self) -> Result<[usize; 2]> {
        self.layout.batch_shape()
    }

    fn reset_carried(&mut self) {
        self.inputs.reset = true;
    }
}

impl Store for Session {
    fn tensors(&self) -> &[Tensor] {
        self.layout.tensors()
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let index = self.layout.index(name)?;
        let words = &self.layout.located(index).0.words;
        let values = read(&*self.device, self.arena, words)?;
        let rows = self.layout.rows(index);
        let values = rows.flat_map(|row| &values[row.start - words.start..row.end - words.start]);
        Ok(Cow::Owned(values.flat_map(|value| value.to_le_bytes()).collect()))
    }

    fn fill(&mut self, name: &str, values: &mut dyn Iterator<Item = f32>) -> Result<()> {
        let index = self.layout.index(name)?;
        self.set(index, values)?;
        if self.layout.tensors()[index].kind == TensorKind::Param {
            self.prepared = false;
        }
        Ok(())
    }
}

/// A training program and the one that measures it, each in its own memory.
#[derive(Debug)]
pub struct Pair {
    pub train: Session,
    pub evaluate: Session,
}

impl Trainee for Pair {
    fn trained(&self) -> &dyn Engine {
        &self.train
    }

    fn train(&mut self) -> &mut dyn Engine {
        &mut self.train
    }

    fn measure(&mut self, run: &mut dyn FnMut(&mut dyn Engine) -> Result<()>) -> Result<()> {
        self.evaluate.copy_params_from(&self.train)?;
        run(&mut self.evaluate)
    }
}

impl From<DeviceError> for crate::Error {
    fn from(error: DeviceError) -> Self {
        crate::Error::Device(error)
    }
}
