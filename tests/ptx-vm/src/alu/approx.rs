//! Approximate instructions. A result is as wrong as the ISA's documentation allows and no more, by an amount that depends
//! on the operands' bits: nobody can come to rely on more accuracy than a GPU has, and runs can be repeated.
//!
//! | instruction | bound | here |
//! |---|---|---|
//! | `rcp`, `sqrt`, `rsqrt`, `ex2`, `lg2` | 1 ulp, or relative 2^-22 | either neighbour of the exact result |
//! | `lg2` between 1/2 and 2 | absolute 2^-22 | up to 2^-23 off |
//! | `div` | 2 ulp | either neighbour |
//! | `sin`, `cos` | absolute 2^-20.9 | up to 2^-22 off |
//! | `tanh` | relative 2^-11 | up to 2^-12 off |
//!
//! Infinities, zeros, NaN and results that are exact are exact.

use super::float::{Modifiers, finish, start};
use super::{Alu, lift1, lift2};
use crate::rng::mix;

/// One of the two neighbours in `f32` of an exact result.
fn neighbour(exact: f64, salt: u32) -> f32 {
    let near = exact as f32;
    if !near.is_finite() || f64::from(near) == exact || mix(salt.into()) & 1 == 0 {
        return near;
    }
    if f64::from(near) < exact { near.next_up() } else { near.next_down() }
}

/// A number in -1..1 that depends on the operand's bits.
fn wobble(salt: u32) -> f64 {
    mix(salt.into()) as i64 as f64 / -(i64::MIN as f64)
}

fn one(how: Modifiers, f: impl Fn(f32, u32) -> f32 + Copy + Send + Sync + 'static) -> Alu {
    lift1(move |a: f32| {
        let a = start(how.flush, a);
        finish(how.flush, how.clamp, f(a, a.to_bits()))
    })
}

pub(super) fn find(name: &str, names: &[&str]) -> Option<Alu> {
    let how = Modifiers::of(names)?;
    if !how.approx || how.nearest || how.clamp || how.nan {
        return None;
    }
    Some(match name {
        "rcp" => one(how, |a, salt| neighbour(1.0 / f64::from(a), salt)),
        "sqrt" => one(how, |a, salt| neighbour(f64::from(a).sqrt(), salt)),
        "rsqrt" => one(how, |a, salt| neighbour(1.0 / f64::from(a).sqrt(), salt)),
        "ex2" => one(how, |a, salt| neighbour(f64::from(a).exp2(), salt)),
        "lg2" => one(how, |a, salt| {
            let exact = f64::from(a).log2();
            if a > 0.5 && a < 2.0 && a != 1.0 {
                return (exact + wobble(salt) * 2f64.powi(-23)) as f32;
            }
            neighbour(exact, salt)
        }),
        "tanh" => one(how, |a, salt| {
            let exact = f64::from(a).tanh();
            ((exact * (1.0 + wobble(salt) * 2f64.powi(-12))) as f32).clamp(-1.0, 1.0)
        }),
        "sin" => one(how, |a, salt| (f64::from(a).sin() + wobble(salt) * 2f64.powi(-22)) as f32),
        "cos" => one(how, |a, salt| (f64::from(a).cos() + wobble(salt) * 2f64.powi(-22)) as f32),
        "div" => lift2(move |a: f32, b: f32| {
            let (a, b) = (start(how.flush, a), start(how.flush, b));
            let quotient = neighbour(f64::from(a) / f64::from(b), a.to_bits() ^ b.to_bits().rotate_left(16));
            finish(how.flush, false, quotient)
        }),
        _ => return None,
    })
}
