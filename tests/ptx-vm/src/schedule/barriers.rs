//! Barriers of a CTA and of a cluster: who has arrived, who waits, and what they learn of each other.

use crate::clocks::{Clock, Knowledge};
use crate::exec::warp::{State, Warp};
use crate::fault::{FaultKind, Halt};
use crate::schedule::Run;

#[derive(Debug, Default)]
struct Barrier {
    /// Threads that have arrived, and that it takes.
    arrived: u32,
    threads: u32,
    gathered: Option<Clock>,
    waiting: Vec<usize>,
}

/// Of a CTA.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    barriers: [Barrier; 16],
    exited: u32,
    /// What those that have exited knew.
    known: Option<Clock>,
}

/// Of a cluster.
#[derive(Debug, Default)]
pub(super) struct ClusterBarrier {
    /// Warps that have not exited, and those of them that have arrived in this phase.
    pub live: u32,
    arrived: u32,
    phase: u32,
    /// What those who arrived have released, in this phase and in the last.
    gathered: Vec<Knowledge>,
    complete: Vec<Knowledge>,
    waiting: Vec<usize>,
}

fn wrong(reason: String) -> Halt {
    Halt::new(FaultKind::Barrier, reason)
}

impl Run<'_> {
    pub(super) fn at_barrier(
        &mut self,
        warp: &mut Warp,
        at: usize,
        id: u32,
        threads: Option<u32>,
        wait: bool,
    ) -> Result<(), Halt> {
        let all = 32 * self.warps_of_cta;
        let threads = threads.unwrap_or(all);
        let Some(barriers) = self.barriers.get_mut(&warp.cta) else { return Ok(()) };
        let exited = barriers.exited;
        let Some(barrier) = barriers.barriers.get_mut(id as usize) else {
            return Err(wrong(format!("barrier {id}, and there are 16")));
        };
        if threads == 0 || !threads.is_multiple_of(32) {
            return Err(wrong(format!("a barrier of {threads} threads, which is no multiple of 32")));
        }
        if threads > all - 32 * exited {
            return Err(wrong(format!("waits for {threads} threads, {exited} of whose warps have exited")));
        }
        if barrier.arrived > 0 && barrier.threads != threads {
            return Err(wrong(format!(
                "barrier {id} takes {} threads for some and {threads} for others",
                barrier.threads
            )));
        }
        barrier.threads = threads;
        barrier.arrived += 32;
        match &mut barrier.gathered {
            None => barrier.gathered = Some(warp.clock.clone()),
            Some(gathered) => warp.clock.gather(gathered),
        }
        if wait {
            barrier.waiting.push(at);
            warp.state = State::Barrier(id as usize);
        } else {
            warp.clock.tick();
        }
        if barrier.arrived < threads {
            return Ok(());
        }
        let done = std::mem::take(barrier);
        let Some(gathered) = done.gathered else { return Ok(()) };
        for waiting in done.waiting {
            let one = if waiting == at { Some(&mut *warp) } else { self.warps[waiting].as_mut() };
            if let Some(one) = one {
                one.clock.take(&gathered);
                one.state = State::Ready;
                if waiting != at {
                    self.ready.push(waiting);
                }
            }
        }
        self.world.progress = self.world.instructions;
        Ok(())
    }

    pub(super) fn arrive_at_cluster(&mut self, warp: &mut Warp, release: bool) -> Result<(), Halt> {
        let cluster = self.place(warp.cta).cluster;
        let barrier = &mut self.cluster_barriers[cluster as usize];
        if warp.arrived.is_some() {
            return Err(wrong("arrives at the cluster's barrier twice without waiting".into()));
        }
        warp.arrived = Some(barrier.phase);
        barrier.arrived += 1;
        if release {
            barrier.gathered.push(warp.clock.knowledge());
        } else if let Some((_, knowledge)) = &warp.fence {
            barrier.gathered.push(knowledge.clone());
        }
        warp.clock.tick();
        self.complete_cluster(cluster);
        Ok(())
    }

    pub(super) fn wait_for_cluster(&mut self, warp: &mut Warp, at: usize) -> Result<(), Halt> {
        let cluster = self.place(warp.cta).cluster;
        let barrier = &mut self.cluster_barriers[cluster as usize];
        let Some(phase) = warp.arrived.take() else {
            return Err(wrong("waits at the cluster's barrier without having arrived".into()));
        };
        if barrier.phase == phase {
            barrier.waiting.push(at);
            warp.state = State::ClusterBarrier;
            return Ok(());
        }
        learn(warp, &barrier.complete);
        Ok(())
    }

    fn complete_cluster(&mut self, cluster: u32) {
        let barrier = &mut self.cluster_barriers[cluster as usize];
        if barrier.arrived < barrier.live || barrier.arrived == 0 {
            return;
        }
        barrier.arrived = 0;
        barrier.phase += 1;
        barrier.complete = std::mem::take(&mut barrier.gathered);
        for waiting in std::mem::take(&mut barrier.waiting) {
            if let Some(warp) = &mut self.warps[waiting] {
                learn(warp, &barrier.complete);
                warp.state = State::Ready;
                self.ready.push(waiting);
            }
        }
        self.world.progress = self.world.instructions;
    }

    /// Nobody may wait for threads that are gone.
    pub(super) fn exited(&mut self, warp: &mut Warp) -> Result<(), Halt> {
        let all = 32 * self.warps_of_cta;
        if let Some(barriers) = self.barriers.get_mut(&warp.cta) {
            barriers.exited += 1;
            let left = all - 32 * barriers.exited;
            for (id, barrier) in barriers.barriers.iter().enumerate() {
                if barrier.arrived > 0 && barrier.threads > left {
                    return Err(wrong(format!("exits while others of the CTA wait for it at barrier {id}")));
                }
            }
            match &mut barriers.known {
                None => barriers.known = Some(warp.clock.clone()),
                Some(known) => warp.clock.gather(known),
            }
            if left == 0
                && let Some(cta) = &self.world.ctas[warp.cta as usize]
                && cta.visited
                && let Some(known) = &barriers.known
                && let Some(visitor) = cta.shared.log.unknown_visitor(warp.cta, known)
            {
                let reason =
                    format!("exits, and nothing says that CTA {visitor} is done with its shared memory");
                return Err(Halt::new(FaultKind::Race, reason));
            }
        }
        let cluster = self.place(warp.cta).cluster;
        let barrier = &mut self.cluster_barriers[cluster as usize];
        barrier.live -= 1;
        if warp.arrived.take().is_some_and(|phase| phase == barrier.phase) {
            barrier.arrived -= 1;
        }
        self.complete_cluster(cluster);
        Ok(())
    }
}

fn learn(warp: &mut Warp, knowledge: &[Knowledge]) {
    knowledge.iter().for_each(|knowledge| warp.clock.learn(knowledge));
    warp.clock.tick();
}
