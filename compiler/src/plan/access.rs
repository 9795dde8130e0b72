//! What an item reads and writes.

use crate::kernel::{Address, Axis, BufferId, Expr, For, Gather, Index, Item, Kernel, Matrix, Stmt, Time};

/// One read or write, as an address with all the terms that vary within the item.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Access {
    pub address: Address,
    /// Extent of each axis term, by axis.
    pub extents: Vec<usize>,
    pub writes: bool,
}

/// Calls `see` with every buffer that an item touches, and whether it writes it.
pub(super) fn buffers(item: &Item, see: &mut impl FnMut(BufferId, bool)) {
    match item {
        Item::Kernel(kernel) => {
            for access in of_kernel(kernel) {
                see(access.address.buffer, access.writes);
            }
        }
        Item::Gemm(gemm) => {
            see(gemm.a.at.buffer, false);
            see(gemm.b.at.buffer, false);
            if let Some(prefix) = &gemm.prefix {
                see(prefix.buffer, false);
            }
            if gemm.accumulate {
                see(gemm.c.at.buffer, false);
            }
            see(gemm.c.at.buffer, true);
            gemm.riders().for_each(|at| see(at.buffer, true));
        }
        Item::Pack(pack) => {
            see(pack.b.at.buffer, false);
            see(pack.to, true);
        }
        Item::Scatter(scatter) => {
            see(scatter.ids.buffer, false);
            see(scatter.g.at.buffer, false);
            if scatter.gather == Gather::Add {
                see(scatter.table, false);
            }
            see(scatter.table, true);
        }
        Item::Distinct(distinct) => {
            see(distinct.ids.buffer, false);
            distinct.results().into_iter().for_each(|(to, _)| see(to, true));
        }
        Item::Loop(inner) => inner.items.iter().for_each(|item| buffers(item, see)),
    }
}

/// The accesses of a kernel, in the order of its statements.
pub(super) fn of_kernel(kernel: &Kernel) -> Vec<Access> {
    let mut found = vec![];
    of_stmts(&kernel.body, &kernel.axes, &mut found);
    found
}

pub(super) fn of_stmts(stmts: &[Stmt], axes: &[usize], found: &mut Vec<Access>) {
    for stmt in stmts {
        let (address, writes) = match stmt {
            Stmt::Let { expr: Expr::Load(address) | Expr::LoadId(address), .. } => (address, false),
            Stmt::Store { to, .. } => (to, true),
            Stmt::For(For { body, .. }) => {
                of_stmts(body, axes, found);
                continue;
            }
            Stmt::Let { .. } => continue,
        };
        found.push(Access { address: address.clone(), extents: axes.to_vec(), writes });
    }
}

/// A matrix as an access: axis 0 its rows, axis 1 its columns.
pub(super) fn of_matrix(matrix: &Matrix, rows: usize, columns: usize, writes: bool) -> Access {
    let mut address = matrix.at.clone();
    address.terms.push((Index::Axis(Axis(0)), matrix.stride));
    address.terms.push((Index::Axis(Axis(1)), 1));
    Access { address, extents: vec![rows, columns], writes }
}

/// How an access depends on the axis that its item is split along.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RowWise {
    /// Elements from row to row.
    pub stride: usize,
    /// Where each worker's rows begin, and where the last one's end.
    pub cuts: Vec<usize>,
}

/// In round `t` the elements `(first + t) * size .. (first + t + 1) * size` of a buffer, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub time: Time,
    /// Elements.
    pub size: usize,
    pub first: usize,
}

impl Access {
    /// If, in blocks of `rows * stride` elements from the buffer's start, row `r` of the split axis touches only
    /// elements `r * stride .. (r + 1) * stride`: then two items with the same answer share no element between
    /// workers. The axis is split at `cuts`.
    pub fn row_wise(&self, axis: Axis, cuts: Vec<usize>) -> Option<RowWise> {
        let rows = self.extents[axis.0 as usize];
        let stride = self.stride(axis)?;
        let block = rows * stride;
        let mut span = self.address.offset % block;
        for (index, step) in &self.address.terms {
            match index {
                Index::Axis(other) if *other == axis => {}
                Index::Axis(_) | Index::Time(_) if step % block == 0 => {}
                Index::Axis(other) => span += (self.extents[other.0 as usize] - 1) * step,
                _ => return None,
            }
        }
        (span < stride).then_some(RowWise { stride, cuts })
    }

    /// Which part of its buffer is touched in a round of the time loop around, if that is one of many of the same size.
    pub fn slot(&self) -> Option<Slot> {
        let is_time = |&&(index, _): &&(Index, usize)| matches!(index, Index::Time(_));
        let &(Index::Time(time), size) = self.address.terms.iter().find(is_time)? else { return None };
        let mut end = self.address.offset % size.max(1);
        for (index, step) in &self.address.terms {
            match index {
                Index::Axis(axis) => end += (self.extents[axis.0 as usize].max(1) - 1) * step,
                Index::Time(other) if *other == time => {}
                Index::Time(_) | Index::Id(_) => return None,
            }
        }
        (end < size).then(|| Slot { time, size, first: self.address.offset / size })
    }

    fn stride(&self, axis: Axis) -> Option<usize> {
        let term = self.address.terms.iter().find(|(index, _)| *index == Index::Axis(axis));
        term.map(|(_, stride)| *stride)
    }
}
