//! Where parameters start.

use lstmc_compiler::model::Init;

use crate::random::Random;

/// The initial values of one parameter, row by row: a function of its arguments alone, whatever else the model has.
pub fn initial(init: Init, shape: &[usize], seed: u64, name: &str) -> Box<dyn Iterator<Item = f32>> {
    let len: usize = shape.iter().product();
    let random = Random::new(seed, name);
    let uniform = move |a: f64| each(len, move |i| a * (2.0 * random.uniform(i) - 1.0));
    match init {
        Init::Constant(value) => each(len, move |_| value),
        Init::Uniform(a) => uniform(a),
        Init::Normal(deviation) => each(len, move |i| deviation * random.normal(i)),
        Init::Glorot { fan_in, fan_out } => uniform((6.0 / (fan_in + fan_out)).sqrt()),
        Init::Orthogonal { gain } => Box::new(orthogonal(shape, gain, random).into_iter()),
    }
}

fn each(len: usize, value: impl Fn(u64) -> f64 + 'static) -> Box<dyn Iterator<Item = f32>> {
    Box::new((0..len as u64).map(move |i| value(i) as f32))
}

/// `gain` times the Q of the QR decomposition, with positive diagonal of R, of a normal matrix: uniform among the
/// matrices with orthonormal columns (or rows, where there are fewer of them) (Mezzadri 2007).
fn orthogonal(shape: &[usize], gain: f64, random: Random) -> Vec<f32> {
    let (rows, columns) = match shape {
        [n] => (1, *n),
        [rows, columns] => (*rows, *columns),
        _ => (1, shape.iter().product()),
    };
    // The vectors to be made orthonormal lie one after the other, be they the matrix's rows or its columns.
    let (count, len) = (rows.min(columns), rows.max(columns));
    let mut vectors: Vec<f64> = (0..(count * len) as u64).map(|i| random.normal(i)).collect();
    orthonormalise(&mut vectors, len);
    let at = |r: usize, c: usize| if rows <= columns { vectors[r * len + c] } else { vectors[c * len + r] };
    (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).map(|(r, c)| (gain * at(r, c)) as f32).collect()
}

/// Gram and Schmidt's method, each vector twice, which is enough for full precision (Giraud et al. 2005). Dividing by the
/// norm makes the diagonal of R positive.
fn orthonormalise(vectors: &mut [f64], len: usize) {
    if len == 0 {
        return;
    }
    for i in 0..vectors.len() / len {
        let (done, rest) = vectors.split_at_mut(i * len);
        let vector = &mut rest[..len];
        for _ in 0..2 {
            for earlier in done.chunks_exact(len) {
                let along = dot(earlier, vector);
                vector.iter_mut().zip(earlier).for_each(|(v, e)| *v -= along * e);
            }
        }
        let norm = dot(vector, vector).sqrt();
        vector.iter_mut().for_each(|v| *v /= norm);
    }
}

/// In eight partial sums, which the compiler can keep in vector registers.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    }

    #[test]
    fn distributions_have_their_mean_and_spread() {
        let n = 100_000;
        let of = |init| initial(init, &[n], 7, "p").collect::<Vec<f32>>();
        let uniform = of(Init::Uniform(0.1));
        assert!(uniform.iter().all(|v| v.abs() <= 0.1));
        // Five standard errors: 5 * 0.0577 / sqrt(n) = 9.1e-4.
        let (mean, deviation) = moments(&uniform);
        assert!(mean.abs() < 9.2e-4 && (deviation - 0.1 / 3f64.sqrt()).abs() < 9.2e-4, "{mean} {deviation}");
        let (mean, deviation) = moments(&of(Init::Normal(2.0)));
        // Five standard errors: 5 * 2 / sqrt(n) = 0.032.
        assert!(mean.abs() < 0.032 && (deviation - 2.0).abs() < 0.032, "{mean} {deviation}");
        let (_, deviation) = moments(&of(Init::Glorot { fan_in: 30.0, fan_out: 70.0 }));
        assert!((deviation - (2.0f64 / 100.0).sqrt()).abs() < 2.3e-3, "{deviation}");
        assert!(of(Init::Constant(1.5)).iter().all(|&v| v == 1.5));
    }

    #[test]
    fn values_depend_on_seed_and_name_alone() {
        let of = |seed, name| initial(Init::Normal(1.0), &[4, 4], seed, name).collect::<Vec<f32>>();
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        assert_ne!(of(1, "a"), of(2, "a"));
    }

    #[test]
    fn orthogonal_matrices_are() {
        for (rows, columns) in [(5, 5), (17, 6), (6, 17), (1, 9), (9, 1)] {
            let m = initial(Init::Orthogonal { gain: 2.0 }, &[rows, columns], 3, "q").collect::<Vec<f32>>();
            let tall = rows >= columns;
            let (count, len) = if tall { (columns, rows) } else { (rows, columns) };
            let at =
                |v: usize, i: usize| f64::from(if tall { m[i * columns + v] } else { m[v * columns + i] });
            for a in 0..count {
                for b in 0..count {
                    let product: f64 = (0..len).map(|i| at(a, i) * at(b, i)).sum();
                    let expected = if a == b { 4.0 } else { 0.0 };
                    // The result is rounded to f32: about 1e-7 an element.
                    assert!((product - expected).abs() < 2e-6, "{rows}x{columns} {a} {b}: {product}");
                }
            }
        }
    }

    #[test]
    fn orthogonal_signs_are_not_all_the_same() {
        let m = initial(Init::Orthogonal { gain: 1.0 }, &[40, 40], 1, "q").collect::<Vec<f32>>();
        let positive = (0..40).filter(|i| m[i * 41] > 0.0).count();
        assert!((8..=32).contains(&positive), "{positive} of 40 positive on the diagonal");
    }
}
