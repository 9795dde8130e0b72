//! A piece of memory: bytes, which of them have a value, and who has touched them.

use crate::fault::{FaultKind, Halt};
use crate::races::{Access, Log};

/// Bytes without a value.
pub(crate) const UNWRITTEN: u8 = 0;
/// Bytes with one.
pub(crate) const WRITTEN: u8 = 1;
/// Bytes that a `cp.async` is on its way to.
pub(crate) const ARRIVING: u8 = 2;

#[inline]
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    match bytes[at..].first_chunk() {
        Some(found) => found,
        None => unreachable!("checked to lie inside"),
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Space {
    pub bytes: Vec<u8>,
    pub state: Vec<u8>,
    pub log: Log,
}

/// Which of a word's bytes an access has that starts in it.
#[inline]
fn part(at: usize, len: usize) -> u32 {
    if len >= 4 { 15 } else { ((1 << len) - 1) << (at & 3) }
}

impl Space {
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.next_multiple_of(4);
        Self { bytes: vec![0; bytes], state: vec![UNWRITTEN; bytes], log: Log::new(bytes) }
    }

    /// Nothing has a value, and nobody has touched anything.
    pub fn restart(&mut self) {
        self.state.fill(UNWRITTEN);
        self.log.restart();
    }

    /// Whether `len` bytes, which lie in here, may be read.
    #[inline]
    pub fn readable(&self, at: usize, len: usize) -> Result<(), Halt> {
        let state = &self.state[at..at + len];
        if state.iter().all(|&state| state == WRITTEN) {
            return Ok(());
        }
        Err(unreadable(state))
    }

    /// Checks and notes a read of `len` bytes, aligned to `len` or a multiple of 4.
    #[inline]
    pub fn read(&mut self, at: usize, len: usize, access: &Access) -> Result<(), Halt> {
        self.readable(at, len)?;
        self.note_read(at, len, access)
    }

    /// As [`Self::read`] of bytes that need have no value.
    #[inline]
    pub fn note_read(&mut self, at: usize, len: usize, access: &Access) -> Result<(), Halt> {
        for word in 0..len.div_ceil(4) {
            self.log.read(at / 4 + word, part(at, len), access)?;
        }
        Ok(())
    }

    /// Reads `N` bytes, which lie in here and are aligned.
    #[inline]
    pub fn take<const N: usize>(&mut self, at: usize, access: &Access) -> Result<[u8; N], Halt> {
        let state: &[u8; N] = chunk(&self.state, at);
        if *state != [WRITTEN; N] {
            return Err(unreadable(state));
        }
        for word in 0..N.div_ceil(4) {
            self.log.read(at / 4 + word, part(at, N), access)?;
        }
        Ok(*chunk(&self.bytes, at))
    }

    /// Writes `N` bytes, which lie in here and are aligned.
    #[inline]
    pub fn give<const N: usize>(&mut self, at: usize, value: &[u8; N], access: &Access) -> Result<(), Halt> {
        let state: &[u8; N] = chunk(&self.state, at);
        if *state != [WRITTEN; N] && *state != [UNWRITTEN; N] {
            return self.write(at, value, access);
        }
        let same = chunk::<N>(&self.bytes, at) == value;
        for word in 0..N.div_ceil(4) {
            self.log.write(at / 4 + word, part(at, N), same, access)?;
        }
        self.state[at..at + N].copy_from_slice(&[WRITTEN; N]);
        self.bytes[at..at + N].copy_from_slice(value);
        Ok(())
    }

    #[inline]
    pub fn write(&mut self, at: usize, value: &[u8], access: &Access) -> Result<(), Halt> {
        let len = value.len();
        let state = &mut self.state[at..at + len];
        if state.contains(&ARRIVING) {
            let reason = "writes where a cp.async that has not been waited for goes";
            return Err(Halt::new(FaultKind::Race, reason));
        }
        state.fill(WRITTEN);
        let same = self.bytes[at..at + len] == *value;
        for word in 0..len.div_ceil(4) {
            self.log.write(at / 4 + word, part(at, len), same, access)?;
        }
        self.bytes[at..at + len].copy_from_slice(value);
        Ok(())
    }

    /// A `cp.async` starts to write these bytes.
    pub fn begin_write(&mut self, at: usize, len: usize, access: &Access) -> Result<(), Halt> {
        if self.state[at..at + len].contains(&ARRIVING) {
            return Err(Halt::new(
                FaultKind::Race,
                "two cp.async that have not been waited for go to the same bytes",
            ));
        }
        for word in 0..len.div_ceil(4) {
            self.log.write(at / 4 + word, part(at, len), false, access)?;
        }
        self.state[at..at + len].fill(ARRIVING);
        Ok(())
    }

    /// What it wrote has arrived.
    pub fn end_write(&mut self, at: usize, value: &[u8], access: &Access) -> Result<(), Halt> {
        self.state[at..at + value.len()].fill(WRITTEN);
        self.write(at, value, access)
    }
}

#[cold]
fn unreadable(state: &[u8]) -> Halt {
    let reason = if state.contains(&ARRIVING) {
        "reads what a cp.async that has not been waited for is writing"
    } else {
        "reads memory that nobody has written"
    };
    Halt::new(FaultKind::UninitialisedMemory, reason)
}
