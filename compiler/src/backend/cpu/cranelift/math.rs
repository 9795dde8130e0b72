//! Scalar operations on four lanes at once. Every lane's result is a function of that lane's operands alone.
//!
//! Accuracy: `log` and `pow` are the platform's library's, the others those of [`crate::backend::elementary`]. NaN operands
//! give what [`crate::scalar::eval`] gives.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{ConstantData, Endianness, FuncRef, InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;

use crate::backend::elementary::{self, Binary, Condition, Emit, Unary};
use crate::kernel::Reduce;
use crate::scalar::Scalar;

/// Functions that compiled code calls for single lanes, where it does.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub log: Option<FuncRef>,
    pub pow: Option<FuncRef>,
}

/// Emits operations into a function.
pub(super) struct Math<'a, 'b> {
    pub b: &'a mut FunctionBuilder<'b>,
    pub fma: bool,
    pub functions: Functions,
}

impl Math<'_, '_> {
    /// The meaning of `op` in each lane; with `uniform`, all lanes of all operands are known to be equal.
    pub fn map(&mut self, op: Scalar, args: &[Value], uniform: bool) -> Value {
        match op {
            Scalar::Log => self.per_lane(self.functions.log, args, uniform),
            Scalar::Pow => self.per_lane(self.functions.pow, args, uniform),
            _ => elementary::map(self, op, args)
                .unwrap_or_else(|| panic!("internal error: no code computes {op}")),
        }
    }

    /// A fold's next value. A maximum passes over NaN, so that it does not depend on the order.
    pub fn fold(&mut self, kind: Reduce, so_far: Value, value: Value) -> Value {
        match kind {
            Reduce::Sum => self.b.ins().fadd(so_far, value),
            Reduce::Max => self.binary(Binary::Max, value, so_far),
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

    /// Whole numbers, `i32x4`, as reals of these bits.
    pub fn as_real(&mut self, whole: Value) -> Value {
        self.b.ins().bitcast(types::F32X4, bits(), whole)
    }

    /// Reals as whole numbers of these bits.
    fn as_whole(&mut self, real: Value) -> Value {
        self.b.ins().bitcast(types::I32X4, bits(), real)
    }

    /// One call for each lane, or one in all where the lanes are equal.
    fn per_lane(&mut self, function: Option<FuncRef>, args: &[Value], uniform: bool) -> Value {
        let function = function.unwrap_or_else(|| panic!("internal error: a function that was not imported"));
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

/// Reals are `f32x4`, and so are whole numbers, by their bits.
impl Emit for Math<'_, '_> {
    type Value = Value;

    fn whole(&mut self, value: u32) -> Value {
        let scalar = self.b.ins().iconst(types::I32, i64::from(value));
        let lanes = self.b.ins().splat(types::I32X4, scalar);
        self.as_real(lanes)
    }

    fn real(&mut self, value: f32) -> Value {
        self.splat(value)
    }

    fn unary(&mut self, op: Unary, a: Value) -> Value {
        match op {
            Unary::Sqrt => self.b.ins().sqrt(a),
            Unary::ToReal => {
                let a = self.as_whole(a);
                self.b.ins().fcvt_from_sint(types::F32X4, a)
            }
            Unary::ShiftLeft(places) => {
                let (a, places) = (self.as_whole(a), self.b.ins().iconst(types::I32, i64::from(places)));
                let shifted = self.b.ins().ishl(a, places);
                self.as_real(shifted)
            }
            Unary::ShiftRight(places) => {
                let (a, places) = (self.as_whole(a), self.b.ins().iconst(types::I32, i64::from(places)));
                let shifted = self.b.ins().ushr(a, places);
                self.as_real(shifted)
            }
        }
    }

    fn binary(&mut self, op: Binary, a: Value, b: Value) -> Value {
        match op {
            Binary::Add => return self.b.ins().fadd(a, b),
            Binary::Sub => return self.b.ins().fsub(a, b),
            Binary::Mul => return self.b.ins().fmul(a, b),
            Binary::Div => return self.b.ins().fdiv(a, b),
            // In this shape x86-64 has one instruction for it.
            Binary::Max => return self.choose(Condition::Less, [b, a], [a, b]),
            Binary::Min => return self.choose(Condition::Less, [a, b], [a, b]),
            _ => {}
        }
        let (a, b) = (self.as_whole(a), self.as_whole(b));
        let whole = match op {
            Binary::WholeAdd => self.b.ins().iadd(a, b),
            Binary::WholeSub => self.b.ins().isub(a, b),
            Binary::WholeMul => self.b.ins().imul(a, b),
            Binary::Xor => self.b.ins().bxor(a, b),
            Binary::And => self.b.ins().band(a, b),
            _ => unreachable!("internal error: {op:?} of whole numbers"),
        };
        self.as_real(whole)
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            self.b.ins().fma(a, b, c)
        } else {
            let product = self.b.ins().fmul(a, b);
            self.b.ins().fadd(product, c)
        }
    }

    fn choose(&mut self, condition: Condition, [left, right]: [Value; 2], [yes, no]: [Value; 2]) -> Value {
        let condition = match condition {
            Condition::Equal => FloatCC::Equal,
            Condition::NotEqual => FloatCC::NotEqual,
            Condition::Less => FloatCC::LessThan,
            Condition::LessOrEqual => FloatCC::LessThanOrEqual,
        };
        let mask = self.b.ins().fcmp(condition, left, right);
        let mask = self.as_real(mask);
        self.b.ins().bitselect(mask, yes, no)
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
