//! Exponential, logistic sigmoid, hyperbolic tangent and logarithm of many numbers at once, as wide as the processor's
//! vectors are: what compiled code calls where its own 128 bits would be slow.
//!
//! Plain loops that every instruction set compiles for itself. An element's result is a function of that element alone,
//! by the same operations in the same order as the back end's own four lanes, so that it does not matter who computes
//! it. Accuracy: within 3 units in the last place where the result is a normal number; NaN stays NaN.

use lstmc_compiler::backend::abi::VectorMath;
use lstmc_compiler::backend::elementary::{exp, sigmoid, tanh};

/// The functions of the best instruction set of this CPU.
pub fn best() -> VectorMath {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return avx512::FUNCTIONS;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return avx2::FUNCTIONS;
        }
    }
    portable::FUNCTIONS
}

/// A logarithm is a call for each element.
#[inline(always)]
fn log<const FUSED: bool>(x: f32) -> f32 {
    x.ln()
}

/// The four functions compiled for an instruction set.
macro_rules! functions {
    ($name:ident, $fused:expr $(, $feature:literal)?) => {
        mod $name {
            use lstmc_compiler::backend::abi::VectorMath;

            pub const FUNCTIONS: VectorMath = VectorMath { exp, sigmoid, tanh, log };

            functions!(@each $fused, [$($feature)?], exp sigmoid tanh log);
        }
    };
    (@each $fused:expr, $feature:tt, $($function:ident)*) => {
        $(functions!(@one $fused, $feature, $function);)*
    };
    (@one $fused:expr, [$($feature:literal)?], $function:ident) => {
        $(#[target_feature(enable = $feature)])?
        unsafe extern "C" fn $function(at: *mut f32, len: u64) {
            // SAFETY: the caller's buffer has `len` elements, and no one else uses it during the call.
            let elements = unsafe { std::slice::from_raw_parts_mut(at, len as usize) };
            // A plain loop: in a closure the function would not have the instruction set of this one.
            for x in elements {
                *x = super::$function::<{ $fused }>(*x);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
functions!(avx512, true, "avx512f");
#[cfg(target_arch = "x86_64")]
functions!(avx2, true, "avx2,fma");
functions!(portable, cfg!(target_arch = "aarch64"));

#[cfg(test)]
mod tests {
    use super::*;

    fn available() -> Vec<VectorMath> {
        let mut found = vec![portable::FUNCTIONS];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(avx2::FUNCTIONS);
            }
            if is_x86_feature_detected!("avx512f") {
                found.push(avx512::FUNCTIONS);
            }
        }
        found
    }

    type Function = unsafe extern "C" fn(*mut f32, u64);

    fn apply(function: Function, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        // SAFETY: the vector has as many elements.
        unsafe { function(x.as_mut_ptr(), x.len() as u64) };
        x
    }

    fn check(choose: fn(&VectorMath) -> Function, exact: fn(f64) -> f64) {
        let x: Vec<f32> = (-9000..8870).map(|i| i as f32 * 0.01).chain([1e-4, -3e-6, 0.0]).collect();
        for functions in available() {
            for (x, found) in x.iter().zip(apply(choose(&functions), &x)) {
                let expected = exact(f64::from(*x));
                // Three units in the last place, as the module promises, or underflow.
                let bound = 3.0 * f64::from(f32::EPSILON) * expected.abs() + f64::from(f32::MIN_POSITIVE);
                assert!((f64::from(found) - expected).abs() <= bound, "{x}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn results_are_within_three_units_in_the_last_place() {
        check(|functions| functions.exp, f64::exp);
        check(|functions| functions.sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        check(|functions| functions.tanh, f64::tanh);
    }

    #[test]
    fn an_elements_place_does_not_change_it() {
        let x: Vec<f32> = (0..37).map(|i| i as f32 * 0.37 - 6.0).collect();
        for functions in available() {
            for function in [functions.exp, functions.sigmoid, functions.tanh, functions.log] {
                let whole = apply(function, &x);
                for (i, x) in x.iter().enumerate() {
                    assert_eq!(apply(function, &[*x])[0].to_bits(), whole[i].to_bits());
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_so_and_what_is_too_large_saturates() {
        for functions in available() {
            for function in [functions.exp, functions.sigmoid, functions.tanh] {
                assert!(apply(function, &[f32::NAN])[0].is_nan());
            }
            let ends = [f32::NEG_INFINITY, -1000.0, 1000.0, f32::INFINITY];
            assert_eq!(apply(functions.tanh, &ends), [-1.0, -1.0, 1.0, 1.0]);
            assert_eq!(apply(functions.exp, &ends)[2..], [f32::INFINITY; 2]);
            assert_eq!(apply(functions.sigmoid, &ends)[2..], [1.0, 1.0]);
        }
    }
}
