//! What products in bf16 and its parts gain on a machine.

use anyhow::Result;
use lstmc_compiler::model::{Model, Precision};
use lstmc_runtime::engine::cpu::{gemm, machine};

/// How much faster bf16 has to be multiplied than f32 for a step to be faster: it has to be rounded and packed first.
const WORTH_IT: f64 = 1.3;
/// Rounds of 5 ms in which a training measures it.
const ROUNDS: usize = 2;

/// A line where a training in the model's precision is no faster than one in f32.
///
/// # Errors
/// As [`machine::peak`].
pub fn of_precision(model: &Model, threads: usize) -> Result<Option<String>> {
    let threads = threads as u32;
    let Some(precision) = model.train.precision else { return Ok(None) };
    if precision.products_of_bf16().is_none() || is_f32_here(precision) {
        // What is said does not depend on how fast the processor is.
        return Ok(none(precision, 0.0, None));
    }
    Ok(none(precision, machine::peak(threads, ROUNDS)?, machine::peak_of_pairs(threads, ROUNDS)?))
}

/// Whether products in this precision, in parts, are left to `f32`: without a unit for them.
fn is_f32_here(precision: Precision) -> bool {
    precision.products_of_bf16().is_some_and(|products| products > 1) && !gemm::has_matrix_unit()
}

/// A line where nothing is gained; the peaks are floating-point operations a second of f32, and of bf16 if there are instructions for it.
pub fn none(precision: Precision, numbers: f64, pairs: Option<f64>) -> Option<String> {
    let (products, name) = (precision.products_of_bf16().map(f64::from)?, precision.name());
    if is_f32_here(precision) {
        return Some(format!(
            "precision: {name} is f32 here: only processors that multiply tiles of bf16 (Intel AMX) gain from it"
        ));
    }
    let Some(pairs) = pairs else {
        return Some(format!(
            "precision: {name} gains nothing here: this processor has no instructions for it, so operands are rounded and \
             multiplied in f32"
        ));
    };
    (pairs < WORTH_IT * products * numbers).then(|| {
        format!(
            "precision: {name} gains nothing here: this processor multiplies {:.0} GFLOP/s of it, and {:.0} of f32",
            1e-9 * pairs / products,
            1e-9 * numbers
        )
    })
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::model::Precision::{Bf16, F32};

    use super::none;

    #[test]
    fn what_gains_nothing_is_said() {
        assert!(none(Bf16, 200e9, None).is_some_and(|line| line.contains("no instructions for it")));
        // A core with AVX512-BF16 that is no faster than its f32.
        let line = none(Bf16, 170e9, Some(175e9));
        assert!(line.is_some_and(|line| line.contains("175 GFLOP/s of it, and 170 of f32")));
        assert_eq!(none(Bf16, 240e9, Some(475e9)), None);
        assert_eq!(none(F32, 240e9, None), None);
    }
}
