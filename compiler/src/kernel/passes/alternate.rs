//! Alternating traversal of weights, for products of few rows that read the same weight in each round of a loop.
//!
//! Such a product takes as long as reading the weight. A weight larger than a cache, read from its beginning each time, would
//! have left the cache before it is read again. So every second product begins at the end, where the one before has stopped.

use crate::kernel::{Gemm, Index, Item, Module, Time};
use crate::target::Target;

/// The module with the products in time loops alternating, where they can and gain from it.
pub fn alternate(mut module: Module, target: &Target) -> Module {
    let Some(worth) = &target.alternate else { return module };
    let gains = |gemm: &Gemm, time: Time| {
        let same = !gemm.b.at.terms.iter().any(|&(index, _)| index == Index::Time(time));
        same && gemm.can_alternate() && gemm.m <= target.few_rows && gemm.k * gemm.n <= worth.largest
    };
    of_loops(&mut module.items, &gains);
    module
}

fn of_loops(items: &mut [Item], gains: &impl Fn(&Gemm, Time) -> bool) {
    for item in items {
        let Item::Loop(inner) = item else { continue };
        let time = inner.time;
        for item in &mut inner.items {
            if let Item::Gemm(gemm) = item {
                gemm.cpu.alternating = inner.rounds > 1 && gains(gemm, time);
            }
        }
        of_loops(&mut inner.items, gains);
    }
}
