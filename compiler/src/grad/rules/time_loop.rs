//! The loop over time: its adjoint is a loop in the other direction.
//!
//! The backward loop carries the adjoint of each carried value, and for each captured value the sum of what the rounds
//! contribute (which `opt::sink` turns into one product over all rounds). The adjoint of a sliced value is stacked.

use std::collections::{HashMap, HashSet};

use crate::grad::{Inside, Reverse};
use crate::graph::{Loop, Sliced, Value};

pub(in crate::grad) fn time_loop(cx: &mut Reverse, forward: &Loop, handle: Value) {
    let carried: Vec<_> = forward.carried.iter().filter(|c| cx.is_active(c.param)).copied().collect();
    let captured: Vec<Value> = forward.captured().into_iter().filter(|&v| cx.is_active(v)).collect();
    let inits: Vec<Value> = carried.iter().map(|c| cx.adjoint(c.last)).collect();
    let zeros: Vec<Value> = captured.iter().map(|&value| cx.zeros(value)).collect();
    // A carried value that is not active has no adjoint loop value, but its constant `next` may be active.
    let stack_adjs: Vec<(Value, Value)> = forward
        .stacked
        .iter()
        .filter(|s| cx.is_active(s.value))
        .filter_map(|s| Some((s.value, *cx.adjoints.get(&s.result)?)))
        .collect();

    let defined: HashSet<Value> = forward.defined();
    let outer = std::mem::take(&mut cx.adjoints);
    let source_of = forward.sliced.iter().map(|s| (s.param, s.source)).collect();
    cx.inside = Some(Inside { sources: source_of, handle, defined, tape: HashMap::new() });
    cx.builder.open_loop();
    let params: Vec<Value> = inits.iter().map(|&init| cx.builder.carry(init)).collect();
    for (c, &param) in carried.iter().zip(&params) {
        cx.add(c.next, param);
    }
    let mut sliced: Vec<Sliced> = vec![];
    for (value, stack_adj) in stack_adjs {
        let slice = cx.builder.slice(stack_adj);
        sliced.push(slice);
        cx.add(value, slice.param);
    }
    cx.nodes(&forward.body);

    let mut loop_carried = vec![];
    for ((c, &init), &param) in carried.iter().zip(&inits).zip(&params) {
        loop_carried.push((init, param, cx.adjoint(c.param)));
    }
    for (&value, &zero) in captured.iter().zip(&zeros) {
        let sum = cx.builder.carry(zero);
        let next = match cx.adjoints.get(&value) {
            Some(&contribution) => cx.builder.add(sum, contribution),
            None => sum,
        };
        loop_carried.push((zero, sum, next));
    }
    let sources: Vec<_> = forward.sliced.iter().filter(|s| cx.adjoints.contains_key(&s.param)).collect();
    let stacks: Vec<Value> = sources.iter().map(|s| cx.adjoints[&s.param]).collect();
    let tape = cx.inside.take().map(|inside| inside.tape).unwrap_or_default();
    let mut tape: Vec<(Value, Sliced)> = tape.into_iter().collect();
    tape.sort_by_key(|(value, _)| *value);
    sliced.extend(tape.into_iter().map(|(_, slice)| slice));
    let (lasts, stacks) =
        cx.builder.close_loop(forward.rounds, !forward.reverse, &loop_carried, &sliced, &stacks);

    cx.adjoints = outer;
    for (c, &last) in carried.iter().zip(&lasts) {
        cx.add(c.init, last);
    }
    for (&value, &last) in captured.iter().zip(&lasts[carried.len()..]) {
        cx.add(value, last);
    }
    for (s, stack) in sources.iter().zip(stacks) {
        cx.add(s.source, stack);
    }
}
