//! Checks what a plan promises of its schedule and its memory; see [`super`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::{self, Display, Formatter};
use std::ops::{Deref, RangeInclusive};

use super::ranges::Ranges;
use super::{Program, Schedule, Scheduled, Split, Task, barriers, may_share, units};
use crate::kernel::{self, BufferId, BufferKind, Item};

/// A program that keeps what a plan promises: only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified(Program);

impl Verified {
    /// # Errors
    /// The first promise that is broken.
    pub fn new(program: Program) -> Result<Self, String> {
        verify(&program)?;
        Ok(Self(program))
    }

    /// With an arena of at least so many bytes.
    #[must_use]
    pub fn in_arena_of(mut self, bytes: usize) -> Self {
        self.0.arena_bytes = self.0.arena_bytes.max(bytes);
        self
    }
}

impl Deref for Verified {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.0
    }
}

impl Display for Verified {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether the module keeps its promises, the schedule has the module's items each once and in order, each is cut as it
/// can be, buffers that are alive at the same time do not overlap, and barriers are where they must be.
///
/// What a time loop touches is alive during the whole loop. A kernel's operand that nothing reads afterwards may share
/// its memory with a result that it reads and writes element by element.
pub fn verify(program: &Program) -> Result<(), String> {
    kernel::verify(&program.module)?;
    if program.target.workers == 0 {
        return Err("a program for no workers".into());
    }
    if program.target.column_grain == 0 {
        return Err("columns are cut at multiples of nothing".into());
    }
    order(&program.module.prologue, &program.prologue).map_err(|error| format!("the prologue {error}"))?;
    order(&program.module.items, &program.schedule).map_err(|error| format!("the schedule {error}"))?;
    splits(program.prologue_schedule())?;
    splits(program.step_schedule())?;
    placement(program)?;
    overlaps(program)?;
    barriers::check(program)
}

/// Whether a schedule has each item once and in order: the rest of a sentence that begins with its name, if not.
fn order(items: &[Item], schedule: &[Scheduled]) -> Result<(), String> {
    let mut next = 0;
    for scheduled in schedule {
        let index = match scheduled {
            Scheduled::Item { index, .. } | Scheduled::Loop { index, .. } => *index,
            Scheduled::Barrier => continue,
        };
        if index != next {
            return Err(format!("has item {index} where item {next} comes next"));
        }
        match (items.get(index), scheduled) {
            (Some(Item::Loop(inner)), Scheduled::Loop { body, .. }) => order(&inner.items, body)?,
            (None, _) => return Err(format!("has an item {index}, of {}", items.len())),
            (Some(Item::Loop(_)), _) | (_, Scheduled::Loop { .. }) => {
                return Err(format!("has a loop in place of an item, or the reverse, as item {index}"));
            }
            _ => {}
        }
        next += 1;
    }
    if next < items.len() {
        return Err(format!("ends before item {next}"));
    }
    Ok(())
}

fn splits(schedule: Schedule<'_>) -> Result<(), String> {
    for task in schedule.tasks() {
        match task {
            Task::Kernel(kernel, Split::Axis(axis)) => {
                if axis.0 as usize >= kernel.axes.len() {
                    return Err(format!("kernel {:?}: there is no axis {axis}", kernel.name));
                }
                kernel.check_cut(axis).map_err(|error| {
                    format!("kernel {:?} cannot be cut along {axis}: {error}", kernel.name)
                })?;
            }
            Task::Kernel(_, Split::Whole)
            | Task::Gemm(_, Split::Whole | Split::Columns | Split::AnyColumns)
            | Task::Pack(_, Split::Whole | Split::Columns)
            | Task::Scatter(_, Split::Whole | Split::Columns)
            | Task::Distinct(_)
            | Task::Exchange(_)
            | Task::Barrier => {}
            Task::Kernel(_, Split::Any)
            | Task::Gemm(_, Split::Any)
            | Task::Pack(_, Split::Any)
            | Task::Scatter(_, Split::Any) => {}
            Task::Gemm(gemm, Split::Rows | Split::Parts) if gemm.cpu.squares.is_none() => {}
            Task::Gemm(gemm, Split::Units(units)) if units::can_have(gemm, units) => {}
            Task::Gemm(gemm, Split::Terms(units)) if units::can_have_terms(gemm, units) => {}
            Task::Loop(_, body) => splits(body)?,
            Task::Kernel(kernel, split) => return Err(format!("kernel {:?}: {split}", kernel.name)),
            Task::Gemm(gemm, split) => return Err(format!("{gemm}: {split}")),
            Task::Pack(pack, split) => return Err(format!("{pack}: {split}")),
            Task::Scatter(scatter, split) => return Err(format!("{scatter}: {split}")),
        }
    }
    Ok(())
}

fn placement(program: &Program) -> Result<(), String> {
    let buffers = &program.module.buffers;
    if program.offsets.len() != buffers.len() {
        return Err(format!("{} places for {} buffers", program.offsets.len(), buffers.len()));
    }
    for (buffer, &offset) in buffers.iter().zip(&program.offsets) {
        let alignment = program.target.memory.alignment;
        if !offset.is_multiple_of(alignment) {
            return Err(format!(
                "buffer {:?} at {offset}, which is not a multiple of {alignment}",
                buffer.name
            ));
        }
        if offset.checked_add(buffer.len() * 4).is_none_or(|end| end > program.arena_bytes) {
            return Err(format!(
                "buffer {:?} at {offset} ends beyond the arena's {} bytes",
                buffer.name, program.arena_bytes
            ));
        }
    }
    Ok(())
}

/// A buffer, and the first and the last item at which it is alive.
type Live<'a> = (usize, &'a RangeInclusive<usize>);

/// Buffers in the order in which they come to be alive, each compared with those that are still alive where it lies.
fn overlaps(program: &Program) -> Result<(), String> {
    let live = live_ranges(program);
    let items: Vec<&Item> = items(program).collect();
    let bytes = |id: usize| {
        let start = program.offsets[id];
        start..start + program.module.buffers[id].len() * 4
    };
    let mut order: Vec<Live<'_>> =
        live.iter().enumerate().filter_map(|(id, range)| Some((id, range.as_ref()?))).collect();
    order.sort_by_key(|(id, range)| (*range.start(), *id));
    let mut alive: Ranges<Live<'_>> = Ranges::default();
    let mut ends: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    let mut fault: Option<(usize, usize)> = None;
    for new in order {
        let (id, range) = new;
        while let Some(&Reverse((_, dead))) = ends.peek().filter(|Reverse((end, _))| end < range.start()) {
            ends.pop();
            if let Some(range) = &live[dead] {
                alive.remove(bytes(dead), &(dead, range));
            }
        }
        for &old in alive.overlapping(bytes(id)) {
            if !shares_in_place(program, &items, old, new) && !shares_in_place(program, &items, new, old) {
                let pair = (old.0.min(id), old.0.max(id));
                fault = Some(fault.map_or(pair, |known| known.min(pair)));
            }
        }
        alive.insert(bytes(id), new);
        ends.push(Reverse((*range.end(), id)));
    }
    let name = |id: usize| &program.module.buffers[id].name;
    fault.map_or(Ok(()), |(left, right)| {
        Err(format!("buffers {:?} and {:?} overlap while both live", name(left), name(right)))
    })
}

/// The first and the last item at which each buffer holds something; `None` if nothing uses it.
///
/// The prologue's items are counted first, then the others. Inputs live always, outputs until the host has read them, and
/// what the prologue leaves for the steps until the last of them.
fn live_ranges(program: &Program) -> Vec<Option<RangeInclusive<usize>>> {
    let begin = program.module.prologue.len();
    let end = begin + program.module.items.len();
    let start = |kind: &BufferKind| match kind {
        BufferKind::Input(_) => Some(0..=end),
        _ => None,
    };
    let mut live: Vec<_> = program.module.buffers.iter().map(|buffer| start(&buffer.kind)).collect();
    for (at, item) in items(program).enumerate() {
        item.each_access(&mut |access| {
            let range = &mut live[access.buffer().0 as usize];
            let known = range.clone().unwrap_or(at..=at);
            let last = if *known.start() < begin && at >= begin { end } else { at };
            *range = Some(*known.start()..=last.max(*known.end()));
        });
    }
    for (range, buffer) in live.iter_mut().zip(&program.module.buffers) {
        if let (BufferKind::Output(_), Some(known)) = (&buffer.kind, &range) {
            *range = Some(*known.start()..=end);
        }
    }
    live
}

fn items(program: &Program) -> impl Iterator<Item = &Item> {
    program.module.prologue.iter().chain(&program.module.items)
}

/// Whether `new` may take over the memory of `old`: one kernel is the last to touch `old` and the first to touch
/// `new`, and the rule of [`may_share`] holds for it.
fn shares_in_place(
    program: &Program,
    items: &[&Item],
    (old, old_range): Live<'_>,
    (new, new_range): Live<'_>,
) -> bool {
    if program.offsets[old] != program.offsets[new] || old_range.end() != new_range.start() {
        return false;
    }
    let Some(Item::Kernel(kernel)) = items.get(*new_range.start()) else { return false };
    may_share(kernel, BufferId(old as u32), BufferId(new as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Axis, parse};
    use crate::target::Target;

    const TEXT: &str = r#"module m {
  buffer %0: f[4, 16] input "x" carried start 0.0
  buffer %1: f[4, 16] temp "a"
  buffer %2: f[4, 16] temp "b"
  buffer %3: f[4] temp "c"
  buffer %4: f[4, 16] output "p" probabilities
  kernel "a" axes 4 16 {
    for a0 parallel {
      for a1 vector {
        v0 = load %0 + 16*a0 + 1*a1
        store %1 + 16*a0 + 1*a1 = v0
      }
    }
  }
  kernel "b" axes 4 16 {
    for a0 parallel {
      for a1 vector {
        v0 = load %1 + 16*a0 + 1*a1
        v1 = exp v0
        store %2 + 16*a0 + 1*a1 = v1
      }
    }
  }
  kernel "c" axes 4 16 {
    for a0 parallel {
      for a1 vector fold v1 = sum v0 {
        v0 = load %2 + 16*a0 + 1*a1
      }
      store %3 + 1*a0 = v1
    }
  }
  kernel "p" axes 4 16 {
    for a0 parallel {
      for a1 vector {
        v0 = load %3 + 1*a0
        store %4 + 16*a0 + 1*a1 = v0
      }
    }
  }
}
"#;

    /// Buffers at these offsets, kernels cut along their first axis.
    fn program(text: &str, offsets: [usize; 5]) -> Program {
        let module = parse(text).unwrap();
        let item = |index| Scheduled::Item { index, split: Split::Axis(Axis(0)) };
        let schedule = (0..module.items.len()).flat_map(|index| [item(index), Scheduled::Barrier]).collect();
        Program {
            module,
            target: Target::cpu(2),
            offsets: offsets.to_vec(),
            arena_bytes: 1024,
            constants: 0..0,
            prologue: vec![],
            schedule,
        }
    }

    #[track_caller]
    fn rejects(program: &Program, message: &str) {
        let error = verify(program).unwrap_err();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn memory_is_used_again_after_a_life_ends() {
        verify(&program(TEXT, [0, 256, 512, 768, 256])).unwrap();
        // `b` takes over `a` element by element, and the output comes after both.
        verify(&program(TEXT, [0, 256, 256, 512, 256])).unwrap();
    }

    #[test]
    fn lives_that_meet_do_not_overlap() {
        rejects(&program(TEXT, [0, 256, 320, 768, 0]), "\"x\" and \"p\" overlap");
        rejects(&program(TEXT, [0, 256, 320, 768, 256]), "\"a\" and \"b\" overlap");
        rejects(&program(TEXT, [0, 256, 512, 512, 256]), "\"b\" and \"c\" overlap");
    }

    #[test]
    fn in_place_means_element_by_element() {
        let shared = [0, 256, 256, 512, 256];
        let transposed = TEXT.replacen(
            "axes 4 16 {\n    for a0 parallel {\n      for a1 vector {\n        v0 = load %1 + 16*a0 + 1*a1",
            "axes 4 16 {\n    for a0 parallel {\n      for a1 vector {\n        v0 = load %1 + 1*a1",
            1,
        );
        assert_ne!(transposed, TEXT);
        rejects(&program(&transposed, shared), "\"a\" and \"b\" overlap");
        // The result is written before the operand at its place is read.
        let early = TEXT.replacen(
            "v1 = exp v0\n        store %2 + 16*a0 + 1*a1 = v1",
            "store %2 + 16*a0 + 1*a1 = v0\n        v1 = load %1 + 16*a0 + 1*a1",
            1,
        );
        assert_ne!(early, TEXT);
        rejects(&program(&early, shared), "\"a\" and \"b\" overlap");
        // The same addresses, but one row over and over: the second round reads what the first one wrote.
        let rounds = TEXT
            .replacen(
                "kernel \"b\" axes 4 16 {\n    for a0 parallel",
                "kernel \"b\" axes 4 16 {\n    for a0",
                1,
            )
            .replace("v0 = load %1 + 16*a0", "v0 = load %1")
            .replace("store %2 + 16*a0", "store %2");
        let mut rounds = program(&rounds, shared);
        rounds.schedule.iter_mut().for_each(|scheduled| {
            if let Scheduled::Item { split, .. } = scheduled {
                *split = Split::Whole;
            }
        });
        rejects(&rounds, "\"a\" and \"b\" overlap");
    }

    #[test]
    fn buffers_lie_in_the_arena() {
        rejects(&program(TEXT, [0, 256, 512, 800, 256]), "not a multiple of 64");
        rejects(&program(TEXT, [0, 256, 512, 768, 832]), "beyond the arena's 1024 bytes");
    }

    #[test]
    fn the_schedule_has_each_item_once_and_in_order() {
        let base = program(TEXT, [0, 256, 512, 768, 256]);
        let with = |change: &dyn Fn(&mut Vec<Scheduled>)| {
            let mut program = base.clone();
            change(&mut program.schedule);
            program
        };
        rejects(&with(&|schedule| schedule.swap(0, 2)), "the schedule has item 1 where item 0 comes next");
        rejects(&with(&|schedule| schedule.truncate(6)), "the schedule ends before item 3");
        let again = |schedule: &mut Vec<Scheduled>| schedule.insert(1, schedule[0].clone());
        rejects(&with(&again), "the schedule has item 0 where item 1 comes next");
        let more =
            |schedule: &mut Vec<Scheduled>| schedule.push(Scheduled::Item { index: 4, split: Split::Whole });
        rejects(&with(&more), "the schedule has an item 4, of 4");
        let looped = |schedule: &mut Vec<Scheduled>| schedule[0] = Scheduled::Loop { index: 0, body: vec![] };
        rejects(&with(&looped), "the schedule has a loop in place of an item");
    }

    #[test]
    fn cuts_follow_parallel_axes() {
        let base = program(TEXT, [0, 256, 512, 768, 256]);
        let cut = |at: usize, split: Split| {
            let mut program = base.clone();
            let Scheduled::Item { split: own, .. } = &mut program.schedule[at] else { unreachable!() };
            *own = split;
            program
        };
        rejects(&cut(0, Split::Axis(Axis(1))), "a loop over the axis is not parallel");
        rejects(&cut(4, Split::Axis(Axis(1))), "cannot be cut along a1");
        rejects(&cut(0, Split::Axis(Axis(7))), "there is no axis a7");
        rejects(&cut(0, Split::Columns), "kernel \"a\": split columns");
        verify(&cut(4, Split::Whole)).unwrap();
    }

    #[test]
    fn a_worker_waits_for_what_others_write() {
        let mut program = program(TEXT, [0, 256, 512, 768, 832]);
        program.arena_bytes = 2048;
        // Cut alike, every worker reads what it has itself written.
        program.schedule.retain(|scheduled| *scheduled != Scheduled::Barrier);
        verify(&program).unwrap();
        let Some(Scheduled::Item { split, .. }) = program.schedule.last_mut() else { unreachable!() };
        *split = Split::Whole;
        rejects(&program, "item 3 does not wait");
        program.schedule.insert(3, Scheduled::Barrier);
        verify(&program).unwrap();
        program.schedule.swap(2, 3);
        rejects(&program, "item 3 does not wait");
    }

    #[test]
    fn the_text_shows_places_and_cuts() {
        let text = program(TEXT, [0, 256, 512, 768, 256]).to_string();
        assert!(
            text.starts_with(
                "program m {\n  workers 2\n  arena 1024 bytes\n  buffer %0 at 0: f[4, 16] input"
            )
        );
        assert!(text.contains("  buffer %1 at 256: f[4, 16] temp \"a\"\n"), "{text}");
        assert!(text.ends_with("  barrier\n  kernel \"p\" axes 4 16 split a0\n  barrier\n}\n"), "{text}");
    }
}
