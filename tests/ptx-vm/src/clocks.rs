//! What each warp knows of the others: vector clocks.
//!
//! A warp's clock goes up whenever it releases, so that an access at clock c by warp w is ordered before what warp v does now
//! exactly if v knows w at c or later. Warps of a CTA learn of each other at `bar.sync`, of other CTAs' by an acquire that
//! reads what a release wrote, or at a cluster's barrier. One agent is a warp, not a lane: what one lane acquires, its
//! warp has acquired. Lanes of a warp are ordered by `bar.warp.sync` and every wider barrier, at which the warp's clock goes
//! up.

use std::rc::Rc;

/// How far an order reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    Cta,
    Cluster,
    Gpu,
}

/// What a warp knew when it released: a clock for each warp of the launch.
pub(crate) type Knowledge = Rc<Vec<u32>>;

#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// The CTA's first warp among those of the launch, and this warp.
    first: u32,
    pub me: u32,
    total: u32,
    /// Of the CTA's warps.
    own: Vec<u32>,
    /// Of all; what it says of the CTA's own warps is stale.
    others: Option<Knowledge>,
}

fn join(to: &mut [u32], from: &[u32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = (*to).max(from);
    }
}

fn join_all(to: &mut Knowledge, from: &Knowledge) {
    if !Rc::ptr_eq(to, from) {
        join(Rc::<Vec<u32>>::make_mut(to), from);
    }
}

impl Clock {
    pub fn new(first: u32, count: u32, me: u32, total: u32) -> Self {
        let mut own = vec![0; count as usize];
        own[(me - first) as usize] = 1;
        Self { first, me, total, own, others: None }
    }

    #[inline]
    pub fn now(&self) -> u32 {
        self.own[(self.me - self.first) as usize]
    }

    /// The last clock of a warp that is ordered before what this warp does now.
    #[inline]
    pub fn knows(&self, warp: u32) -> u32 {
        match self.own.get(warp.wrapping_sub(self.first) as usize) {
            Some(&clock) => clock,
            None => self.others.as_ref().map_or(0, |others| others[warp as usize]),
        }
    }

    /// Warps of a CTA.
    pub fn count(&self) -> u32 {
        self.own.len() as u32
    }

    pub fn tick(&mut self) {
        self.own[(self.me - self.first) as usize] += 1;
    }

    /// All that is ordered before now.
    pub fn knowledge(&self) -> Knowledge {
        let mut all =
            self.others.as_ref().map_or_else(|| vec![0; self.total as usize], |others| others.to_vec());
        all[self.first as usize..][..self.own.len()].copy_from_slice(&self.own);
        Rc::new(all)
    }

    pub fn learn(&mut self, knowledge: &Knowledge) {
        join(&mut self.own, &knowledge[self.first as usize..]);
        match &mut self.others {
            None => self.others = Some(knowledge.clone()),
            Some(others) => join_all(others, knowledge),
        }
    }

    /// What a barrier of the CTA gathers: this warp's clocks joined to another's.
    pub fn gather(&self, into: &mut Clock) {
        join(&mut into.own, &self.own);
        match (&mut into.others, &self.others) {
            (_, None) => {}
            (to @ None, Some(others)) => *to = Some(others.clone()),
            (Some(to), Some(others)) => join_all(to, others),
        }
    }

    /// Takes what a barrier has gathered, and what comes now is after it.
    pub fn take(&mut self, gathered: &Clock) {
        self.own.copy_from_slice(&gathered.own);
        self.others.clone_from(&gathered.others);
        self.tick();
    }
}

/// What a location's value carries from those that released it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Released(Vec<(Scope, u32, Knowledge)>);

/// Where a CTA stands: its number, and its cluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub cta: u32,
    pub cluster: u32,
}

/// Whether a scope around one of two CTAs has the other in it.
pub(crate) fn covers(scope: Scope, a: Place, b: Place) -> bool {
    match scope {
        Scope::Cta => a.cta == b.cta,
        Scope::Cluster => a.cluster == b.cluster,
        Scope::Gpu => true,
    }
}

impl Released {
    pub fn add(&mut self, scope: Scope, cta: u32, knowledge: Knowledge) {
        match self.0.iter_mut().find(|entry| entry.0 == scope && (scope == Scope::Gpu || entry.1 == cta)) {
            Some(entry) => join_all(&mut entry.2, &knowledge),
            None => self.0.push((scope, cta, knowledge)),
        }
    }

    /// What an acquire at some scope in a CTA gets; `cluster_of` says in which cluster a CTA is.
    pub fn seen(&self, scope: Scope, from: Place, cluster_of: impl Fn(u32) -> u32) -> Option<Knowledge> {
        let mut seen: Option<Knowledge> = None;
        for (released, cta, knowledge) in &self.0 {
            let there = Place { cta: *cta, cluster: cluster_of(*cta) };
            if *released != Scope::Gpu && !covers(*released, there, from)
                || scope != Scope::Gpu && !covers(scope, there, from)
            {
                continue;
            }
            match &mut seen {
                None => seen = Some(knowledge.clone()),
                Some(seen) => join_all(seen, knowledge),
            }
        }
        seen
    }
}
