//! A warp: registers, which lanes stand where, and what it knows of the others.
//!
//! Lanes that stand at the same place run together. Of several places the least is run first, so that lanes that have parted
//! meet again where their ways join.

use crate::clocks::{Clock, Knowledge, Released, Scope};
use crate::regs::{LANES, Regs};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// At a barrier of the CTA, by number.
    Barrier(usize),
    ClusterBarrier,
    Done,
}

/// A `cp.async` on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arriving {
    pub lane: usize,
    /// How many groups its lane had committed before.
    pub group: u32,
    pub at: usize,
    pub bytes: [u8; 16],
    pub len: usize,
}

/// What a relaxed load has read, for a fence to come.
#[derive(Clone, Debug)]
pub(crate) struct Relaxed {
    pub key: u64,
    pub scope: Scope,
    pub released: Released,
}

pub(crate) struct Warp {
    pub cta: u32,
    /// Its number in the CTA.
    pub index: u32,
    pub regs: Regs,
    pub pc: u32,
    pub mask: u32,
    /// Lanes that stand elsewhere, at the least place last.
    others: Vec<(u32, u32)>,
    next: u32,
    /// Lanes that there are, and those that have not exited.
    pub exists: u32,
    pub live: u32,
    pub state: State,
    pub clock: Clock,
    /// What a fence has made ready for the strong writes after it.
    pub fence: Option<(Scope, Knowledge)>,
    pub relaxed: Vec<Relaxed>,
    /// The last that it has learnt.
    pub learnt: Option<Knowledge>,
    pub arriving: Vec<Arriving>,
    pub committed: [u32; LANES],
    /// The phase of the cluster's barrier that it has arrived at and not waited for.
    pub arrived: Option<u32>,
}

impl Warp {
    pub fn new(cta: u32, index: u32, lanes: u32, regs: Regs, clock: Clock) -> Self {
        let exists = if lanes >= 32 { !0 } else { (1 << lanes) - 1 };
        Self {
            cta,
            index,
            regs,
            pc: 0,
            mask: exists,
            others: vec![],
            next: u32::MAX,
            exists,
            live: exists,
            state: State::Ready,
            clock,
            fence: None,
            relaxed: vec![],
            learnt: None,
            arriving: vec![],
            committed: [0; LANES],
            arrived: None,
        }
    }

    /// On to the next instruction.
    #[inline]
    pub fn advance(&mut self) {
        self.pc += 1;
        if self.pc >= self.next {
            self.settle();
        }
    }

    /// These of the running lanes go there, the others on.
    pub fn branch(&mut self, taken: u32, to: u32) {
        let stay = self.mask & !taken;
        if taken == 0 {
            return self.advance();
        }
        if stay == 0 {
            self.pc = to;
        } else {
            self.insert(to, taken);
            self.mask = stay;
            self.pc += 1;
        }
        self.settle();
    }

    fn insert(&mut self, pc: u32, mask: u32) {
        match self.others.binary_search_by(|probe| pc.cmp(&probe.0)) {
            Ok(at) => self.others[at].1 |= mask,
            Err(at) => self.others.insert(at, (pc, mask)),
        }
    }

    /// Runs the lanes at the least place.
    fn settle(&mut self) {
        while let Some(&(pc, mask)) = self.others.last() {
            if pc > self.pc {
                break;
            }
            self.others.pop();
            if pc == self.pc {
                self.mask |= mask;
            } else {
                self.insert(self.pc, self.mask);
                (self.pc, self.mask) = (pc, mask);
            }
        }
        self.next = self.others.last().map_or(u32::MAX, |&(pc, _)| pc);
    }

    /// These of the running lanes are done.
    pub fn exit(&mut self, lanes: u32) {
        self.live &= !lanes;
        self.mask &= !lanes;
        if self.mask != 0 {
            return self.advance();
        }
        match self.others.pop() {
            Some((pc, mask)) => {
                (self.pc, self.mask) = (pc, mask);
                self.settle();
            }
            None => self.state = State::Done,
        }
    }
}
