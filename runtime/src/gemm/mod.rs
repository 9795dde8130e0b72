//! The products that compiled code calls.

use lstmc_compiler::backend::abi::{GemmShape, PackShape, ScatterShape};

pub unsafe extern "C" fn gemm(
    _: *const GemmShape,
    _: *const f32,
    _: *const f32,
    _: *mut f32,
    _: u32,
    _: u32,
) {
    std::process::abort()
}

pub unsafe extern "C" fn pack(_: *const PackShape, _: *const f32, _: *mut f32, _: u32, _: u32) {
    std::process::abort()
}

pub unsafe extern "C" fn scatter(
    _: *const ScatterShape,
    _: *const u32,
    _: *const f32,
    _: *mut f32,
    _: u32,
    _: u32,
) {
    std::process::abort()
}
