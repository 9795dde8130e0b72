//! [`crate::scalar::random`] on four lanes.

use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// Uniform numbers for a key, `i32`, and flat indices, `i32x4`.
pub(super) fn emit(b: &mut FunctionBuilder, key: Value, index: Value) -> Value {
    let key = b.ins().splat(types::I32X4, key);
    let x = multiply(b, index, 0x9e37_79b9);
    let x = b.ins().bxor(x, key);
    let x = fold(b, x, 16);
    let x = multiply(b, x, 0x7feb_352d);
    let x = fold(b, x, 15);
    let x = multiply(b, x, 0x846c_a68b);
    let x = fold(b, x, 16);
    let places = b.ins().iconst(types::I32, 8);
    let fraction = b.ins().ushr(x, places);
    // 24 bits: exact, and the same signed or unsigned.
    let number = b.ins().fcvt_from_sint(types::F32X4, fraction);
    let scale = b.ins().f32const(1.0 / 16_777_216.0);
    let scale = b.ins().splat(types::F32X4, scale);
    b.ins().fmul(number, scale)
}

fn multiply(b: &mut FunctionBuilder, x: Value, factor: u32) -> Value {
    let factor = b.ins().iconst(types::I32, i64::from(factor));
    let factor = b.ins().splat(types::I32X4, factor);
    b.ins().imul(x, factor)
}

/// `x ^ (x >> places)`
fn fold(b: &mut FunctionBuilder, x: Value, places: i64) -> Value {
    let places = b.ins().iconst(types::I32, places);
    let high = b.ins().ushr(x, places);
    b.ins().bxor(x, high)
}
