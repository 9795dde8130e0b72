//! A warp's instructions, one after another, until it has to wait.

pub(crate) mod access;
pub(crate) mod tensor;
pub(crate) mod warp;
pub(crate) mod wide;

use std::collections::HashMap;

use crate::clocks::{Place, Released, Scope};
use crate::fault::{FaultKind, Halt};
use crate::memory::Memory;
use crate::module::{ALWAYS, Kernel, Op};
use crate::regs::{LANES, NEGATED, key};
use crate::rng::Rng;
use crate::space::Space;
use warp::Warp;

/// Why a warp has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its turn is over.
    Turn,
    Barrier {
        id: u32,
        threads: Option<u32>,
        wait: bool,
    },
    ClusterArrive {
        release: bool,
    },
    ClusterWait,
    Done,
}

/// A CTA that is running.
pub(crate) struct Cta {
    pub shared: Space,
    /// Whether other CTAs have accessed it.
    pub visited: bool,
}

/// What warps act on.
pub(crate) struct World<'m> {
    pub kernel: &'m Kernel,
    pub memory: &'m mut Memory,
    pub parameters: Vec<u8>,
    /// By number; those that have not begun or are over are not there.
    pub ctas: Vec<Option<Cta>>,
    /// The cluster of each CTA, and the CTAs of each cluster by rank.
    pub cluster_of: Vec<u32>,
    pub clusters: Vec<Vec<u32>>,
    pub released: HashMap<u64, Released>,
    pub cuts_tf32: bool,
    /// How often each opcode has been executed by a warp.
    pub counts: Vec<u64>,
    pub instructions: u64,
    /// Of those, when last somebody got on.
    pub progress: u64,
    pub rng: Rng,
}

impl World<'_> {
    pub fn place(&self, cta: u32) -> Place {
        Place { cta, cluster: self.cluster_of[cta as usize] }
    }

    /// Runs a warp for some instructions.
    pub fn run(&mut self, warp: &mut Warp, turn: u64) -> Result<Event, Halt> {
        let kernel = self.kernel;
        let end = self.instructions + turn;
        while self.instructions < end {
            let instruction = &kernel.code[warp.pc as usize];
            self.instructions += 1;
            let mut mask = warp.mask;
            if instruction.guard != ALWAYS {
                let slot = instruction.guard & !NEGATED;
                if warp.regs.valid(key(crate::regs::Class::Pred, slot)) & mask != mask {
                    return Err(unwritten(warp, key(crate::regs::Class::Pred, slot), mask));
                }
                mask &= warp.regs.pred(instruction.guard);
                if mask == 0 {
                    warp.advance();
                    continue;
                }
            }
            self.counts[instruction.opcode as usize] += 1;
            for &read in &instruction.reads {
                if warp.regs.valid(read) & mask != mask {
                    return Err(unwritten(warp, read, mask));
                }
            }
            match &instruction.op {
                Op::Alu(run, slots) => run(&mut warp.regs, slots, mask),
                Op::Branch(to) => {
                    warp.branch(mask, *to);
                    continue;
                }
                Op::Exit => {
                    self.progress = self.instructions;
                    warp.exit(mask);
                    if warp.live == 0 {
                        return Ok(Event::Done);
                    }
                    continue;
                }
                other => {
                    let event = self.other(other, warp, mask)?;
                    for &written in &instruction.writes {
                        warp.regs.wrote(written, mask);
                    }
                    warp.advance();
                    match event {
                        None => continue,
                        Some(event) => return Ok(event),
                    }
                }
            }
            for &written in &instruction.writes {
                warp.regs.wrote(written, mask);
            }
            warp.advance();
        }
        Ok(Event::Turn)
    }

    fn other(&mut self, op: &Op, warp: &mut Warp, mask: u32) -> Result<Option<Event>, Halt> {
        match op {
            Op::Nothing => {}
            Op::Param(param) => self.parameter(warp, param, mask)?,
            Op::Load(load) => {
                self.load(warp, load, mask)?;
                // Who polls lets the others go on.
                if load.order.strong.is_some() {
                    return Ok(Some(Event::Turn));
                }
            }
            Op::Store(store) => self.store(warp, store, mask)?,
            Op::Atom(atom) => {
                self.atomic(warp, atom, mask)?;
                return Ok(Some(Event::Turn));
            }
            Op::Fence(scope) => self.fence(warp, *scope),
            Op::Copy { to, from, bytes, taken } => self.copy(warp, [to, from], *bytes, *taken, mask)?,
            Op::Commit => {
                for lane in lanes(mask) {
                    warp.committed[lane] += 1;
                }
            }
            Op::Wait(groups) => self.wait(warp, *groups, mask)?,
            Op::Matrices { address, transposed, regs } => {
                self.together(warp, mask, "ldmatrix")?;
                self.matrices(warp, address, *transposed, regs)?;
            }
            Op::Product { tile, d, a, b, c } => {
                self.together(warp, mask, "mma")?;
                if !self.cuts_tf32 {
                    tensor::rounded(&warp.regs, *tile, [a, b])?;
                }
                tensor::product(&mut warp.regs, *tile, d, a, b, c);
            }
            &Op::Barrier { id, threads, wait } => {
                self.together(warp, mask, "a barrier")?;
                let uniform = |slot: u32| {
                    let words = &warp.regs.words[slot as usize];
                    let first = words[0];
                    match lanes(mask).find(|&lane| words[lane] != first) {
                        None => Ok(first),
                        Some(lane) => {
                            Err(Halt::new(FaultKind::Barrier, "a barrier's operands differ").at(lane))
                        }
                    }
                };
                let threads = threads.map(uniform).transpose()?;
                return Ok(Some(Event::Barrier { id: uniform(id)?, threads, wait }));
            }
            &Op::ClusterArrive { release } => {
                self.aligned(warp, mask)?;
                return Ok(Some(Event::ClusterArrive { release }));
            }
            Op::ClusterWait => {
                self.aligned(warp, mask)?;
                return Ok(Some(Event::ClusterWait));
            }
            Op::FloatAtomic => {
                let reason = "float atomics are forbidden: their order is not fixed";
                return Err(Halt::new(FaultKind::FloatAtomic, reason).at(first(mask)));
            }
            Op::Trap => return Err(Halt::new(FaultKind::Trap, "the kernel traps").at(first(mask))),
            wide => wide::execute(wide, warp, mask, self.cluster_size(warp.cta))?,
        }
        Ok(None)
    }

    fn cluster_size(&self, cta: u32) -> u32 {
        self.clusters[self.cluster_of[cta as usize] as usize].len() as u32
    }

    /// All lanes of the warp have to be there.
    fn together(&self, warp: &Warp, mask: u32, what: &str) -> Result<(), Halt> {
        if mask == warp.exists {
            return Ok(());
        }
        let missing = first(warp.exists & !mask);
        let how = if warp.live >> missing & 1 == 0 { "has exited" } else { "is not there" };
        let reason = format!("{what} wants all lanes of the warp, and lane {missing} {how}");
        Err(Halt::new(FaultKind::MissingLanes, reason).at(first(mask)))
    }

    /// As [`Self::together`], of the lanes that have not exited.
    fn aligned(&self, warp: &Warp, mask: u32) -> Result<(), Halt> {
        if mask == warp.live {
            return Ok(());
        }
        let reason = format!(
            "the cluster's barrier wants all lanes, and lane {} is not there",
            first(warp.live & !mask)
        );
        Err(Halt::new(FaultKind::MissingLanes, reason).at(first(mask)))
    }

    /// What it has read relaxed is acquired, and what comes before is made ready for relaxed writes to come.
    fn fence(&mut self, warp: &mut Warp, scope: Scope) {
        let place = self.place(warp.cta);
        for relaxed in std::mem::take(&mut warp.relaxed) {
            let seen =
                relaxed.released.seen(relaxed.scope.min(scope), place, |cta| self.cluster_of[cta as usize]);
            if let Some(knowledge) = seen {
                warp.clock.learn(&knowledge);
            }
        }
        warp.fence = Some((scope, warp.clock.knowledge()));
        warp.clock.tick();
    }
}

/// The lanes of a mask.
#[inline]
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 != 0)
}

pub(crate) fn first(mask: u32) -> usize {
    mask.trailing_zeros().min(31) as usize
}

#[cold]
fn unwritten(warp: &Warp, key: u32, mask: u32) -> Halt {
    let lane = first(mask & !warp.regs.valid(key));
    Halt::new(FaultKind::UninitialisedRegister, "reads a register that this thread has not written").at(lane)
}
