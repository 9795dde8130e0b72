//! The passes on kernels. Each is a free function from a module to a module that keeps what it computes, and knows no other
//! pass; `crate::pipeline` holds their order.
//!
//! For any target: [`precision`], [`column_sums`], [`collapse`], [`preamble`] and [`split_k`]. A CPU's: [`fused_sums`],
//! [`prepack`], [`alternate`], [`vectorise`]. A GPU's, where weights are rounded: [`round_weights`].

mod alternate;
mod collapse;
mod column_sums;
mod exchanges;
mod fused_sums;
mod preamble;
mod precision;
mod prepack;
mod round_weights;
mod split_k;
mod vectorise;

pub use alternate::alternate;
pub use collapse::collapse;
pub use column_sums::column_sums;
pub use exchanges::exchanges;
pub use fused_sums::fused_sums;
pub use preamble::preamble;
pub use precision::precision;
pub use prepack::prepack;
pub use round_weights::round_weights;
pub use split_k::split_k;
pub use vectorise::vectorise;

use std::collections::HashMap;

use super::{BufferId, Index, Item, Kernel, Module, Stmt};
use crate::kernel::Expr;

/// Calls `act` on every kernel, the prologue's and those in loops included.
fn each_kernel(module: &mut Module, act: &mut impl FnMut(&mut Kernel)) {
    fn each(items: &mut [Item], act: &mut impl FnMut(&mut Kernel)) {
        for item in items {
            match item {
                Item::Kernel(kernel) => act(kernel),
                Item::Loop(inner) => each(&mut inner.items, act),
                Item::Gemm(_) | Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => {}
            }
        }
    }
    each(&mut module.prologue, act);
    each(&mut module.items, act);
}

/// Calls `act` on the terms of every address, and random's flat index, of a statement list.
fn each_terms(stmts: &mut [Stmt], act: &mut impl FnMut(&mut Vec<(Index, usize)>)) {
    for stmt in stmts {
        match stmt {
            Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } => act(&mut at.terms),
            Stmt::Let { expr: Expr::Random { terms, .. }, .. } => act(terms),
            Stmt::Let { .. } => {}
            Stmt::Store { to, .. } => act(&mut to.terms),
            Stmt::For(inner) => each_terms(&mut inner.body, act),
        }
    }
}

/// Which items of a list touch a buffer, by their places in order. An index, so that no pass looks at all items for each.
struct Touched {
    reads: HashMap<BufferId, Vec<usize>>,
    writes: HashMap<BufferId, Vec<usize>>,
}

impl Touched {
    fn of(items: &[Item]) -> Self {
        let mut touched = Self { reads: HashMap::new(), writes: HashMap::new() };
        for (place, item) in items.iter().enumerate() {
            for id in item.loaded() {
                touched.reads.entry(id).or_default().push(place);
            }
            for id in item.stored() {
                touched.writes.entry(id).or_default().push(place);
            }
        }
        touched
    }

    fn reads_of(&self, id: BufferId) -> &[usize] {
        self.reads.get(&id).map_or(&[], |places| places)
    }

    fn writes_of(&self, id: BufferId) -> &[usize] {
        self.writes.get(&id).map_or(&[], |places| places)
    }
}
