//! `cvt`: between integers, reals and the small reals. Registers may be wider than what is converted.

use super::round::{from_bf16, from_f16, to_bf16, to_bf16_rz, to_f16, to_tf32};
use super::{Alu, Run, lift1, lift2};
use crate::regs::{Class, LANES};

/// An integer type by its name.
#[derive(Clone, Copy)]
struct Int {
    bits: u32,
    signed: bool,
}

impl Int {
    fn of(name: &str) -> Option<Self> {
        let signed = match name.as_bytes().first()? {
            b's' => true,
            b'u' => false,
            _ => return None,
        };
        let bits = name[1..].parse().ok().filter(|bits| matches!(bits, 8 | 16 | 32 | 64))?;
        Some(Self { bits, signed })
    }

    /// The number in the low bits of a register.
    fn read(self, bits: u64) -> i128 {
        let up = 64 - self.bits;
        if self.signed { ((bits << up) as i64 >> up).into() } else { ((bits << up) >> up).into() }
    }

    fn clamp(self, value: i128) -> i128 {
        let bits = self.bits;
        if self.signed {
            value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        } else {
            value.clamp(0, (1 << bits) - 1)
        }
    }

    /// Wrapped to the type, and extended by its sign to a register.
    fn wrap(self, value: i128) -> u64 {
        self.read(value as u64) as u64
    }
}

/// From the bits of a register to those of another, whatever their classes.
fn raw(from: Class, to: Class, f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Alu {
    let run: Run = Box::new(move |regs, slots, mask| {
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let bits = regs.bits(from, slots[1], lane);
            regs.set_bits(to, slots[0], lane, f(bits));
        }
    });
    Alu { run, result: to, operands: vec![from] }
}

fn integral(mode: &str, x: f64) -> Option<f64> {
    Some(match mode {
        "rni" => x.round_ties_even(),
        "rzi" => x.trunc(),
        "rmi" => x.floor(),
        "rpi" => x.ceil(),
        _ => return None,
    })
}

/// `cvt` with these parts, between registers of these classes.
pub(crate) fn convert(parts: &[&str], to_class: Class, from_class: Class) -> Option<Alu> {
    let [modifiers @ .., to, from] = parts else { return None };
    match (modifiers, *to, *from) {
        ([], "u64", "u32") if (to_class, from_class) == (Class::Double, Class::Word) => {
            return Some(lift1(|a: u32| u64::from(a)));
        }
        ([], "s64", "s32") if (to_class, from_class) == (Class::Double, Class::Word) => {
            return Some(lift1(|a: i32| i64::from(a)));
        }
        ([], "u32", "u64") if (to_class, from_class) == (Class::Word, Class::Double) => {
            return Some(lift1(|a: u64| a as u32));
        }
        (["rn"], "f32", "u32") if from_class == Class::Word => return Some(lift1(|a: u32| a as f32)),
        (["rn"], "f32", "s32") if from_class == Class::Word => return Some(lift1(|a: i32| a as f32)),
        (["rn"], "f32", "f64") => return Some(lift1(|a: f64| a as f32)),
        ([], "f64", "f32") => return Some(lift1(|a: f32| f64::from(a))),
        (["rna"], "tf32", "f32") => return Some(lift1(to_tf32)),
        (["rn"], "bf16", "f32") => return Some(lift1(to_bf16)),
        (["rz"], "bf16", "f32") => return Some(lift1(to_bf16_rz)),
        (["rn"], "f16", "f32") => return Some(lift1(to_f16)),
        ([], "f32", "bf16") => return Some(lift1(from_bf16)),
        ([], "f32", "f16") => return Some(lift1(from_f16)),
        _ => {}
    }
    let sat = modifiers.last() == Some(&"sat");
    let modifiers = if sat { &modifiers[..modifiers.len() - 1] } else { modifiers };
    if let (Some(to), Some(from), []) = (Int::of(to), Int::of(from), modifiers) {
        return Some(raw(from_class, to_class, move |bits| {
            let value = from.read(bits);
            to.wrap(if sat { to.clamp(value) } else { value })
        }));
    }
    let &[mode] = modifiers else { return None };
    if let Some(to) = Int::of(to) {
        integral(mode, 0.0)?;
        let read: fn(u64) -> f64 = match *from {
            "f32" => |bits| f32::from_bits(bits as u32).into(),
            "f64" => f64::from_bits,
            _ => return None,
        };
        let mode = mode.to_owned();
        return Some(raw(from_class, to_class, move |bits| {
            let x = read(bits);
            if x.is_nan() {
                return if to.bits == 64 { 1 << 63 } else { 0 };
            }
            // The cast stops at the ends of i128, the clamp at those of the type.
            to.wrap(to.clamp(integral(&mode, x).unwrap_or(x) as i128))
        }));
    }
    if let Some(from) = Int::of(from).filter(|_| mode == "rn" && !sat) {
        return match *to {
            "f32" => Some(raw(from_class, to_class, move |bits| (from.read(bits) as f32).to_bits().into())),
            "f64" => Some(raw(from_class, to_class, move |bits| (from.read(bits) as f64).to_bits())),
            _ => None,
        };
    }
    integral(mode, 0.0)?;
    let mode = mode.to_owned();
    match (*to, *from, sat) {
        ("f32", "f32", false) => {
            Some(lift1(move |a: f32| integral(&mode, a.into()).map_or(a, |rounded| rounded as f32)))
        }
        ("f64", "f64", false) => Some(lift1(move |a: f64| integral(&mode, a).unwrap_or(a))),
        _ => None,
    }
}

/// Two reals into a word: the first operand above, the second below.
pub(crate) fn pack(parts: &[&str]) -> Option<Alu> {
    match parts {
        ["rn", "bf16x2", "f32"] => {
            Some(lift2(|a: f32, b: f32| u32::from(to_bf16(a)) << 16 | u32::from(to_bf16(b))))
        }
        ["rn", "f16x2", "f32"] => {
            Some(lift2(|a: f32, b: f32| u32::from(to_f16(a)) << 16 | u32::from(to_f16(b))))
        }
        _ => None,
    }
}
