//! Loads, stores, atomics and `cp.async`: each lane's address is checked, noted and used.
//!
//! Values are those of one memory that everybody sees at once; that nobody may count on that is the business of
//! [`crate::races`]. A write that releases leaves what its warp knows at its address, and an acquire that reads it
//! takes that; a fence does both for the relaxed accesses around it. Atomics go on with a release that others began.
//! A plain store to such an address does not end it.
//!
//! `cp.async` reads its source at once, and its destination has no value until the copying lane has waited for its group.

use crate::clocks::{Place, Scope};
use crate::exec::warp::{Arriving, Relaxed, Warp};
use crate::exec::{World, first, lanes};
use crate::fault::{FaultKind, Halt};
use crate::module::{Address, Atom, Atomic, Move, Order, SHARED, Space, WINDOW};
use crate::races::Access;
use crate::regs::{Class, Regs};
use crate::{regs, space};

/// Where bytes lie.
#[derive(Clone, Copy, Debug)]
enum Spot {
    Global(usize),
    /// Shared memory of a CTA.
    Shared(u32),
}

fn access<'w>(warp: &'w Warp, place: Place, lane: usize, line: u32, order: &Order) -> Access<'w> {
    Access {
        clock: &warp.clock,
        now: warp.clock.now(),
        place,
        lane: lane as u32,
        line,
        strong: order.strong,
        coherent: !order.non_coherent,
    }
}

impl World<'_> {
    fn line(&self, warp: &Warp) -> u32 {
        self.kernel.code[warp.pc as usize].line
    }

    fn address(regs: &Regs, address: &Address, lane: usize) -> u64 {
        regs.bits(address.class, address.slot, lane).wrapping_add(address.offset as u64)
    }

    /// Where `len` bytes at an address lie.
    #[inline]
    fn locate(
        &mut self,
        warp: &Warp,
        space: Space,
        address: u64,
        len: usize,
        hint: &mut usize,
    ) -> Result<(Spot, usize), Halt> {
        if address & (len as u64 - 1) != 0 {
            let reason = format!("{len} bytes at {address:#x}, which is no multiple of {len}");
            return Err(Halt::new(FaultKind::Misaligned, reason));
        }
        if matches!(space, Space::Global | Space::Const) {
            let (index, at) = self.memory.find(address, len, *hint)?;
            *hint = index;
            return Ok((Spot::Global(index), at));
        }
        let cta = warp.cta;
        let mut owner = cta;
        let (window, at) = (address / WINDOW, (address % WINDOW).wrapping_sub(SHARED));
        if let Some(rank) = window.checked_sub(1) {
            let members = &self.clusters[self.cluster_of[cta as usize] as usize];
            owner = *members.get(rank as usize).ok_or_else(|| outside(address, len, None))?;
            if owner != cta && space == Space::Shared {
                let reason = "an address of another CTA's shared memory wants .shared::cluster";
                return Err(Halt::new(FaultKind::OutOfBounds, reason));
            }
        }
        if owner != cta && !self.has_begun(warp, owner) {
            let reason = format!("nothing says that CTA {owner}, whose shared memory it is, has begun");
            return Err(Halt::new(FaultKind::Race, reason));
        }
        let Some(there) = &mut self.ctas[owner as usize] else {
            let reason = format!("shared memory of CTA {owner}, which is not running");
            return Err(Halt::new(FaultKind::OutOfBounds, reason));
        };
        let size = there.shared.bytes.len() as u64;
        if at > size || at + len as u64 > size {
            return Err(outside(address, len, Some(size)));
        }
        there.visited |= owner != cta;
        Ok((Spot::Shared(owner), at as usize))
    }

    /// Whether something that another CTA has done is ordered before now.
    fn has_begun(&self, warp: &Warp, cta: u32) -> bool {
        let count = warp.clock.count();
        (cta * count..(cta + 1) * count).any(|other| warp.clock.knows(other) > 0)
    }

    #[inline]
    fn space(&mut self, spot: Spot) -> &mut space::Space {
        match spot {
            Spot::Global(index) => &mut self.memory.allocations[index].space,
            Spot::Shared(cta) => match &mut self.ctas[cta as usize] {
                Some(cta) => &mut cta.shared,
                None => unreachable!("was found running"),
            },
        }
    }

    /// What names an address in the table of releases.
    fn key(&self, spot: Spot, at: usize) -> u64 {
        match spot {
            Spot::Global(index) => self.memory.allocations[index].base + at as u64,
            Spot::Shared(cta) => 1 << 63 | u64::from(cta) << 32 | at as u64,
        }
    }

    pub(super) fn parameter(&mut self, warp: &mut Warp, param: &Move, mask: u32) -> Result<(), Halt> {
        for (i, &(class, slot)) in param.regs.iter().enumerate() {
            let at = param.address.offset as usize + i * param.bytes;
            let Some(bytes) = self.parameters.get(at..at + param.bytes) else {
                return Err(Halt::new(FaultKind::OutOfBounds, "reads past the parameters").at(first(mask)));
            };
            let value = extend(bytes, param.signed);
            for lane in lanes(mask) {
                warp.regs.set_bits(class, slot, lane, value);
            }
        }
        Ok(())
    }

    /// The one piece of memory that an access most likely lies in, with the address that it begins at, and how long it is.
    fn likely(&mut self, warp: &Warp, address: &Address, mask: u32) -> Option<(&mut space::Space, u64, u64)> {
        if address.space == Space::Shared {
            let cta = self.ctas[warp.cta as usize].as_mut()?;
            let len = cta.shared.bytes.len() as u64;
            return Some((&mut cta.shared, SHARED, len));
        }
        if address.space == Space::Cluster {
            return None;
        }
        let (index, _) = self.memory.find(Self::address(&warp.regs, address, first(mask)), 1, 0).ok()?;
        let there = &mut self.memory.allocations[index];
        Some((&mut there.space, there.base, there.len as u64)).filter(|_| !there.constant)
    }

    pub(super) fn load(&mut self, warp: &mut Warp, load: &Move, mask: u32) -> Result<(), Halt> {
        match load.bytes * load.regs.len() {
            1 => self.load_of::<1>(warp, load, mask),
            2 => self.load_of::<2>(warp, load, mask),
            4 => self.load_of::<4>(warp, load, mask),
            8 => self.load_of::<8>(warp, load, mask),
            16 => self.load_of::<16>(warp, load, mask),
            _ => self.load_of::<32>(warp, load, mask),
        }
    }

    fn load_of<const N: usize>(&mut self, warp: &mut Warp, load: &Move, mask: u32) -> Result<(), Halt> {
        let (line, place) = (self.line(warp), self.place(warp.cta));
        let mut left = mask;
        if load.order.strong.is_none()
            && let Some((space, base, size)) = self.likely(warp, &load.address, mask)
        {
            for lane in lanes(mask) {
                let at = Self::address(&warp.regs, &load.address, lane).wrapping_sub(base);
                if at & (N as u64 - 1) != 0 || at > size || at + N as u64 > size {
                    continue;
                }
                let at = at as usize;
                let access = access(warp, place, lane, line, &load.order);
                let bytes = space.take::<N>(at, &access).map_err(|halt| halt.at(lane))?;
                fill(&mut warp.regs, load, lane, &bytes);
                left &= !(1 << lane);
            }
        }
        let mut hint = 0;
        for lane in lanes(left) {
            let address = Self::address(&warp.regs, &load.address, lane);
            let found = self.locate(warp, load.address.space, address, N, &mut hint);
            let (spot, at) = found.map_err(|halt| halt.at(lane))?;
            let access = access(warp, place, lane, line, &load.order);
            let bytes = self.space(spot).take::<N>(at, &access).map_err(|halt| halt.at(lane))?;
            fill(&mut warp.regs, load, lane, &bytes);
            if let Some(scope) = load.order.strong {
                self.acquired(warp, spot, at, scope, load.order.acquire);
            }
        }
        Ok(())
    }

    pub(super) fn store(&mut self, warp: &mut Warp, store: &Move, mask: u32) -> Result<(), Halt> {
        match store.bytes * store.regs.len() {
            1 => self.store_of::<1>(warp, store, mask),
            2 => self.store_of::<2>(warp, store, mask),
            4 => self.store_of::<4>(warp, store, mask),
            8 => self.store_of::<8>(warp, store, mask),
            16 => self.store_of::<16>(warp, store, mask),
            _ => self.store_of::<32>(warp, store, mask),
        }
    }

    fn store_of<const N: usize>(&mut self, warp: &mut Warp, store: &Move, mask: u32) -> Result<(), Halt> {
        let (line, place) = (self.line(warp), self.place(warp.cta));
        let mut left = mask;
        if store.order.strong.is_none()
            && let Some((space, base, size)) = self.likely(warp, &store.address, mask)
        {
            for lane in lanes(mask) {
                let at = Self::address(&warp.regs, &store.address, lane).wrapping_sub(base);
                if at & (N as u64 - 1) != 0 || at > size || at + N as u64 > size {
                    continue;
                }
                let bytes = gather::<N>(&warp.regs, store, lane);
                let access = access(warp, place, lane, line, &store.order);
                space.give::<N>(at as usize, &bytes, &access).map_err(|halt| halt.at(lane))?;
                left &= !(1 << lane);
            }
        }
        let mut hint = 0;
        for lane in lanes(left) {
            let address = Self::address(&warp.regs, &store.address, lane);
            let found = self.locate(warp, store.address.space, address, N, &mut hint);
            let (spot, at) = found.map_err(|halt| halt.at(lane))?;
            if let Spot::Global(index) = spot
                && self.memory.allocations[index].constant
            {
                return Err(Halt::new(FaultKind::OutOfBounds, "writes constant memory").at(lane));
            }
            let bytes = gather::<N>(&warp.regs, store, lane);
            let access = access(warp, place, lane, line, &store.order);
            self.space(spot).give::<N>(at, &bytes, &access).map_err(|halt| halt.at(lane))?;
            if let Some(scope) = store.order.strong {
                let key = self.key(spot, at);
                self.released.remove(&key);
                self.release(warp, key, scope, store.order.release);
            }
        }
        if store.order.release {
            warp.clock.tick();
        }
        self.progress = self.instructions;
        Ok(())
    }

    /// A strong write leaves what it releases, or what a fence before it has.
    fn release(&mut self, warp: &Warp, key: u64, scope: Scope, release: bool) {
        if release {
            self.released.entry(key).or_default().add(scope, warp.cta, warp.clock.knowledge());
        } else if let Some((fence, knowledge)) = &warp.fence {
            self.released.entry(key).or_default().add(scope.min(*fence), warp.cta, knowledge.clone());
        }
    }

    /// A strong read takes what was released, or keeps it for a fence.
    fn acquired(&mut self, warp: &mut Warp, spot: Spot, at: usize, scope: Scope, acquire: bool) {
        let key = self.key(spot, at);
        let Some(released) = self.released.get(&key) else { return };
        if !acquire {
            warp.relaxed.retain(|one| one.key != key);
            warp.relaxed.push(Relaxed { key, scope, released: released.clone() });
            return;
        }
        let seen = released.seen(scope, self.place(warp.cta), |cta| self.cluster_of[cta as usize]);
        if let Some(knowledge) = seen
            && !warp.learnt.as_ref().is_some_and(|learnt| std::rc::Rc::ptr_eq(learnt, &knowledge))
        {
            warp.clock.learn(&knowledge);
            warp.learnt = Some(knowledge);
        }
    }

    pub(super) fn atomic(&mut self, warp: &mut Warp, atom: &Atom, mask: u32) -> Result<(), Halt> {
        let (line, place) = (self.line(warp), self.place(warp.cta));
        let len = if atom.class == Class::Double { 8 } else { 4 };
        let scope = atom.order.strong.unwrap_or(Scope::Gpu);
        let mut hint = 0;
        // Which lane comes first is nobody's to know.
        let start = self.rng.below(regs::LANES);
        for lane in (0..regs::LANES).map(|lane| (lane + start) % regs::LANES) {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let address = Self::address(&warp.regs, &atom.address, lane);
            let found = self.locate(warp, atom.address.space, address, len, &mut hint);
            let (spot, at) = found.map_err(|halt| halt.at(lane))?;
            let operand = warp.regs.bits(atom.class, atom.operand, lane);
            let second = atom.second.map_or(0, |slot| warp.regs.bits(atom.class, slot, lane));
            let access = access(warp, place, lane, line, &atom.order);
            let space = self.space(spot);
            space.readable(at, len).map_err(|halt| halt.at(lane))?;
            let old = extend(&space.bytes[at..at + len], false);
            let new = combine(atom.op, atom.signed, len, old, operand, second);
            space.write(at, &new.to_le_bytes()[..len], &access).map_err(|halt| halt.at(lane))?;
            if old != new {
                self.progress = self.instructions;
            }
            if let Some(slot) = atom.result {
                warp.regs.set_bits(atom.class, slot, lane, old);
                self.acquired(warp, spot, at, scope, atom.order.acquire);
            }
            let key = self.key(spot, at);
            self.release(warp, key, scope, atom.order.release);
        }
        if atom.order.release {
            warp.clock.tick();
        }
        Ok(())
    }

    pub(super) fn copy(
        &mut self,
        warp: &mut Warp,
        [to, from]: [&Address; 2],
        len: usize,
        taken: Option<u32>,
        mask: u32,
    ) -> Result<(), Halt> {
        let (line, place) = (self.line(warp), self.place(warp.cta));
        let mut hint = 0;
        for lane in lanes(mask) {
            let taken = taken.map_or(len, |slot| warp.regs.words[slot as usize][lane] as usize);
            if taken > len {
                return Err(Halt::new(FaultKind::Undefined, "cp.async reads more than it writes").at(lane));
            }
            let mut bytes = [0; 16];
            let access = access(warp, place, lane, line, &Order::default());
            let mut start = || -> Result<usize, Halt> {
                let source = Self::address(&warp.regs, from, lane);
                if taken > 0 {
                    if source & (len as u64 - 1) != 0 {
                        return Err(Halt::new(
                            FaultKind::Misaligned,
                            format!("cp.async of {len} bytes from {source:#x}"),
                        ));
                    }
                    let (index, at) = self.memory.find(source, taken, hint)?;
                    hint = index;
                    let space = self.space(Spot::Global(index));
                    space.read(at, taken, &access)?;
                    bytes[..taken].copy_from_slice(&space.bytes[at..at + taken]);
                }
                let destination = Self::address(&warp.regs, to, lane);
                let (spot, at) = self.locate(warp, to.space, destination, len, &mut 0)?;
                self.space(spot).begin_write(at, len, &access)?;
                Ok(at)
            };
            let at = start().map_err(|halt| halt.at(lane))?;
            warp.arriving.push(Arriving { lane, group: warp.committed[lane], at, bytes, len });
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, warp: &mut Warp, groups: Option<u32>, mask: u32) -> Result<(), Halt> {
        let (line, place) = (self.line(warp), self.place(warp.cta));
        let all = std::mem::take(&mut warp.arriving);
        for one in all {
            let committed = warp.committed[one.lane];
            let arrived = groups.is_none_or(|groups| one.group + groups < committed);
            if mask >> one.lane & 1 == 0 || !arrived {
                warp.arriving.push(one);
                continue;
            }
            let access = access(warp, place, one.lane, line, &Order::default());
            let space = self.space(Spot::Shared(warp.cta));
            space.end_write(one.at, &one.bytes[..one.len], &access).map_err(|halt| halt.at(one.lane))?;
        }
        self.progress = self.instructions;
        Ok(())
    }

    pub(super) fn matrices(
        &mut self,
        warp: &mut Warp,
        address: &Address,
        transposed: bool,
        regs: &[u32],
    ) -> Result<(), Halt> {
        let (line, place) = (self.line(warp), self.place(warp.cta));
        for (number, &to) in regs.iter().enumerate() {
            let mut matrix = [[0u16; 8]; 8];
            for (row, values) in matrix.iter_mut().enumerate() {
                let lane = 8 * number + row;
                let from = Self::address(&warp.regs, address, lane);
                let (spot, at) =
                    self.locate(warp, Space::Shared, from, 16, &mut 0).map_err(|halt| halt.at(lane))?;
                let access = access(warp, place, lane, line, &Order::default());
                let space = self.space(spot);
                space.read(at, 16, &access).map_err(|halt| halt.at(lane))?;
                for (value, bytes) in values.iter_mut().zip(space.bytes[at..].chunks(2)) {
                    *value = u16::from_le_bytes([bytes[0], bytes[1]]);
                }
            }
            for lane in 0..regs::LANES {
                let (major, minor) = (lane / 4, 2 * (lane % 4));
                let (low, high) = if transposed {
                    (matrix[minor][major], matrix[minor + 1][major])
                } else {
                    (matrix[major][minor], matrix[major][minor + 1])
                };
                warp.regs.words[to as usize][lane] = u32::from(high) << 16 | u32::from(low);
            }
        }
        Ok(())
    }
}

/// Into the registers of a load.
#[inline]
fn fill<const N: usize>(regs: &mut Regs, load: &Move, lane: usize, bytes: &[u8; N]) {
    for (&(class, slot), bytes) in load.regs.iter().zip(bytes.chunks_exact(load.bytes)) {
        regs.set_bits(class, slot, lane, extend(bytes, load.signed));
    }
}

/// From the registers of a store.
#[inline]
fn gather<const N: usize>(regs: &Regs, store: &Move, lane: usize) -> [u8; N] {
    let mut bytes = [0; N];
    for (&(class, slot), to) in store.regs.iter().zip(bytes.chunks_exact_mut(store.bytes)) {
        to.copy_from_slice(&regs.bits(class, slot, lane).to_le_bytes()[..store.bytes]);
    }
    bytes
}

#[cold]
fn outside(address: u64, len: usize, size: Option<u64>) -> Halt {
    let reason = match size {
        Some(size) => {
            format!("{len} bytes at {address:#x} of shared memory, which has {size} from {SHARED:#x} on")
        }
        None => format!("{len} bytes at {address:#x}, which is in no CTA of the cluster"),
    };
    Halt::new(FaultKind::OutOfBounds, reason)
}

#[inline]
fn extend(bytes: &[u8], signed: bool) -> u64 {
    if let &[a, b, c, d] = bytes
        && !signed
    {
        return u32::from_le_bytes([a, b, c, d]).into();
    }
    let mut whole = [0; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    let value = u64::from_le_bytes(whole);
    let up = 64 - 8 * bytes.len() as u32;
    if signed { ((value << up) as i64 >> up) as u64 } else { value }
}

fn combine(op: Atomic, signed: bool, len: usize, old: u64, operand: u64, second: u64) -> u64 {
    let up = 64 - 8 * len as u32;
    let number = |value: u64| (value << up) as i64;
    let less = if signed { number(operand) < number(old) } else { operand < old };
    match op {
        Atomic::Add => old.wrapping_add(operand) << up >> up,
        Atomic::Min => {
            if less {
                operand
            } else {
                old
            }
        }
        Atomic::Max => {
            if less {
                old
            } else {
                operand
            }
        }
        Atomic::Exch => operand,
        Atomic::Cas => {
            if old == operand {
                second
            } else {
                old
            }
        }
        Atomic::And => old & operand,
        Atomic::Or => old | operand,
        Atomic::Xor => old ^ operand,
        Atomic::Inc => {
            if old >= operand {
                0
            } else {
                old + 1
            }
        }
        Atomic::Dec => {
            if old == 0 || old > operand {
                operand
            } else {
                old - 1
            }
        }
    }
}
