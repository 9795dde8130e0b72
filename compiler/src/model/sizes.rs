//! Sizes: whole numbers below 2^31, so that 31 bits address every element and every token of a batch.

/// What every size, and every number of elements, is below.
pub(super) const LIMIT: usize = 1 << 31;

/// A number as a size or count, if it is a whole one from 0 on and below [`LIMIT`].
pub(super) fn as_size(value: f64) -> Option<usize> {
    let fits = value.fract() == 0.0 && (0.0..LIMIT as f64).contains(&value);
    fits.then_some(value as usize)
}
