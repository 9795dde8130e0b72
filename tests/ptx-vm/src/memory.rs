//! Global memory: allocations far apart, so that an address past the end of one is in none.

use crate::fault::{FaultKind, Halt};
use crate::space::{Space, UNWRITTEN, WRITTEN};

const FIRST: u64 = 0x7_0000_0000;
const GAP: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    pub base: u64,
    pub len: usize,
    pub space: Space,
    pub constant: bool,
}

/// Allocations, in order of their addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub allocations: Vec<Allocation>,
}

impl Memory {
    pub fn alloc(&mut self, len: usize) -> u64 {
        let end = self.allocations.last().map_or(FIRST, |last| last.base + last.len as u64);
        let base = end.next_multiple_of(GAP) + GAP;
        self.allocations.push(Allocation { base, len, space: Space::new(len), constant: false });
        base
    }

    /// A launch begins: whatever was done before is ordered before it.
    pub fn restart(&mut self) {
        self.allocations.iter_mut().for_each(|allocation| allocation.space.log.restart());
    }

    /// Which allocation `len` bytes lie in, and where. `hint` is one to try first.
    #[inline]
    pub fn find(&self, address: u64, len: usize, hint: usize) -> Result<(usize, usize), Halt> {
        if let Some(allocation) = self.allocations.get(hint)
            && let at = address.wrapping_sub(allocation.base)
            && at <= allocation.len as u64
            && at as usize + len <= allocation.len
        {
            return Ok((hint, at as usize));
        }
        let index = self.allocations.partition_point(|allocation| allocation.base <= address);
        if let Some(index) = index.checked_sub(1) {
            let allocation = &self.allocations[index];
            let at = address - allocation.base;
            if at as usize + len <= allocation.len {
                return Ok((index, at as usize));
            }
        }
        Err(self.outside(address, len))
    }

    #[cold]
    fn outside(&self, address: u64, len: usize) -> Halt {
        let nearest = self.allocations.iter().rev().find(|allocation| allocation.base <= address);
        let where_it_is = nearest.map_or_else(
            || "below all allocations".to_owned(),
            |near| format!("{} bytes into an allocation of {}", address - near.base, near.len),
        );
        Halt::new(FaultKind::OutOfBounds, format!("{len} bytes at {address:#x}, {where_it_is}"))
    }

    fn host(&mut self, address: u64, len: usize) -> (&mut Space, usize) {
        let (index, at) = self
            .find(address, len, 0)
            .unwrap_or_else(|halt| panic!("the host's access: {}", halt.details().reason));
        (&mut self.allocations[index].space, at)
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let (space, at) = self.host(address, bytes.len());
        space.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        space.state[at..at + bytes.len()].fill(WRITTEN);
    }

    pub fn poison(&mut self, address: u64, len: usize) {
        let (space, at) = self.host(address, len);
        space.state[at..at + len].fill(UNWRITTEN);
    }

    pub fn read(&self, address: u64, len: usize) -> &[u8] {
        let (index, at) = self
            .find(address, len, 0)
            .unwrap_or_else(|halt| panic!("the host's access: {}", halt.details().reason));
        &self.allocations[index].space.bytes[at..at + len]
    }

    pub fn has_value(&self, address: u64, len: usize) -> bool {
        self.find(address, len, 0).is_ok_and(|(index, at)| {
            self.allocations[index].space.state[at..at + len].iter().all(|&state| state == WRITTEN)
        })
    }
}
