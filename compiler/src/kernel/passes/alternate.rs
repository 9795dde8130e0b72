//! Alternating traversal: products of few rows that read the same weight in each round of a loop: they take as long as that, and a weight larger than
//! a cache, read from its beginning each time, would have pushed itself out of it before it is wanted again. Every second
//! product begins at the end, where the one before has left off.

use crate::kernel::{Gemm, Index, Item, Module, Time};
use crate::target::Target;

/// The module with the products in time loops that can read their right side in turns doing so.
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
                gemm.cpu.alternating = inner.steps > 1 && gains(gemm, time);
            }
        }
        of_loops(&mut inner.items, gains);
    }
}
