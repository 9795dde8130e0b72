//! Hoisting: what a time loop computes from its inputs alone is computed for all rounds at once, before the loop.
//!
//! The input projections `x_t @ W` of all rounds become one large product. Products, lookups and what they read are
//! hoisted; cheap element-wise work stays in the loop, where it fuses with its neighbours instead of going through
//! memory. A loop that carries nothing is dissolved altogether. What is the same in every round leaves the loop without a
//! time axis.

use std::collections::{HashMap, HashSet};

use super::over_time::{self, Placed};
use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Graph, Loop, Node, Op, Sliced, Value};

pub fn hoist(graph: &Graph) -> Graph {
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| match &node.op {
        Op::Loop(inner) => Some(hoist_loop(rewriter, inner)),
        _ => None,
    })
}

fn hoist_loop(rewriter: &mut Rewriter, inner: &Loop) -> Vec<Value> {
    let chosen = choose(inner);
    let mut placed: HashMap<Value, Placed> = HashMap::new();
    for sliced in &inner.sliced {
        placed.insert(sliced.param, Placed::Stacked(rewriter.get(sliced.source)));
    }
    for (node, _) in inner.body.iter().zip(&chosen).filter(|(_, chosen)| **chosen) {
        let place =
            |arg: &Value| placed.get(arg).copied().unwrap_or_else(|| Placed::Fixed(rewriter.get(*arg)));
        let args: Vec<Placed> = node.args.iter().map(place).collect();
        let results = over_time::emit(&mut rewriter.new, &node.op, &args, inner.rounds);
        placed.extend(node.results.iter().copied().zip(results));
    }
    let rest: Vec<Node> =
        inner.body.iter().zip(&chosen).filter(|(_, c)| !**c).map(|(node, _)| node.clone()).collect();
    if rest.is_empty() && inner.carried.is_empty() {
        return inner.stacked.iter().map(|s| whole(rewriter, &placed, s.value, inner.rounds)).collect();
    }
    rebuild(rewriter, inner, rest, &placed)
}

/// Which nodes of the body to hoist.
fn choose(inner: &Loop) -> Vec<bool> {
    let mut varying: HashSet<Value> = inner.sliced.iter().map(|s| s.param).collect();
    let mut bound: HashSet<Value> = inner.carried.iter().map(|c| c.param).collect();
    let mut able = vec![false; inner.body.len()];
    for (index, node) in inner.body.iter().enumerate() {
        let differs: Vec<bool> = node.args.iter().map(|arg| varying.contains(arg)).collect();
        let any = differs.contains(&true);
        able[index] = !node.args.iter().any(|arg| bound.contains(arg))
            && (!any || over_time::has_form(&node.op, &differs))
            && !matches!(node.op, Op::Random { .. });
        let set = if !able[index] { &mut bound } else { &mut varying };
        if !able[index] || any {
            set.extend(node.results.iter().copied());
        }
    }
    if inner.carried.is_empty() && able.iter().all(|&able| able) {
        return able;
    }
    let definers = over_time::definers(&inner.body);
    let mut chosen = vec![false; inner.body.len()];
    for index in (0..inner.body.len()).rev() {
        let node = &inner.body[index];
        let fixed = !node.results.iter().any(|result| varying.contains(result));
        let worth = match node.op {
            Op::MatMul(_) | Op::Take => true,
            Op::Map(_) | Op::Reduce { .. } => fixed,
            _ => false,
        };
        if able[index] && (worth || chosen[index]) {
            chosen[index] = true;
            for arg in &node.args {
                if let Some(&definer) = definers.get(arg) {
                    chosen[definer] = true;
                }
            }
        }
    }
    chosen
}

/// All rounds of a value of the body that lies outside.
fn whole(rewriter: &mut Rewriter, placed: &HashMap<Value, Placed>, value: Value, rounds: usize) -> Value {
    match placed.get(&value) {
        Some(Placed::Stacked(value)) => *value,
        Some(Placed::Fixed(value)) => over_time::repeat(&mut rewriter.new, *value, rounds),
        None => {
            let value = rewriter.get(value);
            over_time::repeat(&mut rewriter.new, value, rounds)
        }
    }
}

/// The loop with the `rest` of its body, reading slices of what was hoisted.
fn rebuild(
    rewriter: &mut Rewriter,
    inner: &Loop,
    rest: Vec<Node>,
    placed: &HashMap<Value, Placed>,
) -> Vec<Value> {
    let mut kept = Loop { sliced: vec![], stacked: vec![], body: rest, ..inner.clone() };
    let outside = |value: &Value| matches!(placed.get(value), Some(Placed::Stacked(_)));
    kept.stacked = inner.stacked.iter().filter(|s| !outside(&s.value)).copied().collect();
    let read: Vec<Value> = kept
        .body
        .iter()
        .flat_map(Node::operands)
        .chain(kept.carried.iter().map(|c| c.next))
        .chain(kept.stacked.iter().map(|s| s.value))
        .collect();
    rewriter.new.open_loop();
    for carried in &kept.carried {
        let init = rewriter.get(carried.init);
        let param = rewriter.new.carry(init);
        rewriter.set(carried.param, param);
    }
    let mut slices: Vec<Sliced> = vec![];
    let mut known = HashSet::new();
    for value in read {
        match placed.get(&value) {
            Some(Placed::Fixed(fixed)) => rewriter.set(value, *fixed),
            Some(Placed::Stacked(source)) if known.insert(value) => {
                let slice = rewriter.new.slice(*source);
                rewriter.set(value, slice.param);
                slices.push(slice);
            }
            _ => {}
        }
    }
    rewriter.nodes(&kept.body, &mut |_: &mut Rewriter, _: &Node| None);
    let carried: Vec<_> = kept
        .carried
        .iter()
        .map(|c| (rewriter.get(c.init), rewriter.get(c.param), rewriter.get(c.next)))
        .collect();
    let stacked: Vec<Value> = kept.stacked.iter().map(|s| rewriter.get(s.value)).collect();
    let (mut results, stacks) =
        rewriter.new.close_loop(inner.rounds, inner.reverse, &carried, &slices, &stacked);
    let stack_of: HashMap<Value, Value> =
        kept.stacked.iter().map(|stacked| stacked.result).zip(stacks).collect();
    for stacked in &inner.stacked {
        results.push(match stack_of.get(&stacked.result) {
            Some(&stack) => stack,
            None => whole(rewriter, placed, stacked.value, inner.rounds),
        });
    }
    results
}
