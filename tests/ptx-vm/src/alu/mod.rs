//! Instructions that compute each lane's results from registers alone: a table from opcode to a function of warps.
//!
//! [`find`] knows an opcode's meaning and the classes of its operands. What a function computes for lanes that do not
//! take part is thrown away.

mod approx;
mod compare;
mod convert;
mod float;
mod integer;
pub(crate) mod round;

use crate::regs::{Class, LANES, Lane, Regs};

pub(crate) use convert::{convert, pack};

/// Slots: where the result goes, then the operands.
pub(crate) type Slots = [u32; 6];

/// Computes the lanes of a mask.
pub(crate) type Run = Box<dyn Fn(&mut Regs, &Slots, u32) + Send + Sync>;

pub(crate) struct Alu {
    pub run: Run,
    pub result: Class,
    pub operands: Vec<Class>,
}

pub(super) fn lift1<A: Lane, R: Lane>(f: impl Fn(A) -> R + Send + Sync + 'static) -> Alu {
    let run: Run = Box::new(move |regs, slots, mask| {
        let a = A::fetch(regs, slots[1]);
        R::put(regs, slots[0], mask, a.map(&f));
    });
    Alu { run, result: R::CLASS, operands: vec![A::CLASS] }
}

pub(super) fn lift2<A: Lane, B: Lane, R: Lane>(f: impl Fn(A, B) -> R + Send + Sync + 'static) -> Alu {
    let run: Run = Box::new(move |regs, slots, mask| {
        let (a, b) = (A::fetch(regs, slots[1]), B::fetch(regs, slots[2]));
        let values: [R; LANES] = std::array::from_fn(|lane| f(a[lane], b[lane]));
        R::put(regs, slots[0], mask, values);
    });
    Alu { run, result: R::CLASS, operands: vec![A::CLASS, B::CLASS] }
}

pub(super) fn lift3<A: Lane, B: Lane, C: Lane, R: Lane>(
    f: impl Fn(A, B, C) -> R + Send + Sync + 'static,
) -> Alu {
    let run: Run = Box::new(move |regs, slots, mask| {
        let (a, b, c) = (A::fetch(regs, slots[1]), B::fetch(regs, slots[2]), C::fetch(regs, slots[3]));
        let values: [R; LANES] = std::array::from_fn(|lane| f(a[lane], b[lane], c[lane]));
        R::put(regs, slots[0], mask, values);
    });
    Alu { run, result: R::CLASS, operands: vec![A::CLASS, B::CLASS, C::CLASS] }
}

pub(super) fn lift4<A: Lane, B: Lane, C: Lane, D: Lane, R: Lane>(
    f: impl Fn(A, B, C, D) -> R + Send + Sync + 'static,
) -> Alu {
    let run: Run = Box::new(move |regs, slots, mask| {
        let (a, b) = (A::fetch(regs, slots[1]), B::fetch(regs, slots[2]));
        let (c, d) = (C::fetch(regs, slots[3]), D::fetch(regs, slots[4]));
        let values: [R; LANES] = std::array::from_fn(|lane| f(a[lane], b[lane], c[lane], d[lane]));
        R::put(regs, slots[0], mask, values);
    });
    Alu { run, result: R::CLASS, operands: vec![A::CLASS, B::CLASS, C::CLASS, D::CLASS] }
}

/// The meaning of an opcode, given by its parts, such as `mul`, `wide`, `u32`. `lut` is the last operand of `lop3`.
pub(crate) fn find(parts: &[&str], lut: Option<u8>) -> Option<Alu> {
    let (&name, rest) = parts.split_first()?;
    let (&ty, modifiers) = rest.split_last()?;
    match name {
        "setp" => compare::setp(modifiers, ty),
        "selp" => compare::selp(modifiers, ty),
        "testp" => compare::testp(modifiers, ty),
        _ if ty == "pred" => compare::logic(name, modifiers),
        _ => match ty {
            "f32" => float::single(name, modifiers).or_else(|| approx::find(name, modifiers)),
            "f64" => float::double(name, modifiers),
            _ => integer::find(name, modifiers, ty, lut),
        },
    }
}
