//! Time loops: one cooperative launch for all rounds, its CTAs in step by barriers of the whole grid where the plan has them.
//!
//! What the plan cuts by unit a CTA does for its own units, with its threads in step by barriers of the CTA; all CTAs share the
//! rest.

use std::collections::{BTreeMap, HashSet};

mod barrier;
mod columns;
mod terms;
mod tile;
mod weight;

pub use barrier::GridBarrier;

use super::nest;
use super::report::{LoopReport, TaskReport, WeightReport};
use super::scope::{Round, Scope};
use super::task::{name, parts, write_part};
use super::units::Units;
use crate::kernel::{BufferId, Gemm, Index, Item, Module, TimeLoop};
use crate::plan::{self, Schedule, Split, Task};
use crate::target::Nvidia;
use columns::ColumnProduct;
use terms::TermProduct;
use tile::TILE;
use weight::Room;

/// Bytes of shared memory that an entry may declare itself, and 1 KiB that belongs to the driver.
const DECLARED: usize = 49 << 10;

/// A time loop that was written.
pub(super) struct Written {
    /// How many CTAs have something to do in its largest task.
    pub work: usize,
    /// How much shared memory each keeps parts of weights in.
    pub shared_bytes: usize,
    /// Bytes behind the arena that partial sums travel through.
    pub exchange_bytes: usize,
    pub report: LoopReport,
}

/// Writes a time loop. `exchange` is where the memory for partial sums begins in the arena, in bytes.
pub(super) fn write(
    scope: &mut Scope,
    inner: &TimeLoop,
    body: Schedule<'_>,
    barrier: GridBarrier,
    module: &Module,
    nvidia: Nvidia,
    exchange: usize,
) -> Written {
    let mut room = Room::new(nvidia.shared_bytes().saturating_sub(DECLARED));
    let ctas = nvidia.multiprocessors;
    let mut time = Time { barrier, module, ctas, room: &mut room, exchange, exchange_bytes: 0 };
    let (work, report) = time.looped(scope, inner, body);
    let exchange_bytes = time.exchange_bytes;
    Written { work, shared_bytes: room.taken, exchange_bytes, report }
}

/// A time loop while it is written.
struct Time<'a> {
    barrier: GridBarrier,
    module: &'a Module,
    /// The most CTAs that there can be.
    ctas: usize,
    room: &'a mut Room,
    exchange: usize,
    exchange_bytes: usize,
}

/// A product of which each CTA keeps its part of the weight.
enum Product<'g> {
    Columns(ColumnProduct<'g>),
    Terms(TermProduct<'g>),
}

impl Product<'_> {
    fn weight_report(&self) -> WeightReport {
        match self {
            Product::Columns(product) => product.weight_report(),
            Product::Terms(product) => product.weight_report(),
        }
    }
}

impl Time<'_> {
    /// A loop, by what its CTAs keep through all rounds. Says how many CTAs have something to do in its largest task, and what was
    /// chosen.
    fn looped(&mut self, scope: &mut Scope, inner: &TimeLoop, body: Schedule<'_>) -> (usize, LoopReport) {
        let tasks: Vec<Task> = body.tasks().collect();
        let units = self.units(scope, &tasks);
        let written: HashSet<BufferId> = inner.items.iter().flat_map(Item::stored).collect();
        let products: Vec<Option<Product>> =
            tasks.iter().map(|&task| self.product(scope, task, &units, &written)).collect();
        let ctas = units.values().map(|units| units.ctas());
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
        let of_task = |(&task, product): (&Task<'_>, &Option<Product>)| TaskReport {
            name: name(task),
            units: units_of(task).map(|count| [count, units[&count].own]),
            weight: product.as_ref().map(Product::weight_report),
            reason: plan::reason_in_loop(task),
        };
        let waits = |task: &&Task<'_>| matches!(task, Task::Barrier | Task::Gemm(_, Split::Terms(_)));
        let barriers = tasks.iter().filter(waits).count();
        let others = tasks.iter().zip(&products).filter(|(task, _)| !matches!(task, Task::Barrier));
        let tasks = others.map(of_task).collect();
        (most, LoopReport { rounds: inner.rounds, barriers, tasks })
    }

    /// A product that is cut by unit, with what is kept of its weight. `written` are the buffers that the loop writes.
    fn product<'g>(
        &mut self,
        scope: &mut Scope,
        task: Task<'g>,
        units: &BTreeMap<usize, Units>,
        written: &HashSet<BufferId>,
    ) -> Option<Product<'g>> {
        let Task::Gemm(gemm, split) = task else { return None };
        let in_time = |(index, _): &(Index, usize)| matches!(index, Index::Time(_));
        let changes = written.contains(&gemm.b.at.buffer) || gemm.b.at.terms.iter().any(in_time);
        match split {
            Split::Units(count) => {
                let product = ColumnProduct::new(scope, gemm, units[&count], changes, self.room);
                Some(Product::Columns(product))
            }
            Split::Terms(count) => {
                let exchange = self.exchange + self.exchange_bytes;
                let product = TermProduct::new(scope, gemm, units[&count], changes, exchange, self.room);
                self.exchange_bytes += product.exchange_bytes().next_multiple_of(16);
                Some(Product::Terms(product))
            }
            _ => None,
        }
    }

    /// Which units a CTA keeps of so many as a task is cut by.
    fn units(&self, scope: &mut Scope, tasks: &[Task<'_>]) -> BTreeMap<usize, Units> {
        let mut counts: BTreeMap<usize, Vec<(&Gemm, Split)>> = BTreeMap::new();
        for &task in tasks {
            if let Some(count) = units_of(task) {
                let gemms = counts.entry(count).or_default();
                if let Task::Gemm(gemm, split) = task {
                    gemms.push((gemm, split));
                }
            }
        }
        let cta = scope.cta;
        let units = |(count, gemms): (usize, Vec<(&Gemm, Split)>)| {
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
        product: Option<&Product>,
        units: &BTreeMap<usize, Units>,
    ) -> usize {
        let own = units_of(task).map(|count| units[&count]);
        match (task, product, own) {
            (Task::Barrier, ..) => {
                self.barrier.wait(scope);
                1
            }
            (Task::Loop(inner, body), ..) => self.looped(scope, inner, body).0,
            (Task::Gemm(..), Some(Product::Columns(product)), Some(units)) => {
                scope.w.note(name(task));
                has_units(scope, units, |scope| product.round(scope));
                1
            }
            (Task::Gemm(..), Some(Product::Terms(product)), Some(units)) => {
                scope.w.note(name(task));
                has_units(scope, units, |scope| product.partial_sums(scope));
                self.barrier.wait(scope);
                has_units(scope, units, |scope| product.add_up(scope));
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

/// How many units each CTA has: as many CTAs as there can be, but no more than make each compute fewer tiles.
fn own_units(count: usize, gemms: &[(&Gemm, Split)], ctas: usize) -> usize {
    let of_gemm = |own: usize, &(gemm, split): &(&Gemm, Split)| match split {
        Split::Terms(_) => (gemm.k / count * own).div_ceil(TILE[0]),
        _ => (gemm.n / count * own).div_ceil(TILE[0]),
    };
    let tiles = |own: usize| -> usize { gemms.iter().map(|gemm| of_gemm(own, gemm)).sum() };
    let least = count.div_ceil(ctas).max(1);
    let same = |own: &usize| !gemms.is_empty() && tiles(*own) == tiles(least);
    (least..=count).take_while(same).last().unwrap_or(least)
}

/// Of how many units a task is cut by.
fn units_of(task: Task<'_>) -> Option<usize> {
    match task {
        Task::Kernel(kernel, Split::Axis(axis)) => Some(kernel.axes[axis.0 as usize]),
        Task::Gemm(_, Split::Units(units) | Split::Terms(units)) => Some(units),
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
