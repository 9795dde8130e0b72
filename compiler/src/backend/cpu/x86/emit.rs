//! A loop's function: its rounds, and the instructions of its body.

use super::assembler::Assembler;
use super::body::{Body, Operation, Place, Value};
use super::disassembly;
use super::frame::Frame;
use super::instructions::{Code, General, Memory, Source, When, Width};
use super::registers::{self, Registers};
use crate::backend::elementary::{Binary, Unary};
use crate::kernel::Reduce;

/// A loop as machine code, to be placed at a multiple of 64 bytes.
pub struct Loop {
    /// The function, and its constants behind it.
    pub code: Vec<u8>,
    /// Where the function ends, and where its constants begin.
    end: usize,
    constants: usize,
}

impl Loop {
    /// Of a function that has none behind it but the bytes that fill up its last line.
    pub(super) fn without_constants(code: Vec<u8>) -> Self {
        let end = code.len();
        Self { code, end, constants: end }
    }

    /// The function's instructions and constants.
    pub fn text(&self) -> String {
        disassembly::text(&self.code[..self.end], &self.code[self.constants..], self.constants)
    }
}

const FRAME: General = General::RDI;
const ITERATION: General = General::RSI;
const END: General = General::RDX;
/// Where a round would end, and how many iterations are left.
const ROUND: General = General::RAX;

/// Registers for pointers, those first that a function may change.
const BASES: [General; 10] = [
    General::RCX,
    General::R8,
    General::R9,
    General::R10,
    General::RBX,
    General::RBP,
    General::R12,
    General::R13,
    General::R14,
    General::R15,
];
const CHANGEABLE: usize = 4;

/// Where prefetching for the stores of a round ends, in iterations.
const AHEAD: General = General::R11;

/// Iterations from what is stored to what is prefetched: time for another core that has read the line to give it up.
const WRITTEN_AHEAD: i32 = 256;

/// Registers that are left to single instructions: numbers from memory, masks.
const SCRATCH: u8 = 3;

/// Compiles a loop; none if it needs more registers than there are.
pub fn compile(body: &Body, width: Width) -> Option<Loop> {
    if body.bases > BASES.len() {
        return None;
    }
    // AVX2 has no mask registers: the mask of the lanes that there are is a vector.
    let reserved = SCRATCH + u8::from(width == Width::Avx2);
    let count = width.registers() - reserved;
    let fitting = |copies| registers::assign(body, copies, count).map(|registers| (copies, registers));
    let (copies, registers) = [copies(body), 1].into_iter().find_map(fitting)?;
    let mut emitter = Emitter {
        a: Assembler::new(width),
        frame: Frame::of(body, width),
        constants: constants(body, width),
        scratch: [count, count + 1, count + 2],
        mask: width.registers() - 1,
        body,
        registers,
        copies,
    };
    emitter.function();
    let end = emitter.a.here();
    let code = emitter.a.finish(&emitter.constants);
    let constants = code.len() - emitter.constants.len();
    Some(Loop { code, end, constants })
}

/// How many vectors a round has: as many as hide the latency of its folds and pay for the loop's own instructions.
fn copies(body: &Body) -> usize {
    match body.operations.len() {
        0..=8 => 4,
        9..=32 => 2,
        _ => 1,
    }
}

/// The constants as they lie behind the code: the numbers of the lanes, the words of a mask for AVX2, negative infinity,
/// then the body's.
fn constants(body: &Body, width: Width) -> Vec<u8> {
    let lanes = width.lanes();
    let numbers = 0..lanes as u32;
    let mask = (0..2 * lanes).map(|i| if i < lanes { u32::MAX } else { 0 });
    let lowest = std::iter::once(f32::NEG_INFINITY.to_bits());
    let words = numbers.chain(mask).chain(lowest).chain(body.constants.iter().copied());
    words.flat_map(u32::to_le_bytes).collect()
}

struct Emitter<'b> {
    a: Assembler,
    body: &'b Body,
    frame: Frame,
    constants: Vec<u8>,
    registers: Registers,
    copies: usize,
    scratch: [u8; 3],
    /// The mask of the lanes that there are, for AVX2.
    mask: u8,
}

/// Which iterations a copy of the body computes.
#[derive(Clone, Copy)]
enum Covered {
    /// A whole vector, so many after the first one of the round.
    All(usize),
    /// Those that are left.
    Present,
}

impl Emitter<'_> {
    fn function(&mut self) {
        let saved = BASES[..self.body.bases].iter().skip(CHANGEABLE).copied();
        let saved: Vec<General> = saved.collect();
        saved.iter().for_each(|&register| self.a.push(register));
        for (index, &base) in BASES[..self.body.bases].iter().enumerate() {
            self.a.load_general(base, FRAME, self.frame.base(index) as i32);
        }
        let mut uniform: Vec<(Value, u8)> =
            self.registers.uniform.iter().map(|(&value, &register)| (value, register)).collect();
        uniform.sort_by_key(|&(_, register)| register);
        for (value, register) in uniform {
            self.a.unary(Code::BROADCAST, register, Source::Memory(self.place_of(value)));
        }
        self.totals();
        self.rounds();
        self.results();
        saved.iter().rev().for_each(|&register| self.a.pop(register));
        self.a.give_back();
        self.a.ret();
    }

    /// Every total starts as its fold's neutral element.
    fn totals(&mut self) {
        for copy in 0..self.copies {
            for (fold, &(kind, _)) in self.body.folds.iter().enumerate() {
                let total = self.registers.total(fold, copy);
                match kind {
                    Reduce::Sum => self.a.binary(Code::XOR, total, total, Source::Register(total)),
                    Reduce::Max => {
                        let lowest = Memory::Constant(4 * self.own_constants() - 4);
                        self.a.unary(Code::BROADCAST, total, Source::Memory(lowest));
                    }
                }
            }
        }
    }

    fn rounds(&mut self) {
        let lanes = self.a.width.lanes();
        let round = (self.copies * lanes) as i32;
        self.a.address(ROUND, ITERATION, round);
        self.a.compare_general(ROUND, END);
        let few = self.a.jump(When::Greater);
        let start = self.a.here();
        if self.body.operations.iter().any(|operation| matches!(operation, Operation::Store(..))) {
            // No further than this worker stores: what another one is about to write would be taken from it.
            self.a.address(AHEAD, ITERATION, WRITTEN_AHEAD + round);
            self.a.at_most(AHEAD, FRAME, self.frame.stored() as i32);
        }
        for copy in 0..self.copies {
            self.copy(Covered::All(copy));
        }
        self.a.address(ITERATION, ITERATION, round);
        self.a.address(ROUND, ITERATION, round);
        self.a.compare_general(ROUND, END);
        self.a.jump_back(When::LessOrEqual, start);
        self.a.land(few);
        self.a.compare_general(ITERATION, END);
        let none = self.a.jump(When::GreaterOrEqual);
        let start = self.a.here();
        self.a.difference(ROUND, END, ITERATION);
        self.a.present(ROUND, self.mask, 4 * lanes);
        self.copy(Covered::Present);
        self.a.address(ITERATION, ITERATION, lanes as i32);
        self.a.compare_general(ITERATION, END);
        self.a.jump_back(When::Less, start);
        self.a.land(none);
    }

    /// Joins the copies' totals in order and leaves them in the frame.
    fn results(&mut self) {
        for (fold, &(kind, _)) in self.body.folds.iter().enumerate() {
            let first = self.registers.total(fold, 0);
            for copy in 1..self.copies {
                let other = self.registers.total(fold, copy);
                self.a.binary(code_of_fold(kind), first, other, Source::Register(first));
            }
            self.a.store(Memory::At(FRAME, self.frame.fold(fold) as i32), first);
        }
    }

    /// The body for one vector.
    fn copy(&mut self, lanes: Covered) {
        for (index, &operation) in self.body.operations.iter().enumerate() {
            self.operation(self.registers.results[index], operation, lanes);
        }
        for (fold, &(kind, value)) in self.body.folds.iter().enumerate() {
            let value = self.register(value, 0);
            let code = code_of_fold(kind);
            match lanes {
                Covered::All(copy) => {
                    let total = self.registers.total(fold, copy);
                    self.a.binary(code, total, value, Source::Register(total));
                }
                Covered::Present => {
                    let total = self.registers.total(fold, 0);
                    self.a.fold_present(code, total, value, total, self.mask, self.scratch[1]);
                }
            }
        }
    }

    fn operation(&mut self, to: u8, operation: Operation, lanes: Covered) {
        match operation {
            Operation::Load(place) => {
                let memory = self.element(place, lanes);
                match lanes {
                    Covered::All(_) => self.a.load(to, memory),
                    Covered::Present => self.a.load_present(to, memory, self.mask),
                }
            }
            Operation::Store(place, value) => {
                let value = self.register(value, 0);
                let memory = self.element(place, lanes);
                match lanes {
                    Covered::All(copy) => {
                        self.a.store(memory, value);
                        let back = (self.copies - copy) * self.a.width.lanes() * 4;
                        let ahead = Memory::Element(BASES[place.base], AHEAD, place.offset - back as i32);
                        self.a.prefetch_for_writing(ahead);
                    }
                    Covered::Present => self.a.store_present(memory, value, self.mask),
                }
            }
            Operation::Iteration => {
                let first = match lanes {
                    Covered::All(copy) => copy * self.a.width.lanes(),
                    Covered::Present => 0,
                };
                self.a.address(ROUND, ITERATION, first as i32);
                self.a.spread(to, ROUND);
                self.a.binary(Code::WHOLE_ADD, to, to, Source::Memory(Memory::Constant(0)));
            }
            Operation::Unary(op, value) => self.unary(to, op, value),
            Operation::Binary(op, a, b) => self.binary(to, op, a, b),
            Operation::MulAdd(a, b, c) => self.mul_add(to, a, b, c),
            Operation::Choose { condition, left, right, yes, no } => {
                let truth = self.scratch[0];
                let left = self.register(left, 0);
                let right = self.source(right, 1);
                self.a.compare(condition, left, right, truth);
                let no = self.register(no, 1);
                let yes = self.source(yes, 2);
                self.a.choose(to, no, yes, truth);
            }
        }
    }

    fn unary(&mut self, to: u8, op: Unary, value: Value) {
        match op {
            Unary::Sqrt | Unary::ToReal => {
                let code = if op == Unary::Sqrt { Code::SQRT } else { Code::TO_REAL };
                let source = self.source(value, 0);
                self.a.unary(code, to, source);
            }
            Unary::ShiftLeft(places) | Unary::ShiftRight(places) => {
                let source = self.register(value, 0);
                self.a.shift(matches!(op, Unary::ShiftLeft(_)), to, source, places);
            }
        }
    }

    fn binary(&mut self, to: u8, op: Binary, a: Value, b: Value) {
        let (code, swaps) = match op {
            Binary::Add => (Code::ADD, true),
            Binary::Sub => (Code::SUB, false),
            Binary::Mul => (Code::MUL, true),
            Binary::Div => (Code::DIV, false),
            Binary::Max => (Code::MAX, false),
            Binary::Min => (Code::MIN, false),
            Binary::WholeAdd => (Code::WHOLE_ADD, true),
            Binary::WholeSub => (Code::WHOLE_SUB, false),
            Binary::WholeMul => (Code::WHOLE_MUL, true),
            Binary::Xor => (Code::XOR, true),
            Binary::And => (Code::AND, true),
        };
        let (a, b) = if swaps && self.known(a).is_none() { (b, a) } else { (a, b) };
        let first = self.register(a, 0);
        let second = self.source(b, 1);
        self.a.binary(code, to, first, second);
    }

    /// The instruction overwrites one of its operands: one that is not read any more, if there is one.
    fn mul_add(&mut self, to: u8, a: Value, b: Value, c: Value) {
        let (known_a, known_b, known_c) = (self.known(a), self.known(b), self.known(c));
        if known_c == Some(to) && known_a != Some(to) && known_b != Some(to) {
            let first = self.register(a, 0);
            let second = self.source(b, 1);
            return self.a.binary(Code::MUL_ADD_231, to, first, second);
        }
        let (a, b) = if known_b == Some(to) { (b, a) } else { (a, b) };
        // Behind the first operand nothing else may lie in the result's register.
        let second = self.register(b, 0);
        let third = self.source(c, 1);
        match self.known(a) {
            Some(first) if first == to => {}
            Some(first) => self.a.unary(Code::MOVE, to, Source::Register(first)),
            None => self.a.unary(Code::BROADCAST, to, Source::Memory(self.place_of(a))),
        }
        self.a.binary(Code::MUL_ADD_213, to, second, third);
    }

    /// The register that a value has.
    fn known(&self, value: Value) -> Option<u8> {
        match value {
            Value::Computed(index) => Some(self.registers.results[index as usize]),
            uniform => self.registers.uniform.get(&uniform).copied(),
        }
    }

    /// The words before the body's constants.
    fn own_constants(&self) -> usize {
        3 * self.a.width.lanes() + 1
    }

    /// Where a constant or parameter lies.
    fn place_of(&self, value: Value) -> Memory {
        match value {
            Value::Constant(index) => Memory::Constant(4 * (self.own_constants() + index as usize)),
            Value::Parameter(index) => Memory::At(FRAME, self.frame.parameter(index as usize) as i32),
            Value::Computed(_) => unreachable!("internal error: a result outside registers"),
        }
    }

    /// A register that holds a value: its own, or that scratch register.
    fn register(&mut self, value: Value, scratch: usize) -> u8 {
        self.known(value).unwrap_or_else(|| {
            let to = self.scratch[scratch];
            self.a.unary(Code::BROADCAST, to, Source::Memory(self.place_of(value)));
            to
        })
    }

    /// A value as an instruction's last operand, by way of that scratch register if there is no other.
    fn source(&mut self, value: Value, scratch: usize) -> Source {
        match (self.known(value), self.a.width) {
            (Some(register), _) => Source::Register(register),
            (None, Width::Avx512) => Source::Broadcast(self.place_of(value)),
            (None, Width::Avx2) => Source::Register(self.register(value, scratch)),
        }
    }

    fn element(&self, place: Place, lanes: Covered) -> Memory {
        let ahead = match lanes {
            Covered::All(copy) => copy * self.a.width.lanes() * 4,
            Covered::Present => 0,
        };
        Memory::Element(BASES[place.base], ITERATION, place.offset + ahead as i32)
    }
}

/// `total = value op total`
fn code_of_fold(kind: Reduce) -> Code {
    match kind {
        Reduce::Sum => Code::ADD,
        Reduce::Max => Code::MAX,
    }
}
