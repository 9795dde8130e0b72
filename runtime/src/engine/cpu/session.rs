//! Running compiled code: its memory, its workers, and the host's part of each step.
//!
//! Compiled code calls back at the start and the end of every step (see [`lstmc_compiler::backend::cpu::abi`]); the callbacks
//! call a [`Driver`], on one worker while the others wait. Neither a panic nor an error crosses the compiled frame: both end
//! the loop at the next step's start and come out of [`Engine::run`].

use std::any::Any;
use std::borrow::Cow;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use lstmc_compiler::backend::cpu::abi::{Entry, Run};
use lstmc_compiler::backend::cpu::cranelift::{self, Native};
use lstmc_compiler::kernel::Item;
use lstmc_compiler::plan::{Program, Verified};

use super::arena::Arena;
use super::gemm::Scratch;
use super::host::{Host, HostState, Outcome, library};
use super::probes::{Probes, Spent};
use super::{gemm, pages, workers};
use crate::engine::{Control, Driver, Engine, StepInputs, StepOutputs, Store, Tensor};
use crate::error::{Error, Result};
use crate::exchange::{Group, Precision};
use crate::memory;

/// A program and its machine code, which calls this runtime's [`library`].
pub struct Executable {
    program: Verified,
    native: Native,
    probes: Option<Probes>,
}

impl Executable {
    /// # Errors
    /// [`crate::Error::Backend`] if the machine cannot run compiled code or has no memory for it.
    pub fn compile(program: Verified) -> Result<Self> {
        let native = cranelift::compile(&program, &library())?;
        Ok(Self { program, native, probes: None })
    }

    /// [`Executable::compile`], with probes: see [`Session::take_spent`].
    ///
    /// # Errors
    /// As [`Executable::compile`].
    pub fn compile_with_probes(program: Verified) -> Result<Self> {
        let native = cranelift::compile_with_probes(&program, &library())?;
        let probes = Some(Probes::new(&program));
        Ok(Self { program, native, probes })
    }

    pub fn program(&self) -> &Verified {
        &self.program
    }

    /// Bytes that the program needs while it runs: its arena, and what the products pack into.
    pub fn memory(&self) -> u64 {
        let scratch = gemm::scratch_bytes(&self.program) * self.program.target.workers as u64;
        pages::taken(self.program.arena_bytes) as u64 + scratch
    }

    /// With an arena that is large enough for another program too, which was planned for it.
    #[must_use]
    pub fn sharing_with(mut self, other: &Executable) -> Self {
        self.program = self.program.in_arena_of(other.program.arena_bytes);
        self
    }
}

/// A compiled program with its memory.
pub struct Session {
    entry: Entry,
    /// Owns the machine code.
    _code: Box<dyn Any + Send>,
    /// The program's name.
    name: String,
    workers: usize,
    /// Bytes that each worker's products pack into.
    scratch: u64,
    pin: bool,
    pub(super) arena: Arena,
    /// What the code may touch of the arena, in bytes. A [`super::Pair`] lends and takes memory.
    needed: usize,
    /// As in [`Program`].
    constants: Range<usize>,
    /// Of code that has probes.
    probes: Option<Probes>,
    /// With whom sums over shards are made, of a program that has such.
    group: Option<Arc<Group>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} workers, {} bytes)", self.workers, self.arena.bytes())
    }
}

impl Session {
    /// Memory for a compiled program.
    ///
    /// # Errors
    /// [`crate::Error::Memory`] if the machine does not have enough.
    pub fn new(executable: Executable) -> Result<Self> {
        let Executable { program, native, probes } = executable;
        // SAFETY: `native` is the code of exactly this program, made by the back end that defines the protocol, and is
        // kept as long as the session.
        let session = unsafe { Self::from_parts(&program, native.entry(), Box::new(native)) }?;
        Ok(Self { probes, ..session })
    }

    /// A compiled program that runs in another one's memory, when it is lent.
    pub(super) fn without_memory(executable: Executable) -> Result<Self> {
        let Executable { program, native, probes } = executable;
        let arena = Arena::without_memory(&program)?;
        let session = Self::in_arena(&program, native.entry(), Box::new(native), arena)?;
        Ok(Self { probes, ..session })
    }

    /// Memory for `program`, whose code `entry` is; `code` is kept as long as the session.
    ///
    /// # Safety
    /// `entry` follows the protocol of [`lstmc_compiler::backend::cpu::abi`] for exactly this program, and its code lives at
    /// least as long as `code`.
    ///
    /// # Errors
    /// [`crate::Error::Memory`] if the machine does not have enough.
    pub unsafe fn from_parts(program: &Program, entry: Entry, code: Box<dyn Any + Send>) -> Result<Self> {
        Self::in_arena(program, entry, code, Arena::new(program)?)
    }

    fn in_arena(program: &Program, entry: Entry, code: Box<dyn Any + Send>, arena: Arena) -> Result<Self> {
        let workers = program.target.workers.max(1);
        let (name, scratch) = (program.module.name.clone(), gemm::scratch_bytes(program));
        let (needed, constants) = (program.arena_bytes, program.constants.clone());
        let sums_shards = program.module.items.iter().any(|item| matches!(item, Item::Exchange(_)));
        let group = sums_shards.then(|| Group::alone(Precision::F32).map(Arc::new)).transpose()?;
        Ok(Self {
            entry,
            _code: code,
            name,
            workers,
            scratch,
            pin: false,
            arena,
            needed,
            constants,
            probes: None,
            group,
        })
    }

    /// What the workers pack into, made before they start: where there is no memory for it, none is to wait for another.
    fn make_scratch(&self) -> Result<Vec<Mutex<Option<Scratch>>>> {
        let one = |_| Scratch::new(self.scratch as usize).map(|scratch| Mutex::new(Some(scratch)));
        let all: Option<Vec<_>> = (0..self.workers).map(one).collect();
        all.ok_or_else(|| Error::Memory {
            program: self.name.clone(),
            needed: pages::mapped(self.scratch as usize)
                .map_or(u64::MAX, |bytes| (self.workers * bytes) as u64),
            available: memory::available().unwrap_or(0),
        })
    }

    /// Pins each worker to a core of its own.
    pub fn pinned(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Makes sums over shards together with other processes, if the program has such.
    pub fn exchanging(mut self, group: &Arc<Group>) -> Self {
        self.group = self.group.map(|_| Arc::clone(group));
        self
    }

    /// What steps read and do not write, as the program's prologue makes it of the parameters; empty unless the program's target
    /// keeps it apart ([`Program::constants`]).
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn constants(&mut self) -> Result<&[u8]> {
        self.run(0, 0, &mut Idle)?;
        Ok(self.arena.part(self.constants.clone()))
    }

    /// What the parts of all steps have taken since the last call; nothing for code without probes.
    pub fn take_spent(&mut self) -> Option<Spent> {
        let probes = self.probes.as_mut()?;
        let spent = probes.spent();
        probes.clear();
        Some(spent)
    }
}

impl Engine for Session {
    fn run(&mut self, steps: u64, seed: u64, driver: &mut dyn Driver) -> Result<u64> {
        let scratch = self.make_scratch()?;
        assert!(self.arena.bytes() >= self.needed, "internal error: a program runs without its memory");
        let base = self.arena.base();
        let prepared = self.arena.prepare();
        let probes = self.probes.as_ref();
        let host = Host {
            probes,
            barrier: workers::Barrier::new(self.workers),
            seed,
            update: AtomicU64::new(0),
            shard: AtomicU32::new(0),
            group: self.group.as_deref(),
            state: UnsafeCell::new(HostState {
                driver,
                arena: &mut self.arena,
                parts: Vec::new(),
                tickets: Vec::new(),
                done: 0,
                outcome: Outcome::Running,
            }),
        };
        let queues = gemm::WorkQueues::new(self.workers);
        let host_address = (&raw const host).cast_mut().cast();
        let workers = self.workers as u32;
        let mut run = Run {
            arena: base,
            steps,
            halt: 0,
            workers,
            prepared: prepared.into(),
            host: host_address,
            queues: (&raw const queues).cast(),
        };
        let shared = Shared(&raw mut run);
        let entry = self.entry;
        let begun = workers::run(self.workers, self.pin, &|worker| {
            let run = shared.get();
            if let Some(scratch) = take(&scratch[worker as usize]) {
                scratch.keep();
            }
            if let Some(probes) = probes {
                probes.begin(worker);
            }
            // SAFETY: the entry belongs to the arena's program, which was verified or which `from_parts` vouches for, and
            // touches no more of the arena than is there, as was just asserted, and nothing outside it, since the ids of a
            // batch are checked in `begin_step`; `run`, `host` and `queues` outlive the workers, which have all returned
            // when `workers::run` returns.
            unsafe { entry(run, worker) }
        });
        let state = host.state.into_inner();
        if let Err(cause) = begun {
            self.arena.unprepare();
            return Err(Error::Threads { workers: self.workers, cause });
        }
        match state.outcome {
            Outcome::Running => Ok(state.done),
            Outcome::Failed(error) => Err(error),
            Outcome::Panicked(payload) => resume_unwind(payload),
        }
    }

    fn batch_shape(&self) -> Result<[usize; 2]> {
        self.arena.batch_shape()
    }

    fn reset_carried(&mut self) {
        self.arena.reset_carried();
    }
}

impl Store for Session {
    fn tensors(&self) -> &[Tensor] {
        self.arena.tensors()
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        self.arena.bytes_of(name)
    }

    fn fill(&mut self, name: &str, values: &mut dyn Iterator<Item = f32>) -> Result<()> {
        self.arena.fill(name, values)
    }
}

/// Drives no steps.
struct Idle;

impl Driver for Idle {
    fn begin(&mut self, _: u64, _: &mut dyn StepInputs) -> Result<Control> {
        Ok(Control::Stop)
    }

    fn end(&mut self, _: u64, _: &dyn StepOutputs) -> Result<()> {
        Ok(())
    }
}

/// What a worker finds there.
fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The run's address, which all workers may use: what they share behind it is either read only, atomic, or ordered by
/// barriers.
struct Shared(*mut Run);

// SAFETY: see above; each access behind the pointer has its own argument.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> *mut Run {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use lstmc_compiler::kernel::{BufferKind, InputRole, OutputRole};
    use lstmc_compiler::scalar::random_key;

    use super::*;
    use crate::engine::StepOutputs;
    use crate::testing::{buffer, outer_loop, program};

    /// loss = tokens[0] + worker count, hits = a random key's low bits.
    unsafe fn body(run: *mut Run, worker: u32) {
        if worker == 0 {
            // SAFETY: the program below has its ids in the first line and its outputs in the next two.
            unsafe {
                assert!(!(*run).queues.is_null());
                let arena = (*run).arena;
                let token = *arena.cast::<u32>();
                *arena.add(64).cast::<f32>() = token as f32 + (*run).workers as f32;
                *arena.add(128).cast::<f32>() = ((library().random_key)(run, 3) & 0xffff) as f32;
            }
        }
    }

    unsafe extern "C" fn entry(run: *mut Run, worker: u32) {
        // SAFETY: called by a session, with its own run.
        unsafe { outer_loop(run, worker, body) }
    }

    fn session(workers: usize) -> Session {
        let mut program = program(
            "test",
            vec![
                buffer("tokens", &[1, 1], BufferKind::Input(InputRole::Tokens)),
                buffer("loss", &[], BufferKind::Output(OutputRole::Loss)),
                buffer("hits", &[], BufferKind::Output(OutputRole::Hits)),
            ],
        );
        program.target.workers = workers;
        // SAFETY: `entry` does what the program's buffers say.
        unsafe { Session::from_parts(&program, entry, Box::new(())) }.unwrap()
    }

    #[derive(Default)]
    struct Script {
        losses: Vec<f32>,
        keys: Vec<f32>,
        stop_at: Option<u64>,
        fail_at: Option<u64>,
        panic_at: Option<u64>,
    }

    impl Driver for Script {
        fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> Result<Control> {
            if self.stop_at == Some(step) {
                return Ok(Control::Stop);
            }
            inputs.batch_mut()?.0[0] = 10 * step as u32;
            Ok(Control::Step(step + 1))
        }

        fn end(&mut self, step: u64, outputs: &dyn StepOutputs) -> Result<()> {
            if self.panic_at == Some(step) {
                panic!("in step {step}");
            }
            if self.fail_at == Some(step) {
                return Err(Error::BadArgument("failed".into()));
            }
            self.losses.push(outputs.loss()?);
            self.keys.push(outputs.hits()?);
            Ok(())
        }
    }

    #[test]
    fn every_round_sees_its_inputs_and_gives_its_outputs() {
        for workers in [1, 2, 3] {
            let mut script = Script::default();
            assert_eq!(session(workers).run(3, 5, &mut script).unwrap(), 3);
            assert_eq!(script.losses, [0.0, 10.0, 20.0].map(|l| l + workers as f32));
            let expected: Vec<f32> = (1..=3).map(|u| (random_key(5, u, 3) & 0xffff) as f32).collect();
            assert_eq!(script.keys, expected);
        }
    }

    #[test]
    fn a_driver_can_stop_the_loop() {
        let mut script = Script { stop_at: Some(2), ..Script::default() };
        assert_eq!(session(2).run(10, 0, &mut script).unwrap(), 2);
        assert_eq!(script.losses.len(), 2);
    }

    #[test]
    fn an_error_ends_the_loop_and_comes_out() {
        let mut script = Script { fail_at: Some(1), ..Script::default() };
        let error = session(2).run(10, 0, &mut script).unwrap_err();
        assert_eq!(error.to_string(), "failed");
        assert_eq!(script.losses.len(), 1);
    }

    #[test]
    fn without_memory_to_pack_into_no_worker_begins() {
        let mut session = session(2);
        let enough = std::mem::replace(&mut session.scratch, 1 << 50);
        let mut script = Script::default();
        assert!(matches!(session.run(1, 0, &mut script), Err(Error::Memory { .. })));
        assert!(script.losses.is_empty());
        session.scratch = enough;
        assert_eq!(session.run(1, 0, &mut script).unwrap(), 1);
    }

    #[test]
    fn a_panic_does_not_cross_the_compiled_frame() {
        let mut session = session(2);
        let mut script = Script { panic_at: Some(1), ..Script::default() };
        let result = catch_unwind(AssertUnwindSafe(|| session.run(10, 0, &mut script)));
        let payload = result.unwrap_err();
        assert_eq!(payload.downcast_ref::<String>().unwrap(), "in step 1");
        assert_eq!(session.run(1, 0, &mut Script::default()).unwrap(), 1);
    }
}
