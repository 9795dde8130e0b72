//! How numbers are written into messages, and read out of them.
//!
//! A table of rows most of which are zero, as an embedding's gradient, is written as the rows that are not. Its first four
//! bytes say how many these are, or [`ALL`]; each sender decides for itself, so that both ways have to give the same bits.
//! They do: a row is left out if all of it is +0.0, and adding that changes no sum but -0.0. A sum that started at +0.0 is
//! never -0.0: +0.0 and -0.0 give +0.0, and so do `x` and `-x`; other sums round to zero only where tiny numbers are taken
//! for zero, which the thread that adds does not do.

use lstmc_compiler::kernel::bf16_value;
use zerocopy::IntoBytes;

/// What the numbers of messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    /// Half as many bytes; what rounding takes away is added the next time.
    Bf16,
}

impl Precision {
    /// Of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// What is done with numbers that have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Add,
    Set,
}

/// The nearest bf16, of two the even one. Without a branch, for many numbers at a time. Subnormal numbers stay, which
/// [`lstmc_compiler::kernel::bf16_bits`] takes for zero as machines do that round in one instruction.
pub fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // The carry of NaN could make it infinite.
    let kept = if x.is_nan() { bits | 1 << 22 } else { nearest };
    f32::from_bits(kept & 0xffff_0000)
}

/// In place of the number of rows: all rows follow.
const ALL: u32 = u32::MAX;

/// Writes numbers to the end of a message. With a `row`, they are a table of rows of that width.
/// As bf16, they have to be rounded already.
pub fn write(values: &[f32], row: usize, precision: Precision, message: &mut Vec<u8>) {
    if row == 0 {
        return write_all(values, precision, message);
    }
    let is_written = |values: &[f32]| values.iter().fold(0, |bits, value| bits | value.to_bits()) != 0;
    let rows = || values.chunks_exact(row);
    let (written, all) = (rows().filter(|values| is_written(values)).count(), rows().len());
    if 2 * written > all || u32::try_from(all).is_err() {
        message.extend(ALL.to_ne_bytes());
        return write_all(values, precision, message);
    }
    message.extend((written as u32).to_ne_bytes());
    for (number, _) in rows().enumerate().filter(|(_, values)| is_written(values)) {
        message.extend((number as u32).to_ne_bytes());
    }
    for values in rows().filter(|values| is_written(values)) {
        write_all(values, precision, message);
    }
}

fn write_all(values: &[f32], precision: Precision, message: &mut Vec<u8>) {
    match precision {
        Precision::F32 => message.extend_from_slice(values.as_bytes()),
        Precision::Bf16 => {
            let start = message.len();
            message.resize(start + 2 * values.len(), 0);
            for (bytes, value) in message[start..].chunks_exact_mut(2).zip(values) {
                bytes.copy_from_slice(&((value.to_bits() >> 16) as u16).to_ne_bytes());
            }
        }
    }
}

/// Reads as many numbers as `target` has from the front of a message that [`write`] has made with the same `row` and
/// `precision`, and takes them off it. `None` if the message is not such a one; part of it may have been used then.
pub fn read(
    message: &mut &[u8],
    row: usize,
    precision: Precision,
    target: &mut [f32],
    how: Use,
) -> Option<()> {
    if row == 0 {
        return read_all(message, precision, target, how);
    }
    let count = u32::from_ne_bytes(*message.split_off(..4)?.first_chunk()?);
    if count == ALL {
        return read_all(message, precision, target, how);
    }
    if how == Use::Set {
        target.fill(0.0);
    }
    let (numbers, _) = message.split_off(..(count as usize).checked_mul(4)?)?.as_chunks();
    for &number in numbers {
        let start = (u32::from_ne_bytes(number) as usize).checked_mul(row)?;
        let values = target.get_mut(start..start.checked_add(row)?)?;
        read_all(message, precision, values, how)?;
    }
    Some(())
}

fn read_all(message: &mut &[u8], precision: Precision, target: &mut [f32], how: Use) -> Option<()> {
    let bytes = message.split_off(..target.len() * precision.bytes())?;
    match precision {
        Precision::F32 => take(bytes.as_chunks().0, target, how, f32::from_ne_bytes),
        Precision::Bf16 => {
            take(bytes.as_chunks().0, target, how, |bytes| bf16_value(u16::from_ne_bytes(bytes)))
        }
    }
    Some(())
}

fn take<const N: usize>(bytes: &[[u8; N]], target: &mut [f32], how: Use, number: impl Fn([u8; N]) -> f32) {
    let numbers = bytes.iter().map(|&bytes| number(bytes));
    match how {
        Use::Add => target.iter_mut().zip(numbers).for_each(|(target, number)| *target += number),
        Use::Set => target.iter_mut().zip(numbers).for_each(|(target, number)| *target = number),
    }
}
