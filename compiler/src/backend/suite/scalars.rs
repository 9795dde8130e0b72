//! Every scalar operation over special values, and the accuracy of those that are approximated.

use super::{Executor, bits, module};
use crate::kernel::Machine;
use crate::scalar::{Scalar, eval};

/// Zeros, infinities, NaN, subnormal numbers, and the ends of the ranges of functions.
pub const SPECIAL: [f32; 21] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.5,
    3.0,
    1e-3,
    -1e-6,
    1e-40,
    -1e-45,
    f32::MIN_POSITIVE,
    87.5,
    -87.5,
    88.7,
    -103.0,
    1e30,
    -1e30,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// What the approximated functions promise, in units in the last place.
const LIMIT: f64 = 3.0;

/// `op` of three operands' elements, once in a vector loop and once element by element.
pub fn results(way: &dyn Executor, op: Scalar, operands: &[Vec<f32>; 3]) -> (Vec<f32>, Vec<f32>) {
    let n = operands[0].len();
    let args = &["v0", "v1", "v2"][..op.arity()];
    let text = format!(
        r#"module scalars {{
  buffer %0: f[{n}] input "a" carried start 0.0
  buffer %1: f[{n}] input "b" carried start 0.0
  buffer %2: f[{n}] input "c" carried start 0.0
  buffer %3: f[{n}] temp "vector"
  buffer %4: f[{n}] temp "single"
  kernel "vector" axes {n} {{
    for a0 parallel vector {{
      v0 = load %0 + 1*a0
      v1 = load %1 + 1*a0
      v2 = load %2 + 1*a0
      v3 = {op} {args}
      store %3 + 1*a0 = v3
    }}
  }}
  kernel "single" axes {n} {{
    for a0 parallel {{
      v0 = load %0 + 1*a0
      v1 = load %1 + 1*a0
      v2 = load %2 + 1*a0
      v3 = {op} {args}
      store %4 + 1*a0 = v3
    }}
  }}
}}
"#,
        args = args.join(" ")
    );
    let module = module(&text);
    let mut machine = Machine::new(&module);
    for (name, values) in ["a", "b", "c"].iter().zip(operands) {
        machine.get_mut(name).unwrap().copy_from_slice(values);
    }
    way.run(&module, &mut machine, 0, 0..1);
    let get = |name: &str| machine.get(name).unwrap().to_vec();
    (get("vector"), get("single"))
}

/// All combinations of special values, as operands; at least so many that a loop over them gets wide vectors.
pub fn combinations(arity: usize) -> [Vec<f32>; 3] {
    let count = SPECIAL.len().pow(arity.max(2) as u32);
    let operand = |i: usize| {
        let period = SPECIAL.len().pow(i as u32);
        (0..count).map(|at| SPECIAL[at / period % SPECIAL.len()]).collect()
    };
    [operand(0), operand(1), operand(2)]
}

/// The distance to `exact` in units in the last place of a normal f32 of its size.
fn ulps(actual: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if actual == rounded || (actual.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    let size = exact.abs().clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX));
    let unit = 2f64.powi(size.log2().floor() as i32 - 23);
    let error = (f64::from(actual) - exact).abs() / unit;
    if error.is_nan() { f64::INFINITY } else { error }
}

pub fn every_operation_means_what_eval_says(ways: &[&dyn Executor]) {
    for (way, op) in ways.iter().flat_map(|way| Scalar::ALL.map(|op| (way, op))) {
        let operands = combinations(op.arity());
        let (vector, single) = results(*way, op, &operands);
        assert_eq!(bits(&vector), bits(&single), "{op}: a lane's value depends on where it is computed");
        for (i, &actual) in vector.iter().enumerate() {
            let args: Vec<f32> = operands[..op.arity()].iter().map(|operand| operand[i]).collect();
            let wide: Vec<f64> = args.iter().map(|&arg| f64::from(arg)).collect();
            let expected = eval(op, &args);
            match op {
                _ if expected.is_nan() => assert!(actual.is_nan(), "{op} {args:?} is {actual}, not NaN"),
                Scalar::Exp | Scalar::Tanh | Scalar::Log | Scalar::Pow => {
                    let error = ulps(actual, eval(op, &wide));
                    assert!(error <= LIMIT, "{op} {args:?} is {actual}, not {expected}: {error} ulps");
                }
                // Denormal results may be flushed to 0.
                Scalar::Sigmoid if expected < f32::MIN_POSITIVE => {
                    assert!((0.0..f32::MIN_POSITIVE).contains(&actual), "{op} {args:?} is {actual}");
                }
                Scalar::Sigmoid => {
                    let error = ulps(actual, eval(op, &wide));
                    assert!(error <= LIMIT, "{op} {args:?} is {actual}, not {expected}: {error} ulps");
                }
                _ => {
                    assert_eq!(
                        actual.to_bits(),
                        expected.to_bits(),
                        "{op} {args:?}: {actual} not {expected}"
                    );
                }
            }
        }
    }
}

pub fn approximations_stay_within_three_units_in_the_last_place(ways: &[&dyn Executor]) {
    // Dense near 0, where tanh must keep its relative precision, and over the whole range of exp.
    let small = (0..20_000).map(|i| (i as f32 - 10_000.0) * 1e-4);
    let tiny = (0..200).map(|i| 1e-9 * 1.1f32.powi(i));
    let wide = (0..20_000).map(|i| (i as f32 - 10_000.0) * 0.0089);
    let x: Vec<f32> = small.chain(tiny).chain(wide).collect();
    let operands = [x.clone(), x.clone(), x.clone()];
    let functions = [Scalar::Exp, Scalar::Tanh, Scalar::Sigmoid];
    for (way, op) in ways.iter().flat_map(|way| functions.map(|op| (way, op))) {
        let (vector, _) = results(*way, op, &operands);
        let mut worst = (0.0, 0.0);
        for (&x, &actual) in x.iter().zip(&vector) {
            let exact = eval(op, &[f64::from(x)]);
            if exact.abs() >= f64::from(f32::MIN_POSITIVE) && exact <= f64::from(f32::MAX) {
                let error = ulps(actual, exact);
                worst = if error > worst.0 { (error, x) } else { worst };
            }
        }
        assert!(worst.0 <= LIMIT, "{op} {}: {} ulps, {way:?}", worst.1, worst.0);
    }
}
