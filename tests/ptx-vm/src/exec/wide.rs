//! Instructions in which lanes of a warp exchange registers. Each lane's member mask has to name it, and all that it names
//! have to be there.

use crate::exec::warp::Warp;
use crate::exec::{first, lanes};
use crate::fault::{FaultKind, Halt};
use crate::module::{Atomic, Op, Shuffle, Vote, WINDOW};
use crate::regs::LANES;

pub(super) fn execute(op: &Op, warp: &mut Warp, mask: u32, cluster: u32) -> Result<(), Halt> {
    match *op {
        Op::WarpBarrier { members } => {
            check(warp, mask, members)?;
            warp.clock.tick();
        }
        Op::Shuffle { kind, to, inside, slots, members } => {
            check(warp, mask, members)?;
            shuffle(warp, mask, kind, to, inside, slots)?;
        }
        Op::Vote { kind, to, pred, members } => {
            check(warp, mask, members)?;
            let votes = warp.regs.pred(pred) & mask;
            let mut answers = 0;
            for lane in lanes(mask) {
                let members = warp.regs.words[members as usize][lane];
                let votes = votes & members;
                let answer = match kind {
                    Vote::All => votes == members,
                    Vote::Any => votes != 0,
                    Vote::Uniform => votes == 0 || votes == members,
                    Vote::Ballot => {
                        warp.regs.words[to as usize][lane] = votes;
                        continue;
                    }
                };
                answers |= u32::from(answer) << lane;
            }
            if kind != Vote::Ballot {
                let to = &mut warp.regs.preds[to as usize];
                *to = *to & !mask | answers;
            }
        }
        Op::Reduce { op, signed, to, from, members } => {
            check(warp, mask, members)?;
            let (values, members) = (warp.regs.words[from as usize], warp.regs.words[members as usize]);
            for lane in lanes(mask) {
                let all = lanes(members[lane]).map(|lane| values[lane]);
                let answer = all.reduce(|a, b| match (op, signed) {
                    (Atomic::Min, false) => a.min(b),
                    (Atomic::Min, true) => (a as i32).min(b as i32) as u32,
                    (Atomic::Max, false) => a.max(b),
                    (Atomic::Max, true) => (a as i32).max(b as i32) as u32,
                    (Atomic::And, _) => a & b,
                    (Atomic::Or, _) => a | b,
                    (Atomic::Xor, _) => a ^ b,
                    _ => a.wrapping_add(b),
                });
                warp.regs.words[to as usize][lane] = answer.unwrap_or(0);
            }
        }
        Op::ActiveMask { to } => {
            for lane in lanes(mask) {
                warp.regs.words[to as usize][lane] = mask;
            }
        }
        Op::Map { class, to, from, rank } => {
            for lane in lanes(mask) {
                let rank = warp.regs.words[rank as usize][lane];
                if rank >= cluster {
                    let reason = format!("CTA {rank} of a cluster of {cluster}");
                    return Err(Halt::new(FaultKind::OutOfBounds, reason).at(lane));
                }
                let own = warp.regs.bits(class, from, lane) % WINDOW;
                warp.regs.set_bits(class, to, lane, own + WINDOW * (u64::from(rank) + 1));
            }
        }
        _ => unreachable!("no instruction between lanes"),
    }
    Ok(())
}

/// Whether the lanes that are there are those that each of them names.
fn check(warp: &Warp, mask: u32, members: u32) -> Result<(), Halt> {
    let members = warp.regs.words[members as usize];
    let exists = warp.exists;
    for lane in lanes(mask) {
        let named = members[lane] & exists;
        let reason = if named >> lane & 1 == 0 {
            "is not in its own member mask".to_owned()
        } else if named & !mask != 0 {
            format!("its member mask names lane {}, which is not there", first(named & !mask))
        } else {
            continue;
        };
        return Err(Halt::new(FaultKind::MissingLanes, reason).at(lane));
    }
    Ok(())
}

fn shuffle(
    warp: &mut Warp,
    mask: u32,
    kind: Shuffle,
    to: u32,
    inside: Option<u32>,
    [a, b, c]: [u32; 3],
) -> Result<(), Halt> {
    let [a, b, c] = [a, b, c].map(|slot| warp.regs.words[slot as usize]);
    let mut ins = 0;
    let mut values = [0; LANES];
    for lane in lanes(mask) {
        let (clamp, segment, by) = (c[lane] & 31, c[lane] >> 8 & 31, b[lane] & 31);
        let here = lane as u32;
        let last = here & segment | clamp & !segment;
        let first_of_segment = here & segment;
        let (from, inside) = match kind {
            Shuffle::Up => (here.wrapping_sub(by), here as i32 - by as i32 >= last as i32),
            Shuffle::Down => (here + by, here + by <= last),
            Shuffle::Butterfly => (here ^ by, here ^ by <= last),
            Shuffle::Index => {
                let from = first_of_segment | by & !segment;
                (from, from <= last)
            }
        };
        let from = if inside { from } else { here } as usize;
        if mask >> from & 1 == 0 {
            let reason = format!("shfl reads lane {from}, which is not there");
            return Err(Halt::new(FaultKind::MissingLanes, reason).at(lane));
        }
        values[lane] = a[from];
        ins |= u32::from(inside) << lane;
    }
    for lane in lanes(mask) {
        warp.regs.words[to as usize][lane] = values[lane];
    }
    if let Some(slot) = inside {
        let to = &mut warp.regs.preds[slot as usize];
        *to = *to & !mask | ins;
    }
    Ok(())
}
