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
    /// Whether the program's prologue has run on the parameters as they are.
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
        let tensors: Vec<Tensor> =
            self.layout.tensors().iter().filter(|tensor| which(tensor.kind)).cloned().collect();
        for tensor in tensors {
            if let TensorKind::OptimizerState(start) | TensorKind::Carried(start) = tensor.kind {
                self.fill(&tensor.name, &mut std::iter::repeat(start as f32))?;
            }
        }
        Ok(())
    }

    fn at(&self, word: usize) -> u64 {
        self.arena + 4 * word as u64
    }

    fn words(&self, words: &Range<usize>) -> Result<Vec<f32>> {
        let mut bytes = vec![0; 4 * words.len()];
        self.device.download(self.at(words.start), &mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn begin(&mut self, seed: u64, update: u64) -> Result<()> {
        if std::mem::take(&mut self.staging.reset) {
            self.reset()?;
        }
        let mut control = vec![0; self.control_bytes];
        control[Control::SEED..][..8].copy_from_slice(&seed.to_le_bytes());
        control[Control::STEP..][..8].copy_from_slice(&update.to_le_bytes());
        self.device.upload(self.control, &control)?;
        for (word, bytes) in self.staging.inputs() {
            self.device.upload(self.at(word), &bytes)?;
        }
        if !std::mem::replace(&mut self.prepared, true) {
            self.device.prologue()?;
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        let prepared = self.prepared;
        self.restart(|kind| matches!(kind, TensorKind::Carried(_)))?;
        // No parameter has changed.
        self.prepared = prepared;
        Ok(())
    }
}

impl Engine for Session {
    fn run(&mut self, rounds: u64, seed: u64, driver: &mut dyn Driver) -> Result<u64> {
        for round in 0..rounds {
            let engine::Control::Step(update) = driver.begin(round, &mut self.staging)? else {
                return Ok(round);
            };
            self.begin(seed, update)?;
            self.device.step()?;
            let (device, arena) = (&self.device, self.arena);
            self.staging.take_results(|words| {
                let mut bytes = vec![0; 4 * words.len()];
                device.download(arena + 4 * words.start as u64, &mut bytes)?;
                Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            })?;
            driver.end(round, &self.staging)?;
        }
        Ok(rounds)
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
        let (located, _) = self.layout.located(index);
        let values = self.words(&located.words)?;
        let rows = self
            .layout
            .rows(index)
            .flat_map(|row| &values[row.start - located.words.start..row.end - located.words.start]);
        Ok(Cow::Owned(rows.flat_map(|value| value.to_le_bytes()).collect()))
    }

    fn fill(&mut self, name: &str, values: &mut dyn Iterator<Item = f32>) -> Result<()> {
        let index = self.layout.index(name)?;
        let (located, whole) = self.layout.located(index);
        let words = located.words.clone();
        let mut buffer = if whole { vec![0.0; words.len()] } else { self.words(&words)? };
        for row in self.layout.rows(index) {
            for (to, from) in
                buffer[row.start - words.start..row.end - words.start].iter_mut().zip(&mut *values)
            {
                *to = from;
            }
        }
        let bytes: Vec<u8> = buffer.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.device.upload(self.at(words.start), &bytes)?;
        self.prepared = false;
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
