//! Scalar operations in PTX. All but `log` and `pow` are the shared sequences of [`elementary`], so that they give the bits that
//! a CPU gives; those two are computed in double precision here, since no library can be called.

use super::text::{Operand, Reg, Wide, Writer};
use crate::backend::elementary::{self, Binary, Condition, Emit, Unary};
use crate::kernel::Reduce;
use crate::scalar::Scalar;

impl Emit for Writer {
    type Value = Reg;

    fn whole(&mut self, bits: u32) -> Reg {
        self.bits(bits)
    }

    fn unary(&mut self, op: Unary, a: Reg) -> Reg {
        match op {
            Unary::Sqrt => self.op("sqrt.rn.f32", [a.into()]),
            Unary::ToReal => self.op("cvt.rn.f32.u32", [a.into()]),
            Unary::ShiftLeft(places) => self.op("shl.b32", [a.into(), u32::from(places).into()]),
            Unary::ShiftRight(places) => self.op("shr.u32", [a.into(), u32::from(places).into()]),
        }
    }

    fn binary(&mut self, op: Binary, a: Reg, b: Reg) -> Reg {
        let operands: [Operand; 2] = [a.into(), b.into()];
        let name = match op {
            Binary::Add => "add.rn.f32",
            Binary::Sub => "sub.rn.f32",
            Binary::Mul => "mul.rn.f32",
            Binary::Div => "div.rn.f32",
            Binary::WholeAdd => "add.u32",
            Binary::WholeSub => "sub.u32",
            Binary::WholeMul => "mul.lo.u32",
            Binary::Xor => "xor.b32",
            Binary::And => "and.b32",
            // PTX's own pass over NaN in the first operand as well as in the second.
            Binary::Max | Binary::Min => {
                let name = if op == Binary::Max { "setp.gt.f32" } else { "setp.lt.f32" };
                let first = self.compare(name, a, b);
                return Writer::choose(self, first, operands);
            }
        };
        self.op(name, operands)
    }

    fn mul_add(&mut self, a: Reg, b: Reg, c: Reg) -> Reg {
        self.op("fma.rn.f32", [a.into(), b.into(), c.into()])
    }

    fn choose(&mut self, condition: Condition, [a, b]: [Reg; 2], [yes, no]: [Reg; 2]) -> Reg {
        let name = match condition {
            Condition::Equal => "setp.eq.f32",
            Condition::NotEqual => "setp.neu.f32",
            Condition::Less => "setp.lt.f32",
            Condition::LessOrEqual => "setp.le.f32",
        };
        let holds = self.compare(name, a, b);
        Writer::choose(self, holds, [yes.into(), no.into()])
    }
}

/// The meaning of `op`.
pub(super) fn map(w: &mut Writer, op: Scalar, args: &[Reg]) -> Reg {
    match (op, args) {
        (Scalar::Log, &[a]) => log(w, a),
        (Scalar::Pow, &[a, b]) => pow(w, a, b),
        _ => elementary::map(w, op, args).unwrap_or_else(|| panic!("internal error: {op} in PTX")),
    }
}

/// A fold's value with one more in it.
pub(super) fn fold_in(w: &mut Writer, kind: Reduce, so_far: Reg, value: Reg) -> Reg {
    match kind {
        Reduce::Sum => w.binary(Binary::Add, so_far, value),
        Reduce::Max => w.binary(Binary::Max, value, so_far),
    }
}

fn double(w: &mut Writer, value: f64) -> Wide {
    let to = w.wide();
    w.line(format_args!("mov.b64 {to}, 0x{:016X}", value.to_bits()));
    to
}

fn wide<const N: usize>(w: &mut Writer, name: &str, operands: [Wide; N]) -> Wide {
    let to = w.wide();
    let list: Vec<String> = operands.iter().map(Wide::to_string).collect();
    w.line(format_args!("{name} {to}, {}", list.join(", ")));
    to
}

/// `a` where the first operand compares so with the second one, else `b`.
fn wide_choose(w: &mut Writer, name: &str, operands: [Wide; 2], [a, b]: [Wide; 2]) -> Wide {
    let holds = w.pred();
    w.line(format_args!("{name} {holds}, {}, {}", operands[0], operands[1]));
    let to = w.wide();
    w.line(format_args!("selp.b64 {to}, {a}, {b}, {holds}"));
    to
}

fn to_double(w: &mut Writer, a: Reg) -> Wide {
    let to = w.wide();
    w.line(format_args!("cvt.f64.f32 {to}, {a}"));
    to
}

fn to_single(w: &mut Writer, a: Wide) -> Reg {
    let to = w.reg();
    w.line(format_args!("cvt.rn.f32.f64 {to}, {a}"));
    to
}

/// `coefficients[0] + x * (coefficients[1] + ..)`
fn polynomial(w: &mut Writer, x: Wide, coefficients: &[f64]) -> Wide {
    let mut sum = double(w, coefficients[coefficients.len() - 1]);
    for &coefficient in coefficients[..coefficients.len() - 1].iter().rev() {
        let coefficient = double(w, coefficient);
        sum = wide(w, "fma.rn.f64", [sum, x, coefficient]);
    }
    sum
}

/// The natural logarithm of the size of a real that is a normal double, so of every `f32` but 0, infinity and NaN.
///
/// `x = m * 2^e` with `m` between `sqrt(1/2)` and `sqrt(2)`; `ln m = 2 artanh(s)` with `s = (m - 1) / (m + 1)`, below 0.172, by
/// its series to `s^17`: 1e-14 relative.
fn log_of_size(w: &mut Writer, x: Wide) -> Wide {
    const SERIES: [f64; 9] =
        [2.0, 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0, 2.0 / 13.0, 2.0 / 15.0, 2.0 / 17.0];
    let (low, high) = (w.reg(), w.reg());
    w.line(format_args!("mov.b64 {{{low}, {high}}}, {x}"));
    let stored = w.op("bfe.u32", [high.into(), 20.into(), 11.into()]);
    let mantissa = w.op("and.b32", [high.into(), 0x000f_ffff.into()]);
    // Of a fraction above sqrt(2) the half, and one more in the exponent.
    let above = w.compare("setp.gt.u32", mantissa, 0x0006_a09e);
    let exponent_bits = w.choose(above, [0x3fe0_0000.into(), 0x3ff0_0000.into()]);
    let top = w.op("or.b32", [mantissa.into(), exponent_bits.into()]);
    let bias = w.choose(above, [1022.into(), 1023.into()]);
    let exponent = w.op("sub.s32", [stored.into(), bias.into()]);
    let m = w.wide();
    w.line(format_args!("mov.b64 {m}, {{{low}, {top}}}"));
    let one = double(w, 1.0);
    let less = wide(w, "sub.rn.f64", [m, one]);
    let more = wide(w, "add.rn.f64", [m, one]);
    let s = wide(w, "div.rn.f64", [less, more]);
    let square = wide(w, "mul.rn.f64", [s, s]);
    let series = polynomial(w, square, &SERIES);
    let fraction = wide(w, "mul.rn.f64", [s, series]);
    let e = w.wide();
    w.line(format_args!("cvt.rn.f64.s32 {e}, {exponent}"));
    let ln2 = double(w, std::f64::consts::LN_2);
    wide(w, "fma.rn.f64", [e, ln2, fraction])
}

/// `ln x`, correctly rounded but for one in some million: negative infinity of 0, NaN below.
fn log(w: &mut Writer, x: Reg) -> Reg {
    let exact = to_double(w, x);
    let value = log_of_size(w, exact);
    let value = to_single(w, value);
    let (zero, infinity) = (w.real(0.0), w.real(f32::INFINITY));
    let (nothing, low) = (w.real(f32::NAN), w.real(f32::NEG_INFINITY));
    // Infinity and NaN are their own logarithms.
    let size = elementary::map(w, Scalar::Abs, &[x]).expect("Abs is elementary");
    let finite = w.compare("setp.lt.f32", size, infinity);
    let value = w.choose(finite, [value.into(), x.into()]);
    let negative = w.compare("setp.lt.f32", x, zero);
    let value = w.choose(negative, [nothing.into(), value.into()]);
    let is_zero = w.compare("setp.eq.f32", x, zero);
    w.choose(is_zero, [low.into(), value.into()])
}

/// `e^t` for `|t|` up to 200 and beyond, where it is cut: 1e-13 relative. NaN stays NaN.
fn exp_double(w: &mut Writer, t: Wide) -> Wide {
    const SERIES: [f64; 12] = [
        1.0,
        1.0,
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5040.0,
        1.0 / 40320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
    ];
    let (least, most) = (double(w, -200.0), double(w, 200.0));
    let t = wide_choose(w, "setp.lt.f64", [t, least], [least, t]);
    let t = wide_choose(w, "setp.gt.f64", [t, most], [most, t]);
    let log2_e = double(w, std::f64::consts::LOG2_E);
    let scaled = wide(w, "mul.rn.f64", [t, log2_e]);
    let n = wide(w, "cvt.rni.f64.f64", [scaled]);
    let ln2 = double(w, -std::f64::consts::LN_2);
    let r = wide(w, "fma.rn.f64", [n, ln2, t]);
    let series = polynomial(w, r, &SERIES);
    let whole = w.reg();
    w.line(format_args!("cvt.rzi.s32.f64 {whole}, {n}"));
    let biased = w.add(whole, 1023);
    let top = w.op("shl.b32", [biased.into(), 20.into()]);
    let zero = w.bits(0);
    let power = w.wide();
    w.line(format_args!("mov.b64 {power}, {{{zero}, {top}}}"));
    wide(w, "mul.rn.f64", [series, power])
}

/// `a^b` as IEEE 754 says: 1 where `b` is 0 or `a` is 1; of a negative `a` real only for whole `b`.
fn pow(w: &mut Writer, a: Reg, b: Reg) -> Reg {
    let (zero, one, infinity) = (w.real(0.0), w.real(1.0), w.real(f32::INFINITY));
    let size = elementary::map(w, Scalar::Abs, &[a]).expect("Abs is elementary");
    let exact = to_double(w, size);
    let logarithm = log_of_size(w, exact);
    // Of 0 and infinity the logarithm is as large as it gets.
    let (low, high) = (double(w, f64::NEG_INFINITY), double(w, f64::INFINITY));
    let nothing = double(w, 0.0);
    let logarithm = wide_choose(w, "setp.eq.f64", [exact, nothing], [low, logarithm]);
    let logarithm = wide_choose(w, "setp.eq.f64", [exact, high], [high, logarithm]);
    let exponent = to_double(w, b);
    let product = wide(w, "mul.rn.f64", [exponent, logarithm]);
    let power = exp_double(w, product);
    let value = to_single(w, power);
    // The cut of `exp_double` lies far beyond the range of a single.
    let is_one = w.compare("setp.eq.f32", size, one);
    let value = w.choose(is_one, [one.into(), value.into()]);
    // Signs: negative for a negative `a` and an odd `b`, NaN for a negative `a` and a `b` that is not whole.
    let whole = w.op("cvt.rzi.f32.f32", [b.into()]);
    let half = w.real(0.5);
    let halves = w.op("mul.rn.f32", [b.into(), half.into()]);
    let even = w.op("cvt.rzi.f32.f32", [halves.into()]);
    let is_whole = w.compare("setp.eq.f32", whole, b);
    let is_odd = w.compare("setp.neu.f32", even, halves);
    let sign = w.op("and.b32", [a.into(), (1 << 31).into()]);
    let sign = w.choose(is_odd, [sign.into(), 0.into()]);
    let sign = w.choose(is_whole, [sign.into(), 0.into()]);
    let value = w.op("or.b32", [value.into(), sign.into()]);
    let not_a_number = w.real(f32::NAN);
    let below = w.compare("setp.lt.f32", a, zero);
    let finite = w.compare("setp.lt.f32", size, infinity);
    let below = w.both(below, finite);
    let broken = w.choose(below, [not_a_number.into(), value.into()]);
    let value = w.choose(is_whole, [value.into(), broken.into()]);
    // NaN in either operand, then the two that are 1 whatever the other is.
    let known = w.compare("setp.num.f32", a, b);
    let value = w.choose(known, [value.into(), not_a_number.into()]);
    let base_one = w.compare("setp.eq.f32", a, one);
    let value = w.choose(base_one, [one.into(), value.into()]);
    let no_exponent = w.compare("setp.eq.f32", b, zero);
    w.choose(no_exponent, [one.into(), value.into()])
}

/// [`crate::scalar::random_key`] of the run's seed and the step, whose registers these are.
pub(super) fn random_key(w: &mut Writer, seed: Wide, step: Wide, stream: u32) -> Reg {
    let constant = |w: &mut Writer, value: u64| {
        let to = w.wide();
        w.line(format_args!("mov.b64 {to}, 0x{value:016X}"));
        to
    };
    let golden = constant(w, 0x9e37_79b9_7f4a_7c15);
    let stream = constant(w, u64::from(stream) << 32);
    let scaled = wide(w, "mul.lo.u64", [step, golden]);
    let x = wide(w, "xor.b64", [seed, scaled]);
    let x = wide(w, "xor.b64", [x, stream]);
    let mut x = wide(w, "add.u64", [x, golden]);
    for (places, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        x = folded(w, x, places);
        let factor = constant(w, factor);
        x = wide(w, "mul.lo.u64", [x, factor]);
    }
    let x = folded(w, x, 31);
    let (low, high) = (w.reg(), w.reg());
    w.line(format_args!("mov.b64 {{{low}, {high}}}, {x}"));
    low
}

/// `x ^ (x >> places)`
fn folded(w: &mut Writer, x: Wide, places: u32) -> Wide {
    let shifted = w.wide();
    w.line(format_args!("shr.u64 {shifted}, {x}, {places}"));
    wide(w, "xor.b64", [x, shifted])
}
