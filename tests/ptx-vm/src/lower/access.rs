//! Instructions that touch memory: their qualifiers, addresses and registers.

use super::Lower;
use super::names::Name;
use crate::clocks::Scope;
use crate::module::{Address, Atom, Atomic, Move, Op, Order, Space};
use crate::regs::Class;
use crate::syntax::{Operand, Statement, size_of};

/// What an opcode says beside its name.
#[derive(Debug, Default)]
struct Qualifiers<'t> {
    space: Option<Space>,
    param: bool,
    order: Order,
    count: usize,
    /// What is none of these.
    rest: Vec<&'t str>,
}

impl<'t> Qualifiers<'t> {
    fn of(parts: &[&'t str]) -> Result<Self, String> {
        let mut found = Self { count: 1, ..Self::default() };
        let (mut scope, mut scoped, mut weak) = (None, false, true);
        for &part in parts {
            match part {
                "param" => found.param = true,
                "global" => found.space = Some(Space::Global),
                "const" => found.space = Some(Space::Const),
                "shared" | "shared::cta" => found.space = Some(Space::Shared),
                "shared::cluster" => found.space = Some(Space::Cluster),
                "weak" | "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" => {}
                "volatile" => (weak, scope) = (false, Some(Scope::Gpu)),
                "relaxed" | "acquire" | "release" | "acq_rel" => {
                    (weak, scoped) = (false, true);
                    found.order.acquire = part.starts_with("acq");
                    found.order.release = part.ends_with("rel") || part == "release";
                }
                "cta" => scope = Some(Scope::Cta),
                "cluster" => scope = Some(Scope::Cluster),
                "gpu" | "sys" => scope = Some(Scope::Gpu),
                "nc" => found.order.non_coherent = true,
                "v2" => found.count = 2,
                "v4" => found.count = 4,
                _ if part.starts_with("L1::")
                    || part == "L2::64B"
                    || part == "L2::128B"
                    || part == "L2::256B" => {}
                _ => found.rest.push(part),
            }
        }
        if scoped && scope.is_none() {
            return Err("relaxed, acquire and release want a scope".into());
        }
        if !weak {
            found.order.strong = scope;
        }
        Ok(found)
    }

    fn space(&self) -> Result<Space, String> {
        self.space.ok_or_else(|| "generic addresses are not modelled: say .global or .shared".into())
    }
}

impl<'t> Lower<'t> {
    pub(super) fn address(&mut self, operand: &Operand<'t>, space: Space) -> Result<Address, String> {
        let &Operand::Address { base, offset } = operand else { return Err("an address expected".into()) };
        let class = match self.names.find(base) {
            Some(Name::Register(class @ (Class::Word | Class::Double), _)) => class,
            _ if space == Space::Global || space == Space::Const => Class::Double,
            _ => Class::Word,
        };
        if class == Class::Word && matches!(space, Space::Global | Space::Const) {
            return Err(format!("`{base}` has 32 bits, and addresses have 64"));
        }
        match self.names.find(base) {
            Some(Name::Shared(_) | Name::Dynamic) if !matches!(space, Space::Shared | Space::Cluster) => {
                return Err(format!("`{base}` is in shared memory"));
            }
            Some(Name::Global(_)) if !matches!(space, Space::Global | Space::Const) => {
                return Err(format!("`{base}` is not in shared memory"));
            }
            _ => {}
        }
        let slot = self.names.read(&Operand::Word { text: base, not: false, minus: false }, class)?;
        Ok(Address { space, class, slot, offset })
    }

    fn list<'o>(operand: &'o Operand<'t>, count: usize) -> Result<&'o [Operand<'t>], String> {
        match operand {
            Operand::List(list) if list.len() == count && count > 1 => Ok(list),
            Operand::Word { .. } if count == 1 => Ok(std::slice::from_ref(operand)),
            _ => Err(format!("{count} registers expected")),
        }
    }

    pub(super) fn load(&mut self, statement: &Statement<'t>, parts: &[&'t str]) -> Result<Op, String> {
        let mut found = Qualifiers::of(&parts[1..])?;
        let [ty] = found.rest[..] else { return Err("these qualifiers of ld are not modelled".into()) };
        let bytes = size_of(ty).filter(|&bytes| bytes <= 8).ok_or("ld of this type is not modelled")?;
        let [to, from] = &statement.operands[..] else { return Err("ld has two operands".into()) };
        if found.order.release || found.order.non_coherent && found.space != Some(Space::Global) {
            return Err("ld does not take this qualifier".into());
        }
        let address = if found.param { self.parameter(from)? } else { self.address(from, found.space()?)? };
        let class = Self::class(bytes);
        let mut regs = vec![];
        for register in Self::list(to, found.count)? {
            let (wide, slot) = self.names.write_any(register, class)?;
            if wide.bits() < class.bits() || wide == Class::Pred {
                return Err(format!("a register of {} bits for {} bytes", wide.bits(), bytes));
            }
            regs.push((wide, slot));
        }
        if address.space == Space::Const {
            found.order.non_coherent = false;
        }
        let moved =
            Move { address, order: found.order, bytes: bytes as usize, signed: ty.starts_with('s'), regs };
        Ok(if found.param { Op::Param(moved) } else { Op::Load(moved) })
    }

    fn class(bytes: u64) -> Class {
        match bytes {
            1 | 2 => Class::Half,
            4 => Class::Word,
            _ => Class::Double,
        }
    }

    /// A parameter's place, as an offset with no register.
    fn parameter(&self, operand: &Operand) -> Result<Address, String> {
        let &Operand::Address { base, offset } = operand else { return Err("an address expected".into()) };
        let Some(Name::Parameter(at)) = self.names.find(base) else {
            return Err(format!("there is no parameter `{base}`"));
        };
        Ok(Address { space: Space::Const, class: Class::Word, slot: 0, offset: at + offset })
    }

    pub(super) fn store(&mut self, statement: &Statement<'t>, parts: &[&'t str]) -> Result<Op, String> {
        let found = Qualifiers::of(&parts[1..])?;
        let [ty] = found.rest[..] else { return Err("these qualifiers of st are not modelled".into()) };
        let bytes = size_of(ty).filter(|&bytes| bytes <= 8).ok_or("st of this type is not modelled")?;
        let [to, from] = &statement.operands[..] else { return Err("st has two operands".into()) };
        if found.order.acquire || found.order.non_coherent || found.param {
            return Err("st does not take this qualifier".into());
        }
        let space = found.space()?;
        if space == Space::Const {
            return Err("constant memory is not written".into());
        }
        let address = self.address(to, space)?;
        let mut regs = vec![];
        for register in Self::list(from, found.count)? {
            regs.push(self.names.read_any(register, Self::class(bytes))?);
        }
        Ok(Op::Store(Move { address, order: found.order, bytes: bytes as usize, signed: false, regs }))
    }

    /// `atom`, and `red`, which has no result.
    pub(super) fn atomic(&mut self, statement: &Statement<'t>, parts: &[&'t str]) -> Result<Op, String> {
        let mut found = Qualifiers::of(&parts[1..])?;
        let [op, ty] = found.rest[..] else {
            return Err("these qualifiers of an atomic are not modelled".into());
        };
        if matches!(ty, "f32" | "f64" | "f16" | "f16x2" | "bf16" | "bf16x2") {
            return Ok(Op::FloatAtomic);
        }
        let op = atomic(op).ok_or("this atomic operation is not modelled")?;
        let class = match ty {
            "b32" | "u32" | "s32" => Class::Word,
            "b64" | "u64" | "s64" => Class::Double,
            _ => return Err("atomics of this type are not modelled".into()),
        };
        let bitwise = matches!(op, Atomic::And | Atomic::Or | Atomic::Xor | Atomic::Exch | Atomic::Cas);
        if bitwise != ty.starts_with('b') {
            return Err("this atomic operation does not have this type".into());
        }
        // An atomic is strong; unless it says more it orders nothing.
        found.order.strong = found.order.strong.or(Some(Scope::Gpu));
        let space = found.space()?;
        let (result, operands) = match &statement.operands[..] {
            [to, rest @ ..] if parts[0] == "atom" => (Some(self.names.write(to, class)?), rest),
            rest => (None, rest),
        };
        let (at, operand, second) = match (operands, op) {
            ([at, expected, new], Atomic::Cas) => (at, expected, Some(new)),
            ([at, operand], _) if op != Atomic::Cas => (at, operand, None),
            _ => return Err("this atomic has other operands".into()),
        };
        if result.is_none() && matches!(op, Atomic::Exch | Atomic::Cas) {
            return Err("red does not have this operation".into());
        }
        let address = self.address(at, space)?;
        let operand = self.names.read(operand, class)?;
        let second = second.map(|second| self.names.read(second, class)).transpose()?;
        let signed = ty.starts_with('s');
        Ok(Op::Atom(Atom { address, order: found.order, op, class, signed, result, operand, second }))
    }

    pub(super) fn copy(&mut self, statement: &Statement<'t>, parts: &[&'t str]) -> Result<Op, String> {
        match parts {
            ["cp", "async", "commit_group"] => return Ok(Op::Commit),
            ["cp", "async", "wait_all"] => return Ok(Op::Wait(None)),
            ["cp", "async", "wait_group"] => {
                return match &statement.operands[..] {
                    [Operand::Word { text, not: false, minus: false }] => match text.parse() {
                        Ok(groups) => Ok(Op::Wait(Some(groups))),
                        Err(_) => Err("a number of groups expected".into()),
                    },
                    _ => Err("a number of groups expected".into()),
                };
            }
            ["cp", "async", "ca" | "cg", "shared" | "shared::cta", "global", rest @ ..]
                if rest.iter().all(|part| part.starts_with("L2::") && *part != "L2::cache_hint") => {}
            _ => return Err("this cp is not modelled".into()),
        }
        let (to, from, bytes, taken) = match &statement.operands[..] {
            [to, from, bytes] => (to, from, bytes, None),
            [to, from, bytes, taken] => (to, from, bytes, Some(taken)),
            _ => return Err("cp.async has three or four operands".into()),
        };
        let bytes = match bytes {
            Operand::Word { text: "16", .. } => 16,
            Operand::Word { text: "4", .. } if parts[2] == "ca" => 4,
            Operand::Word { text: "8", .. } if parts[2] == "ca" => 8,
            _ => return Err("cp.async copies 4, 8 or 16 bytes, and .cg only 16".into()),
        };
        let to = self.address(to, Space::Shared)?;
        let from = self.address(from, Space::Global)?;
        let taken = taken.map(|taken| self.names.read(taken, Class::Word)).transpose()?;
        Ok(Op::Copy { to, from, bytes, taken })
    }

    pub(super) fn matrices(&mut self, statement: &Statement<'t>, parts: &[&'t str]) -> Result<Op, String> {
        let (count, transposed) = match parts {
            ["ldmatrix", "sync", "aligned", "m8n8", count, "shared" | "shared::cta", "b16"] => (count, false),
            ["ldmatrix", "sync", "aligned", "m8n8", count, "trans", "shared" | "shared::cta", "b16"] => {
                (count, true)
            }
            _ => return Err("this ldmatrix is not modelled".into()),
        };
        let count = match *count {
            "x1" => 1,
            "x2" => 2,
            "x4" => 4,
            _ => return Err("ldmatrix reads 1, 2 or 4 matrices".into()),
        };
        let [to, from] = &statement.operands[..] else { return Err("ldmatrix has two operands".into()) };
        let list = match to {
            Operand::List(list) if list.len() == count => list,
            _ => return Err(format!("{count} registers expected")),
        };
        let address = self.address(from, Space::Shared)?;
        let regs = list.iter().map(|reg| self.names.write(reg, Class::Word)).collect::<Result<_, _>>()?;
        Ok(Op::Matrices { address, transposed, regs })
    }
}

pub(super) fn atomic(name: &str) -> Option<Atomic> {
    Some(match name {
        "add" => Atomic::Add,
        "min" => Atomic::Min,
        "max" => Atomic::Max,
        "exch" => Atomic::Exch,
        "cas" => Atomic::Cas,
        "and" => Atomic::And,
        "or" => Atomic::Or,
        "xor" => Atomic::Xor,
        "inc" => Atomic::Inc,
        "dec" => Atomic::Dec,
        _ => return None,
    })
}
