//! The structured loop over time.

use std::collections::HashSet;

use super::{Node, Value};

/// `rounds` rounds of `body`, over time forwards or backwards.
///
/// Round `t` reads each carried value and slice `t` of each sliced one; at its end each carried value takes its `next`,
/// and each stacked value is stored at index `t`. Backwards means that `t` runs from `rounds - 1` to 0; indices keep
/// their meaning. The body may read any value of the enclosing regions.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    pub rounds: usize,
    pub reverse: bool,
    pub carried: Vec<Carried>,
    pub sliced: Vec<Sliced>,
    pub body: Vec<Node>,
    pub stacked: Vec<Stacked>,
}

/// A value handed from round to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Outside: the value in the first round.
    pub init: Value,
    /// In the body: the value in this round.
    pub param: Value,
    /// In the body (or captured): the value in the next round.
    pub next: Value,
    /// Outside, a result of the loop: the value after the last round.
    pub last: Value,
}

/// A value of which each round sees one index of the leading axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliced {
    /// Outside: `[rounds, ..]`.
    pub source: Value,
    /// In the body: `[..]`.
    pub param: Value,
}

/// A value of which all rounds are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stacked {
    /// In the body, a carried or sliced `param` included: `[..]`.
    pub value: Value,
    /// Outside, a result of the loop: `[rounds, ..]`.
    pub result: Value,
}

impl Loop {
    /// Values that the body defines: its parameters and its operations' results.
    pub fn defined(&self) -> HashSet<Value> {
        let params = self.carried.iter().map(|c| c.param).chain(self.sliced.iter().map(|s| s.param));
        params.chain(self.body.iter().flat_map(|node| node.results.iter().copied())).collect()
    }

    /// Outer values that the body, or its `next` and `stacked` lists, read directly; in order of first use.
    pub fn captured(&self) -> Vec<Value> {
        let defined = self.defined();
        let mut seen = HashSet::new();
        let inside = self.body.iter().flat_map(Node::operands);
        let handed = self.carried.iter().map(|c| c.next).chain(self.stacked.iter().map(|s| s.value));
        inside.chain(handed).filter(|v| !defined.contains(v) && seen.insert(*v)).collect()
    }

    /// Every outer value that the loop reads.
    pub fn operands(&self) -> Vec<Value> {
        let inits = self.carried.iter().map(|c| c.init);
        let sources = self.sliced.iter().map(|s| s.source);
        inits.chain(sources).chain(self.captured()).collect()
    }

    /// The loop's results in the enclosing region: the carried values' last, then the stacks.
    pub fn results(&self) -> Vec<Value> {
        self.carried.iter().map(|c| c.last).chain(self.stacked.iter().map(|s| s.result)).collect()
    }
}
