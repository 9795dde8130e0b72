//! Who runs next: a launch from its first CTA to its last.
//!
//! A seed decides how many CTAs of a plain launch run at once and in which order they come, how long turns are, which warp has
//! the next, and which CTA is left behind for a while. All CTAs of a cooperative launch and of a cluster run at once.
//! The same seed gives the same run, fault or not.

mod barriers;

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::clocks::{Clock, Place};
use crate::exec::warp::{State, Warp};
use crate::exec::{Cta, Event, World};
use crate::fault::{Fault, FaultKind, Halt};
use crate::machine::{Launch, Stats};
use crate::memory::Memory;
use crate::module::{Kernel, Module, Special};
use crate::regs::{Class, Regs};
use crate::rng::Rng;
use crate::space::Space;
use barriers::{Barriers, ClusterBarrier};

/// The turns after which another CTA may be left behind.
const SEASON: u64 = 256;

/// What a machine lets a launch do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub patience: u64,
    pub cuts_tf32: bool,
}

struct Run<'m> {
    world: World<'m>,
    module: &'m Module,
    launch: &'m Launch<'m>,
    variables: &'m [u64],
    /// Of running CTAs, and slots for more.
    warps: Vec<Option<Warp>>,
    /// Indices in `warps` of those that can go on.
    ready: Vec<usize>,
    /// Of each CTA its warps, while it runs.
    members: HashMap<u32, Vec<usize>>,
    barriers: HashMap<u32, Barriers>,
    cluster_barriers: Vec<ClusterBarrier>,
    /// Clusters that have not begun.
    waiting: VecDeque<u32>,
    free_regs: Vec<Regs>,
    free_shared: Vec<Space>,
    warps_of_cta: u32,
    longest_turn: usize,
    behind: Option<u32>,
}

pub(crate) fn run(
    memory: &mut Memory,
    module: &Module,
    kernel: &Kernel,
    launch: &Launch,
    parameters: Vec<u8>,
    variables: &[u64],
    limits: Limits,
) -> Result<Stats, Fault> {
    memory.restart();
    let mut rng = Rng::new(launch.seed);
    let (clusters, cluster_of) = clusters(launch);
    let mut order: Vec<u32> = (0..clusters.len() as u32).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i + 1));
    }
    let ctas = cluster_of.len();
    let longest_turn = [4, 32, 256, 2048][rng.below(4)];
    let at_once = if launch.cooperative { clusters.len() } else { 1 + rng.below(clusters.len().min(8)) };
    let world = World {
        kernel,
        memory,
        parameters,
        ctas: (0..ctas).map(|_| None).collect(),
        cluster_of,
        clusters,
        released: HashMap::new(),
        cuts_tf32: limits.cuts_tf32,
        counts: vec![0; kernel.opcodes.len()],
        instructions: 0,
        progress: 0,
        rng,
    };
    let threads: u32 = launch.block.iter().product();
    let mut run = Run {
        cluster_barriers: world.clusters.iter().map(|_| ClusterBarrier::default()).collect(),
        world,
        module,
        launch,
        variables,
        warps: vec![],
        ready: vec![],
        members: HashMap::new(),
        barriers: HashMap::new(),
        waiting: order.into(),
        free_regs: vec![],
        free_shared: vec![],
        warps_of_cta: threads.div_ceil(32),
        longest_turn,
        behind: None,
    };
    for _ in 0..at_once {
        run.begin_cluster();
    }
    run.all(limits.patience)?;
    let counts = kernel.opcodes.iter().cloned().zip(run.world.counts).filter(|(_, count)| *count > 0);
    let mut opcodes = BTreeMap::new();
    for (name, count) in counts {
        *opcodes.entry(name).or_default() += count;
    }
    Ok(Stats { instructions: run.world.instructions, opcodes })
}

fn split(number: u32, sizes: [u32; 3]) -> [u32; 3] {
    [number % sizes[0], number / sizes[0] % sizes[1], number / sizes[0] / sizes[1]]
}

fn number(at: [u32; 3], sizes: [u32; 3]) -> u32 {
    at[0] + sizes[0] * (at[1] + sizes[1] * at[2])
}

/// The CTAs of each cluster by rank, and the cluster of each CTA.
fn clusters(launch: &Launch) -> (Vec<Vec<u32>>, Vec<u32>) {
    let shape = launch.cluster.map(|size| size.max(1));
    let grid_of_clusters: [u32; 3] = std::array::from_fn(|i| launch.grid[i] / shape[i]);
    let total: u32 = launch.grid.iter().product();
    let size: u32 = shape.iter().product();
    let mut clusters = vec![vec![0; size as usize]; (total / size) as usize];
    let mut cluster_of = vec![0; total as usize];
    for cta in 0..total {
        let at = split(cta, launch.grid);
        let cluster = number(std::array::from_fn(|i| at[i] / shape[i]), grid_of_clusters);
        let rank = number(std::array::from_fn(|i| at[i] % shape[i]), shape);
        clusters[cluster as usize][rank as usize] = cta;
        cluster_of[cta as usize] = cluster;
    }
    (clusters, cluster_of)
}

impl Run<'_> {
    fn begin_cluster(&mut self) {
        let Some(cluster) = self.waiting.pop_front() else { return };
        let ctas = self.world.clusters[cluster as usize].clone();
        self.cluster_barriers[cluster as usize].live = self.warps_of_cta * ctas.len() as u32;
        for (rank, cta) in ctas.into_iter().enumerate() {
            self.begin(cta, rank as u32);
        }
    }

    fn begin(&mut self, cta: u32, rank: u32) {
        let kernel = self.world.kernel;
        let bytes = kernel.static_shared + self.launch.shared_bytes;
        let mut shared = self.free_shared.pop().unwrap_or_else(|| Space::new(bytes));
        shared.restart();
        self.world.ctas[cta as usize] = Some(Cta { shared, visited: false });
        self.barriers.insert(cta, Barriers::default());
        let threads: u32 = self.launch.block.iter().product();
        let count = self.warps_of_cta;
        let total = count * self.world.cluster_of.len() as u32;
        for index in 0..count {
            let mut regs = self.free_regs.pop().unwrap_or_else(|| Regs::new(kernel.registers));
            regs.clear();
            self.fill(&mut regs, cta, rank, index);
            let clock = Clock::new(cta * count, count, cta * count + index, total);
            let warp = Warp::new(cta, index, threads - 32 * index, regs, clock);
            let at = match self.warps.iter().position(Option::is_none) {
                Some(at) => {
                    self.warps[at] = Some(warp);
                    at
                }
                None => {
                    self.warps.push(Some(warp));
                    self.warps.len() - 1
                }
            };
            self.members.entry(cta).or_default().push(at);
            self.ready.push(at);
        }
    }

    /// Constants and special registers.
    fn fill(&self, regs: &mut Regs, cta: u32, rank: u32, index: u32) {
        let kernel = self.world.kernel;
        for &(class, slot, value) in &kernel.constants {
            regs.fix(class, slot, |_| value);
        }
        for &(class, slot, variable) in &kernel.addresses {
            regs.fix(class, slot, |_| self.variables[variable]);
        }
        let (grid, block) = (self.launch.grid, self.launch.block);
        let shape = self.launch.cluster.map(|size| size.max(1));
        let at = split(cta, grid);
        for &(special, slot) in &kernel.specials {
            regs.fix(Class::Word, slot, |lane| {
                let lane = lane as u32;
                let value = match special {
                    Special::Tid(axis) => split(32 * index + lane, block)[axis],
                    Special::Ntid(axis) => block[axis],
                    Special::Ctaid(axis) => at[axis],
                    Special::Nctaid(axis) => grid[axis],
                    Special::Laneid => lane,
                    Special::Warpid => index,
                    Special::Nwarpid => self.warps_of_cta,
                    Special::Clusterid(axis) => at[axis] / shape[axis],
                    Special::Nclusterid(axis) => grid[axis] / shape[axis],
                    Special::ClusterCtaid(axis) => at[axis] % shape[axis],
                    Special::ClusterNctaid(axis) => shape[axis],
                    Special::ClusterCtarank => rank,
                    Special::ClusterNctarank => shape.iter().product(),
                    Special::LanemaskEq => 1 << lane,
                    Special::LanemaskLt => (1 << lane) - 1,
                    Special::LanemaskLe => !(!1 << lane),
                    Special::LanemaskGt => !1 << lane,
                    Special::LanemaskGe => !0 << lane,
                };
                value.into()
            });
        }
    }

    /// Turn after turn until all are done.
    fn all(&mut self, patience: u64) -> Result<(), Fault> {
        let mut turns = 0;
        while !self.ready.is_empty() {
            turns += 1;
            if turns % SEASON == 0 {
                let ctas: Vec<u32> = self
                    .ready
                    .iter()
                    .filter_map(|&at| self.warps[at].as_ref())
                    .map(|warp| warp.cta)
                    .collect();
                let one = ctas[self.world.rng.below(ctas.len())];
                self.behind = (self.world.rng.below(2) == 0).then_some(one);
            }
            let pick = self.pick();
            let at = self.ready[pick];
            let turn = 1 + self.world.rng.below(self.longest_turn) as u64;
            let Some(mut warp) = self.warps[at].take() else { unreachable!("a ready warp is there") };
            let event = self.world.run(&mut warp, turn);
            let result = event.and_then(|event| self.handle(event, &mut warp, at));
            let halted = result.map_err(|halt| self.fault(&warp, halt));
            let state = warp.state;
            self.warps[at] = Some(warp);
            halted?;
            if state != State::Ready
                && let Some(pick) = self.ready.iter().position(|&ready| ready == at)
            {
                self.ready.swap_remove(pick);
            }
            if state == State::Done {
                self.finish(at);
            }
            if self.world.instructions - self.world.progress > patience {
                return Err(self.hang("nobody gets on"));
            }
        }
        if self.warps.iter().flatten().next().is_some() {
            return Err(self.hang("nobody can go on"));
        }
        Ok(())
    }

    fn pick(&mut self) -> usize {
        let pick = self.world.rng.below(self.ready.len());
        let is_behind = |at: usize| self.warps[at].as_ref().is_some_and(|warp| Some(warp.cta) == self.behind);
        if self.behind.is_some() && is_behind(self.ready[pick]) && self.world.rng.below(16) != 0 {
            return self.world.rng.below(self.ready.len());
        }
        pick
    }

    fn handle(&mut self, event: Event, warp: &mut Warp, at: usize) -> Result<(), Halt> {
        match event {
            Event::Turn => Ok(()),
            Event::Barrier { id, threads, wait } => self.at_barrier(warp, at, id, threads, wait),
            Event::ClusterArrive { release } => self.arrive_at_cluster(warp, release),
            Event::ClusterWait => self.wait_for_cluster(warp, at),
            Event::Done => self.exited(warp),
        }
    }

    /// A warp is done; its CTA may be, and its cluster.
    fn finish(&mut self, at: usize) {
        let Some(warp) = self.warps[at].take() else { return };
        self.free_regs.push(warp.regs);
        let cta = warp.cta;
        if let Some(members) = self.members.get_mut(&cta) {
            members.retain(|&member| member != at);
            if !members.is_empty() {
                return;
            }
        }
        self.members.remove(&cta);
        self.barriers.remove(&cta);
        if let Some(over) = self.world.ctas[cta as usize].take() {
            self.free_shared.push(over.shared);
        }
        let cluster = self.world.cluster_of[cta as usize];
        if self.cluster_barriers[cluster as usize].live == 0 {
            self.begin_cluster();
        }
    }

    fn fault(&self, warp: &Warp, halt: Halt) -> Fault {
        let kernel = self.world.kernel;
        let halt = halt.details();
        // A barrier's warp has gone on by one when it is found to be wrong.
        let pc = match halt.kind {
            FaultKind::Barrier if halt.lane.is_none() => warp.pc.saturating_sub(1),
            _ => warp.pc,
        };
        let line = kernel.code.get(pc as usize).map_or(0, |instruction| instruction.line as usize);
        let text = self.module.lines.get(line.wrapping_sub(1)).cloned().unwrap_or_default();
        let thread = Some((warp.cta, 32 * warp.index + halt.lane.unwrap_or(0) as u32));
        Fault {
            kind: halt.kind,
            kernel: kernel.name.clone(),
            line,
            text,
            thread,
            reason: halt.reason.clone(),
        }
    }

    fn hang(&self, what: &str) -> Fault {
        let kernel = self.world.kernel;
        let mut reason = what.to_owned();
        for warp in self.warps.iter().flatten().take(64) {
            let line = kernel.code.get(warp.pc as usize).map_or(0, |instruction| instruction.line);
            let how = match warp.state {
                State::Barrier(id) => format!("waits at barrier {id} before"),
                State::ClusterBarrier => "waits at the cluster's barrier before".to_owned(),
                _ => "runs at".to_owned(),
            };
            reason.push_str(&format!("; CTA {} warp {} {how} line {line}", warp.cta, warp.index));
        }
        Fault {
            kind: FaultKind::Deadlock,
            kernel: kernel.name.clone(),
            line: 0,
            text: String::new(),
            thread: None,
            reason,
        }
    }

    fn place(&self, cta: u32) -> Place {
        self.world.place(cta)
    }
}
