//! Live ranges to offsets: one arena for everything.
//!
//! A temporary lives from the first to the last top-level item that touches it; what a time loop touches lives for the
//! whole loop, and what the prologue writes and a step reads always. Kernels that may write over an operand that dies in
//! them do. Buffers are then placed largest first, each at the lowest offset where nothing alive at the same time lies
//! (first-fit decreasing, as for dynamic storage allocation: Garey & Johnson 1979). A small one keeps its
//! place a little longer than it lives.
//!
//! Where a target wants it ([`Memory::constants_apart`]), what is read in a step and never written lies together behind what steps
//! write, and what only the host and the prologue touch lies behind that: see [`Region`].
//!
//! Between two steps only a program's inputs and outputs are alive, so another program can use the rest of its arena
//! then, and read its parameters where they are: see [`Beside`].

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::Program;
use super::in_place::Sharing;
use super::space::{Blocks, Space};
use crate::kernel::{Buffer, BufferId, BufferKind, InputRole, Item, Module};
use crate::target::Memory;

/// Every element is an `f32` or a `u32`.
const ELEMENT_BYTES: usize = 4;

/// What is already in the arena: another program's inputs and outputs.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Byte offsets of the buffers, by index, that are the other program's as well.
    shared: HashMap<usize, usize>,
    /// Byte ranges that must not be touched.
    taken: Vec<(usize, usize)>,
    /// Bytes of the arena.
    bytes: usize,
}

impl Beside {
    /// In the arena of `host`, with the same parameters; none if it does not have them all, each as one buffer.
    pub fn of(module: &Module, host: &Program) -> Option<Self> {
        let stays = |buffer: &&Buffer| matches!(buffer.kind, BufferKind::Input(_) | BufferKind::Output(_));
        let hosts = || host.module.buffers.iter().enumerate().filter(|(_, buffer)| stays(buffer));
        let by_name: HashMap<&str, (usize, &Buffer)> =
            hosts().map(|(index, buffer)| (buffer.name.as_str(), (index, buffer))).collect();
        let mut shared = HashMap::new();
        for (index, buffer) in module.buffers.iter().enumerate() {
            if matches!(buffer.kind, BufferKind::Input(InputRole::Param { .. })) {
                let &(own, other) = by_name.get(buffer.name.as_str())?;
                if other != buffer {
                    return None;
                }
                shared.insert(index, host.offsets[own]);
            }
        }
        let range = |index: usize, buffer| (host.offsets[index], host.offsets[index] + bytes_of(buffer));
        let taken = hosts().map(|(index, buffer)| range(index, buffer)).collect();
        Some(Self { shared, taken, bytes: host.arena_bytes })
    }
}

/// The first and the last item that a buffer is alive at: positions among the prologue's items and, after them, the step's.
#[derive(Clone, Copy, Debug)]
struct LiveRange {
    first: usize,
    last: usize,
}

fn items(module: &Module) -> impl Iterator<Item = (usize, &Item)> {
    module.prologue.iter().chain(&module.items).enumerate()
}

fn bytes_of(buffer: &Buffer) -> usize {
    buffer.len() * ELEMENT_BYTES
}

/// A part of the arena in which buffers share places, in the order in which these lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Region {
    /// What a step writes, or all of the arena.
    Step,
    /// What steps read and none writes.
    Constants,
    /// What steps do not touch, and what is carried from one to the next: the host keeps both in places of its own.
    Host,
}

/// Where buffers lie.
pub(super) struct Places {
    /// The byte offset of each buffer.
    pub offsets: Vec<usize>,
    pub arena_bytes: usize,
    /// As in [`Program`].
    pub constants: Range<usize>,
}

/// Gives each buffer a place.
pub(super) fn place(module: &Module, beside: &Beside, memory: &Memory) -> Places {
    let mut ranges = live_ranges(module);
    let owner = reuse(module, &mut ranges);
    // What a buffer takes of the arena: whole lines.
    let bytes = |index: usize| bytes_of(&module.buffers[index]).next_multiple_of(memory.alignment);
    for (index, range) in ranges.iter_mut().enumerate() {
        let rest = if bytes(index) <= memory.small { memory.rest } else { 0 };
        range.iter_mut().for_each(|range| range.last += rest);
    }
    let own_place = |index: &usize| owner[*index] == *index && !beside.shared.contains_key(index);
    let mut order: Vec<(usize, LiveRange)> = (0..module.buffers.len())
        .filter(own_place)
        .filter_map(|index| ranges[index].map(|range| (index, range)))
        .collect();
    order.sort_by_key(|&(index, _)| (std::cmp::Reverse(bytes(index)), index));
    let mut offsets = vec![0; module.buffers.len()];
    beside.shared.iter().for_each(|(&index, &offset)| offsets[index] = offset);
    let mut taken = Blocks::default();
    let whole = |end: usize| end.next_multiple_of(memory.alignment);
    beside.taken.iter().for_each(|&(start, end)| taken.insert(start, whole(end)));
    let positions = order.iter().map(|(_, range)| range.last + 1).max().unwrap_or(0);
    let regions =
        if memory.constants_apart { regions(module, &owner) } else { vec![Region::Step; owner.len()] };
    // Where a region begins, and where it ends; what is there already is in the first one.
    let (mut start, mut end) = (0, beside.bytes);
    let mut ends = [0; 3];
    for (number, region) in [Region::Step, Region::Constants, Region::Host].into_iter().enumerate() {
        let mut space = Space::new(positions, std::mem::take(&mut taken));
        for &(index, range) in order.iter().filter(|(index, _)| regions[*index] == region) {
            let offset = space.lowest(range.first, range.last, bytes(index));
            space.take(range.first, range.last, offset, offset + bytes(index));
            offsets[index] = start + offset;
            end = end.max(start + offset + bytes(index));
        }
        ends[number] = end;
        start = end;
    }
    for index in 0..offsets.len() {
        offsets[index] = offsets[root(&owner, index)];
    }
    Places { offsets, arena_bytes: ends[2], constants: ends[0]..ends[1] }
}

/// Where each buffer belongs, by the place that it shares with others.
fn regions(module: &Module, owner: &[usize]) -> Vec<Region> {
    let step = |by: fn(&Item) -> HashSet<BufferId>| module.items.iter().flat_map(by).collect::<HashSet<_>>();
    let (loaded, stored) = (step(Item::loaded), step(Item::stored));
    let own = |index: usize| {
        let id = BufferId(index as u32);
        match module.buffers[index].kind {
            BufferKind::Input(InputRole::Carried { .. } | InputRole::Tokens) => Region::Host,
            BufferKind::Output(_) => Region::Step,
            _ if stored.contains(&id) => Region::Step,
            _ if loaded.contains(&id) => Region::Constants,
            _ => Region::Host,
        }
    };
    let mut regions = vec![Region::Host; owner.len()];
    for index in 0..owner.len() {
        let root = root(owner, index);
        regions[root] = regions[root].min(own(index));
    }
    (0..owner.len()).map(|index| regions[root(owner, index)]).collect()
}

/// `None` for a temporary that nothing touches.
fn live_ranges(module: &Module) -> Vec<Option<LiveRange>> {
    let (begin, end) = (module.prologue.len(), module.prologue.len() + module.items.len());
    let mut ranges: Vec<Option<LiveRange>> = module
        .buffers
        .iter()
        .map(|buffer| match buffer.kind {
            BufferKind::Input(_) | BufferKind::Output(_) => Some(LiveRange { first: 0, last: end }),
            BufferKind::Temp | BufferKind::Packed => None,
        })
        .collect();
    for (index, item) in items(module) {
        item.each_access(&mut |access| {
            let range = &mut ranges[access.buffer().0 as usize];
            let range = range.get_or_insert(LiveRange { first: index, last: index });
            range.last = range.last.max(if range.first < begin && index >= begin { end } else { index });
        });
    }
    ranges
}

/// For each buffer the one whose place it takes: itself, or an operand that dies where it is first written.
fn reuse(module: &Module, ranges: &mut [Option<LiveRange>]) -> Vec<usize> {
    let mut owner: Vec<usize> = (0..module.buffers.len()).collect();
    for (index, item) in items(module) {
        let Item::Kernel(kernel) = item else { continue };
        let (mut dying, mut born): (Vec<BufferId>, Vec<BufferId>) = (vec![], vec![]);
        kernel.each_access(&mut |access, _| {
            let (buffer, writes) = (access.buffer(), access.effect.writes());
            if module.buffer(buffer).kind != BufferKind::Temp {
                return;
            }
            match ranges[root(&owner, buffer.0 as usize)] {
                Some(range) if !writes && range.last == index && range.first < index => dying.push(buffer),
                Some(range) if writes && range.first == index => born.push(buffer),
                _ => {}
            }
        });
        let mut seen = HashSet::new();
        dying.retain(|buffer| seen.insert(*buffer));
        born.retain(|buffer| seen.insert(*buffer));
        if dying.is_empty() || born.is_empty() {
            continue;
        }
        let sharing = Sharing::of(kernel);
        for &output in &born {
            let fits = |input: &&BufferId| {
                module.buffer(**input).len() == module.buffer(output).len()
                    && root(&owner, input.0 as usize) == input.0 as usize
                    && sharing.may_share(**input, output)
            };
            if root(&owner, output.0 as usize) != output.0 as usize {
                continue;
            }
            let Some(&input) = dying.iter().find(fits) else { continue };
            dying.retain(|other| *other != input);
            let (from, to) = (output.0 as usize, input.0 as usize);
            if let (Some(old), Some(new)) = (ranges[to], ranges[from]) {
                ranges[to] = Some(LiveRange { first: old.first, last: new.last });
            }
            owner[from] = to;
        }
    }
    owner
}

fn root(owner: &[usize], mut index: usize) -> usize {
    while owner[index] != index {
        index = owner[index];
    }
    index
}

#[cfg(test)]
mod tests {
    use crate::kernel::parse;
    use crate::plan::{Scheduled, plan};
    use crate::target::Target;

    #[test]
    fn no_worker_waits_for_the_place_of_a_small_buffer() {
        // Worker 0 may still sum "t" when the other one comes to write "u".
        let text = "module m {
  buffer %0: f[64] input \"x\" carried start 0.0
  buffer %1: f[] output \"sum\" loss
  buffer %2: f[64] output \"y\" probabilities
  buffer %3: f[64] temp \"t\"
  buffer %4: f[64] temp \"u\"
  kernel \"t\" axes 64 {
    for a0 parallel vector {
      v0 = load %0 + 1*a0
      store %3 + 1*a0 = v0
    }
  }
  kernel \"sum\" axes 64 {
    for a0 vector fold v1 = sum v0 {
      v0 = load %3 + 1*a0
    }
    store %1 = v1
  }
  kernel \"u\" axes 64 {
    for a0 parallel vector {
      v0 = load %0 + 1*a0
      store %4 + 1*a0 = v0
    }
  }
  kernel \"y\" axes 64 {
    for a0 parallel vector {
      v0 = load %4 + 1*a0
      store %2 + 1*a0 = v0
    }
  }
}
";
        let program = plan(parse(text).unwrap(), &Target::cpu(2));
        let barriers = program.schedule.iter().filter(|next| matches!(next, Scheduled::Barrier)).count();
        assert_eq!(barriers, 1, "{program}");
    }

    /// A weight that the prologue packs, one that steps read as it is, a state, and what a step writes.
    #[test]
    fn constants_lie_apart_where_the_target_wants_it() {
        let text = "module m {
  buffer %0: id[1, 1] input \"tokens\" tokens
  buffer %1: f[9, 8] input \"E\" param parts \"E\" 0 8
  buffer %2: f[8, 16] input \"W\" param parts \"W\" 0 16
  buffer %3: f[1, 8] input \"h\" carried start 0.0
  buffer %4: f[8] temp \"x\"
  buffer %5: f[1, 16] output \"p\" probabilities
  kernel \"x\" axes 8 {
    v0 = load_id %0
    for a0 {
      v1 = load %1 + 8*v0 + 1*a0
      v2 = load %3 + 1*a0
      v3 = add v1 v2
      store %4 + 1*a0 = v3
      store %3 + 1*a0 = v3
    }
  }
  gemm nn 1x16x8: %5 stride 16 = %4 stride 8 @ %2 stride 16
}
";
        let module = parse(text).unwrap_or_else(|error| panic!("{error:?}"));
        let of = |target: &Target| {
            let packed = crate::kernel::passes::prepack(module.clone(), crate::kernel::Format::F32, target);
            plan(packed, target)
        };
        let program = of(&Target::standalone());
        let packed = program.module.buffers.len() - 1;
        let (step, constants) = (program.constants.start, &program.constants);
        for (index, offset) in program.offsets.iter().enumerate() {
            match index {
                4 | 5 => assert!(*offset < step, "{index} {program}"),
                1 => assert!(constants.contains(offset), "{index} {program}"),
                _ if index == packed => assert!(constants.contains(offset), "{index} {program}"),
                _ => assert!(*offset >= constants.end, "{index} {program}"),
            }
        }
        assert!(constants.len() >= 4 * (9 * 8 + 8 * 16) && program.arena_bytes > constants.end);
        assert!(of(&Target::cpu(1)).constants.is_empty());
    }
}
