//! Comparisons and predicates.

use std::cmp::Ordering;

use super::{Alu, lift1, lift2, lift3};
use crate::regs::Lane;

fn with_third<T: Lane>(
    third: Option<&str>,
    f: impl Fn(T, T) -> bool + Copy + Send + Sync + 'static,
) -> Option<Alu> {
    Some(match third {
        None => lift2(f),
        Some("and") => lift3(move |a, b, c: bool| f(a, b) & c),
        Some("or") => lift3(move |a, b, c: bool| f(a, b) | c),
        Some("xor") => lift3(move |a, b, c: bool| f(a, b) ^ c),
        Some(_) => return None,
    })
}

fn integers<T: Lane + Ord>(name: &str, third: Option<&str>) -> Option<Alu> {
    match name {
        "eq" => with_third(third, |a: T, b: T| a == b),
        "ne" => with_third(third, |a: T, b: T| a != b),
        "lt" | "lo" => with_third(third, |a: T, b: T| a < b),
        "le" | "ls" => with_third(third, |a: T, b: T| a <= b),
        "gt" | "hi" => with_third(third, |a: T, b: T| a > b),
        "ge" | "hs" => with_third(third, |a: T, b: T| a >= b),
        _ => None,
    }
}

/// Those that end in `u` hold where a number is missing, and so does no other but `nan`.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "not less than is what an unordered comparison asks")]
fn reals<T: Lane + PartialOrd>(name: &str, third: Option<&str>) -> Option<Alu> {
    match name {
        "eq" => with_third(third, |a: T, b: T| a == b),
        "ne" => with_third(third, |a: T, b: T| a.partial_cmp(&b).is_some_and(Ordering::is_ne)),
        "lt" => with_third(third, |a: T, b: T| a < b),
        "le" => with_third(third, |a: T, b: T| a <= b),
        "gt" => with_third(third, |a: T, b: T| a > b),
        "ge" => with_third(third, |a: T, b: T| a >= b),
        "equ" => with_third(third, |a: T, b: T| a.partial_cmp(&b).is_none_or(Ordering::is_eq)),
        "neu" => with_third(third, |a: T, b: T| a != b),
        "ltu" => with_third(third, |a: T, b: T| !(a >= b)),
        "leu" => with_third(third, |a: T, b: T| !(a > b)),
        "gtu" => with_third(third, |a: T, b: T| !(a <= b)),
        "geu" => with_third(third, |a: T, b: T| !(a < b)),
        "num" => with_third(third, |a: T, b: T| a.partial_cmp(&b).is_some()),
        "nan" => with_third(third, |a: T, b: T| a.partial_cmp(&b).is_none()),
        _ => None,
    }
}

pub(super) fn setp(modifiers: &[&str], ty: &str) -> Option<Alu> {
    let flushed = modifiers.last() == Some(&"ftz");
    let modifiers = if flushed { &modifiers[..modifiers.len() - 1] } else { modifiers };
    let (&name, third) = match modifiers {
        [name] => (name, None),
        [name, third] => (name, Some(*third)),
        _ => return None,
    };
    let no_order = matches!(name, "eq" | "ne");
    let unsigned = matches!(name, "lo" | "ls" | "hi" | "hs");
    match ty {
        "b16" if no_order => integers::<u16>(name, third),
        "b32" if no_order => integers::<u32>(name, third),
        "b64" if no_order => integers::<u64>(name, third),
        "u16" => integers::<u16>(name, third),
        "u32" => integers::<u32>(name, third),
        "u64" => integers::<u64>(name, third),
        "s16" if !unsigned => integers::<i16>(name, third),
        "s32" if !unsigned => integers::<i32>(name, third),
        "s64" if !unsigned => integers::<i64>(name, third),
        "f32" if !flushed => reals::<f32>(name, third),
        "f64" if !flushed => reals::<f64>(name, third),
        _ => None,
    }
}

pub(super) fn selp(modifiers: &[&str], ty: &str) -> Option<Alu> {
    if !modifiers.is_empty() {
        return None;
    }
    match ty {
        "b16" | "u16" | "s16" => Some(lift3(|a: u16, b: u16, c: bool| if c { a } else { b })),
        "b32" | "u32" | "s32" | "f32" => Some(lift3(|a: u32, b: u32, c: bool| if c { a } else { b })),
        "b64" | "u64" | "s64" | "f64" => Some(lift3(|a: u64, b: u64, c: bool| if c { a } else { b })),
        _ => None,
    }
}

pub(super) fn testp(modifiers: &[&str], ty: &str) -> Option<Alu> {
    match (modifiers, ty) {
        (["finite"], "f32") => Some(lift1(f32::is_finite)),
        (["infinite"], "f32") => Some(lift1(f32::is_infinite)),
        (["number"], "f32") => Some(lift1(|a: f32| !a.is_nan())),
        (["notanumber"], "f32") => Some(lift1(f32::is_nan)),
        (["normal"], "f32") => Some(lift1(f32::is_normal)),
        (["subnormal"], "f32") => Some(lift1(f32::is_subnormal)),
        _ => None,
    }
}

/// Between predicates.
pub(super) fn logic(name: &str, modifiers: &[&str]) -> Option<Alu> {
    if !modifiers.is_empty() {
        return None;
    }
    match name {
        "and" => Some(lift2(|a: bool, b: bool| a & b)),
        "or" => Some(lift2(|a: bool, b: bool| a | b)),
        "xor" => Some(lift2(|a: bool, b: bool| a ^ b)),
        "not" => Some(lift1(|a: bool| !a)),
        "mov" => Some(lift1(|a: bool| a)),
        _ => None,
    }
}
