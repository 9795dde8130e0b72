//! A CTA's part of a weight, which stays the same from round to round: in registers as far as [`Room`] goes, then in shared memory;
//! the rest is read from the L2 cache in each round.
//!
//! In `f32` a thread multiplies by all of its columns' elements, of which it keeps a fourth: they are in shared memory only, where
//! the members of a group read each other's, and code that runs once for several operands finds them at equal distances.

use super::super::math::Math;
use super::super::report::WeightReport;
use super::super::scope::{Scope, THREADS};
use super::super::text::{Reg, Writer, list};
use super::tile::{Four, Lane, fours_of_operand, operand_registers};

/// Registers of a thread for weights and for what moves: sums, and elements of A. A thread can have 255, and has addresses, indices
/// and predicates beside.
const REGISTERS: usize = 144;

/// Room for the weights of a loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes of shared memory that a CTA has for weights, and has taken.
    shared: usize,
    pub taken: usize,
    /// Registers of a thread that weights have taken, and the most that one product needs for what moves.
    kept: usize,
    moving: usize,
}

impl Room {
    /// With so many bytes of shared memory.
    pub fn new(shared: usize) -> Self {
        Self { shared, taken: 0, kept: 0, moving: 0 }
    }

    /// A product needs so many registers for what moves.
    pub fn moves(&mut self, registers: usize) {
        self.moving = self.moving.max(registers);
    }

    /// Registers for a weight, if there are so many.
    fn registers(&mut self, count: usize) -> bool {
        let fits = self.kept + count + self.moving <= REGISTERS;
        self.kept += if fits { count } else { 0 };
        fits
    }

    fn has_shared(&self, bytes: usize) -> bool {
        self.taken + bytes <= self.shared
    }

    /// Where there are so many bytes of shared memory for a weight.
    fn shared(&mut self, bytes: usize) -> Option<usize> {
        let place = self.taken;
        let fits = self.has_shared(bytes);
        self.taken += if fits { bytes } else { 0 };
        fits.then_some(place)
    }
}

/// Where a warp's operand of one tile and block is.
#[derive(Clone, Debug)]
enum Kept {
    Registers(Vec<Reg>),
    /// So many bytes into the CTA's memory for weights.
    Shared(usize),
    Nowhere,
}

/// The operands of a CTA's part of a weight, in the order in which they are kept.
#[derive(Debug)]
pub(super) struct Weight {
    math: Math,
    kept: Vec<Kept>,
    /// This thread's address in the memory for weights.
    shared: Option<Reg>,
}

impl Weight {
    pub fn new(math: Math) -> Self {
        Self { math, kept: vec![], shared: None }
    }

    /// Keeps one more operand, which `read` reads, where there is room.
    pub fn keep(&mut self, scope: &mut Scope, room: &mut Room, read: impl FnOnce(&mut Writer) -> Vec<Reg>) {
        let each = operand_registers(self.math);
        let kept = if self.math != Math::F32 && room.registers(each) {
            Kept::Registers(read(&mut scope.w))
        } else if let Some(place) = room.shared(self.bytes()) {
            let operand = read(&mut scope.w);
            self.put(scope, &operand, place);
            Kept::Shared(place)
        } else {
            Kept::Nowhere
        };
        self.kept.push(kept);
    }

    /// Puts an operand into shared memory, 16 bytes of each thread beside those of the next.
    fn put(&mut self, scope: &mut Scope, operand: &[Reg], place: usize) {
        let thread = scope.thread;
        let at = *self.shared.get_or_insert_with(|| {
            let base = scope.w.dynamic_base();
            scope.w.mad(thread, 16, base)
        });
        for (number, four) in operand.chunks(4).enumerate() {
            let offset = place + number * 16 * THREADS;
            scope.w.line(format_args!("st.shared.v4.b32 [{at}+{offset}], {}", list(four)));
        }
    }

    /// After all is kept: in `f32` others of a warp read what a thread has put into shared memory.
    pub fn share(&self, scope: &mut Scope) {
        if self.math == Math::F32 && self.shared.is_some() {
            scope.w.line("bar.warp.sync 0xffffffff");
        }
    }

    /// Operand number `index`, from where it is kept, or as `read` reads it.
    pub fn operand(
        &self,
        w: &mut Writer,
        index: usize,
        read: impl FnOnce(&mut Writer) -> Vec<Reg>,
    ) -> Vec<Reg> {
        match (self.kept.get(index), self.shared) {
            (Some(Kept::Registers(registers)), _) => registers.clone(),
            (Some(&Kept::Shared(place)), Some(at)) => self.get(w, at, place),
            _ => read(w),
        }
    }

    /// What is in shared memory of the thread whose address there is `at`.
    fn get(&self, w: &mut Writer, at: Reg, place: usize) -> Vec<Reg> {
        let load = |number: usize| w.load_shared(at, place + number * 16 * THREADS, 4);
        (0..operand_registers(self.math) / 4).flat_map(load).collect()
    }

    /// Whether one may go on to keep `count` operands, which a round goes through in one piece of code; in `f32` that code reads all
    /// of them from one kind of memory.
    pub fn goes_on(&self, room: &Room, count: usize) -> bool {
        self.math != Math::F32 || room.has_shared(count * self.bytes())
    }

    /// Bytes of shared memory that an operand takes.
    pub fn bytes(&self) -> usize {
        4 * THREADS * operand_registers(self.math)
    }

    /// In `f32`: where what the first member of this thread's group has kept begins, of operand number `index * count`.
    pub fn of_group(&self, w: &mut Writer, lane: Lane, index: Reg, count: usize) -> Option<Reg> {
        let (Some(&Kept::Shared(place)), Some(at)) = (self.kept.first(), self.shared) else { return None };
        let before = w.mul(lane.member, 16);
        let first = w.op("sub.u32", [at.into(), before.into()]);
        let first = w.add(first, place as u32);
        Some(w.mad(index, (count * self.bytes()) as u32, first))
    }

    /// What a member of the group has of operand number `operand` from `at` on.
    pub fn of_member(&self, w: &mut Writer, at: Reg, operand: usize, member: usize) -> [Four; 2] {
        fours_of_operand(&self.get(w, at, operand * self.bytes() + 16 * member))
    }

    /// Behind the last operand that is kept.
    pub fn kept_until(&self) -> usize {
        let is_kept = |kept: &Kept| !matches!(kept, Kept::Nowhere);
        self.kept.iter().rposition(is_kept).map_or(0, |last| last + 1)
    }

    /// Where the CTA has `operands` of them.
    pub fn report(&self, operands: usize) -> WeightReport {
        let each = self.bytes();
        let count = |kept: fn(&Kept) -> bool| self.kept.iter().filter(|one| kept(one)).count();
        let registers = count(|kept| matches!(kept, Kept::Registers(_)));
        let shared = count(|kept| matches!(kept, Kept::Shared(_)));
        WeightReport {
            registers: each * registers,
            shared: each * shared,
            cache: each * (operands - registers - shared),
        }
    }
}
