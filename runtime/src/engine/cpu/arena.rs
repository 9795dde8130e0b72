//! The memory of a program: one zeroed block, and the buffers in it by name and role.
//!
//! The raw pointers are confined to [`Memory`]; everything else here is slices. While a program runs, the arena may be
//! touched only from `begin_step` and `end_step`, when every worker but the caller waits at a barrier.

use std::borrow::Cow;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;

use lstmc_compiler::kernel::{InputRole, OutputRole};
use lstmc_compiler::plan::Program;
use lstmc_compiler::target::ALIGNMENT;

use super::pages::Pages;
use crate::engine::layout::{Layout, row_width};
use crate::engine::{Shard, StepInputs, StepOutputs, Tensor, TensorKind};
use crate::error::{Error, Result};
use crate::memory;

/// A program's buffers.
#[derive(Debug)]
pub struct Arena {
    memory: Memory,
    layout: Layout,
    /// Whether the program's prologue has run on the parameters as they are.
    prepared: bool,
    /// Of the next step.
    shard: Shard,
}

impl Arena {
    /// Zeroed memory for `program`, with optimizer and recurrent state at their start.
    ///
    /// # Errors
    /// [`Error::Memory`] if the machine does not have that much.
    pub fn new(program: &Program) -> Result<Self> {
        let memory = Memory::new(program.arena_bytes, &program.module.name)?;
        let mut arena = Self::in_memory(program, memory);
        arena.reset(|kind| matches!(kind, TensorKind::OptimizerState(_) | TensorKind::Carried(_)));
        Ok(arena)
    }

    /// The buffers of a program that runs in another one's memory; see [`Arena::exchange_memory`].
    ///
    /// # Errors
    /// [`Error::Memory`] if the machine has none at all.
    pub fn without_memory(program: &Program) -> Result<Self> {
        Ok(Self::in_memory(program, Memory::new(0, &program.module.name)?))
    }

    /// Gives each of two arenas the other's memory. What a program packed there is to be packed again.
    pub fn exchange_memory(&mut self, other: &mut Arena) {
        std::mem::swap(&mut self.memory, &mut other.memory);
        self.prepared = false;
        other.prepared = false;
    }

    fn in_memory(program: &Program, memory: Memory) -> Self {
        assert!(program.offsets.iter().all(|offset| offset % ALIGNMENT == 0), "buffers start at whole lines");
        Self { memory, layout: Layout::of(program), prepared: false, shard: Shard::default() }
    }

    pub fn bytes(&self) -> usize {
        self.memory.pages.len()
    }

    /// Some bytes of the arena, at multiples of 4.
    pub fn part(&self, bytes: Range<usize>) -> &[u8] {
        self.memory.bytes(bytes.start / 4..bytes.end / 4)
    }

    /// Parameters, optimizer state and carried state, in the program's order.
    pub fn tensors(&self) -> &[Tensor] {
        self.layout.tensors()
    }

    /// A tensor's values as little-endian bytes, row by row: a view of the arena where the tensor is all of a buffer.
    ///
    /// # Errors
    /// No tensor has this name.
    pub fn bytes_of(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let index = self.layout.index(name)?;
        let (buffer, whole) = self.layout.located(index);
        if cfg!(target_endian = "little") && whole {
            return Ok(Cow::Borrowed(self.memory.bytes(buffer.words.clone())));
        }
        let mut bytes = Vec::with_capacity(self.tensors()[index].len() * 4);
        let values = self.layout.rows(index).flat_map(|row| self.memory.reals(row));
        bytes.extend(values.flat_map(|value| value.to_le_bytes()));
        Ok(Cow::Owned(bytes))
    }

    /// Writes a tensor from as many values as it has, row by row, without holding them all.
    ///
    /// # Errors
    /// No tensor has this name.
    pub fn fill(&mut self, name: &str, values: &mut dyn Iterator<Item = f32>) -> Result<()> {
        let rows = self.layout.rows(self.layout.index(name)?);
        self.prepared = false;
        for row in rows {
            for (to, from) in self.memory.reals_mut(row).iter_mut().zip(&mut *values) {
                *to = from;
            }
        }
        Ok(())
    }

    /// Takes all parameters over from the arena of another program of the same model.
    ///
    /// # Errors
    /// A parameter that the other program does not have, or not with this shape.
    pub fn copy_params_from(&mut self, other: &Arena) -> Result<()> {
        let params = self.tensors().iter().enumerate().filter(|(_, tensor)| tensor.kind == TensorKind::Param);
        let pairs: Vec<(usize, usize)> = params
            .map(|(to, tensor)| {
                let from = other.layout.index(&tensor.name)?;
                let same = other.tensors()[from].len() == tensor.len();
                same.then_some((to, from)).ok_or_else(|| Error::MissingBuffer(tensor.name.clone()))
            })
            .collect::<Result<_>>()?;
        self.prepared = false;
        for (to, from) in pairs {
            for (to, from) in self.layout.rows(to).zip(other.layout.rows(from)) {
                self.memory.reals_mut(to).copy_from_slice(other.memory.reals(from));
            }
        }
        Ok(())
    }

    fn reset(&mut self, which: impl Fn(TensorKind) -> bool) {
        for index in 0..self.tensors().len() {
            let kind = self.tensors()[index].kind;
            let (TensorKind::OptimizerState(start) | TensorKind::Carried(start)) = kind else { continue };
            if which(kind) {
                self.layout.rows(index).for_each(|row| self.memory.reals_mut(row).fill(start as f32));
            }
        }
    }

    /// The steps and rows of the tokens' buffer.
    ///
    /// # Errors
    /// The program reads no tokens.
    pub fn batch_shape(&self) -> Result<[usize; 2]> {
        self.layout.batch_shape()
    }

    fn number(&self, role: &OutputRole, what: &str) -> Result<f32> {
        let words = self.layout.output(role, what)?.words.clone();
        self.memory.reals(words).first().copied().ok_or_else(|| Error::MissingBuffer(what.into()))
    }

    /// Whether all ids of the batch are ones that the program can look up.
    ///
    /// # Errors
    /// [`Error::UnknownId`].
    pub(crate) fn check_batch(&self) -> Result<()> {
        for role in [InputRole::Tokens, InputRole::Targets] {
            if let Ok(buffer) = self.layout.input(&role, "") {
                buffer.check_ids(self.memory.ids(buffer.words.clone()))?;
            }
        }
        Ok(())
    }

    /// Whether every parameter lies where the other arena has it.
    pub fn has_parameters_of(&self, other: &Arena) -> bool {
        self.layout.has_parameters_of(&other.layout)
    }

    /// Whether a run may rely on what the prologue of an earlier one has left: no parameter has been written since.
    pub(crate) fn prepare(&mut self) -> bool {
        std::mem::replace(&mut self.prepared, true)
    }

    /// The run that [`Arena::prepare`] was called for did not take place.
    pub(crate) fn unprepare(&mut self) {
        self.prepared = false;
    }

    /// Sets inputs that are numbers, those of them that the program reads.
    fn set_numbers(&mut self, numbers: [(InputRole, f32); 2]) {
        for (role, value) in numbers {
            if let Ok(words) = self.layout.input(&role, "").map(|buffer| buffer.words.clone()) {
                self.memory.reals_mut(words).fill(value);
            }
        }
    }

    pub(crate) fn shard(&self) -> Shard {
        self.shard
    }

    pub(crate) fn base(&mut self) -> *mut u8 {
        self.memory.base.as_ptr().cast()
    }
}

impl StepInputs for Arena {
    fn batch_mut(&mut self) -> Result<(&mut [u32], &mut [u32])> {
        let tokens = self.layout.input(&InputRole::Tokens, "tokens")?.words.clone();
        let targets =
            self.layout.input(&InputRole::Targets, "targets").map_or(0..0, |buffer| buffer.words.clone());
        Ok(self.memory.ids_mut(tokens, targets))
    }

    fn set_rate_and_step(&mut self, rate: f32, step: u64) {
        self.set_numbers([(InputRole::Rate, rate), (InputRole::Step, step as f32)]);
    }

    fn set_last_and_weight(&mut self, last: bool, weight: f32) {
        self.set_numbers([(InputRole::Last, f32::from(u8::from(last))), (InputRole::MeanWeight, weight)]);
    }

    fn set_shard(&mut self, shard: Shard) {
        self.shard = shard;
    }

    fn swap_carried(&mut self, held: &mut Vec<f32>) {
        let mut own = Vec::with_capacity(held.len());
        for index in 0..self.tensors().len() {
            if let TensorKind::Carried(start) = self.tensors()[index].kind {
                for row in self.layout.rows(index) {
                    let values = self.memory.reals_mut(row);
                    let place = own.len()..own.len() + values.len();
                    own.extend_from_slice(values);
                    match held.get(place) {
                        Some(held) => values.copy_from_slice(held),
                        None => values.fill(start as f32),
                    }
                }
            }
        }
        *held = own;
    }

    fn reset_carried(&mut self) {
        self.reset(|kind| matches!(kind, TensorKind::Carried(_)));
    }
}

impl StepOutputs for Arena {
    fn loss(&self) -> Result<f32> {
        self.number(&OutputRole::Loss, "loss")
    }

    fn hits(&self) -> Result<f32> {
        self.number(&OutputRole::Hits, "hits")
    }

    fn gradient_norm(&self) -> Result<Option<f32>> {
        let found = self.layout.find_output(&OutputRole::GradientNorm);
        Ok(found.and_then(|buffer| self.memory.reals(buffer.words.clone()).first().copied()))
    }

    fn outcomes(&self) -> Result<(&[f32], &[f32])> {
        let losses = self.layout.output(&OutputRole::Loss, "loss")?.words.clone();
        let hits = self.layout.output(&OutputRole::Hits, "hits")?.words.clone();
        Ok((self.memory.reals(losses), self.memory.reals(hits)))
    }

    fn probabilities(&self) -> Result<(&[f32], usize)> {
        let buffer = self.layout.output(&OutputRole::Probabilities, "probabilities")?;
        Ok((self.memory.reals(buffer.words.clone()), row_width(&buffer.shape)))
    }
}

/// An owned, zeroed block, seen as 4-byte words.
///
/// Compiled code writes to it through the pointer that [`Arena::base`] hands out, so views are made from a raw pointer
/// too, not from references to the pages.
#[derive(Debug)]
struct Memory {
    base: NonNull<u32>,
    /// Owns what `base` points to.
    pages: Pages,
}

// SAFETY: the block belongs to this value alone, as a `Vec`'s does.
unsafe impl Send for Memory {}
// SAFETY: shared references only read.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(bytes: usize, program: &str) -> Result<Self> {
        let available = memory::available();
        let refused = || Error::Memory {
            program: program.into(),
            needed: bytes as u64,
            available: available.unwrap_or(0),
        };
        if available.is_some_and(|available| bytes as u64 > available) {
            return Err(refused());
        }
        // Whole cache lines, so that a vector that starts in a buffer ends in the block.
        let mut pages = Pages::new(bytes.next_multiple_of(ALIGNMENT)).ok_or_else(refused)?;
        let base = NonNull::new(pages.as_mut_ptr().cast()).ok_or_else(refused)?;
        Ok(Self { base, pages })
    }

    fn check(&self, words: &Range<usize>) {
        assert!(words.start <= words.end && words.end <= self.pages.len() / 4, "inside the arena");
    }

    fn reals(&self, words: Range<usize>) -> &[f32] {
        self.check(&words);
        // SAFETY: the range lies in the block, which is initialised and aligned; any bits are an f32; `&self` means
        // that nothing writes meanwhile (compiled code runs only while the arena is lent to the session).
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(words.start).cast(), words.len()) }
    }

    fn ids(&self, words: Range<usize>) -> &[u32] {
        self.check(&words);
        // SAFETY: as in `reals`; any bits are a `u32`.
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(words.start), words.len()) }
    }

    fn bytes(&self, words: Range<usize>) -> &[u8] {
        let reals = self.reals(words);
        // SAFETY: the same memory as bytes, which need no alignment and may have any value.
        unsafe { slice::from_raw_parts(reals.as_ptr().cast(), size_of_val(reals)) }
    }

    fn reals_mut(&mut self, words: Range<usize>) -> &mut [f32] {
        self.check(&words);
        // SAFETY: as in `reals`, and `&mut self` means that nothing else reads or writes meanwhile.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr().add(words.start).cast(), words.len()) }
    }

    /// Two ranges at once; they must not overlap.
    fn ids_mut(&mut self, a: Range<usize>, b: Range<usize>) -> (&mut [u32], &mut [u32]) {
        self.check(&a);
        self.check(&b);
        assert!(a.end <= b.start || b.end <= a.start, "two buffers overlap");
        let base = self.base.as_ptr();
        // SAFETY: as in `reals_mut` for each range, and they do not overlap.
        unsafe {
            (
                slice::from_raw_parts_mut(base.add(a.start), a.len()),
                slice::from_raw_parts_mut(base.add(b.start), b.len()),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{buffer, program};
    use lstmc_compiler::kernel::{BufferKind, Part};

    impl Arena {
        fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
            self.fill(name, &mut values.iter().copied())
        }

        fn read(&self, name: &str) -> Result<Vec<f32>> {
            let bytes = self.bytes_of(name)?;
            Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        }
    }

    fn part(name: &str, start: usize, len: usize) -> Part {
        Part { name: name.into(), start, len }
    }

    fn example() -> Program {
        let parts = || InputRole::Param { parts: vec![part("W_i", 0, 2), part("W_f", 2, 1)] };
        program(
            "train",
            vec![
                buffer("W", &[2, 3], BufferKind::Input(parts())),
                buffer(
                    "W/s",
                    &[2, 3],
                    BufferKind::Input(InputRole::OptimizerState { param: "W".into(), start: 0.5 }),
                ),
                buffer("lstm_1.h", &[1, 4], BufferKind::Input(InputRole::Carried { start: 2.0 })),
                buffer("tokens", &[3, 1], BufferKind::Input(InputRole::Tokens)),
                buffer("targets", &[1], BufferKind::Input(InputRole::Targets)),
                buffer("rate", &[], BufferKind::Input(InputRole::Rate)),
                buffer("loss", &[], BufferKind::Output(OutputRole::Loss)),
                buffer("p", &[1, 5], BufferKind::Output(OutputRole::Probabilities)),
            ],
        )
    }

    #[test]
    fn merged_parameters_are_read_and_written_one_by_one() {
        let mut arena = Arena::new(&example()).unwrap();
        arena.write("W_i", &[1.0, 2.0, 3.0, 4.0]).unwrap();
        arena.write("W_f", &[5.0, 6.0]).unwrap();
        assert_eq!(arena.memory.reals(0..6), [1.0, 2.0, 5.0, 3.0, 4.0, 6.0]);
        assert_eq!(arena.read("W_i").unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(arena.read("W_f").unwrap(), [5.0, 6.0]);
        assert_eq!(arena.tensors()[1].shape, [2, 1]);
    }

    #[test]
    fn state_starts_where_it_says_and_carried_state_can_be_reset() {
        let mut arena = Arena::new(&example()).unwrap();
        assert_eq!(arena.read("optimizer/W_i/s").unwrap(), [0.5; 4]);
        assert_eq!(arena.read("carried/lstm_1.h").unwrap(), [2.0; 4]);
        arena.write("optimizer/W_i/s", &[1.0; 4]).unwrap();
        arena.write("carried/lstm_1.h", &[1.0; 4]).unwrap();
        arena.reset_carried();
        assert_eq!(arena.read("optimizer/W_i/s").unwrap(), [1.0; 4]);
        assert_eq!(arena.read("optimizer/W_f/s").unwrap(), [0.5; 2]);
        assert_eq!(arena.read("carried/lstm_1.h").unwrap(), [2.0; 4]);
    }

    #[test]
    fn roles_are_found() {
        let mut arena = Arena::new(&example()).unwrap();
        let (tokens, targets) = arena.batch_mut().unwrap();
        assert_eq!((tokens.len(), targets.len()), (3, 1));
        arena.set_rate_and_step(0.25, 1);
        assert_eq!(arena.probabilities().unwrap().1, 5);
        assert_eq!(arena.loss().unwrap(), 0.0);
        assert!(matches!(arena.hits(), Err(Error::MissingBuffer(_))));
    }

    #[test]
    fn parameters_go_from_one_layout_to_another() {
        let mut from = Arena::new(&example()).unwrap();
        from.write("W_i", &[1.0, 2.0, 3.0, 4.0]).unwrap();
        from.write("W_f", &[5.0, 6.0]).unwrap();
        let single = |name: &str, len| {
            buffer(name, &[2, len], BufferKind::Input(InputRole::Param { parts: vec![part(name, 0, len)] }))
        };
        let mut to = Arena::new(&program("evaluate", vec![single("W_f", 1), single("W_i", 2)])).unwrap();
        to.copy_params_from(&from).unwrap();
        assert_eq!(to.read("W_i").unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(to.read("W_f").unwrap(), [5.0, 6.0]);
        let mut other = Arena::new(&program("evaluate", vec![single("V", 1)])).unwrap();
        assert!(other.copy_params_from(&from).is_err());
    }

    #[test]
    fn a_written_parameter_wants_preparing() {
        let mut arena = Arena::new(&example()).unwrap();
        assert!(!arena.prepare() && arena.prepare());
        arena.reset_carried();
        arena.batch_mut().unwrap();
        assert!(arena.prepare());
        arena.write("W_f", &[5.0, 6.0]).unwrap();
        assert!(!arena.prepare() && arena.prepare());
        arena.fill("W_f", &mut std::iter::repeat(0.5)).unwrap();
        assert!(!arena.prepare() && arena.prepare());
        let other = Arena::new(&example()).unwrap();
        arena.copy_params_from(&other).unwrap();
        assert!(!arena.prepare() && arena.prepare());
    }

    #[test]
    fn wrong_names_are_errors() {
        let mut arena = Arena::new(&example()).unwrap();
        assert!(matches!(arena.write("V", &[1.0]), Err(Error::MissingBuffer(_))));
        assert!(matches!(arena.read("V"), Err(Error::MissingBuffer(_))));
    }

    #[test]
    fn more_memory_than_the_machine_has_is_refused() {
        let mut program = example();
        program.arena_bytes = usize::MAX / 2 / ALIGNMENT * ALIGNMENT;
        let error = Arena::new(&program).unwrap_err();
        assert!(matches!(error, Error::Memory { .. }), "{error}");
    }
}
