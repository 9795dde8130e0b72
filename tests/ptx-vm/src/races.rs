//! Who has touched a word last, and whether that is ordered before who touches it now.
//!
//! Each word of memory remembers its last write and the reads since, by warp, lane and clock. An access is a race if one
//! that it conflicts with is not known to its warp (see [`crate::clocks`]), wherever the schedule has put the two: a missing barrier is
//! found in almost every schedule. Two accesses that are both strong (atomic, relaxed, volatile, acquire or release) and
//! in each other's scope are no race. Lanes of a warp that write the same value by the same instruction are none either.
//!
//! Stale values of L1 and late stores need no model beside this: wherever one could be seen there is a race, and it is
//! found whether or not the value was stale. What is left is `ld.global.nc`, which may not read what is written during the
//! launch, in whatever order.
//!
//! Not seen: of a word's bytes that several warps access, only those of the last are remembered.

use crate::clocks::{Clock, Place, Scope, covers};
use crate::fault::{FaultKind, Halt};

/// A lane of [`Trace`] that stands for several.
const SEVERAL: u32 = 255;

/// An access, packed: a word of memory has two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    /// 0 where there has been none.
    clock: u32,
    warp: u32,
    pub line: u32,
    /// From below: the lane in 8 bits, which bytes of the word in 4, and the scope of a strong access plus 1 in 2.
    packed: u32,
}

const NONE: Trace = Trace { clock: 0, warp: 0, line: 0, packed: 0 };

impl Trace {
    fn lane(&self) -> u32 {
        self.packed & 0xff
    }

    fn bytes(&self) -> u32 {
        self.packed >> 8 & 0xf
    }

    fn strong(&self) -> Option<Scope> {
        match self.packed >> 12 {
            0 => None,
            1 => Some(Scope::Cta),
            2 => Some(Scope::Cluster),
            _ => Some(Scope::Gpu),
        }
    }

    /// Of one warp at one time: more bytes, perhaps by another lane, strong if both are.
    fn join(&mut self, other: &Trace) {
        let lane = if self.lane() == other.lane() { self.lane() } else { SEVERAL };
        let strong = (self.packed >> 12).min(other.packed >> 12);
        self.packed = lane | (self.bytes() | other.bytes()) << 8 | strong << 12;
        self.line = other.line;
    }
}

/// Who accesses memory now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'c> {
    pub clock: &'c Clock,
    pub now: u32,
    pub place: Place,
    pub lane: u32,
    pub line: u32,
    pub strong: Option<Scope>,
    pub coherent: bool,
}

impl Access<'_> {
    #[inline]
    fn trace(&self, bytes: u32) -> Trace {
        let strong = self.strong.map_or(0, |scope| scope as u32 + 1);
        let packed = self.lane | bytes << 8 | strong << 12;
        Trace { clock: self.now, warp: self.clock.me, line: self.line, packed }
    }

    #[inline]
    fn after(&self, other: &Trace) -> bool {
        if other.warp == self.clock.me {
            return other.clock < self.now || other.lane() == self.lane;
        }
        other.clock <= self.clock.knows(other.warp)
    }

    fn cta_of(&self, other: &Trace) -> u32 {
        other.warp / self.clock.count()
    }

    fn both_strong(&self, other: &Trace) -> bool {
        match (self.strong, other.strong()) {
            (Some(a), Some(b)) => {
                let scope = a.min(b);
                let cta = self.cta_of(other);
                scope == Scope::Gpu || covers(scope, self.place, Place { cta, ..self.place })
            }
            _ => false,
        }
    }

    /// Whether an access to these bytes conflicts with an earlier one.
    #[inline]
    fn races(&self, other: &Trace, bytes: u32) -> bool {
        other.bytes() & bytes != 0 && !self.after(other) && !self.both_strong(other)
    }
}

/// What is known of a word; of another launch or CTA if its stamp is not the memory's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    stamp: u32,
    write: Trace,
    /// The last read since the write; earlier ones that are not ordered before it are in `Log::more`.
    read: Trace,
    more: u32,
    non_coherent: bool,
}

impl Default for Word {
    fn default() -> Self {
        Self { stamp: 0, write: NONE, read: NONE, more: 0, non_coherent: false }
    }
}

/// The words of a piece of memory.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    stamp: u32,
    words: Vec<Word>,
    more: Vec<Vec<Trace>>,
}

#[cold]
fn race(what: &str, bytes: u32, other: &Trace, access: &Access) -> Halt {
    let how = match (access.clock.me == other.warp, access.place.cta == access.cta_of(other)) {
        (true, _) => format!("by lane {} of the same warp, with no bar.warp.sync between", other.lane()),
        (_, true) => format!("by warp {} (of all) of the same CTA, with no barrier between", other.warp),
        _ => format!("by CTA {}, with no release and acquire between", access.cta_of(other)),
    };
    let mask = if bytes == 15 { String::new() } else { format!(" (bytes {bytes:04b} of the word)") };
    Halt::new(FaultKind::Race, format!("{what} at line {}{mask} {how}", other.line))
}

impl Log {
    pub fn new(bytes: usize) -> Self {
        Self { stamp: 0, words: vec![Word::default(); bytes.div_ceil(4)], more: vec![vec![]] }
    }

    /// Forgets everything.
    pub fn restart(&mut self) {
        self.stamp += 1;
        self.more.clear();
        self.more.push(vec![]);
    }

    fn word(&mut self, index: usize) -> &mut Word {
        let word = &mut self.words[index];
        if word.stamp != self.stamp {
            *word = Word { stamp: self.stamp, ..Word::default() };
        }
        word
    }

    #[inline]
    pub fn read(&mut self, index: usize, bytes: u32, access: &Access) -> Result<(), Halt> {
        let word = self.word(index);
        if word.write.clock != 0 {
            if access.races(&word.write, bytes) {
                return Err(race("reads what was written", bytes, &word.write, access));
            }
            if !access.coherent {
                let line = word.write.line;
                let reason = format!("reads by .nc what the kernel has written at line {line}");
                return Err(Halt::new(FaultKind::Race, reason));
            }
        }
        word.non_coherent |= !access.coherent;
        let read = &mut word.read;
        if read.warp == access.clock.me && read.clock == access.now {
            read.join(&access.trace(bytes));
            return Ok(());
        }
        let earlier = std::mem::replace(read, access.trace(bytes));
        if earlier.clock == 0 || access.after(&earlier) {
            return Ok(());
        }
        if word.more == 0 {
            let fresh = self.more.len() as u32;
            self.words[index].more = fresh;
            self.more.push(vec![]);
        }
        let list = &mut self.more[self.words[index].more as usize];
        list.push(earlier);
        // Readers who take turns fill the list with what they did before; only the last of each counts.
        if list.len() > 64 && list.len().is_power_of_two() {
            list.sort_unstable_by_key(|read| (read.warp, std::cmp::Reverse(read.clock)));
            list.dedup_by(|later, first| {
                let same = later.warp == first.warp;
                if same {
                    let line = first.line;
                    first.join(later);
                    first.line = line;
                }
                same
            });
        }
        Ok(())
    }

    /// A CTA other than this one whose access is not known.
    pub fn unknown_visitor(&self, cta: u32, known: &Clock) -> Option<u32> {
        let current = self.words.iter().filter(|word| word.stamp == self.stamp);
        let traces = current.flat_map(|word| {
            let more = &self.more[word.more as usize];
            [&word.write, &word.read].into_iter().chain(more)
        });
        let mut others = traces.filter(|trace| trace.clock != 0 && trace.warp / known.count() != cta);
        others.find(|trace| trace.clock > known.knows(trace.warp)).map(|trace| trace.warp / known.count())
    }

    /// `same` says that the memory has the written value already.
    #[inline]
    pub fn write(&mut self, index: usize, bytes: u32, same: bool, access: &Access) -> Result<(), Halt> {
        let word = self.word(index);
        let write = word.write;
        if write.clock != 0 && access.races(&write, bytes) {
            let together = write.warp == access.clock.me && write.line == access.line && same;
            if !together {
                return Err(race("overwrites what was written", bytes, &write, access));
            }
        }
        if access.races(&word.read, bytes) {
            return Err(race("overwrites what was read", bytes, &word.read, access));
        }
        if word.non_coherent {
            let reason =
                format!("overwrites what the kernel has read by .nc, last at line {}", word.read.line);
            return Err(Halt::new(FaultKind::Race, reason));
        }
        let joined = write.clock == access.now && write.warp == access.clock.me;
        word.write = access.trace(bytes);
        if joined {
            word.write.join(&Trace { line: access.line, ..write });
        }
        word.read = NONE;
        if word.more != 0 {
            let more = std::mem::take(&mut word.more) as usize;
            let list = std::mem::take(&mut self.more[more]);
            if let Some(read) = list.iter().find(|read| access.races(read, bytes)) {
                return Err(race("overwrites what was read", bytes, read, access));
            }
        }
        Ok(())
    }
}
