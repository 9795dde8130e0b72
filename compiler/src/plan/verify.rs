//! Checks what a plan promises of its schedule and its memory; see [`super`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;

use super::ranges::Ranges;
use super::{Program, Split, Step, may_share};
use crate::kernel::{
    self, Address, Axis, BufferId, BufferKind, Expr, For, Item, Kernel, Pack, Scatter, Stmt, TimeLoop,
};
use crate::target::ALIGNMENT;

/// Whether the module keeps its promises, the schedule holds the module's items in order, each step is cut as it can
/// be, and buffers that are alive at the same time do not overlap.
///
/// What a time loop touches is alive during the whole loop. A kernel's operand that nothing reads afterwards may share
/// its memory with a result that it reads and writes element by element.
pub fn verify(program: &Program) -> Result<(), String> {
    kernel::verify(&program.module)?;
    if program.workers == 0 {
        return Err("a program for no workers".into());
    }
    if items(&program.prologue) != program.module.prologue {
        return Err("the prologue differs from the module's".into());
    }
    if items(&program.schedule) != program.module.items {
        return Err("the schedule differs from the module's items".into());
    }
    splits(&program.prologue)?;
    splits(&program.schedule)?;
    placement(program)?;
    overlaps(program)
}

/// The schedule as items.
fn items(steps: &[Step]) -> Vec<Item> {
    let item = |step: &Step| match step {
        Step::Kernel(kernel, _) => Some(Item::Kernel(kernel.clone())),
        Step::Gemm(gemm, _) => Some(Item::Gemm(gemm.clone())),
        Step::Pack(pack, _) => Some(Item::Pack(pack.clone())),
        Step::Scatter(scatter, _) => Some(Item::Scatter(scatter.clone())),
        Step::Distinct(distinct) => Some(Item::Distinct(distinct.clone())),
        Step::Loop { time, steps, reverse, body } => {
            Some(Item::Loop(TimeLoop { time: *time, steps: *steps, reverse: *reverse, items: items(body) }))
        }
        Step::Barrier => None,
    };
    steps.iter().filter_map(item).collect()
}

fn splits(steps: &[Step]) -> Result<(), String> {
    for step in steps {
        match step {
            Step::Kernel(kernel, Split::Axis(axis)) => check_cut(kernel, *axis)?,
            Step::Kernel(_, Split::Whole)
            | Step::Gemm(_, Split::Whole | Split::Columns | Split::AnyColumns)
            | Step::Pack(_, Split::Whole | Split::Columns)
            | Step::Scatter(_, Split::Whole | Split::Columns)
            | Step::Distinct(_)
            | Step::Barrier => {}
            Step::Gemm(gemm, Split::Rows | Split::Parts) if gemm.cpu.squares.is_none() => {}
            Step::Loop { body, .. } => splits(body)?,
            Step::Kernel(kernel, split) => return Err(format!("kernel {:?}: {split}", kernel.name)),
            Step::Gemm(gemm, split) => return Err(format!("{gemm}: {split}")),
            Step::Pack(pack, split) => return Err(format!("{pack}: {split}")),
            Step::Scatter(scatter, split) => return Err(format!("{scatter}: {split}")),
        }
    }
    Ok(())
}

/// Every loop over a cut axis is parallel and gathers nothing, and every store lies in one.
fn check_cut(kernel: &Kernel, axis: Axis) -> Result<(), String> {
    fn check(stmts: &[Stmt], axis: Axis, inside: bool) -> Result<(), &'static str> {
        for stmt in stmts {
            match stmt {
                Stmt::For(inner) if inner.axis == axis => {
                    if !inner.parallel {
                        return Err("a loop over the axis is not parallel");
                    }
                    if !inner.folds.is_empty() {
                        return Err("a loop over the axis has folds");
                    }
                    check(&inner.body, axis, true)?;
                }
                Stmt::For(inner) => check(&inner.body, axis, inside)?,
                Stmt::Store { .. } if !inside => return Err("it stores outside the loops over the axis"),
                Stmt::Store { .. } | Stmt::Let { .. } => {}
            }
        }
        Ok(())
    }
    if axis.0 as usize >= kernel.axes.len() {
        return Err(format!("kernel {:?}: there is no axis {axis}", kernel.name));
    }
    check(&kernel.body, axis, false)
        .map_err(|error| format!("kernel {:?} cannot be cut along {axis}: {error}", kernel.name))
}

fn placement(program: &Program) -> Result<(), String> {
    let buffers = &program.module.buffers;
    if program.offsets.len() != buffers.len() {
        return Err(format!("{} places for {} buffers", program.offsets.len(), buffers.len()));
    }
    for (buffer, &offset) in buffers.iter().zip(&program.offsets) {
        if !offset.is_multiple_of(ALIGNMENT) {
            return Err(format!("buffer {:?} at {offset}, which is no multiple of {ALIGNMENT}", buffer.name));
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

/// Buffers by the beginnings of their lives, each compared with those that are still alive where it lies.
fn overlaps(program: &Program) -> Result<(), String> {
    let lives = lives(program);
    let steps: Vec<&Step> = steps(program).collect();
    let range = |id: usize| {
        let start = program.offsets[id];
        start..start + program.module.buffers[id].len() * 4
    };
    let mut order: Vec<Life<'_>> =
        lives.iter().enumerate().filter_map(|(id, life)| Some((id, life.as_ref()?))).collect();
    order.sort_by_key(|(id, life)| (*life.start(), *id));
    let mut alive: Ranges<Life<'_>> = Ranges::default();
    let mut ends: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    let mut fault: Option<(usize, usize)> = None;
    for new in order {
        let (id, life) = new;
        while let Some(&Reverse((_, dead))) = ends.peek().filter(|Reverse((end, _))| end < life.start()) {
            ends.pop();
            if let Some(life) = &lives[dead] {
                alive.remove(range(dead), &(dead, life));
            }
        }
        for &old in alive.overlapping(range(id)) {
            if !shares_in_place(program, &steps, old, new) && !shares_in_place(program, &steps, new, old) {
                let pair = (old.0.min(id), old.0.max(id));
                fault = Some(fault.map_or(pair, |known| known.min(pair)));
            }
        }
        alive.insert(range(id), new);
        ends.push(Reverse((*life.end(), id)));
    }
    let name = |id: usize| &program.module.buffers[id].name;
    fault.map_or(Ok(()), |(left, right)| {
        Err(format!("buffers {:?} and {:?} overlap while both live", name(left), name(right)))
    })
}

/// The first and the last position in the schedule at which each buffer holds something; `None` if nothing uses it.
///
/// Positions count the prologue's steps and then the others. Inputs live always, outputs until the host has read them, and
/// what the prologue leaves for the steps until the last of them.
fn lives(program: &Program) -> Vec<Option<RangeInclusive<usize>>> {
    let begin = program.prologue.len();
    let end = begin + program.schedule.len();
    let start = |kind: &BufferKind| match kind {
        BufferKind::Input(_) => Some(0..=end),
        _ => None,
    };
    let mut lives: Vec<_> = program.module.buffers.iter().map(|buffer| start(&buffer.kind)).collect();
    for (at, step) in steps(program).enumerate() {
        visit_step(step, &mut |id| {
            let life = &mut lives[id.0 as usize];
            let known = life.clone().unwrap_or(at..=at);
            let last = if *known.start() < begin && at >= begin { end } else { at };
            *life = Some(*known.start()..=last.max(*known.end()));
        });
    }
    for (life, buffer) in lives.iter_mut().zip(&program.module.buffers) {
        if let (BufferKind::Output(_), Some(known)) = (&buffer.kind, &life) {
            *life = Some(*known.start()..=end);
        }
    }
    lives
}

fn steps(program: &Program) -> impl Iterator<Item = &Step> {
    program.prologue.iter().chain(&program.schedule)
}

fn visit_step(step: &Step, visit: &mut impl FnMut(BufferId)) {
    match step {
        Step::Kernel(kernel, _) => {
            visit_block(&kernel.body, &mut |at, _, _| visit(at.buffer), &mut Vec::new())
        }
        Step::Gemm(gemm, _) => {
            let matrices = [&gemm.a, &gemm.b, &gemm.c].map(|matrix| &matrix.at);
            let others = gemm.prefix.iter().chain(gemm.riders());
            matrices.into_iter().chain(others).for_each(|at| visit(at.buffer));
        }
        Step::Pack(Pack { b, to, .. }, _) => [b.at.buffer, *to].map(visit).into_iter().collect(),
        Step::Scatter(Scatter { ids, g, table, .. }, _) => {
            [ids.buffer, g.at.buffer, *table].map(visit).into_iter().collect()
        }
        Step::Distinct(distinct) => {
            visit(distinct.ids.buffer);
            distinct.results().into_iter().for_each(|(buffer, _)| visit(buffer));
        }
        Step::Loop { body, .. } => body.iter().for_each(|step| visit_step(step, visit)),
        Step::Barrier => {}
    }
}

/// Calls `visit` with each access of a block in order, whether it is a store, and the loops around it.
fn visit_block<'k>(
    stmts: &'k [Stmt],
    visit: &mut impl FnMut(&'k Address, bool, &[&'k For]),
    loops: &mut Vec<&'k For>,
) {
    for stmt in stmts {
        match stmt {
            Stmt::Let { expr: Expr::Load(from) | Expr::LoadId(from), .. } => visit(from, false, loops),
            Stmt::Let { .. } => {}
            Stmt::Store { to, .. } => visit(to, true, loops),
            Stmt::For(inner) => {
                loops.push(inner);
                visit_block(&inner.body, visit, loops);
                loops.pop();
            }
        }
    }
}

type Life<'a> = (usize, &'a RangeInclusive<usize>);

/// Whether `new` may take over the memory of `old`: one kernel is the last to touch `old` and the first to touch
/// `new`, and the rule of [`may_share`] holds for it.
fn shares_in_place(
    program: &Program,
    steps: &[&Step],
    (old, old_life): Life<'_>,
    (new, new_life): Life<'_>,
) -> bool {
    if program.offsets[old] != program.offsets[new] || old_life.end() != new_life.start() {
        return false;
    }
    let Some(Step::Kernel(kernel, _)) = steps.get(*new_life.start()) else { return false };
    may_share(kernel, BufferId(old as u32), BufferId(new as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::parse;

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
        let schedule = module.items.iter().map(|item| match item {
            Item::Kernel(kernel) => Step::Kernel(kernel.clone(), Split::Axis(Axis(0))),
            other => panic!("{other}"),
        });
        let schedule = schedule.flat_map(|step| [step, Step::Barrier]).collect();
        Program {
            module,
            workers: 2,
            offsets: offsets.to_vec(),
            arena_bytes: 1024,
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
        rounds.schedule.iter_mut().for_each(|step| {
            if let Step::Kernel(_, split) = step {
                *split = Split::Whole;
            }
        });
        rejects(&rounds, "\"a\" and \"b\" overlap");
    }

    #[test]
    fn buffers_lie_in_the_arena() {
        rejects(&program(TEXT, [0, 256, 512, 800, 256]), "no multiple of 64");
        rejects(&program(TEXT, [0, 256, 512, 768, 832]), "beyond the arena's 1024 bytes");
    }

    #[test]
    fn the_schedule_is_the_module() {
        let mut program = program(TEXT, [0, 256, 512, 768, 256]);
        program.schedule.swap(0, 2);
        rejects(&program, "the schedule differs");
    }

    #[test]
    fn cuts_follow_parallel_axes() {
        let base = program(TEXT, [0, 256, 512, 768, 256]);
        let cut = |at: usize, split: Split| {
            let mut program = base.clone();
            let Step::Kernel(_, own) = &mut program.schedule[at] else { unreachable!() };
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
