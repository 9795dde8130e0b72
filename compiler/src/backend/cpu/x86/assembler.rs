//! Machine code of x86-64: instructions as bytes, with VEX prefixes for 256 bits and EVEX prefixes for 512. Source: Intel
//! 64 and IA-32 Architectures Software Developer's Manual, volume 2, sections 2.3 (VEX), 2.7 (EVEX) and the instructions'
//! own.
//!
//! By hand, for these few instructions: the encoder of `iced-x86` makes a table of its 4,900 before it writes the first one,
//! which takes 0.4 ms of the 10 ms in which a large model compiles, and `cranelift-assembler-x64` has neither 512 bits nor
//! masks. What is written here is read back by the decoder of `iced-x86`, in the tests and for people (`disassembly`).

use super::instructions::{Code, General, Mask, Memory, Source, When, Width, predicate};
use crate::backend::elementary::Condition;

/// The mask register of comparisons, and that of the lanes that there are in a loop's last round.
const TRUTH: u8 = 1;
const PRESENT: u8 = 7;

/// A function while it is written.
pub struct Assembler {
    pub width: Width,
    bytes: Vec<u8>,
    /// Displacements of constants to fill in: where they lie, where their instruction ends, and the constant's place.
    constants: Vec<(usize, usize, usize)>,
}

/// A jump whose target is not known yet.
pub struct Jump(usize);

impl Assembler {
    pub fn new(width: Width) -> Self {
        Self { width, bytes: Vec::new(), constants: Vec::new() }
    }

    /// The function's code with its constants behind it.
    pub fn finish(mut self, constants: &[u8]) -> Vec<u8> {
        let start = self.bytes.len().next_multiple_of(64);
        self.bytes.resize(start, 0xcc);
        for &(at, end, constant) in &self.constants {
            let distance = (start + constant - end) as u32;
            self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        self.bytes.extend_from_slice(constants);
        self.bytes
    }

    /// `to = op source`
    pub fn unary(&mut self, code: Code, to: u8, source: Source) {
        self.encode(code, to, None, source, Mask::All, None);
    }

    /// `to = first op source`
    pub fn binary(&mut self, code: Code, to: u8, first: u8, source: Source) {
        self.encode(code, to, Some(first), source, Mask::All, None);
    }

    /// `to = source`
    pub fn load(&mut self, to: u8, source: Memory) {
        self.unary(Code::LOAD, to, Source::Memory(source));
    }

    pub fn store(&mut self, to: Memory, from: u8) {
        self.unary(Code::STORE, from, Source::Memory(to));
    }

    /// Zero where there is no lane; `mask`: where AVX2 has the mask.
    pub fn load_present(&mut self, to: u8, source: Memory, mask: u8) {
        match self.width {
            Width::Avx2 => self.binary(Code::LOAD_WHERE, to, mask, Source::Memory(source)),
            Width::Avx512 => {
                self.encode(Code::LOAD, to, None, Source::Memory(source), Mask::Zero(PRESENT), None);
            }
        }
    }

    pub fn store_present(&mut self, to: Memory, from: u8, mask: u8) {
        match self.width {
            Width::Avx2 => self.binary(Code::STORE_WHERE, from, mask, Source::Memory(to)),
            Width::Avx512 => {
                self.encode(Code::STORE, from, None, Source::Memory(to), Mask::Merge(PRESENT), None);
            }
        }
    }

    /// `total = first op second` where there are lanes. AVX2 has the mask in `mask` and needs `scratch`.
    pub fn fold_present(&mut self, code: Code, total: u8, first: u8, second: u8, mask: u8, scratch: u8) {
        let second = Source::Register(second);
        match self.width {
            Width::Avx512 => self.encode(code, total, Some(first), second, Mask::Merge(PRESENT), None),
            Width::Avx2 => {
                self.binary(code, scratch, first, second);
                self.blend(total, total, scratch, mask);
            }
        }
    }

    /// `to = source << places`, or to the right.
    pub fn shift(&mut self, left: bool, to: u8, source: u8, places: u8) {
        // The direction stands where other instructions have the result, and the result where they have an operand.
        let direction = if left { 6 } else { 2 };
        self.encode(Code::SHIFT, direction, Some(to), Source::Register(source), Mask::All, Some(places));
    }

    /// The lanes where `left condition right`: in a mask register, or with AVX2 in the vector `truth`.
    pub fn compare(&mut self, condition: Condition, left: u8, right: Source, truth: u8) {
        let to = if self.width == Width::Avx512 { TRUTH } else { truth };
        self.encode(Code::COMPARE, to, Some(left), right, Mask::All, Some(predicate(condition)));
    }

    /// `yes` where the comparison held, else `no`. With AVX2 `yes` is a register.
    pub fn choose(&mut self, to: u8, no: u8, yes: Source, truth: u8) {
        match (self.width, yes) {
            (Width::Avx512, _) => {
                self.encode(Code::BLEND_MASKED, to, Some(no), yes, Mask::Merge(TRUTH), None)
            }
            (Width::Avx2, Source::Register(yes)) => self.blend(to, no, yes, truth),
            (Width::Avx2, _) => unreachable!("internal error: a choice from memory"),
        }
    }

    fn blend(&mut self, to: u8, no: u8, yes: u8, mask: u8) {
        self.encode(Code::BLEND, to, Some(no), Source::Register(yes), Mask::All, Some(mask << 4));
    }

    /// A general register's low half in every lane.
    pub fn spread(&mut self, to: u8, from: General) {
        match self.width {
            Width::Avx512 => self.unary(Code::SPREAD, to, Source::Register(from.0)),
            Width::Avx2 => {
                self.encode_vex(Code::FROM_GENERAL, to, 0, Source::Register(from.0), 0);
                self.unary(Code::SPREAD_FIRST, to, Source::Register(to));
            }
        }
    }

    fn encode(
        &mut self,
        code: Code,
        to: u8,
        first: Option<u8>,
        source: Source,
        mask: Mask,
        immediate: Option<u8>,
    ) {
        // The field of an operand that an instruction does not have is that of register 0.
        let register = first.unwrap_or(0);
        let constant = match self.width {
            Width::Avx2 => self.encode_vex(code, to, register, source, 1),
            Width::Avx512 => self.encode_evex(code, to, register, source, mask),
        };
        self.bytes.extend(immediate);
        if let Some((at, place)) = constant {
            self.constants.push((at, self.bytes.len(), place));
        }
    }

    /// Returns where a constant's displacement lies, and which constant it is.
    fn encode_vex(
        &mut self,
        Code(map, prefix, op): Code,
        to: u8,
        first: u8,
        source: Source,
        length: u8,
    ) -> Option<(usize, usize)> {
        let (extension, base) = extensions(source);
        let absent = |set: bool| u8::from(!set);
        self.bytes.extend([
            0xc4,
            absent(to & 8 != 0) << 7 | absent(extension) << 6 | absent(base) << 5 | map,
            (!first & 15) << 3 | length << 2 | prefix,
            op,
        ]);
        self.operands(to, source)
    }

    fn encode_evex(
        &mut self,
        Code(map, prefix, op): Code,
        to: u8,
        first: u8,
        source: Source,
        mask: Mask,
    ) -> Option<(usize, usize)> {
        let (mut extension, base) = extensions(source);
        if let Source::Register(register) = source {
            extension = register & 16 != 0;
        }
        let absent = |set: bool| u8::from(!set);
        let (zero, mask) = match mask {
            Mask::All => (0, 0),
            Mask::Merge(mask) => (0, mask),
            Mask::Zero(mask) => (1, mask),
        };
        let broadcast = u8::from(matches!(source, Source::Broadcast(_)));
        self.bytes.extend([
            0x62,
            absent(to & 8 != 0) << 7
                | absent(extension) << 6
                | absent(base) << 5
                | absent(to & 16 != 0) << 4
                | map,
            (!first & 15) << 3 | 1 << 2 | prefix,
            zero << 7 | 0b10 << 5 | broadcast << 4 | absent(first & 16 != 0) << 3 | mask,
            op,
        ]);
        self.operands(to, source)
    }

    /// The ModRM byte and what belongs to it. Displacements have four bytes, which no prefix scales.
    fn operands(&mut self, to: u8, source: Source) -> Option<(usize, usize)> {
        let register = (to & 7) << 3;
        match source {
            Source::Register(from) => self.bytes.push(0b11 << 6 | register | from & 7),
            Source::Memory(memory) | Source::Broadcast(memory) => match memory {
                Memory::At(base, offset) => {
                    self.bytes.push(0b10 << 6 | register | base.0 & 7);
                    self.bytes.extend(offset.to_le_bytes());
                }
                Memory::Element(base, index, offset) => {
                    self.bytes
                        .extend([0b10 << 6 | register | 0b100, 0b10 << 6 | (index.0 & 7) << 3 | base.0 & 7]);
                    self.bytes.extend(offset.to_le_bytes());
                }
                Memory::Constant(place) => {
                    self.bytes.push(register | 0b101);
                    let at = self.bytes.len();
                    self.bytes.extend([0; 4]);
                    return Some((at, place));
                }
            },
        }
        None
    }

    fn general(&mut self, op: &[u8], register: General, other: General) {
        self.bytes.push(0x48 | (register.0 >> 3) << 2 | other.0 >> 3);
        self.bytes.extend_from_slice(op);
        self.bytes.push(0b11 << 6 | (register.0 & 7) << 3 | other.0 & 7);
    }

    fn general_memory(&mut self, op: &[u8], register: General, base: General, offset: i32) {
        self.bytes.push(0x48 | (register.0 >> 3) << 2 | base.0 >> 3);
        self.bytes.extend_from_slice(op);
        self.bytes.push(0b10 << 6 | (register.0 & 7) << 3 | base.0 & 7);
        self.bytes.extend(offset.to_le_bytes());
    }

    /// `to = [base + offset]`, 64 bits; the base is neither `rsp` nor `r12`.
    pub fn load_general(&mut self, to: General, base: General, offset: i32) {
        self.general_memory(&[0x8b], to, base, offset);
    }

    /// `to = base + offset`
    pub fn address(&mut self, to: General, base: General, offset: i32) {
        self.general_memory(&[0x8d], to, base, offset);
    }

    /// `register = min(register, [base + offset])`, signed, 64 bits; the base is neither `rsp` nor `r12`.
    pub fn at_most(&mut self, register: General, base: General, offset: i32) {
        self.general_memory(&[0x3b], register, base, offset);
        self.general_memory(&[0x0f, 0x4f], register, base, offset);
    }

    /// `to = a - b`; `to` is not `b`.
    pub fn difference(&mut self, to: General, a: General, b: General) {
        self.general(&[0x8b], to, a);
        self.general(&[0x2b], to, b);
    }

    pub fn compare_general(&mut self, left: General, right: General) {
        self.general(&[0x3b], left, right);
    }

    pub fn push(&mut self, register: General) {
        self.bytes.extend([0x40 | register.0 >> 3, 0x50 | register.0 & 7]);
    }

    pub fn pop(&mut self, register: General) {
        self.bytes.extend([0x40 | register.0 >> 3, 0x58 | register.0 & 7]);
    }

    /// Declares that as many lanes are there as `count` says, or all; clobbers `count`, which is below 128. With AVX2 the
    /// mask goes to `mask`, from constants at `table`: as many words of ones as there are lanes, then as many of zeros.
    pub fn present(&mut self, count: General, mask: u8, table: usize) {
        let lanes = self.width.lanes() as u8;
        match self.width {
            Width::Avx512 => {
                // bzhi keeps the lowest bits of a word of ones, all of them from 32 on.
                self.bytes.extend([0x41, 0xbb, 0xff, 0xff, 0xff, 0xff]);
                self.bytes.extend([0xc4, 0x42, (!count.0 & 15) << 3, 0xf5, 0xdb]);
                self.bytes.extend([0xc4, 0xc1, 0x78, 0x92, 0xc0 | PRESENT << 3 | 3]);
            }
            Width::Avx2 => {
                // count = min(count, lanes), then the table's words from lanes - count on.
                self.bytes.extend([0x41, 0xbb, lanes, 0, 0, 0]);
                self.general(&[0x3b], count, General::R11);
                self.general(&[0x0f, 0x4f], count, General::R11);
                self.general(&[0x2b], General::R11, count);
                self.bytes.extend([0x48, 0x8d, 0x05 | (count.0 & 7) << 3]);
                let at = self.bytes.len();
                self.bytes.extend([0; 4]);
                self.constants.push((at, self.bytes.len(), table));
                self.load(mask, Memory::Element(count, General::R11, 0));
            }
        }
    }

    /// Prefetches a cache line that is going to be written. The address need not exist.
    pub fn prefetch_for_writing(&mut self, at: Memory) {
        let (index, base) = extensions(Source::Memory(at));
        self.bytes.extend([0x40 | u8::from(index) << 1 | u8::from(base), 0x0f, 0x0d]);
        self.operands(1, Source::Memory(at));
    }

    /// Where the next instruction will lie.
    pub fn here(&self) -> usize {
        self.bytes.len()
    }

    pub fn jump(&mut self, when: When) -> Jump {
        self.bytes.extend([0x0f, when as u8, 0, 0, 0, 0]);
        let end = self.bytes.len();
        Jump(end)
    }

    /// The jump's target is here.
    pub fn land(&mut self, Jump(end): Jump) {
        let distance = (self.bytes.len() - end) as u32;
        self.bytes[end - 4..end].copy_from_slice(&distance.to_le_bytes());
    }

    pub fn jump_back(&mut self, when: When, to: usize) {
        self.bytes.extend([0x0f, when as u8]);
        let end = self.bytes.len() + 4;
        self.bytes.extend((to as i32 - end as i32).to_le_bytes());
    }

    /// Leaves vectors as the rest of the program, which has narrower ones, wants them, and returns.
    pub fn give_back(&mut self) {
        self.bytes.extend([0xc5, 0xf8, 0x77]);
    }

    pub fn ret(&mut self) {
        self.bytes.push(0xc3);
    }
}

/// Bit 3 of the index and of the base or register.
fn extensions(source: Source) -> (bool, bool) {
    match source {
        Source::Register(register) => (false, register & 8 != 0),
        Source::Memory(memory) | Source::Broadcast(memory) => match memory {
            Memory::At(base, _) => (false, base.0 & 8 != 0),
            Memory::Element(base, index, _) => (index.0 & 8 != 0, base.0 & 8 != 0),
            Memory::Constant(_) => (false, false),
        },
    }
}
