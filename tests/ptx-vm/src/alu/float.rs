//! Arithmetic of `f32` and `f64`, rounded to nearest even. Other roundings are not modelled.

use super::round::{NAN, fused};
use super::{Alu, lift1, lift2, lift3};

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// A NaN is always the same one. Bits, as the compiler may take one NaN of `f32` for another.
#[inline]
fn canonical(x: f32) -> u32 {
    if x.is_nan() { NAN } else { x.to_bits() }
}

fn clamp(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// What stands between an opcode and its type.
#[derive(Clone, Copy, Default)]
pub(super) struct Modifiers {
    pub nearest: bool,
    pub flush: bool,
    pub clamp: bool,
    pub approx: bool,
    pub nan: bool,
}

impl Modifiers {
    pub fn of(names: &[&str]) -> Option<Self> {
        let mut found = Self::default();
        for &name in names {
            let flag = match name {
                "rn" => &mut found.nearest,
                "ftz" => &mut found.flush,
                "sat" => &mut found.clamp,
                "approx" | "full" => &mut found.approx,
                "NaN" => &mut found.nan,
                _ => return None,
            };
            if std::mem::replace(flag, true) {
                return None;
            }
        }
        Some(found)
    }

    fn one(self, f: impl Fn(f32) -> f32 + Copy + Send + Sync + 'static) -> Alu {
        if !self.flush && !self.clamp {
            return lift1(move |a| canonical(f(a)));
        }
        let Self { flush: ftz, clamp: sat, .. } = self;
        lift1(move |a| finish(ftz, sat, f(start(ftz, a))))
    }

    fn two(self, f: impl Fn(f32, f32) -> f32 + Copy + Send + Sync + 'static) -> Alu {
        if !self.flush && !self.clamp {
            return lift2(move |a, b| canonical(f(a, b)));
        }
        let Self { flush: ftz, clamp: sat, .. } = self;
        lift2(move |a, b| finish(ftz, sat, f(start(ftz, a), start(ftz, b))))
    }

    fn three(self, f: impl Fn(f32, f32, f32) -> f32 + Copy + Send + Sync + 'static) -> Alu {
        if !self.flush && !self.clamp {
            return lift3(move |a, b, c| canonical(f(a, b, c)));
        }
        let Self { flush: ftz, clamp: sat, .. } = self;
        lift3(move |a, b, c| finish(ftz, sat, f(start(ftz, a), start(ftz, b), start(ftz, c))))
    }
}

pub(super) fn start(ftz: bool, x: f32) -> f32 {
    if ftz { flush(x) } else { x }
}

pub(super) fn finish(ftz: bool, sat: bool, x: f32) -> u32 {
    let x = start(ftz, x);
    canonical(if sat { clamp(x) } else { x })
}

fn lesser(a: f32, b: f32) -> f32 {
    if a.is_nan() {
        b
    } else if b.is_nan() || a < b || a == b && a.is_sign_negative() {
        a
    } else {
        b
    }
}

fn greater(a: f32, b: f32) -> f32 {
    -lesser(-a, -b)
}

pub(super) fn single(name: &str, names: &[&str]) -> Option<Alu> {
    let how = Modifiers::of(names)?;
    if how.approx {
        return None;
    }
    let only_flush = !how.nearest && !how.clamp;
    let found = match (name, how.nan) {
        ("min", true) if only_flush => {
            how.two(|a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { lesser(a, b) })
        }
        ("max", true) if only_flush => {
            how.two(|a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { greater(a, b) })
        }
        (_, true) => return None,
        ("min", _) if only_flush => how.two(lesser),
        ("max", _) if only_flush => how.two(greater),
        ("mov", _) if only_flush && !how.flush => lift1(|a: u32| a),
        ("neg", _) if only_flush && !how.flush => lift1(|a: u32| a ^ 1 << 31),
        ("abs", _) if only_flush && !how.flush => lift1(|a: u32| a & !(1 << 31)),
        ("neg", _) if only_flush => how.one(|a| -a),
        ("abs", _) if only_flush => how.one(f32::abs),
        ("copysign", _) if names.is_empty() => lift2(|a: f32, b: f32| b.copysign(a)),
        ("add", _) => how.two(|a, b| a + b),
        ("sub", _) => how.two(|a, b| a - b),
        ("mul", _) => how.two(|a, b| a * b),
        ("fma" | "mad", _) if how.nearest => how.three(fused),
        ("div", _) if how.nearest => how.two(|a, b| a / b),
        ("sqrt", _) if how.nearest => how.one(f32::sqrt),
        ("rcp", _) if how.nearest => how.one(|a| 1.0 / a),
        _ => return None,
    };
    Some(found)
}

pub(super) fn double(name: &str, names: &[&str]) -> Option<Alu> {
    let rounded = match names {
        [] => false,
        ["rn"] => true,
        _ => return None,
    };
    let found = match name {
        "mov" if !rounded => lift1(|a: u64| a),
        "neg" if !rounded => lift1(|a: f64| -a),
        "abs" if !rounded => lift1(f64::abs),
        "copysign" if !rounded => lift2(|a: f64, b: f64| b.copysign(a)),
        "min" if !rounded => lift2(f64::min),
        "max" if !rounded => lift2(f64::max),
        "add" => lift2(|a: f64, b: f64| a + b),
        "sub" => lift2(|a: f64, b: f64| a - b),
        "mul" => lift2(|a: f64, b: f64| a * b),
        "fma" | "mad" if rounded => lift3(f64::mul_add),
        "div" if rounded => lift2(|a: f64, b: f64| a / b),
        "sqrt" if rounded => lift1(f64::sqrt),
        "rcp" if rounded => lift1(|a: f64| 1.0 / a),
        _ => return None,
    };
    Some(found)
}
