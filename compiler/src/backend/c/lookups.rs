//! Tables of which steps read whole rows by id, and nothing else: with weights in `int8` these are rounded row by row, since in small
//! models they are most of what there is.

use std::collections::{HashMap, HashSet};

use crate::kernel::{Address, BufferId, Expr, Index, Item, Kernel, Module, Stmt, each_stmt};

/// The length of each such table's rows.
pub(super) fn tables(module: &Module) -> HashMap<BufferId, usize> {
    let mut found = Found { module, widths: HashMap::new(), others: HashSet::new() };
    found.items(&module.items);
    let Found { mut widths, others, .. } = found;
    widths.retain(|buffer, _| !others.contains(buffer));
    widths
}

struct Found<'m> {
    module: &'m Module,
    widths: HashMap<BufferId, usize>,
    /// What is read otherwise.
    others: HashSet<BufferId>,
}

impl Found<'_> {
    fn items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Loop(inner) => self.items(&inner.items),
                Item::Kernel(kernel) => each_stmt(&kernel.body, &mut |stmt| {
                    if let Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } = stmt {
                        self.load(kernel, at);
                    }
                }),
                Item::Gemm(_) | Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => {
                    self.others.extend(item.loaded());
                }
            }
        }
    }

    fn load(&mut self, kernel: &Kernel, at: &Address) {
        let width =
            row_width(kernel, at).filter(|width| self.module.buffer(at.buffer).len().is_multiple_of(*width));
        match width {
            Some(width) if *self.widths.entry(at.buffer).or_insert(width) == width => {}
            _ => drop(self.others.insert(at.buffer)),
        }
    }
}

/// How long the rows are, if an address is that of an element of the row of an id.
fn row_width(kernel: &Kernel, at: &Address) -> Option<usize> {
    let mut width = None;
    let mut last = at.offset;
    for &(index, stride) in &at.terms {
        match index {
            Index::Id(_) if width.is_none() => width = Some(stride),
            Index::Axis(axis) => last += kernel.axes[axis.0 as usize].saturating_sub(1) * stride,
            Index::Id(_) | Index::Time(_) => return None,
        }
    }
    width.filter(|width| last < *width)
}
