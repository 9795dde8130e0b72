//! Views: parts of buffers, strided.

use crate::kernel::{Address, BufferId, Index, Matrix, Time};

/// A strided view of a buffer: element `[i, j, ..]` lies at `offset + i * strides[0] + ..`, plus a term for each time
/// loop around.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub buffer: BufferId,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub times: Vec<(Time, usize)>,
}

impl View {
    pub fn whole(buffer: BufferId, shape: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Self { buffer, offset: 0, shape: shape.to_vec(), strides, times: vec![] }
    }

    /// Indices `start .. start + len` of an axis.
    pub fn slice(&self, axis: usize, start: usize, len: usize) -> Self {
        let mut view = self.clone();
        view.offset += start * view.strides[axis];
        view.shape[axis] = len;
        view
    }

    /// One index of the leading axis.
    pub fn at(&self, index: usize) -> Self {
        let mut view = self.clone();
        view.offset += index * view.strides[0];
        view.strides.remove(0);
        view.shape.remove(0);
        view
    }

    /// The index of the leading axis that a time loop is at.
    pub fn at_time(&self, time: Time) -> Self {
        let mut view = self.at(0);
        view.times.push((time, self.strides[0]));
        view
    }

    /// With the axes of `shape` that are not among `axes`, all of extent 1.
    pub fn with_ones(&self, axes: &[usize], shape: &[usize]) -> Self {
        let mut view = self.clone();
        view.shape = shape.to_vec();
        view.strides = vec![1; shape.len()];
        axes.iter().zip(&self.strides).for_each(|(&axis, &stride)| view.strides[axis] = stride);
        view
    }

    pub fn unsqueeze(&self) -> Self {
        let mut view = self.clone();
        view.shape.push(1);
        view.strides.push(1);
        view
    }

    pub fn squeeze(&self) -> Self {
        let mut view = self.clone();
        view.shape.pop();
        view.strides.pop();
        view
    }

    /// The address of element 0.
    pub fn start(&self) -> Address {
        let terms = self.times.iter().map(|&(time, stride)| (Index::Time(time), stride)).collect();
        Address { buffer: self.buffer, offset: self.offset, terms }
    }

    /// As a matrix with the leading axes collapsed into rows, if its rows are evenly spaced and dense.
    pub fn matrix(&self) -> Option<Matrix> {
        let (&columns, rest) = self.shape.split_last()?;
        if *self.strides.last()? != 1 && columns != 1 {
            return None;
        }
        let axes: Vec<usize> = (0..rest.len()).filter(|&axis| rest[axis] != 1).collect();
        let even =
            axes.windows(2).all(|pair| self.strides[pair[0]] == self.strides[pair[1]] * self.shape[pair[1]]);
        let stride = axes.last().map_or(columns, |&axis| self.strides[axis]);
        (even && stride >= columns).then(|| Matrix { at: self.start(), stride })
    }
}

/// Whether a broadcast to `shape` repeats nothing.
pub(super) fn only_adds_ones(axes: &[usize], shape: &[usize]) -> bool {
    shape.iter().enumerate().all(|(axis, &extent)| extent == 1 || axes.contains(&axis))
}
