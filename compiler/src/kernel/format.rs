//! How weights are stored in the packed layout: as they are, or rounded to fewer bits.
//!
//! A product by a packed operand of a format is, to the bit, the product of `f32` by the rounded weights: a weight is
//! widened to `f32` when it is read, and sums are `f32` in the order of any other product. Nothing but the weights is
//! rounded, and every machine rounds and widens them alike.

use crate::model::Precision;
use crate::target::PANEL;

/// What is stored of a weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    #[default]
    F32,
    /// The upper half of an `f32`, rounded to nearest, ties to even; subnormal numbers are zero.
    Bf16,
    /// Two of [`Format::Bf16`]: the number rounded, and what that leaves rounded.
    TwoParts,
    /// Three of them, of which the third is what the second leaves: the number itself, but for what is subnormal.
    ThreeParts,
    /// A whole number from -127 to 127 times its column's scale: the column's largest magnitude over 127.
    Int8,
}

impl Format {
    /// Those that weights which no step changes can be kept in.
    pub const OF_WEIGHTS: [Format; 3] = [Format::F32, Format::Bf16, Format::Int8];

    pub fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::Bf16 => "bf16",
            Format::TwoParts => "parts2",
            Format::ThreeParts => "parts3",
            Format::Int8 => "int8",
        }
    }

    /// Of how many `bf16` a number is the sum, if it is one.
    pub fn parts(self) -> usize {
        match self {
            Format::F32 | Format::Int8 => 0,
            Format::Bf16 => 1,
            Format::TwoParts => 2,
            Format::ThreeParts => 3,
        }
    }

    /// Elements of 4 bytes of one panel of `k` rows. A panel of [`Format::Bf16`] has its rows in pairs: an element's lower
    /// half is of the first row, its upper half of the second. A panel in parts is one of the rounded numbers and then one of each
    /// further part. A panel of [`Format::Int8`] begins with its columns' scales.
    pub fn panel_len(self, k: usize) -> usize {
        match self {
            Format::F32 => PANEL * k,
            Format::Bf16 | Format::TwoParts | Format::ThreeParts => self.parts() * PANEL * k.div_ceil(2),
            Format::Int8 => PANEL + PANEL / 4 * k,
        }
    }

    /// Elements of 4 bytes of the packed form of a `[k, n]` operand: panels of [`PANEL`] columns, the last one padded
    /// with zeros, each `k` rows of [`PANEL`] weights. A row that makes the last pair whole is zero.
    pub fn packed_len(self, k: usize, n: usize) -> usize {
        n.div_ceil(PANEL) * self.panel_len(k)
    }

    /// A column as a product reads it.
    pub fn round(self, column: &mut [f32]) {
        match self {
            Format::F32 => {}
            Format::Bf16 | Format::TwoParts | Format::ThreeParts => {
                column.iter_mut().for_each(|x| *x = sum_of_parts(*x, self.parts()))
            }
            Format::Int8 => {
                let scale = int8_scale(column.iter().fold(0.0, |most, &x| larger(most, x)));
                column.iter_mut().for_each(|x| *x = int8_value(int8_bits(*x, scale), scale));
            }
        }
    }
}

/// How a module keeps its weights and multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The format of packed weights that no step changes.
    pub weights: Format,
    /// Of the products, where they gain from it.
    pub products: Precision,
}

impl Numbers {
    /// Weights in a format, products in `f32`.
    pub fn weights_in(weights: Format) -> Self {
        Self { weights, ..Self::default() }
    }
}

impl From<Precision> for Format {
    /// The format that operands are rounded to in memory.
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 | Precision::Tf32 => Format::F32,
            Precision::Bf16 => Format::Bf16,
            Precision::Bf16x3 => Format::TwoParts,
            Precision::Bf16x6 => Format::ThreeParts,
        }
    }
}

impl std::str::FromStr for Format {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let mut formats = Format::OF_WEIGHTS.into_iter().chain([Format::TwoParts, Format::ThreeParts]);
        formats.find(|format| format.name() == name).ok_or(())
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// [`Format::Bf16`] of a number.
#[inline(always)]
pub fn bf16_bits(x: f32) -> u16 {
    // Machines that round in one instruction take subnormal numbers for zero.
    let bits = if x.abs() < f32::MIN_POSITIVE { x.to_bits() & 1 << 31 } else { x.to_bits() };
    // The carry of NaN could make it infinite.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let kept = if x.is_nan() { bits | 1 << 22 } else { rounded };
    (kept >> 16) as u16
}

/// The first parts of a number, added up from the last. What is not finite in `bf16` is its own first part.
fn sum_of_parts(x: f32, count: usize) -> f32 {
    let first = bf16_value(bf16_bits(x));
    if count == 1 || !first.is_finite() { first } else { first + sum_of_parts(x - first, count - 1) }
}

#[inline(always)]
pub fn bf16_value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The magnitude of `x` if it is larger than `most`, or NaN: a fold over a column gives what [`int8_scale`] wants.
#[inline(always)]
pub fn larger(most: f32, x: f32) -> f32 {
    let magnitude = x.abs();
    if magnitude <= most || most.is_nan() { most } else { magnitude }
}

/// The scale of a column of this largest magnitude. A column whose scale would not be a normal number is zero.
#[inline(always)]
pub fn int8_scale(most: f32) -> f32 {
    let scale = most / 127.0;
    if scale < f32::MIN_POSITIVE { 0.0 } else { scale }
}

/// [`Format::Int8`] of a number: rounded to nearest, ties to even.
#[inline(always)]
pub fn int8_bits(x: f32, scale: f32) -> i8 {
    // Around this number an f32 has no fraction, so adding it rounds.
    const WHOLE: f32 = 12_582_912.0;
    if scale == 0.0 { 0 } else { ((x / scale + WHOLE) - WHOLE) as i8 }
}

#[inline(always)]
pub fn int8_value(bits: i8, scale: f32) -> f32 {
    f32::from(bits) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_nearest_with_seven_bits_of_fraction() {
        let rounded = |x: f32| bf16_value(bf16_bits(x));
        for x in [0.0, -0.0, 1.0, -2.5, f32::INFINITY, f32::MIN_POSITIVE] {
            assert_eq!(rounded(x).to_bits(), x.to_bits());
        }
        let step = 1.0 / 128.0;
        assert_eq!(rounded(1.0 + 0.5 * step), 1.0, "a tie goes to the even neighbour");
        assert_eq!(rounded(1.0 + 1.5 * step), 1.0 + 2.0 * step);
        assert_eq!(rounded(1.0 + 0.501 * step), 1.0 + step);
        assert_eq!(rounded(f32::MAX), f32::INFINITY);
        assert_eq!(rounded(f32::from_bits(0x807f_ffff)).to_bits(), (-0.0f32).to_bits());
        assert!(rounded(f32::from_bits(0x7f80_0001)).is_nan());
        assert!(rounded(f32::from_bits(0xffff_ffff)).is_nan());
    }

    #[test]
    fn int8_keeps_the_largest_and_errs_by_half_a_step() {
        let mut column: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin() * 0.3).collect();
        let before = column.clone();
        let most = before.iter().fold(0.0, |most, &x| larger(most, x));
        Format::Int8.round(&mut column);
        let step = most / 127.0;
        for (before, after) in before.iter().zip(&column) {
            // Half a step, and the roundings of the division and the product.
            assert!((before - after).abs() <= step * 0.5001, "{before} became {after}");
        }
        assert!(column.iter().any(|x| (x.abs() - most).abs() <= 1e-7 * most));
        assert_eq!(int8_bits(-most, step), -127);
    }

    #[test]
    fn int8_of_columns_without_a_scale() {
        let mut zero = [0.0, -0.0, 1e-40];
        Format::Int8.round(&mut zero);
        assert_eq!(zero, [0.0; 3]);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut column = [1.0, bad, 2.0];
            Format::Int8.round(&mut column);
            assert!(column[1].is_nan(), "{bad} became {column:?}");
        }
    }

    #[test]
    fn panels_have_room_for_their_weights() {
        assert_eq!(Format::F32.packed_len(3, 17), 2 * 16 * 3);
        assert_eq!(4 * Format::Bf16.packed_len(3, 17), 2 * (2 * 16 * 4));
        assert_eq!(4 * Format::Int8.packed_len(3, 17), 2 * (4 * 16 + 16 * 3));
        for format in Format::OF_WEIGHTS {
            assert_eq!(format.name().parse(), Ok(format));
        }
    }
}
