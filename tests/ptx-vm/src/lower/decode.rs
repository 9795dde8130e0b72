//! What each opcode does.

use super::Lower;
use super::access::atomic;
use crate::alu::{self, Alu, Run, Slots};
use crate::clocks::Scope;
use crate::module::{Atomic, Op, Shuffle, Tile, Vote};
use crate::regs::{Class, LANES};
use crate::syntax::{Operand, Statement};

pub(super) fn decode<'t>(lower: &mut Lower<'t>, statement: &Statement<'t>) -> Result<Op, String> {
    let parts = statement.parts();
    let operands = &statement.operands[..];
    match (&parts[..], operands) {
        (["ld", ..], _) => lower.load(statement, &parts),
        (["st", ..], _) => lower.store(statement, &parts),
        (["atom" | "red", ..], _) => lower.atomic(statement, &parts),
        (["cp", ..], _) => lower.copy(statement, &parts),
        (["ldmatrix", ..], _) => lower.matrices(statement, &parts),
        (["mma", ..], _) => product(lower, statement, &parts),
        (["bra"] | ["bra", "uni"], &[Operand::Word { text, not: false, minus: false }]) => {
            lower.branches.push((lower.code.len(), text, lower.names.now()));
            Ok(Op::Branch(0))
        }
        (["ret"] | ["ret", "uni"] | ["exit"], []) => Ok(Op::Exit),
        (["trap"], []) => Ok(Op::Trap),
        (["nanosleep", "u32"], [time]) => lower.names.read(time, Class::Word).map(|_| Op::Nothing),
        (["prefetch", "global", "L1" | "L2"], [at]) => {
            lower.address(at, crate::module::Space::Global).map(|_| Op::Nothing)
        }
        (["bar", "warp", "sync"], [members]) => {
            Ok(Op::WarpBarrier { members: lower.names.read(members, Class::Word)? })
        }
        (["barrier", "cluster", ..], []) => cluster(&parts[2..]),
        (["bar" | "barrier", rest @ ..], [id, threads @ ..]) if threads.len() < 2 => {
            let wait = match rest {
                ["sync"] | ["cta", "sync"] | ["sync", "aligned"] | ["cta", "sync", "aligned"] => true,
                ["arrive"] | ["cta", "arrive"] | ["arrive", "aligned"] if threads.len() == 1 => false,
                _ => return Err(unknown(statement)),
            };
            let threads =
                threads.first().map(|threads| lower.names.read(threads, Class::Word)).transpose()?;
            Ok(Op::Barrier { id: lower.names.read(id, Class::Word)?, threads, wait })
        }
        (["membar", "cta"], []) => Ok(Op::Fence(Scope::Cta)),
        (["membar", "gl" | "sys"], []) => Ok(Op::Fence(Scope::Gpu)),
        (["fence", scope] | ["fence", "sc" | "acq_rel", scope], []) => Ok(Op::Fence(match *scope {
            "cta" => Scope::Cta,
            "cluster" => Scope::Cluster,
            "gpu" | "sys" => Scope::Gpu,
            _ => return Err(unknown(statement)),
        })),
        (["shfl", "sync", kind, "b32"], [to, a, b, c, members]) => {
            shuffle(lower, kind, to, [a, b, c], members)
        }
        (["vote", "sync", kind, ty], [to, pred, members]) => {
            let (kind, class) = match (*kind, *ty) {
                ("all", "pred") => (Vote::All, Class::Pred),
                ("any", "pred") => (Vote::Any, Class::Pred),
                ("uni", "pred") => (Vote::Uniform, Class::Pred),
                ("ballot", "b32") => (Vote::Ballot, Class::Word),
                _ => return Err(unknown(statement)),
            };
            let pred = lower.names.read(pred, Class::Pred)?;
            let members = lower.names.read(members, Class::Word)?;
            Ok(Op::Vote { kind, to: lower.names.write(to, class)?, pred, members })
        }
        (["redux", "sync", op, ty @ ("u32" | "s32" | "b32")], [to, from, members]) => {
            let op = atomic(op).ok_or_else(|| unknown(statement))?;
            let bitwise = matches!(op, Atomic::And | Atomic::Or | Atomic::Xor);
            if matches!(op, Atomic::Exch | Atomic::Cas | Atomic::Inc | Atomic::Dec)
                || bitwise != (*ty == "b32")
            {
                return Err(unknown(statement));
            }
            let from = lower.names.read(from, Class::Word)?;
            let members = lower.names.read(members, Class::Word)?;
            Ok(Op::Reduce {
                op,
                signed: *ty == "s32",
                to: lower.names.write(to, Class::Word)?,
                from,
                members,
            })
        }
        (["activemask", "b32"], [to]) => Ok(Op::ActiveMask { to: lower.names.write(to, Class::Word)? }),
        (["mapa", "shared::cluster", ty @ ("u32" | "u64")], [to, from, rank]) => {
            let class = if *ty == "u32" { Class::Word } else { Class::Double };
            let from = lower.names.read(from, class)?;
            let rank = lower.names.read(rank, Class::Word)?;
            Ok(Op::Map { class, to: lower.names.write(to, class)?, from, rank })
        }
        (["mov", ty], [to, Operand::List(list)]) => pack(lower, ty, to, list),
        (["mov", ty], [Operand::List(list), from]) => unpack(lower, ty, list, from),
        (["cvt", rest @ ..], [to, from]) => conversion(lower, statement, rest, to, from),
        (["cvt", rest @ ..], [_, _, _]) => computed(lower, statement, alu::pack(rest), operands),
        (["lop3", ..], [rest @ .., Operand::Word { text, .. }]) => {
            let lut = crate::text::integer(text).and_then(|lut| u8::try_from(lut).ok());
            computed(lower, statement, alu::find(&parts, lut), rest)
        }
        _ => computed(lower, statement, alu::find(&parts, None), operands),
    }
}

fn unknown(statement: &Statement) -> String {
    format!("`{}` with {} operands is not modelled", statement.opcode, statement.operands.len())
}

fn computed<'t>(
    lower: &mut Lower<'t>,
    statement: &Statement<'t>,
    alu: Option<Alu>,
    operands: &[Operand<'t>],
) -> Result<Op, String> {
    let Alu { run, result, operands: classes } = alu.ok_or_else(|| unknown(statement))?;
    if operands.len() != 1 + classes.len() {
        return Err(unknown(statement));
    }
    let mut slots: Slots = [0; 6];
    for ((slot, operand), &class) in slots[1..].iter_mut().zip(&operands[1..]).zip(&classes) {
        *slot = lower.names.read(operand, class)?;
    }
    slots[0] = lower.names.write(&operands[0], result)?;
    Ok(Op::Alu(run, slots))
}

fn conversion<'t>(
    lower: &mut Lower<'t>,
    statement: &Statement<'t>,
    parts: &[&'t str],
    to: &Operand<'t>,
    from: &Operand<'t>,
) -> Result<Op, String> {
    let bits = |ty: &str| match ty {
        "tf32" => Some(Class::Word),
        _ => crate::syntax::size_of(ty).map(|bytes| match bytes {
            1 | 2 => Class::Half,
            4 => Class::Word,
            _ => Class::Double,
        }),
    };
    let [.., to_type, from_type] = parts else { return Err(unknown(statement)) };
    let (Some(to_least), Some(from_least)) = (bits(to_type), bits(from_type)) else {
        return Err(unknown(statement));
    };
    let (from_class, from) = lower.names.read_any(from, from_least)?;
    let (to_class, to) = lower.names.write_any(to, to_least)?;
    let alu = alu::convert(parts, to_class, from_class).ok_or_else(|| unknown(statement))?;
    let fits = |found: Class, wanted: Class| {
        found == wanted || found.file() == wanted.file() && found != Class::Half
    };
    if !fits(to_class, alu.result) || !fits(from_class, alu.operands[0]) || to_class.bits() < to_least.bits()
    {
        return Err("a register of another width expected".into());
    }
    Ok(Op::Alu(alu.run, [to, from, 0, 0, 0, 0]))
}

/// How wide each of `count` parts of a type is.
fn part_class(ty: &str, count: usize) -> Option<(Class, Class)> {
    Some(match (ty, count) {
        ("b32", 2) => (Class::Word, Class::Half),
        ("b64", 2) => (Class::Double, Class::Word),
        ("b64", 4) => (Class::Double, Class::Half),
        _ => return None,
    })
}

fn pack<'t>(lower: &mut Lower<'t>, ty: &str, to: &Operand<'t>, list: &[Operand<'t>]) -> Result<Op, String> {
    let (whole, part) = part_class(ty, list.len()).ok_or("this mov is not modelled")?;
    let mut slots: Slots = [0; 6];
    for (slot, operand) in slots[1..].iter_mut().zip(list) {
        *slot = lower.names.read(operand, part)?;
    }
    slots[0] = lower.names.write(to, whole)?;
    let count = list.len();
    let run: Run = Box::new(move |regs, slots, mask| {
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let bits = (0..count).fold(0, |bits, i| {
                let value = regs.bits(part, slots[1 + i], lane) & ((1 << part.bits()) - 1);
                bits | value << (i as u32 * part.bits())
            });
            regs.set_bits(whole, slots[0], lane, bits);
        }
    });
    Ok(Op::Alu(run, slots))
}

fn unpack<'t>(
    lower: &mut Lower<'t>,
    ty: &str,
    list: &[Operand<'t>],
    from: &Operand<'t>,
) -> Result<Op, String> {
    let (whole, part) = part_class(ty, list.len()).ok_or("this mov is not modelled")?;
    let mut slots: Slots = [0; 6];
    slots[0] = lower.names.read(from, whole)?;
    for (slot, operand) in slots[1..].iter_mut().zip(list) {
        *slot = lower.names.write(operand, part)?;
    }
    let count = list.len();
    let run: Run = Box::new(move |regs, slots, mask| {
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            let bits = regs.bits(whole, slots[0], lane);
            for i in 0..count {
                regs.set_bits(part, slots[1 + i], lane, bits >> (i as u32 * part.bits()));
            }
        }
    });
    Ok(Op::Alu(run, slots))
}

fn shuffle<'t>(
    lower: &mut Lower<'t>,
    kind: &str,
    to: &Operand<'t>,
    from: [&Operand<'t>; 3],
    members: &Operand<'t>,
) -> Result<Op, String> {
    let kind = match kind {
        "up" => Shuffle::Up,
        "down" => Shuffle::Down,
        "bfly" => Shuffle::Butterfly,
        "idx" => Shuffle::Index,
        _ => return Err("this shfl is not modelled".into()),
    };
    let mut slots = [0; 3];
    for (slot, operand) in slots.iter_mut().zip(from) {
        *slot = lower.names.read(operand, Class::Word)?;
    }
    let members = lower.names.read(members, Class::Word)?;
    let word = |text| Operand::Word { text, not: false, minus: false };
    let (to, inside) = match to {
        &Operand::Pair(to, inside) => (word(to), Some(lower.names.write(&word(inside), Class::Pred)?)),
        _ => (to.clone(), None),
    };
    Ok(Op::Shuffle { kind, to: lower.names.write(&to, Class::Word)?, inside, slots, members })
}

fn cluster(parts: &[&str]) -> Result<Op, String> {
    let parts = parts.strip_suffix(&["aligned"]).unwrap_or(parts);
    Ok(match parts {
        ["arrive"] | ["arrive", "release"] => Op::ClusterArrive { release: true },
        ["arrive", "relaxed"] => Op::ClusterArrive { release: false },
        ["wait"] | ["wait", "acquire"] => Op::ClusterWait,
        _ => return Err("this barrier.cluster is not modelled".into()),
    })
}

fn product<'t>(lower: &mut Lower<'t>, statement: &Statement<'t>, parts: &[&str]) -> Result<Op, String> {
    let ["mma", "sync", "aligned", shape, "row", "col", "f32", ty, same, "f32"] = parts else {
        return Err(unknown(statement));
    };
    let (tile, a_count, b_count) = match (*shape, *ty) {
        ("m16n8k4", "tf32") => (Tile::Tf32 { depth: 4 }, 2, 1),
        ("m16n8k8", "tf32") => (Tile::Tf32 { depth: 8 }, 4, 2),
        ("m16n8k8", "bf16") => (Tile::Bf16 { depth: 8 }, 2, 1),
        ("m16n8k16", "bf16") => (Tile::Bf16 { depth: 16 }, 4, 2),
        _ => return Err(unknown(statement)),
    };
    if ty != same {
        return Err(unknown(statement));
    }
    let [d, a, b, c] = &statement.operands[..] else { return Err(unknown(statement)) };
    let mut read = |operand: &Operand<'t>, count: usize| -> Result<Vec<u32>, String> {
        match operand {
            Operand::List(list) if list.len() == count => {
                list.iter().map(|one| lower.names.read(one, Class::Word)).collect()
            }
            _ => Err(format!("{count} registers expected")),
        }
    };
    let (a, b, c) = (read(a, a_count)?, read(b, b_count)?, read(c, 4)?);
    let Operand::List(list) = d else { return Err("4 registers expected".into()) };
    let d: Vec<u32> = list.iter().map(|one| lower.names.write(one, Class::Word)).collect::<Result<_, _>>()?;
    let four = |slots: Vec<u32>| <[u32; 4]>::try_from(slots).map_err(|_| "4 registers expected".to_owned());
    Ok(Op::Product { tile, d: four(d)?, a, b, c: four(c)? })
}
