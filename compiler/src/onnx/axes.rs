//! Which sizes of a graph are open.

use super::proto::Dim;
use super::{BATCH, STEPS};
use crate::graph::Graph;

/// How many tokens of a sequence a run of the model reads. A model that predicts only after a whole window reads that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    One,
    Fixed(usize),
    Any,
}

impl Steps {
    /// The sizes that the two graphs are lowered in, which differ where a size is open: steps, and sequences side by side.
    /// What has one element may be simplified in another way than what has more, so an open size is never 1.
    pub fn sizes(self) -> [[usize; 2]; 2] {
        let steps = match self {
            Steps::One => [1, 1],
            Steps::Fixed(steps) => [steps, steps],
            Steps::Any => [2, 3],
        };
        [[steps[0], 5], [steps[1], 7]]
    }
}

/// The sizes of each value. The graphs were lowered from one model in these numbers of steps and sequences.
pub fn of([small, large]: [&Graph; 2], [first, second]: [[usize; 2]; 2]) -> Vec<Vec<Dim>> {
    assert_eq!(small.types.len(), large.types.len(), "internal error: other sizes gave another graph");
    let dim = |(&small, &large): (&usize, &usize)| match [small, large] {
        [small, large] if small == large => Dim::Fixed(small),
        pair if pair == [first[1], second[1]] => Dim::Named(BATCH),
        pair if pair == [first[0], second[0]] => Dim::Named(STEPS),
        pair => panic!("internal error: a size is {} or {}", pair[0], pair[1]),
    };
    let value = |(small, large): (&crate::graph::Type, &crate::graph::Type)| {
        assert_eq!(small.rank(), large.rank(), "internal error: other sizes gave another graph");
        small.shape.iter().zip(&large.shape).map(dim).collect()
    };
    small.types.iter().zip(&large.types).map(value).collect()
}
