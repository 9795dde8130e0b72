//! Threads that do one iteration together: how they are numbered, wait for each other and fold.

use super::lanes::fold_in;
use super::scope::{Scope, THREADS, WARP};
use super::text::{Operand, Reg};
use crate::kernel::Reduce;

/// Who does an iteration of the loops that are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Thread,
    Warp,
    /// A CTA.
    Block,
}

impl Group {
    pub fn threads(self) -> usize {
        match self {
            Group::Thread => 1,
            Group::Warp => WARP,
            Group::Block => THREADS,
        }
    }

    /// The group's number in the grid, and how many there are.
    pub fn of_all(self, scope: &mut Scope) -> (Reg, Reg) {
        let (cta, ctas) = (scope.cta, scope.ctas);
        match self {
            Group::Thread => scope.thread_of_all(),
            Group::Warp => {
                let warp = scope.warp();
                let warps = (THREADS / WARP) as u32;
                let own = scope.w.mad(cta, warps, warp);
                (own, scope.w.mul(ctas, warps))
            }
            Group::Block => (cta, ctas),
        }
    }

    /// The group's number in its CTA, and how many there are.
    pub fn of_cta(self, scope: &mut Scope) -> (Operand, u32) {
        match self {
            Group::Thread => (scope.thread.into(), THREADS as u32),
            Group::Warp => (scope.warp().into(), (THREADS / WARP) as u32),
            Group::Block => (0.into(), 1),
        }
    }

    /// The number of a thread in its group.
    pub fn lane(self, scope: &mut Scope) -> Reg {
        match self {
            Group::Thread => scope.w.bits(0),
            Group::Warp => scope.lane(),
            Group::Block => scope.thread,
        }
    }

    /// Its threads wait until all have come here, and see what the others have written.
    pub fn wait(self, scope: &mut Scope) {
        match self {
            Group::Thread => {}
            Group::Warp => scope.w.line("bar.warp.sync 0xffffffff"),
            Group::Block => scope.w.sync(),
        }
    }

    /// The folds over all threads of what each has folded; every thread gets the same bits.
    pub fn fold(self, scope: &mut Scope, kinds: &[Reduce], parts: &[Reg]) -> Vec<Reg> {
        if self == Group::Thread || parts.is_empty() {
            return parts.to_vec();
        }
        let of_warps: Vec<Reg> =
            kinds.iter().zip(parts).map(|(&kind, &part)| over_warp(scope, kind, part)).collect();
        match self {
            Group::Block => over_block(scope, kinds, &of_warps),
            _ => of_warps,
        }
    }
}

/// Neighbours at distance 16, 8, .. exchange and fold: both sides of a pair add the same two numbers.
fn over_warp(scope: &mut Scope, kind: Reduce, part: Reg) -> Reg {
    let mut so_far = part;
    let mut distance = WARP / 2;
    while distance > 0 {
        let other = scope.w.reg();
        scope.w.line(format_args!("shfl.sync.bfly.b32 {other}, {so_far}, {distance}, 31, 0xffffffff"));
        so_far = fold_in(&mut scope.w, kind, so_far, other);
        distance /= 2;
    }
    so_far
}

/// Every thread folds the warps' results in order.
fn over_block(scope: &mut Scope, kinds: &[Reduce], of_warps: &[Reg]) -> Vec<Reg> {
    let warps = THREADS / WARP;
    scope.w.shared(4 * warps * of_warps.len());
    let base = scope.w.shared_base();
    let lane = scope.lane();
    let warp = scope.warp();
    let own = scope.w.mad(warp, 4, base);
    // What is written here may still be read by others.
    scope.w.sync();
    let first = scope.w.compare("setp.eq.u32", lane, 0);
    scope.when(first, |scope| {
        for (place, part) in of_warps.iter().enumerate() {
            scope.w.line(format_args!("st.shared.b32 [{own}+{}], {part}", 4 * warps * place));
        }
    });
    scope.w.sync();
    let mut results = vec![];
    for (place, &kind) in kinds.iter().enumerate() {
        let mut so_far = None;
        for warp in 0..warps {
            let part = scope.w.reg();
            scope.w.line(format_args!("ld.shared.b32 {part}, [{base}+{}]", 4 * (warps * place + warp)));
            so_far = Some(so_far.map_or(part, |so_far| fold_in(&mut scope.w, kind, so_far, part)));
        }
        results.extend(so_far);
    }
    results
}
