//! Products in a precision of fewer bits. Those of few rows stay as they are: rounding would lose digits and gain nothing.

use crate::kernel::{Item, Module, Precision};
use crate::target::Target;

/// The module with the products that gain from it in this precision. A target that gains nothing from it multiplies
/// in f32.
pub fn precision(mut module: Module, precision: Precision, target: &Target) -> Module {
    let precision = match precision {
        Precision::Tf32 if !target.tf32 => Precision::F32,
        Precision::Bf16x3 | Precision::Bf16x6 if !target.bf16_parts => Precision::F32,
        other => other,
    };
    each(&mut module.prologue, precision, target.few_rows);
    each(&mut module.items, precision, target.few_rows);
    module
}

fn each(items: &mut [Item], precision: Precision, few_rows: usize) {
    for item in items {
        match item {
            Item::Gemm(gemm) if gemm.m > few_rows => gemm.precision = precision,
            Item::Loop(inner) => each(&mut inner.items, precision, few_rows),
            Item::Kernel(_)
            | Item::Gemm(_)
            | Item::Pack(_)
            | Item::Scatter(_)
            | Item::Distinct(_)
            | Item::Exchange(_) => {}
        }
    }
}
