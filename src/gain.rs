//! What rounding to bf16 gains on a machine.

use anyhow::Result;
use lstmc_compiler::model::{Model, Precision};
use lstmc_runtime::engine::cpu::machine;

/// How much faster bf16 has to be multiplied than f32 for a step to be faster: it has to be rounded and packed first.
const WORTH_IT: f64 = 1.3;
/// Rounds of 5 ms in which a training measures it.
const ROUNDS: usize = 2;

/// A line where a training in bf16 is no faster than one in f32.
///
/// # Errors
/// As [`machine::peak`].
pub fn of_bf16(model: &Model, threads: usize) -> Result<Option<String>> {
    if model.train.precision != Some(Precision::Bf16) {
        return Ok(None);
    }
    let threads = threads as u32;
    Ok(none(machine::peak(threads, ROUNDS)?, machine::peak_of_pairs(threads, ROUNDS)?))
}

/// A line where nothing is gained; the peaks are floating-point operations a second of f32, and of bf16 if there are instructions for it.
pub fn none(numbers: f64, pairs: Option<f64>) -> Option<String> {
    match pairs {
        None => Some(
            "precision: bf16 gains nothing here: this processor has no instructions for it, so operands are rounded and \
             multiplied in f32"
                .into(),
        ),
        Some(pairs) if pairs < WORTH_IT * numbers => Some(format!(
            "precision: bf16 gains nothing here: this processor multiplies {:.0} GFLOP/s of it, and {:.0} of f32",
            1e-9 * pairs,
            1e-9 * numbers
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::none;

    #[test]
    fn what_gains_nothing_is_said() {
        assert!(none(200e9, None).is_some_and(|line| line.contains("no instructions for it")));
        // An Intel core before its tiles are used.
        assert!(
            none(170e9, Some(175e9)).is_some_and(|line| line.contains("175 GFLOP/s of it, and 170 of f32"))
        );
        assert_eq!(none(240e9, Some(475e9)), None);
    }
}
