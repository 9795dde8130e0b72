//! Scalar operations on four lanes at once. Every lane's result is a function of that lane's operands alone.
//!
//! Accuracy: `exp`, `sigmoid` and `tanh` stay within 3 units in the last place of the exact result where that is a
//! normal number; the other operations round as IEEE 754 says, `log` and `pow` as the platform's library does. NaN
//! operands give what [`crate::scalar::eval`] gives.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{ConstantData, Endianness, FuncRef, InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;

use crate::backend::elementary::{BIAS, EXP, EXP_RANGE, LN2_HIGH, LN2_LOW, ROUND, SIGMOID_RANGE, TANH_RANGE};
use crate::kernel::Reduce;
use crate::scalar::Scalar;

/// Functions that compiled code calls for single lanes.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    pub log: FuncRef,
    pub pow: FuncRef,
}

/// Emits operations into a function.
pub(super) struct Math<'a, 'b> {
    pub b: &'a mut FunctionBuilder<'b>,
    pub fma: bool,
    pub calls: Calls,
}

impl Math<'_, '_> {
    /// The meaning of `op` in each lane; with `uniform`, all lanes of all operands are known to be equal.
    pub fn map(&mut self, op: Scalar, args: &[Value], uniform: bool) -> Value {
        match (op, args) {
            (Scalar::Neg, &[a]) => self.b.ins().fneg(a),
            (Scalar::Abs, &[a]) => self.b.ins().fabs(a),
            (Scalar::Exp, &[a]) => self.exp(a),
            (Scalar::Sqrt, &[a]) => self.b.ins().sqrt(a),
            (Scalar::Tanh, &[a]) => self.tanh(a),
            (Scalar::Sigmoid, &[a]) => self.sigmoid(a),
            (Scalar::Add, &[a, b]) => self.b.ins().fadd(a, b),
            (Scalar::Sub, &[a, b]) => self.b.ins().fsub(a, b),
            (Scalar::Mul, &[a, b]) => self.b.ins().fmul(a, b),
            (Scalar::Div, &[a, b]) => self.b.ins().fdiv(a, b),
            (Scalar::Max, &[a, b]) => self.max(a, b),
            (Scalar::Min, &[a, b]) => self.min(a, b),
            (Scalar::Lt, &[a, b]) => self.truth(FloatCC::LessThan, a, b),
            (Scalar::Le, &[a, b]) => self.truth(FloatCC::LessThanOrEqual, a, b),
            (Scalar::Gt, &[a, b]) => self.truth(FloatCC::LessThan, b, a),
            (Scalar::Ge, &[a, b]) => self.truth(FloatCC::LessThanOrEqual, b, a),
            (Scalar::Eq, &[a, b]) => self.truth(FloatCC::Equal, a, b),
            (Scalar::Ne, &[a, b]) => self.truth(FloatCC::NotEqual, a, b),
            (Scalar::Select, &[c, a, b]) => {
                let zero = self.splat(0.0);
                self.choose(FloatCC::NotEqual, c, zero, a, b)
            }
            (Scalar::Log, args) => self.per_lane(self.calls.log, args, uniform),
            (Scalar::Pow, args) => self.per_lane(self.calls.pow, args, uniform),
            _ => panic!("internal error: {op} of {} operands", args.len()),
        }
    }

    /// A fold's next value. A maximum passes over NaN, so that it does not depend on the order.
    pub fn fold(&mut self, kind: Reduce, so_far: Value, value: Value) -> Value {
        match kind {
            Reduce::Sum => self.b.ins().fadd(so_far, value),
            Reduce::Max => self.max(value, so_far),
        }
    }

    /// The fold of the four lanes, in every lane.
    pub fn fold_lanes(&mut self, kind: Reduce, value: Value) -> Value {
        let halves = self.swap(value, [2, 3, 0, 1]);
        let pairs = self.fold(kind, value, halves);
        let crossed = self.swap(pairs, [1, 0, 3, 2]);
        let all = self.fold(kind, pairs, crossed);
        // The lanes may differ in the sign of a zero.
        let first = self.b.ins().extractlane(all, 0u8);
        self.b.ins().splat(types::F32X4, first)
    }

    pub fn splat(&mut self, value: f32) -> Value {
        let scalar = self.b.ins().f32const(value);
        self.b.ins().splat(types::F32X4, scalar)
    }

    /// `[0, 1, 2, 3] * stride + start`, as 32-bit whole numbers that wrap around.
    pub fn iota(&mut self, start: u32, stride: u32) -> Value {
        let bytes: Vec<u8> =
            (0..4u32).flat_map(|lane| start.wrapping_add(lane.wrapping_mul(stride)).to_le_bytes()).collect();
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
        self.b.ins().vconst(types::I32X4, constant)
    }

    fn swap(&mut self, value: Value, lanes: [u8; 4]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| (0..4).map(move |byte| lane * 4 + byte)).collect();
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(&bytes[..]));
        let bytes = self.b.ins().bitcast(types::I8X16, bits(), value);
        let swapped = self.b.ins().shuffle(bytes, bytes, mask);
        self.b.ins().bitcast(types::F32X4, bits(), swapped)
    }

    /// `a` where `a > b`, else `b`. In this shape x86-64 has one instruction for it.
    fn max(&mut self, a: Value, b: Value) -> Value {
        self.choose(FloatCC::LessThan, b, a, a, b)
    }

    fn min(&mut self, a: Value, b: Value) -> Value {
        self.choose(FloatCC::LessThan, a, b, a, b)
    }

    /// `yes` where `left cond right`, else `no`.
    fn choose(&mut self, cond: FloatCC, left: Value, right: Value, yes: Value, no: Value) -> Value {
        let mask = self.b.ins().fcmp(cond, left, right);
        let mask = self.b.ins().bitcast(types::F32X4, bits(), mask);
        self.b.ins().bitselect(mask, yes, no)
    }

    fn truth(&mut self, cond: FloatCC, a: Value, b: Value) -> Value {
        let mask = self.b.ins().fcmp(cond, a, b);
        let mask = self.b.ins().bitcast(types::F32X4, bits(), mask);
        let one = self.splat(1.0);
        self.b.ins().band(mask, one)
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            self.b.ins().fma(a, b, c)
        } else {
            let product = self.b.ins().fmul(a, b);
            self.b.ins().fadd(product, c)
        }
    }

    /// `x` between two bounds; NaN stays NaN.
    fn clamp(&mut self, x: Value, [low, high]: [f32; 2]) -> Value {
        let low = self.splat(low);
        let high = self.splat(high);
        let x = self.max(low, x);
        self.min(high, x)
    }

    /// `(q, t)` with `e^x = (1 + q) * 2^n`, where the low bits of `t` hold `n + bias`.
    fn exp_parts(&mut self, x: Value, bias: f32) -> (Value, Value) {
        let log2_e = self.splat(std::f32::consts::LOG2_E);
        let round = self.splat(ROUND + bias);
        let t = self.mul_add(x, log2_e, round);
        let n = self.b.ins().fsub(t, round);
        let high = self.splat(-LN2_HIGH);
        let low = self.splat(-LN2_LOW);
        let r = self.mul_add(n, high, x);
        let r = self.mul_add(n, low, r);
        let mut sum = self.splat(EXP[4]);
        for &coefficient in EXP[..4].iter().rev() {
            let coefficient = self.splat(coefficient);
            sum = self.mul_add(sum, r, coefficient);
        }
        let square = self.b.ins().fmul(r, r);
        (self.mul_add(square, sum, r), t)
    }

    /// `2^(t - BIAS)` for the whole number in `t`'s low bits, from 1 to 254; 0 for 0. The bits move into the exponent's
    /// place.
    fn power_of_two(&mut self, t: Value) -> Value {
        let places = self.b.ins().iconst(types::I32, 23);
        let exponent = self.b.ins().ishl(t, places);
        self.b.ins().bitcast(types::F32X4, bits(), exponent)
    }

    fn as_bits(&mut self, x: Value) -> Value {
        self.b.ins().bitcast(types::I32X4, bits(), x)
    }

    /// In two factors, because `2^n` itself can be out of range where the result is a denormal or nearly the maximum.
    fn exp(&mut self, x: Value) -> Value {
        let x = self.clamp(x, EXP_RANGE);
        let (q, t) = self.exp_parts(x, 2.0 * BIAS);
        let whole = self.as_bits(t);
        let one = self.b.ins().iconst(types::I32, 1);
        let half = self.b.ins().ushr(whole, one);
        let rest = self.b.ins().isub(whole, half);
        let first = self.power_of_two(half);
        let second = self.power_of_two(rest);
        let scaled = self.mul_add(q, first, first);
        self.b.ins().fmul(scaled, second)
    }

    /// `e / (1 + e)` with `e = e^x`. The clamp keeps `2^n` in range; at its ends the result is 0 and 1.
    fn sigmoid(&mut self, x: Value) -> Value {
        let x = self.clamp(x, SIGMOID_RANGE);
        let (q, t) = self.exp_parts(x, BIAS);
        let whole = self.as_bits(t);
        let scale = self.power_of_two(whole);
        let power = self.mul_add(q, scale, scale);
        let one = self.splat(1.0);
        let sum = self.b.ins().fadd(one, power);
        self.b.ins().fdiv(power, sum)
    }

    /// `e / (e + 2)` with `e = e^2x - 1`, which keeps its precision where `x` is small. Beyond 9.1 the result is 1.
    fn tanh(&mut self, x: Value) -> Value {
        let double = self.b.ins().fadd(x, x);
        let double = self.clamp(double, TANH_RANGE);
        let (q, t) = self.exp_parts(double, BIAS);
        let whole = self.as_bits(t);
        let scale = self.power_of_two(whole);
        let one = self.splat(1.0);
        let less = self.b.ins().fsub(scale, one);
        let e = self.mul_add(q, scale, less);
        let two = self.splat(2.0);
        let below = self.b.ins().fadd(e, two);
        self.b.ins().fdiv(e, below)
    }

    /// One call for each lane, or one in all where the lanes are equal.
    fn per_lane(&mut self, function: FuncRef, args: &[Value], uniform: bool) -> Value {
        let mut result = None;
        for lane in 0..if uniform { 1 } else { 4u8 } {
            let scalars: Vec<Value> =
                args.iter().map(|&value| self.b.ins().extractlane(value, lane)).collect();
            let call = self.b.ins().call(function, &scalars);
            let value = self.b.inst_results(call)[0];
            result = Some(match result {
                None => self.b.ins().splat(types::F32X4, value),
                Some(lanes) => self.b.ins().insertlane(lanes, value, lane),
            });
        }
        result.unwrap_or_else(|| panic!("internal error: a call for no lane"))
    }
}

/// Bit casts between vectors name the order of lanes.
fn bits() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

/// `log` for compiled code.
pub(super) extern "C" fn log(x: f32) -> f32 {
    x.ln()
}

/// `pow` for compiled code.
pub(super) extern "C" fn pow(x: f32, y: f32) -> f32 {
    x.powf(y)
}
