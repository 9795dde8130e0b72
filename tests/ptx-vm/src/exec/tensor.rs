//! `mma.sync`: D = A B + C on tiles of 16 x 8, with fragments as the ISA lays them out.
//!
//! With g = lane / 4 and t = lane % 4:
//!
//! | | tf32 (a word is an element) | bf16 (a word is two, the first below) |
//! |---|---|---|
//! | A, word w | row g + 8 (w % 2), column t + 4 (w / 2) | row g + 8 (w % 2), columns 2t + 8 (w / 2) and the next |
//! | B, word w | row t + 4 w, column g | rows 2t + 8 w and the next, column g |
//! | C and D, word w | row g + 8 (w / 2), column 2t + w % 2 | the same |
//!
//! Of a tf32 operand the tensor cores see 10 bits of fraction. One that has more has not been rounded, which is a fault;
//! where a machine `cuts_tf32`, the rest is dropped as on a GPU. Products are exact;
//! they and C are summed in `f64` by ascending depth and rounded once. A GPU sums in another order with fewer bits
//! to spare, so that nothing may depend on the last bit.

use crate::alu::round::{NAN, as_tf32, from_bf16};
use crate::fault::{FaultKind, Halt};
use crate::module::Tile;
use crate::regs::{LANES, Regs};

/// Whether operands of tf32 have no bits that would be dropped.
pub(super) fn rounded(regs: &Regs, tile: Tile, operands: [&[u32]; 2]) -> Result<(), Halt> {
    if !matches!(tile, Tile::Tf32 { .. }) {
        return Ok(());
    }
    for &slot in operands.into_iter().flatten() {
        let words = &regs.words[slot as usize];
        if let Some(lane) =
            words.iter().position(|&word| word & 0x1fff != 0 && !f32::from_bits(word).is_nan())
        {
            let reason = format!("{:#010x} is no tf32: it has not been rounded by cvt.rna", words[lane]);
            return Err(Halt::new(FaultKind::Unrounded, reason).at(lane));
        }
    }
    Ok(())
}

pub(super) fn product(regs: &mut Regs, tile: Tile, d: &[u32; 4], a: &[u32], b: &[u32], c: &[u32; 4]) {
    let mut left = [[0f64; 16]; 16];
    // By rows too.
    let mut right = [[0f64; 8]; 16];
    let word = |slot: u32, lane: usize| regs.words[slot as usize][lane];
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        match tile {
            Tile::Tf32 { .. } => {
                for (w, &slot) in a.iter().enumerate() {
                    left[g + 8 * (w % 2)][t + 4 * (w / 2)] = as_tf32(word(slot, lane)).into();
                }
                for (w, &slot) in b.iter().enumerate() {
                    right[t + 4 * w][g] = as_tf32(word(slot, lane)).into();
                }
            }
            Tile::Bf16 { .. } => {
                let halves =
                    |word: u32| [word as u16, (word >> 16) as u16].map(|half| f64::from(from_bf16(half)));
                for (w, &slot) in a.iter().enumerate() {
                    let at = 2 * t + 8 * (w / 2);
                    left[g + 8 * (w % 2)][at..at + 2].copy_from_slice(&halves(word(slot, lane)));
                }
                for (w, &slot) in b.iter().enumerate() {
                    let at = 2 * t + 8 * w;
                    [right[at][g], right[at + 1][g]] = halves(word(slot, lane));
                }
            }
        }
    }
    let (Tile::Tf32 { depth } | Tile::Bf16 { depth }) = tile;
    let mut sums = [[0f64; 8]; 16];
    for (left, sums) in left.iter().zip(&mut sums) {
        for (x, right) in left[..depth].iter().zip(&right) {
            for (sum, y) in sums.iter_mut().zip(right) {
                *sum += x * y;
            }
        }
    }
    for lane in 0..LANES {
        let (g, t) = (lane / 4, lane % 4);
        let new: [u32; 4] = std::array::from_fn(|w| {
            let before = f32::from_bits(regs.words[c[w] as usize][lane]);
            let value = (sums[g + 8 * (w / 2)][2 * t + w % 2] + f64::from(before)) as f32;
            if value.is_nan() { NAN } else { value.to_bits() }
        });
        for (&slot, new) in d.iter().zip(new) {
            regs.words[slot as usize][lane] = new;
        }
    }
}
