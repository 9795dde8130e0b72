//! What instructions are made of: registers, operands, and the vector instructions of AVX2 (256 bits) and AVX-512F (512
//! bits) that vector loops need.

use crate::backend::elementary::Condition;

/// How wide vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 256 bits: AVX2 and FMA.
    Avx2,
    /// 512 bits: AVX-512F.
    Avx512,
}

impl Width {
    /// Numbers of 32 bits in a vector.
    pub fn lanes(self) -> usize {
        match self {
            Width::Avx2 => 8,
            Width::Avx512 => 16,
        }
    }

    /// Vector registers.
    pub fn registers(self) -> u8 {
        match self {
            Width::Avx2 => 16,
            Width::Avx512 => 32,
        }
    }
}

/// A general register, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct General(pub u8);

impl General {
    pub const RAX: Self = Self(0);
    pub const RCX: Self = Self(1);
    pub const RDX: Self = Self(2);
    pub const RBX: Self = Self(3);
    pub const RBP: Self = Self(5);
    pub const RSI: Self = Self(6);
    pub const RDI: Self = Self(7);
    pub const R8: Self = Self(8);
    pub const R9: Self = Self(9);
    pub const R10: Self = Self(10);
    pub const R11: Self = Self(11);
    pub const R12: Self = Self(12);
    pub const R13: Self = Self(13);
    pub const R14: Self = Self(14);
    pub const R15: Self = Self(15);
}

/// The last operand of a vector instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Register(u8),
    Memory(Memory),
    /// One number for all lanes, with 512 bits only.
    Broadcast(Memory),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// `[base + offset]`
    At(General, i32),
    /// `[base + 4 * index + offset]`
    Element(General, General, i32),
    /// A constant of the function, by its place in bytes among them.
    Constant(usize),
}

/// A vector instruction on 32-bit lanes: a map (1: 0F, 2: 0F 38, 3: 0F 3A), a prefix (0: none, 1: 66) and an opcode.
#[derive(Clone, Copy, Debug)]
pub struct Code(pub u8, pub u8, pub u8);

impl Code {
    pub const LOAD: Self = Self(1, 0, 0x10);
    pub const STORE: Self = Self(1, 0, 0x11);
    pub const MOVE: Self = Self(1, 0, 0x28);
    pub const BROADCAST: Self = Self(2, 1, 0x18);
    pub const ADD: Self = Self(1, 0, 0x58);
    pub const SUB: Self = Self(1, 0, 0x5c);
    pub const MUL: Self = Self(1, 0, 0x59);
    pub const DIV: Self = Self(1, 0, 0x5e);
    pub const MIN: Self = Self(1, 0, 0x5d);
    pub const MAX: Self = Self(1, 0, 0x5f);
    pub const SQRT: Self = Self(1, 0, 0x51);
    /// `a = b * a + c`
    pub const MUL_ADD_213: Self = Self(2, 1, 0xa8);
    /// `a = b * c + a`
    pub const MUL_ADD_231: Self = Self(2, 1, 0xb8);
    /// Whole numbers of 8 bits with a sign, of a quarter of a vector.
    pub const WIDEN_BYTES: Self = Self(2, 1, 0x21);
    pub const TO_REAL: Self = Self(1, 0, 0x5b);
    pub const WHOLE_ADD: Self = Self(1, 1, 0xfe);
    pub const WHOLE_SUB: Self = Self(1, 1, 0xfa);
    pub const WHOLE_MUL: Self = Self(2, 1, 0x40);
    pub const XOR: Self = Self(1, 1, 0xef);
    pub const AND: Self = Self(1, 1, 0xdb);
    /// By a constant; to the left or the right.
    pub const SHIFT: Self = Self(1, 1, 0x72);
    pub const COMPARE: Self = Self(1, 0, 0xc2);
    /// By a mask register (AVX-512).
    pub const BLEND_MASKED: Self = Self(2, 1, 0x65);
    /// By a vector's sign bits (AVX2).
    pub const BLEND: Self = Self(3, 1, 0x4a);
    /// Where a vector's sign bits are set (AVX2).
    pub const LOAD_WHERE: Self = Self(2, 1, 0x2c);
    pub const STORE_WHERE: Self = Self(2, 1, 0x2e);
    /// From a general register: AVX-512, and the two steps of AVX2.
    pub const SPREAD: Self = Self(2, 1, 0x7c);
    pub const FROM_GENERAL: Self = Self(1, 1, 0x6e);
    pub const SPREAD_FIRST: Self = Self(2, 1, 0x58);
}

/// A comparison's number in the instruction.
pub fn predicate(condition: Condition) -> u8 {
    match condition {
        Condition::Equal => 0x00,
        Condition::NotEqual => 0x04,
        Condition::Less => 0x11,
        Condition::LessOrEqual => 0x12,
    }
}

/// Which lanes an instruction writes, under AVX-512.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    All,
    /// Those of a mask register; the others stay.
    Merge(u8),
    /// Those of a mask register; the others become zero.
    Zero(u8),
}

/// When a jump is taken, after a comparison of signed numbers.
#[derive(Clone, Copy)]
pub enum When {
    Less = 0x8c,
    GreaterOrEqual = 0x8d,
    LessOrEqual = 0x8e,
    Greater = 0x8f,
}
