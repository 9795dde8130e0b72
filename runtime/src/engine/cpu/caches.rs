//! The processor's caches: how large each is, and how many logical processors share it.
//!
//! x86 says it by `cpuid`, Linux in files. What neither says, or what cannot be so (virtual machines pass on what their host was
//! told to say), is taken as on [`Caches::USUAL`]. All of this decides what is done when, and no result: see `gemm`.

use std::fmt;
use std::sync::OnceLock;

use serde::Serialize;

/// One cache for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    pub bytes: usize,
    /// Logical processors that share it, as far as the system knows: at least 1.
    pub sharing: usize,
}

/// The caches that one core reads through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Caches {
    pub first: Cache,
    pub second: Cache,
    /// None where there is none, or where none is seen.
    pub third: Option<Cache>,
}

/// What one source says of each level.
type Levels = [Option<Cache>; 3];

impl Caches {
    /// Of a server core of the Zen 5 generation: for machines that say nothing.
    pub const USUAL: Caches = Caches {
        first: Cache { bytes: 48 << 10, sharing: 2 },
        second: Cache { bytes: 1 << 20, sharing: 2 },
        third: Some(Cache { bytes: 32 << 20, sharing: 16 }),
    };

    /// Of this machine.
    pub fn here() -> &'static Caches {
        static HERE: OnceLock<Caches> = OnceLock::new();
        HERE.get_or_init(|| Caches::of([cpuid::levels(), sysfs::levels()]))
    }

    /// From what sources say, the first of them that says what can be so.
    fn of(sources: [Levels; 2]) -> Caches {
        let found =
            |level: usize| sources.iter().filter_map(|levels| levels[level]).find(|c| is_possible(level, *c));
        let Caches { first, second, third } = Caches::USUAL;
        let levels: Levels = std::array::from_fn(found);
        if levels == [None; 3] {
            return Caches::USUAL;
        }
        let first = levels[0].unwrap_or(first);
        let at_least = |bytes: usize, cache: Cache| Cache { bytes: cache.bytes.max(bytes), ..cache };
        let second = at_least(first.bytes, levels[1].unwrap_or(second));
        // A third level that is no larger holds no more than the second.
        let third = match levels[2] {
            // Something is said of the other levels only: so there is none.
            None if levels[1].is_some() => None,
            None => third,
            found => found,
        };
        Caches { first, second, third: third.filter(|third| third.bytes > second.bytes) }
    }

    /// The last one before memory.
    pub fn last(&self) -> Cache {
        self.third.unwrap_or(self.second)
    }
}

/// Whether a cache of this level, from 0 on, can be like this. The largest of 2026 have 192 KB, 32 MB and 1,152 MB.
fn is_possible(level: usize, cache: Cache) -> bool {
    let kib = [4..=1 << 10, 32..=256 << 10, 128..=8 << 20][level].clone();
    kib.contains(&(cache.bytes >> 10)) && (1..=1 << 16).contains(&cache.sharing)
}

/// `48 KB`, `1.5 MB`
pub fn size(bytes: usize) -> String {
    match bytes {
        ..1048576 => format!("{} KB", bytes >> 10),
        _ => format!("{} MB", (bytes as f64 / 1048576.0 * 10.0).round() / 10.0),
    }
}

/// `48 KB, 1 MB, 32 MB of 16 processors`: the first of the core alone, and who shares the others.
impl fmt::Display for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = [("L1d", Some(self.first)), ("L2", Some(self.second)), ("L3", self.third)];
        for (at, (name, cache)) in levels.into_iter().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            let Some(Cache { bytes, sharing }) = cache else {
                write!(f, "{between}no {name}")?;
                continue;
            };
            write!(f, "{between}{name} {}", size(bytes))?;
            if sharing > 1 {
                write!(f, " for {sharing} processors")?;
            }
        }
        Ok(())
    }
}

mod cpuid {
    //! Intel's leaf 4 and AMD's leaf 0x8000001D, which have one form (Intel 64 manual, volume 2, CPUID; AMD64 manual,
    //! volume 3, E.4.17).

    use super::{Cache, Levels};

    /// Of this processor.
    #[cfg(target_arch = "x86_64")]
    pub fn levels() -> Levels {
        use std::arch::x86_64::__cpuid_count;
        of(|leaf, index| {
            let found = __cpuid_count(leaf, index);
            [found.eax, found.ebx, found.ecx]
        })
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn levels() -> Levels {
        [None; 3]
    }

    /// More caches than any processor has.
    const MOST: u32 = 16;

    /// From the registers EAX, EBX and ECX of a leaf.
    #[cfg_attr(not(target_arch = "x86_64"), cfg(test))]
    pub fn of(leaf: impl Fn(u32, u32) -> [u32; 3]) -> Levels {
        let mut levels = [None; 3];
        // The highest leaves, standard and extended, which of others is undefined what they say.
        for (first, caches) in [(0, 4), (0x8000_0000, 0x8000_001D)] {
            if !(caches..caches + 0x1000).contains(&leaf(first, 0)[0]) {
                continue;
            }
            for index in 0..MOST {
                let registers = leaf(caches, index);
                if registers[0] & 0x1F == 0 {
                    break;
                }
                if let Some((level, cache)) = cache(registers) {
                    levels[level] = levels[level].or(Some(cache));
                }
            }
        }
        levels
    }

    /// The level, from 0 on, of a cache that holds data, if there are three at most.
    fn cache([a, b, c]: [u32; 3]) -> Option<(usize, Cache)> {
        const DATA: u32 = 1;
        const UNIFIED: u32 = 3;
        let (kind, level) = (a & 0x1F, (a >> 5 & 7) as usize);
        if ![DATA, UNIFIED].contains(&kind) || !(1..=3).contains(&level) {
            return None;
        }
        let count = |value: u32| u64::from(value) + 1;
        let line = count(b & 0xFFF) * count(b >> 12 & 0x3FF) * count(b >> 22);
        let bytes = usize::try_from(line.checked_mul(count(c))?).ok()?;
        Some((level - 1, Cache { bytes, sharing: count(a >> 14 & 0xFFF) as usize }))
    }
}

mod sysfs {
    //! Linux's files: `/sys/devices/system/cpu/cpu0/cache/index*`.

    use std::fs;
    use std::path::Path;

    use super::{Cache, Levels};

    const FOLDER: &str = "/sys/devices/system/cpu/cpu0/cache";
    /// More caches than any processor has.
    const MOST: usize = 16;

    /// Of the first processor.
    pub fn levels() -> Levels {
        of(|index, name| fs::read_to_string(Path::new(FOLDER).join(format!("index{index}")).join(name)).ok())
    }

    /// From the text of a file of a cache.
    pub fn of(file: impl Fn(usize, &str) -> Option<String>) -> Levels {
        let mut levels = [None; 3];
        for index in 0..MOST {
            let text = |name: &str| file(index, name).map(|text| text.trim().to_owned());
            let level = text("level").and_then(|level| level.parse::<usize>().ok());
            let (Some(level @ 1..=3), Some(kind)) = (level, text("type")) else { continue };
            let Some(bytes) = text("size").and_then(|size| bytes(&size)) else { continue };
            if kind != "Instruction" {
                let sharing = text("shared_cpu_list").map_or(1, |list| processors(&list));
                levels[level - 1] = levels[level - 1].or(Some(Cache { bytes, sharing }));
            }
        }
        levels
    }

    /// `32K`, `1M`, or a number of bytes.
    fn bytes(size: &str) -> Option<usize> {
        let (number, unit) = match size.strip_suffix(['K', 'M', 'G']) {
            Some(number) => (number, size.as_bytes()[number.len()]),
            None => (size, b' '),
        };
        let shift = match unit {
            b'K' => 10,
            b'M' => 20,
            b'G' => 30,
            _ => 0,
        };
        number.parse::<usize>().ok()?.checked_mul(1 << shift)
    }

    /// How many there are in a list like `0-3,64-67`; 1 if it says nothing.
    fn processors(list: &str) -> usize {
        let count = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
            last.checked_sub(first)?.checked_add(1)
        };
        list.split(',').filter_map(count).fold(0, usize::saturating_add).max(1)
    }
}

#[cfg(test)]
mod tests;
