//! Intervals of numbers, and what arithmetic makes of them.

use crate::scalar::{self, Scalar};

/// All numbers from `least` to `most`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub least: f64,
    pub most: f64,
}

pub(super) const ANY: Interval = Interval { least: f64::NEG_INFINITY, most: f64::INFINITY };
pub(super) const NOT_NEGATIVE: Interval = Interval { least: 0.0, most: f64::INFINITY };
pub(super) const UNIT: Interval = Interval { least: 0.0, most: 1.0 };

impl Interval {
    pub fn new(least: f64, most: f64) -> Self {
        // An end that is not a number, such as infinity less infinity, is unbounded.
        let bounded = |end: f64, infinite: f64| if end.is_nan() { infinite } else { end };
        Self { least: bounded(least, f64::NEG_INFINITY), most: bounded(most, f64::INFINITY) }
    }

    pub fn constant(number: f64) -> Self {
        Self::new(number, number)
    }

    /// The smallest interval around both.
    pub fn or(self, other: Self) -> Self {
        Self::new(self.least.min(other.least), self.most.max(other.most))
    }

    pub fn times(self, other: Self) -> Self {
        // No element is infinite, so zero times an infinite end is zero.
        let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let ends = [
            product(self.least, other.least),
            product(self.least, other.most),
            product(self.most, other.least),
            product(self.most, other.most),
        ];
        let least = ends.into_iter().fold(f64::INFINITY, f64::min);
        Self::new(least, ends.into_iter().fold(f64::NEG_INFINITY, f64::max))
    }

    /// Of one over the numbers: [`ANY`] if they have both signs.
    pub fn inverse(self) -> Self {
        if self.least >= 0.0 {
            Self::new(1.0 / self.most, 1.0 / self.least.abs())
        } else if self.most <= 0.0 {
            Self::new(-1.0 / self.most.abs(), 1.0 / self.least)
        } else {
            ANY
        }
    }

    /// The image under a function that never decreases.
    pub fn through(self, op: Scalar) -> Self {
        Self::new(scalar::eval(op, &[self.least]), scalar::eval(op, &[self.most]))
    }
}
