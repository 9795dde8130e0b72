//! A program on a device, as an [`Engine`].

use std::borrow::Cow;
use std::ops::Range;

use lstmc_compiler::backend::ptx::{Control, Ptx};
use lstmc_compiler::plan::Program;

use super::staging::Staging;
use super::{Device, DeviceError};
use crate::engine::layout::Layout;
use crate::engine::{self, Driver, Engine, Tensor, TensorKind, Trainee};
use crate::error::Result;

/// A program in a device's memory.
#[derive(Debug)]
pub struct Session {
    device: Box<dyn Device>,
    layout: Layout,
    staging: Staging,
    arena: u64,
    control: u64,
    control_bytes: usize,
    /// Whether the program's prologue, which reads parameters and nothing else, has run on them as they are.
    prepared: bool,
}

impl Session {
    /// Memory on a device for a program and its text, with optimizer and recurrent state at their start.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub fn new(mut device: Box<dyn Device>, program: &Program, ptx: &Ptx) -> Result<Self> {
        let layout = Layout::of(program);
        let arena = device.allocate(ptx.arena_bytes)?;
        let control = device.allocate(ptx.control_bytes)?;
        device.load(ptx, arena, control)?;
        let (staging, control_bytes) = (Staging::of(&layout), ptx.control_bytes);
        let mut session = Self { device, layout, staging, arena, control, control_bytes, prepared: false };
        session.restart(|kind| matches!(kind, TensorKind::OptimizerState(_) | TensorKind::Carried(_)))?;
        Ok(session)
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
        let bytes: Vec<u8> = buffer.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(self.device.upload(address(self.arena, words.start), &bytes)?)
    }

    /// Starts a step with the inputs that are staged.
    fn start(&mut self, seed: u64, update: u64) -> Result<()> {
        if std::mem::take(&mut self.staging.reset) {
            self.restart(|kind| matches!(kind, TensorKind::Carried(_)))?;
        }
        let mut control = vec![0; self.control_bytes];
        control[Control::SEED..][..8].copy_from_slice(&seed.to_le_bytes());
        control[Control::STEP..][..8].copy_from_slice(&update.to_le_bytes());
        self.device.upload(self.control, &control)?;
        for (word, bytes) in self.staging.inputs() {
            self.device.upload(address(self.arena, word), &bytes)?;
        }
        if !std::mem::replace(&mut self.prepared, true) {
            self.device.prologue()?;
        }
        Ok(self.device.step()?)
    }
}

/// Where a word of an arena lies.
fn address(arena: u64, word: usize) -> u64 {
    arena + 4 * word as u64
}

/// Words of an arena, after all that was started.
fn read(device: &dyn Device, arena: u64, words: &Range<usize>) -> Result<Vec<f32>> {
    let mut bytes = vec![0; 4 * words.len()];
    device.download(address(arena, words.start), &mut bytes)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

impl Engine for Session {
    fn run(&mut self, steps: u64, seed: u64, driver: &mut dyn Driver) -> Result<u64> {
        for step in 0..steps {
            let engine::Control::Step(update) = driver.begin(step, &mut self.staging)? else {
                return Ok(step);
            };
            self.start(seed, update)?;
            let (device, arena) = (&*self.device, self.arena);
            self.staging.take_results(|words| read(device, arena, words))?;
            driver.end(step, &self.staging)?;
        }
        Ok(steps)
    }

    fn batch_shape(&self) -> Result<[usize; 2]> {
        self.layout.batch_shape()
    }

    fn reset_carried(&mut self) {
        self.staging.reset = true;
    }

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
