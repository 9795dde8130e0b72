//! Which accesses to one buffer have no element in common although both may touch all of it: those of different workers,
//! each with its own rows, and those of different rounds of a loop, each with its own part.

use crate::kernel::access::Access;
use crate::kernel::{Axis, Index, Time, stride_of};

/// How an access depends on the axis that its item is cut along.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RowWise {
    /// Elements from row to row.
    pub stride: usize,
    /// Where each worker's rows begin, and where the last one's end.
    pub cuts: Vec<usize>,
}

impl RowWise {
    /// If, in blocks of `rows * stride` elements from the buffer's start, row `r` of the axis touches only elements
    /// `r * stride .. (r + 1) * stride`: then two items with the same answer share no element between workers. The axis is
    /// cut at `cuts`.
    pub fn of(access: &Access<'_>, axis: Axis, cuts: &[usize]) -> Option<Self> {
        let terms = &access.address.terms;
        let stride = stride_of(terms, Index::Axis(axis));
        let block = access.extent(axis) * stride;
        if block == 0 {
            return None;
        }
        let mut span = access.address.offset % block;
        for &(index, other_stride) in terms {
            match index {
                Index::Axis(other) if other == axis => {}
                Index::Axis(_) | Index::Time(_) if other_stride % block == 0 => {}
                Index::Axis(other) => span += access.extent(other).saturating_sub(1) * other_stride,
                Index::Time(_) | Index::Id(_) => return None,
            }
        }
        (span < stride).then(|| Self { stride, cuts: cuts.to_vec() })
    }
}

/// The part of a buffer that belongs to a round of a loop: in round `t` the elements
/// `(first + t) * size .. (first + t + 1) * size`, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RoundPart {
    pub time: Time,
    /// Elements.
    pub size: usize,
    pub first: usize,
}

impl RoundPart {
    /// Which part of its buffer an access touches in a round of the time loop around, if there is one of the same size for
    /// each round.
    pub fn of(access: &Access<'_>) -> Option<Self> {
        let at = &access.address;
        let is_time = |&&(index, _): &&(Index, usize)| matches!(index, Index::Time(_));
        let &(Index::Time(time), _) = at.terms.iter().find(is_time)? else { return None };
        let size = stride_of(&at.terms, Index::Time(time));
        let mut end = at.offset % size.max(1);
        for &(index, stride) in &at.terms {
            match index {
                Index::Axis(axis) => end += (access.extent(axis).max(1) - 1) * stride,
                Index::Time(other) if other == time => {}
                Index::Time(_) | Index::Id(_) => return None,
            }
        }
        (end < size).then(|| Self { time, size, first: at.offset / size })
    }
}
