//! The PTX machine as a device, as late as a device may be: what is started is done when it is waited for, and not before.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use lstmc_compiler::backend::ptx::{Launch, Ptx};
use lstmc_runtime::engine::cuda::{Device, DeviceError};
use ptx_vm::{Arg, Machine};

use crate::library::Library;
use crate::support::gpu;

/// What a device was asked to do, but for copies to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Prologue,
    Step,
    Send(usize),
    Receive(usize),
    Download,
}

/// What was asked of a device, for as long as one looks.
pub type Calls = Arc<Mutex<Vec<Call>>>;

#[derive(Debug, Default)]
pub struct Simulated {
    stream: RefCell<Stream>,
    pub calls: Calls,
    /// Bytes that can be allocated, if there is an end.
    memory: Option<usize>,
    /// After how many steps the driver reports an error.
    breaks_after: Option<u64>,
}

#[derive(Debug, Default)]
struct Stream {
    machine: Machine,
    program: Option<Loaded>,
    launches: u64,
    /// What computes products in place of their kernels.
    library: Option<Library>,
    waiting: VecDeque<Work>,
    slots: [Vec<u8>; 2],
}

#[derive(Debug)]
struct Loaded {
    module: ptx_vm::Module,
    prologue: Vec<Launch>,
    step: Vec<Launch>,
    arena: u64,
    parameters: [Arg; 2],
}

#[derive(Debug)]
enum Work {
    Write(u64, Vec<u8>),
    Prologue,
    Step,
    Broken,
    Send(usize, Vec<(u64, usize)>),
}

impl Stream {
    /// Does what was started, up to the last copy into a slot, or all.
    fn wait(&mut self, slot: Option<usize>) -> Result<(), DeviceError> {
        let is_last = |work: &Work| matches!(work, Work::Send(to, _) if slot == Some(*to));
        let end = match slot {
            Some(_) => self.waiting.iter().rposition(is_last).map_or(0, |place| place + 1),
            None => self.waiting.len(),
        };
        let due: Vec<Work> = self.waiting.drain(..end).collect();
        for work in due {
            match work {
                Work::Write(to, bytes) => self.machine.write(to, &bytes),
                Work::Prologue => self.launch(true)?,
                Work::Step => self.launch(false)?,
                Work::Broken => {
                    let reason = "an illegal memory access".into();
                    return Err(DeviceError::Driver { what: "running a step on the GPU", reason });
                }
                Work::Send(to, parts) => {
                    let read = |&(from, bytes): &(u64, usize)| self.machine.read(from, bytes).to_vec();
                    self.slots[to] = parts.iter().flat_map(read).collect();
                }
            }
        }
        Ok(())
    }

    fn launch(&mut self, prologue: bool) -> Result<(), DeviceError> {
        let loaded = self.program.as_ref().expect("a program was loaded");
        for launch in if prologue { &loaded.prologue } else { &loaded.step } {
            self.launches += 1;
            if let (Some(library), Some(product)) = (&self.library, &launch.product) {
                library.multiply(&mut self.machine, loaded.arena, product);
                continue;
            }
            gpu::launch(&mut self.machine, &loaded.module, launch, &loaded.parameters, self.launches)
                .map_err(|fault| DeviceError::Driver { what: "a launch", reason: fault.to_string() })?;
        }
        Ok(())
    }
}

impl Simulated {
    pub fn with_memory(bytes: usize) -> Self {
        Self { memory: Some(bytes), ..Self::default() }
    }

    pub fn with_library(library: Library) -> Self {
        let stream = Stream { library: Some(library), ..Stream::default() };
        Self { stream: RefCell::new(stream), ..Self::default() }
    }

    pub fn breaking_after(steps: u64) -> Self {
        Self { breaks_after: Some(steps), ..Self::default() }
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    fn start(&mut self, work: Work) -> Result<(), DeviceError> {
        self.stream.get_mut().waiting.push_back(work);
        Ok(())
    }
}

impl Device for Simulated {
    fn allocate(&mut self, bytes: usize) -> Result<u64, DeviceError> {
        if let Some(free) = &mut self.memory {
            let left = free.checked_sub(bytes);
            *free = left.ok_or(DeviceError::Memory { needed: bytes as u64, free: *free as u64 })?;
        }
        let machine = &mut self.stream.get_mut().machine;
        let at = machine.alloc(bytes);
        machine.write(at, &vec![0; bytes]);
        Ok(at)
    }

    fn load(&mut self, program: &Ptx, arena: u64, control: u64) -> Result<(), DeviceError> {
        let module = ptx_vm::Module::parse(&program.text);
        let module = module.map_err(|error| DeviceError::Refused { log: error.to_string() })?;
        let (prologue, step) = (program.prologue.clone(), program.step.clone());
        let parameters = [Arg::U64(arena), Arg::U64(control)];
        self.stream.get_mut().program = Some(Loaded { module, prologue, step, arena, parameters });
        Ok(())
    }

    fn upload(&mut self, to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.start(Work::Write(to, bytes.to_vec()))
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.note(Call::Download);
        let mut stream = self.stream.borrow_mut();
        stream.wait(None)?;
        bytes.copy_from_slice(stream.machine.read(from, bytes.len()));
        Ok(())
    }

    fn send(&mut self, slot: usize, parts: &[(u64, usize)]) -> Result<(), DeviceError> {
        self.note(Call::Send(slot));
        self.stream.get_mut().slots[slot].fill(0xff);
        self.start(Work::Send(slot, parts.to_vec()))
    }

    fn receive(&mut self, slot: usize) -> Result<&[u8], DeviceError> {
        self.note(Call::Receive(slot));
        let stream = self.stream.get_mut();
        stream.wait(Some(slot))?;
        Ok(&stream.slots[slot])
    }

    fn prologue(&mut self) -> Result<(), DeviceError> {
        self.note(Call::Prologue);
        self.start(Work::Prologue)
    }

    fn step(&mut self) -> Result<(), DeviceError> {
        self.note(Call::Step);
        let steps = self.calls.lock().unwrap().iter().filter(|call| **call == Call::Step).count() as u64;
        let work = if self.breaks_after.is_some_and(|most| steps > most) { Work::Broken } else { Work::Step };
        self.start(work)
    }
}
