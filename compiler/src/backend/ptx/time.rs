//! Time loops: one cooperative launch for all rounds, its CTAs in step by barriers of the whole grid where the plan has them.
//!
//! What the plan cuts by unit a CTA does for its own units, with its threads in step by barriers of the CTA; all CTAs share the
//! rest.

use std::collections::{BTreeMap, HashSet};

use super::nest;
use super::report::{LoopReport, TaskReport};
use super::scope::{Round, Scope};
use super::task::{name, parts, write_part};
use super::text::{Reg, Wide};
use super::units::{Room, UnitProduct, Units, changes, own_units};
use crate::kernel::{BufferId, Gemm, Item, Module, TimeLoop};
use crate::plan::{self, Schedule, Split, Task};
use crate::target::Nvidia;

/// Bytes of shared memory that an entry may declare itself, and 1 KiB that belongs to the driver.
const DECLARED: usize = 49 << 10;

/// Polls of a barrier before it is given up: a CTA that never comes must not hang the machine. Some seconds.
const PATIENCE: u32 = 1 << 26;

/// A barrier of all CTAs of a launch. Its counter in memory is 0 when the launch begins, and counts up.
#[derive(Clone, Copy, Debug)]
pub(super) struct GridBarrier {
    counter: Wide,
    /// How many arrivals there will be when all have come the next time.
    target: Reg,
}

impl GridBarrier {
    /// `offset`: where its counter lies, in bytes from the control block on.
    pub fn new(scope: &mut Scope, offset: usize) -> Self {
        let counter = scope.control(offset);
        let target = scope.w.bits(0);
        Self { counter, target }
    }

    /// Every CTA waits until all have come here, and sees what the others have written.
    ///
    /// The CTA's threads meet, so that what they wrote happens before its leader's release; the leader's acquire, and the
    /// second meeting, hand on what other CTAs released.
    pub fn wait(self, scope: &mut Scope) {
        let Self { counter, target } = self;
        let (ctas, thread) = (scope.ctas, scope.thread);
        scope.w.assign(target, "add.u32", [target.into(), ctas.into()]);
        scope.w.sync();
        let is_leader = scope.w.compare("setp.eq.u32", thread, 0);
        scope.when(is_leader, |scope| {
            let w = &mut scope.w;
            w.line(format_args!("red.release.gpu.global.add.u32 [{counter}], 1"));
            let polls = w.bits(0);
            let (again, done) = (w.label(), w.label());
            w.place(again);
            let arrived = w.reg();
            w.line(format_args!("ld.acquire.gpu.global.u32 {arrived}, [{counter}]"));
            let all = w.compare("setp.ge.u32", arrived, target);
            w.go_if(all, done);
            w.assign(polls, "add.u32", [polls.into(), 1.into()]);
            let patient = w.compare("setp.lt.u32", polls, PATIENCE);
            w.go_if(patient, again);
            w.line("trap");
            w.place(done);
        });
        scope.w.sync();
    }
}

/// A time loop that was written.
pub(super) struct Written {
    /// How many CTAs have something to do in its largest task.
    pub work: usize,
    /// How much shared memory each keeps parts of weights in.
    pub shared_bytes: usize,
    pub report: LoopReport,
}

/// Writes a time loop.
pub(super) fn write(
    scope: &mut Scope,
    inner: &TimeLoop,
    body: Schedule<'_>,
    barrier: GridBarrier,
    module: &Module,
    nvidia: Nvidia,
) -> Written {
    let mut room = Room::new(nvidia.shared_bytes().saturating_sub(DECLARED));
    let mut time = Time { barrier, module, ctas: nvidia.multiprocessors, room: &mut room };
    let (work, report) = time.looped(scope, inner, body);
    Written { work, shared_bytes: room.taken, report }
}

/// A time loop while it is written.
struct Time<'a> {
    barrier: GridBarrier,
    module: &'a Module,
    /// The most CTAs that there can be.
    ctas: usize,
    room: &'a mut Room,
}

impl Time<'_> {
    /// A loop, by what its CTAs keep through all rounds. Says how many CTAs have something to do in its largest task, and what was
    /// chosen.
    fn looped(&mut self, scope: &mut Scope, inner: &TimeLoop, body: Schedule<'_>) -> (usize, LoopReport) {
        let tasks: Vec<Task> = body.tasks().collect();
        let units = self.units(scope, &tasks);
        let written: HashSet<BufferId> = inner.items.iter().flat_map(Item::stored).collect();
        let products: Vec<Option<UnitProduct>> = tasks
            .iter()
            .map(|task| match task {
                Task::Gemm(gemm, Split::Units(count)) => {
                    let changes = changes(gemm, written.contains(&gemm.b.at.buffer));
                    Some(UnitProduct::new(scope, gemm, units[count], changes, self.room))
                }
                _ => None,
            })
            .collect();
        let ctas = units.values().map(|units| units.count.div_ceil(units.own));
        let mut most = ctas.max().unwrap_or(1);
        rounds(scope, inner, |scope| {
            for (at, (&task, product)) in tasks.iter().zip(&products).enumerate() {
                let next = tasks[(at + 1) % tasks.len()];
                most = most.max(self.task(scope, task, product.as_ref(), &units));
                // A barrier of the grid is one of the CTA too.
                if !matches!(task, Task::Barrier) && !matches!(next, Task::Barrier) {
                    scope.w.sync();
                }
            }
        });
        let of_task = |(&task, product): (&Task<'_>, &Option<UnitProduct>)| TaskReport {
            name: name(task),
            units: units_of(task).map(|count| [count, units[&count].own]),
            weight: product.as_ref().map(UnitProduct::weight_report),
            reason: plan::reason_in_loop(task),
        };
        let (barriers, others): (Vec<_>, Vec<_>) =
            tasks.iter().zip(&products).partition(|(task, _)| matches!(task, Task::Barrier));
        let tasks = others.into_iter().map(of_task).collect();
        (most, LoopReport { rounds: inner.rounds, barriers: barriers.len(), tasks })
    }

    /// Which units a CTA keeps of so many as a task is cut by.
    fn units(&self, scope: &mut Scope, tasks: &[Task<'_>]) -> BTreeMap<usize, Units> {
        let mut counts: BTreeMap<usize, Vec<&Gemm>> = BTreeMap::new();
        for &task in tasks {
            if let Some(count) = units_of(task) {
                let gemms = counts.entry(count).or_default();
                if let Task::Gemm(gemm, _) = task {
                    gemms.push(gemm);
                }
            }
        }
        let cta = scope.cta;
        let units = |(count, gemms): (usize, Vec<&Gemm>)| {
            let own = own_units(count, &gemms, self.ctas);
            (count, Units { count, own, first: scope.w.mul(cta, own as u32) })
        };
        counts.into_iter().map(units).collect()
    }

    /// One task in a round; says how many CTAs have something to do.
    fn task(
        &mut self,
        scope: &mut Scope,
        task: Task<'_>,
        product: Option<&UnitProduct>,
        units: &BTreeMap<usize, Units>,
    ) -> usize {
        let own = units_of(task).map(|count| units[&count]);
        match (task, product, own) {
            (Task::Barrier, ..) => {
                self.barrier.wait(scope);
                1
            }
            (Task::Loop(inner, body), ..) => self.looped(scope, inner, body).0,
            (Task::Gemm(..), Some(product), Some(units)) => {
                scope.w.note(name(task));
                has_units(scope, units, |scope| product.round(scope));
                1
            }
            (Task::Kernel(kernel, Split::Axis(axis)), _, Some(units)) => {
                scope.w.note(name(task));
                let module = self.module;
                has_units(scope, units, |scope| _ = nest::kernel(scope, kernel, Some((axis, units)), module));
                1
            }
            _ => {
                let mut most = 1;
                for part in 0..parts(task) {
                    if part > 0 {
                        self.barrier.wait(scope);
                    }
                    most = most.max(write_part(scope, task, part, self.module));
                }
                most
            }
        }
    }
}

/// Of how many units a task is cut by.
fn units_of(task: Task<'_>) -> Option<usize> {
    match task {
        Task::Kernel(kernel, Split::Axis(axis)) => Some(kernel.axes[axis.0 as usize]),
        Task::Gemm(_, Split::Units(units)) => Some(units),
        _ => None,
    }
}

/// `body` in the CTAs that have units.
fn has_units(scope: &mut Scope, units: Units, body: impl FnOnce(&mut Scope)) {
    let some = scope.w.compare("setp.lt.u32", units.first, units.count as u32);
    scope.when(some, body);
}

/// The rounds of a time loop; `body` writes one.
pub(super) fn rounds(scope: &mut Scope, inner: &TimeLoop, body: impl FnOnce(&mut Scope)) {
    let rounds = inner.rounds as u32;
    let (first, last) =
        if inner.reverse { (rounds.saturating_sub(1), 0) } else { (0, rounds.saturating_sub(1)) };
    scope.each(0, rounds, 1, |scope, done| {
        let now = match inner.reverse {
            true => scope.w.op("sub.u32", [first.into(), done.into()]),
            false => done,
        };
        scope.in_round(inner.time, Round { now, first, last }, body);
    });
}
