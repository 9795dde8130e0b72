//! Which vector register holds what: a linear scan over the body, which is straight.
//!
//! From the lowest number on registers go to the loop's totals and to what operations compute, each until it was read for
//! the last time; what is left goes to constants and parameters, the most often read first. The others are read from
//! memory where they are needed.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::body::{Body, Operation, Value};

/// An assignment of registers.
pub struct Registers {
    /// Of each operation's result; one for each operation, also for those that have none or whose result is not read.
    pub results: Vec<u8>,
    /// Of the constants and parameters that have one.
    pub uniform: HashMap<Value, u8>,
    totals: usize,
}

impl Registers {
    /// The register of a fold's total in one of the loop's copies.
    pub fn total(&self, fold: usize, copy: usize) -> u8 {
        (copy * self.totals + fold) as u8
    }
}

/// Registers for a body that is written `copies` times over, out of `count`; none if there are too few.
pub fn assign(body: &Body, copies: usize, count: u8) -> Option<Registers> {
    let totals = body.folds.len() * copies;
    let mut free = vec![true; usize::from(count)];
    let mut used = totals;
    free.get_mut(..totals)?.fill(false);
    let last = last_reads(body);
    let mut results = Vec::with_capacity(body.operations.len());
    for (at, operation) in body.operations.iter().enumerate() {
        // What is read here for the last time leaves its register to the result.
        let mut left = None;
        for value in operation.operands() {
            if let Value::Computed(index) = value
                && last[&value] == at
            {
                let register = usize::from(results[index as usize]);
                free[register] = true;
                left.get_or_insert(register);
            }
        }
        if matches!(operation, Operation::Store(..)) {
            results.push(0);
            continue;
        }
        let register = left.or_else(|| free.iter().position(|&free| free))?;
        used = used.max(register + 1);
        free[register] = !last.contains_key(&Value::Computed(at as u32));
        results.push(register as u8);
    }
    let mut reads: HashMap<Value, usize> = HashMap::new();
    let operands = body.operations.iter().flat_map(|operation| operation.operands());
    for value in operands.filter(|value| !matches!(value, Value::Computed(_))) {
        *reads.entry(value).or_default() += 1;
    }
    let mut uniform: Vec<(Value, usize)> = reads.into_iter().collect();
    // In a fixed order, so that the same body becomes the same code.
    uniform.sort_by_key(|&(value, reads)| (Reverse(reads), value));
    let uniform = uniform.into_iter().map(|(value, _)| value).zip(used as u8..count).collect();
    Some(Registers { results, uniform, totals: body.folds.len() })
}

/// The operation that reads each value last; what is folded is read behind them all.
fn last_reads(body: &Body) -> HashMap<Value, usize> {
    let mut last = HashMap::new();
    for (at, operation) in body.operations.iter().enumerate() {
        last.extend(operation.operands().map(|value| (value, at)));
    }
    last.extend(body.folds.iter().map(|&(_, value)| (value, body.operations.len())));
    last
}
