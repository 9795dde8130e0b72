//! Integers: arithmetic, bits and moves. A quotient by 0, which PTX leaves open, has all bits set.

use super::{Alu, lift1, lift2, lift3, lift4};

/// The same closure on the integer type that is named.
macro_rules! of {
    ([$($name:literal: $type:ty),*] $ty:expr; |$a:ident| $e:expr) => {
        match $ty { $($name => Some(lift1(|$a: $type| -> $type { $e })),)* _ => None }
    };
    ([$($name:literal: $type:ty),*] $ty:expr; |$a:ident, $b:ident| $e:expr) => {
        match $ty { $($name => Some(lift2(|$a: $type, $b: $type| -> $type { $e })),)* _ => None }
    };
    ([$($name:literal: $type:ty),*] $ty:expr; |$a:ident, $b:ident, $c:ident| $e:expr) => {
        match $ty {
            $($name => Some(lift3(|$a: $type, $b: $type, $c: $type| -> $type { $e })),)*
            _ => None
        }
    };
}

macro_rules! numbers {
    ($($rest:tt)*) => {
        of!(["u16": u16, "s16": i16, "u32": u32, "s32": i32, "u64": u64, "s64": i64] $($rest)*)
    };
}

macro_rules! signed {
    ($($rest:tt)*) => { of!(["s16": i16, "s32": i32, "s64": i64] $($rest)*) };
}

macro_rules! bits {
    ($($rest:tt)*) => { of!(["b16": u16, "b32": u32, "b64": u64] $($rest)*) };
}

pub(super) fn find(name: &str, modifiers: &[&str], ty: &str, lut: Option<u8>) -> Option<Alu> {
    match (name, modifiers) {
        ("mul", [part]) => mul(part, ty),
        ("mad", [part]) => mad(part, ty),
        ("shf", [way, mode]) if ty == "b32" => funnel(way, mode),
        ("cvta", ["to", "global" | "shared" | "const"]) => match ty {
            "u32" => Some(lift1(|a: u32| a)),
            "u64" => Some(lift1(|a: u64| a)),
            _ => None,
        },
        (_, []) => arithmetic(name, ty).or_else(|| logic(name, ty, lut)),
        _ => None,
    }
}

fn arithmetic(name: &str, ty: &str) -> Option<Alu> {
    match name {
        "add" => numbers!(ty; |a, b| a.wrapping_add(b)),
        "sub" => numbers!(ty; |a, b| a.wrapping_sub(b)),
        "div" => numbers!(ty; |a, b| if b == 0 { !0 } else { a.wrapping_div(b) }),
        "rem" => numbers!(ty; |a, b| if b == 0 { !0 } else { a.wrapping_rem(b) }),
        "min" => numbers!(ty; |a, b| a.min(b)),
        "max" => numbers!(ty; |a, b| a.max(b)),
        "abs" => signed!(ty; |a| a.wrapping_abs()),
        "neg" => signed!(ty; |a| a.wrapping_neg()),
        _ => None,
    }
}

fn mul(part: &str, ty: &str) -> Option<Alu> {
    Some(match (part, ty) {
        ("lo", _) => return numbers!(ty; |a, b| a.wrapping_mul(b)),
        ("hi", "u16") => lift2(|a: u16, b: u16| ((u32::from(a) * u32::from(b)) >> 16) as u16),
        ("hi", "s16") => lift2(|a: i16, b: i16| ((i32::from(a) * i32::from(b)) >> 16) as i16),
        ("hi", "u32") => lift2(|a: u32, b: u32| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        ("hi", "s32") => lift2(|a: i32, b: i32| ((i64::from(a) * i64::from(b)) >> 32) as i32),
        ("hi", "u64") => lift2(|a: u64, b: u64| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        ("hi", "s64") => lift2(|a: i64, b: i64| ((i128::from(a) * i128::from(b)) >> 64) as i64),
        ("wide", "u16") => lift2(|a: u16, b: u16| u32::from(a) * u32::from(b)),
        ("wide", "s16") => lift2(|a: i16, b: i16| i32::from(a) * i32::from(b)),
        ("wide", "u32") => lift2(|a: u32, b: u32| u64::from(a) * u64::from(b)),
        ("wide", "s32") => lift2(|a: i32, b: i32| i64::from(a) * i64::from(b)),
        _ => return None,
    })
}

fn mad(part: &str, ty: &str) -> Option<Alu> {
    Some(match (part, ty) {
        ("lo", _) => return numbers!(ty; |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("hi", "u32") => {
            lift3(|a: u32, b: u32, c: u32| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c))
        }
        ("hi", "s32") => {
            lift3(|a: i32, b: i32, c: i32| (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c))
        }
        ("hi", "u64") => {
            lift3(|a: u64, b: u64, c: u64| (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c))
        }
        ("hi", "s64") => {
            lift3(|a: i64, b: i64, c: i64| (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c))
        }
        ("wide", "u16") => lift3(|a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c)),
        ("wide", "s16") => lift3(|a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c)),
        ("wide", "u32") => lift3(|a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c)),
        ("wide", "s32") => lift3(|a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c)),
        _ => return None,
    })
}

/// Shifts of two words: the high half of a left shift, the low half of a right shift.
fn funnel(way: &str, mode: &str) -> Option<Alu> {
    let both = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    Some(match (way, mode) {
        ("l", "wrap") => lift3(move |a: u32, b: u32, c: u32| ((both(a, b) << (c & 31)) >> 32) as u32),
        ("l", "clamp") => lift3(move |a: u32, b: u32, c: u32| ((both(a, b) << c.min(32)) >> 32) as u32),
        ("r", "wrap") => lift3(move |a: u32, b: u32, c: u32| (both(a, b) >> (c & 31)) as u32),
        ("r", "clamp") => lift3(move |a: u32, b: u32, c: u32| (both(a, b) >> c.min(32)) as u32),
        _ => return None,
    })
}

macro_rules! shift {
    ($type:ty, $a:ident, $b:ident, $over:expr, $shifted:expr) => {
        Some(lift2(|$a: $type, $b: u32| -> $type {
            if $b >= <$type>::BITS { $over } else { $shifted }
        }))
    };
}

fn logic(name: &str, ty: &str, lut: Option<u8>) -> Option<Alu> {
    match (name, ty) {
        ("mov", "b16" | "u16" | "s16") => Some(lift1(|a: u16| a)),
        ("mov", "b32" | "u32" | "s32") => Some(lift1(|a: u32| a)),
        ("mov", "b64" | "u64" | "s64") => Some(lift1(|a: u64| a)),
        ("and", _) => bits!(ty; |a, b| a & b),
        ("or", _) => bits!(ty; |a, b| a | b),
        ("xor", _) => bits!(ty; |a, b| a ^ b),
        ("not", _) => bits!(ty; |a| !a),
        ("cnot", _) => bits!(ty; |a| (a == 0).into()),
        ("shl", "b16") => shift!(u16, a, b, 0, a << b),
        ("shl", "b32") => shift!(u32, a, b, 0, a << b),
        ("shl", "b64") => shift!(u64, a, b, 0, a << b),
        ("shr", "b16" | "u16") => shift!(u16, a, b, 0, a >> b),
        ("shr", "b32" | "u32") => shift!(u32, a, b, 0, a >> b),
        ("shr", "b64" | "u64") => shift!(u64, a, b, 0, a >> b),
        ("shr", "s16") => shift!(i16, a, b, a >> 15, a >> b),
        ("shr", "s32") => shift!(i32, a, b, a >> 31, a >> b),
        ("shr", "s64") => shift!(i64, a, b, a >> 63, a >> b),
        ("popc", "b32") => Some(lift1(|a: u32| a.count_ones())),
        ("popc", "b64") => Some(lift1(|a: u64| a.count_ones())),
        ("clz", "b32") => Some(lift1(|a: u32| a.leading_zeros())),
        ("clz", "b64") => Some(lift1(|a: u64| a.leading_zeros())),
        ("brev", "b32") => Some(lift1(|a: u32| a.reverse_bits())),
        ("brev", "b64") => Some(lift1(|a: u64| a.reverse_bits())),
        ("bfe", "u32") => Some(lift3(|a: u32, b: u32, c: u32| field(a.into(), b, c, 32, false) as u32)),
        ("bfe", "s32") => Some(lift3(|a: i32, b: u32, c: u32| field(a as u32 as u64, b, c, 32, true) as u32)),
        ("bfe", "u64") => Some(lift3(|a: u64, b: u32, c: u32| field(a, b, c, 64, false))),
        ("bfe", "s64") => Some(lift3(|a: u64, b: u32, c: u32| field(a, b, c, 64, true))),
        ("bfi", "b32") => {
            Some(lift4(|a: u32, b: u32, c: u32, d: u32| insert(a.into(), b.into(), c, d, 32) as u32))
        }
        ("bfi", "b64") => Some(lift4(|a: u64, b: u64, c: u32, d: u32| insert(a, b, c, d, 64))),
        ("prmt", "b32") => Some(lift3(permute)),
        ("lop3", "b32") => {
            let lut = lut?;
            Some(lift3(move |a: u32, b: u32, c: u32| lookup(a, b, c, lut)))
        }
        _ => None,
    }
}

/// `len` bits from `pos` on, extended by zeros or by the sign.
fn field(a: u64, pos: u32, len: u32, bits: u32, signed: bool) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let top = bits - 1;
    let sign = signed && len > 0 && a >> (pos + len - 1).min(top) & 1 != 0;
    let taken = len.min(bits.saturating_sub(pos));
    let low = if taken == 0 { 0 } else { (a >> pos) & (!0 >> (64 - taken)) };
    let above = if taken >= 64 { 0 } else { !0 << taken };
    if sign { low | above } else { low }
}

/// `b` with `len` bits from `pos` on taken from the low bits of `a`.
fn insert(a: u64, b: u64, pos: u32, len: u32, bits: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let taken = len.min(bits.saturating_sub(pos));
    if taken == 0 {
        return b;
    }
    let mask = (!0 >> (64 - taken)) << pos;
    b & !mask | a << pos & mask
}

/// Each byte of the result is one of the eight bytes of `b:a`, or its sign.
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    u32::from_le_bytes(std::array::from_fn(|i| {
        let pick = selector >> (4 * i) & 0xf;
        let byte = bytes[(pick & 7) as usize];
        if pick & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 }
    }))
}

fn lookup(a: u32, b: u32, c: u32, lut: u8) -> u32 {
    (0..8).filter(|row| lut >> row & 1 != 0).fold(0, |found, row| {
        let pick = |value: u32, bit: u32| if row >> bit & 1 != 0 { value } else { !value };
        found | pick(a, 2) & pick(b, 1) & pick(c, 0)
    })
}
