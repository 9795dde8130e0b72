//! Where code stands: which CTA runs it, what its indices are, and where buffers lie.

use std::collections::HashMap;

use super::text::{Operand, Pred, Reg, Wide, Writer};
use super::{Control, lanes};
use crate::kernel::{Address, BufferId, Index, Module, Time};
use crate::plan::overlap;

/// Threads of a CTA, in every entry.
pub(super) const THREADS: usize = 256;

/// Threads of a warp.
pub(super) const WARP: usize = 32;

/// The parameters of every entry: the arena, and the numbers of the run and its step (see [`super::Control`]).
pub(super) const PARAMETERS: [(&str, &str); 2] = [("u64", "arena"), ("u64", "control")];

/// The round of the innermost time loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Its number, and the numbers of the first and the last round that are run.
    pub now: Reg,
    pub first: u32,
    pub last: u32,
}

/// An entry while it is written.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub w: Writer,
    /// Byte offset of each buffer in the arena.
    offsets: &'a [usize],
    arena: Wide,
    control: Wide,
    /// This CTA's number, how many there are, and this thread's number in it.
    pub cta: Reg,
    pub ctas: Reg,
    pub thread: Reg,
    times: HashMap<Time, Reg>,
    /// Of the time loops around, innermost last.
    rounds: Vec<Round>,
    bases: HashMap<BufferId, Wide>,
    keys: HashMap<u32, Reg>,
}

impl<'a> Scope<'a> {
    pub fn new(offsets: &'a [usize]) -> Self {
        let mut w = Writer::default();
        let [arena, control] = ["arena", "control"].map(|name| {
            let to = w.wide();
            w.line(format_args!("ld.param.u64 {to}, [{name}]"));
            w.line(format_args!("cvta.to.global.u64 {to}, {to}"));
            to
        });
        let [cta, ctas, thread] = ["ctaid", "nctaid", "tid"].map(|name| {
            let to = w.reg();
            w.line(format_args!("mov.u32 {to}, %{name}.x"));
            to
        });
        let (times, rounds, bases, keys) = (HashMap::new(), vec![], HashMap::new(), HashMap::new());
        w.close_head();
        Self { w, offsets, arena, control, cta, ctas, thread, times, rounds, bases, keys }
    }

    /// The first byte of a buffer, in the arena.
    pub fn offset(&self, buffer: BufferId) -> usize {
        self.offsets[buffer.0 as usize]
    }

    /// Whether two buffers have bytes in common.
    pub fn overlap(&self, module: &Module, a: BufferId, b: BufferId) -> bool {
        overlap(module, self.offsets, a, b)
    }

    /// What `body` writes is in a round of a time loop.
    pub fn in_round<T>(&mut self, time: Time, round: Round, body: impl FnOnce(&mut Self) -> T) -> T {
        self.times.insert(time, round.now);
        self.rounds.push(round);
        let result = body(self);
        self.rounds.pop();
        result
    }

    /// The round of the innermost time loop around, if there is one.
    pub fn round(&self) -> Option<Round> {
        self.rounds.last().copied()
    }

    /// `for (i = start; i < end; i += step) body(i)`, on unsigned numbers.
    pub fn each(
        &mut self,
        start: impl Into<Operand>,
        end: impl Into<Operand>,
        step: impl Into<Operand>,
        body: impl FnOnce(&mut Self, Reg),
    ) {
        let (end, step) = (end.into(), step.into());
        let i = self.w.op("mov.b32", [start.into()]);
        let all = self.w.begin();
        let over = self.w.compare("setp.ge.u32", i, end);
        self.w.go_if(over, all.done);
        body(self, i);
        self.w.assign(i, "add.u32", [i.into(), step]);
        self.w.end(all);
    }

    /// `body` where the predicate holds.
    pub fn when(&mut self, holds: Pred, body: impl FnOnce(&mut Self)) {
        let end = self.w.label();
        self.w.go_unless(holds, end);
        body(self);
        self.w.place(end);
    }

    /// The address of a buffer.
    pub fn buffer(&mut self, buffer: BufferId) -> Wide {
        let (arena, offset) = (self.arena, self.offset(buffer));
        let w = &mut self.w;
        *self.bases.entry(buffer).or_insert_with(|| w.first(|w| w.moved(arena, offset)))
    }

    /// The address of so many bytes behind the arena's start.
    pub fn at(&mut self, offset: usize) -> Wide {
        self.w.moved(self.arena, offset)
    }

    /// An address in the control block.
    pub fn control(&mut self, offset: usize) -> Wide {
        self.w.moved(self.control, offset)
    }

    /// The key of a stream of random numbers at this step.
    pub fn random_key(&mut self, stream: u32) -> Reg {
        let control = self.control;
        let w = &mut self.w;
        *self.keys.entry(stream).or_insert_with(|| {
            w.first(|w| {
                let [seed, step] = [Control::SEED, Control::STEP].map(|offset| {
                    let to = w.wide();
                    w.line(format_args!("ld.global.u64 {to}, [{control}+{offset}]"));
                    to
                });
                lanes::random_key(w, seed, step, stream)
            })
        })
    }

    /// `offset` plus each index times its stride; axes and ids are found by `find`.
    pub fn flat(
        &mut self,
        offset: u32,
        terms: &[(Index, usize)],
        find: &impl Fn(Index) -> Option<Reg>,
    ) -> Operand {
        let mut sum: Operand = offset.into();
        for &(index, stride) in terms {
            let value = match index {
                Index::Time(time) => self.times.get(&time).copied(),
                _ => find(index),
            };
            let value = value.unwrap_or_else(|| panic!("internal error: {index} has no register"));
            let stride = stride as u32;
            sum = match (stride, sum) {
                (0, _) => sum,
                (1, Operand::Const(0)) => value.into(),
                (1, _) => self.w.add(value, sum).into(),
                (_, Operand::Const(0)) => self.w.mul(value, stride).into(),
                _ => self.w.mad(value, stride, sum).into(),
            };
        }
        sum
    }

    /// The address of an element, in brackets.
    pub fn element(&mut self, at: &Address, find: &impl Fn(Index) -> Option<Reg>) -> String {
        let base = self.buffer(at.buffer);
        // A distance that fits an instruction stays out of the registers.
        let bytes = at.offset * 4;
        let (fixed, offset) = if bytes < 1 << 31 { (bytes, 0) } else { (0, at.offset as u32) };
        let to = match self.flat(offset, &at.terms, find) {
            Operand::Const(elements) => self.w.moved(base, 4 * elements as usize),
            Operand::Reg(elements) => self.w.element(base, elements),
        };
        format!("[{to}+{fixed}]")
    }

    /// The address of an element that varies with time only, as a register.
    pub fn pointer(&mut self, at: &Address) -> Wide {
        let base = self.buffer(at.buffer);
        let elements = self.flat(0, &at.terms, &|_| None);
        let start = match elements {
            Operand::Const(_) => base,
            Operand::Reg(elements) => self.w.element(base, elements),
        };
        self.w.moved(start, 4 * at.offset)
    }

    /// The number of this thread's warp in the CTA.
    pub fn warp(&mut self) -> Reg {
        self.w.op("shr.u32", [self.thread.into(), WARP.ilog2().into()])
    }

    /// The number of this thread in its warp.
    pub fn lane(&mut self) -> Reg {
        self.w.op("and.b32", [self.thread.into(), (WARP as u32 - 1).into()])
    }

    /// The number of this thread among those of all CTAs, and how many there are.
    pub fn thread_of_all(&mut self) -> (Reg, Reg) {
        let (cta, ctas, thread) = (self.cta, self.ctas, self.thread);
        let own = self.w.mad(cta, THREADS as u32, thread);
        (own, self.w.mul(ctas, THREADS as u32))
    }
}
