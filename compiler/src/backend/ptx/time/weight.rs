//! A CTA's part of a weight, which stays the same from round to round: in registers as far as [`Room`] goes, then in shared memory;
//! the rest is read from the L2 cache in each round.

use super::super::math::Math;
use super::super::report::WeightReport;
use super::super::scope::{Scope, THREADS};
use super::super::text::{Reg, Writer, list};
use super::tile::operand_registers;

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

    /// Where there are so many bytes of shared memory for a weight.
    fn shared(&mut self, bytes: usize) -> Option<usize> {
        let place = self.taken;
        let fits = place + bytes <= self.shared;
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
        let kept = match operand_registers(self.math) {
            Some(each) if room.registers(each) => Kept::Registers(read(&mut scope.w)),
            Some(each) => match room.shared(4 * each * THREADS) {
                Some(place) => {
                    let operand = read(&mut scope.w);
                    self.put(scope, &operand, place);
                    Kept::Shared(place)
                }
                None => Kept::Nowhere,
            },
            None => Kept::Nowhere,
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

    /// Operand number `index`, from where it is kept, or as `read` reads it.
    pub fn operand(
        &self,
        w: &mut Writer,
        index: usize,
        read: impl FnOnce(&mut Writer) -> Vec<Reg>,
    ) -> Vec<Reg> {
        match (self.kept.get(index), self.shared) {
            (Some(Kept::Registers(registers)), _) => registers.clone(),
            (Some(&Kept::Shared(place)), Some(at)) => {
                let load = |number: usize| w.load_shared(at, place + number * 16 * THREADS, 4);
                (0..operand_registers(self.math).unwrap_or(0) / 4).flat_map(load).collect()
            }
            _ => read(w),
        }
    }

    /// Behind the last operand that is kept.
    pub fn kept_until(&self) -> usize {
        let is_kept = |kept: &Kept| !matches!(kept, Kept::Nowhere);
        self.kept.iter().rposition(is_kept).map_or(0, |last| last + 1)
    }

    /// Where the CTA has `operands` of them.
    pub fn report(&self, operands: usize) -> WeightReport {
        // What is not rounded takes as much as it does in tf32.
        let each = 4 * THREADS * operand_registers(self.math).unwrap_or(8);
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
