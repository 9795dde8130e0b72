//! Scalar operations on machines of every width and without fused multiply-add.

use super::{MACHINES, Without, bits, suite};
use crate::backend::suite::scalars::{SPECIAL, combinations, results};
use crate::scalar::{Scalar, eval};

#[test]
fn operations_mean_the_same_on_older_machines() {
    suite::scalars::every_operation_means_what_eval_says(MACHINES);
    suite::scalars::approximations_stay_within_three_units_in_the_last_place(MACHINES);
}

/// They are the platform's own, which [`eval`] calls too.
#[test]
fn logarithms_and_powers_have_the_bits_of_eval() {
    for op in [Scalar::Log, Scalar::Pow] {
        let operands = combinations(op.arity());
        let (found, _) = results(MACHINES[0], op, &operands);
        for (i, &actual) in found.iter().enumerate() {
            let args: Vec<f32> = operands[..op.arity()].iter().map(|operand| operand[i]).collect();
            let expected = eval(op, &args);
            let same = actual.to_bits() == expected.to_bits() || actual.is_nan() && expected.is_nan();
            assert!(same, "{op} {args:?} is {actual}, not {expected}");
        }
    }
}

#[test]
fn results_do_not_depend_on_how_wide_vectors_are() {
    let x: Vec<f32> = (0..5000).map(|i| (i as f32 - 2500.0) * 0.041).chain(SPECIAL).collect();
    let operands = [x.clone(), x.iter().rev().copied().collect(), x];
    // Machines that round alike: all of these multiply and add in one operation.
    let machines = [Without(&[]), Without(&["has_avx512f"]), Without(&["has_avx512f", "has_avx2"])];
    let [first, others @ ..] = machines;
    for op in Scalar::ALL {
        let expected = bits(&results(&first, op, &operands).0);
        for machine in &others {
            assert_eq!(bits(&results(machine, op, &operands).0), expected, "{op}, {machine:?}");
        }
    }
}
