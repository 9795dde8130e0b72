//! Dead code: what no output depends on goes, loops' carried, sliced and stacked values included.

use std::collections::{HashMap, HashSet};

use super::over_time;
use crate::graph::rewrite::Rewriter;
use crate::graph::{Graph, Loop, Node, Op, Value};

/// The graph without operations, and loop entries, that no output needs. Inputs stay.
pub fn remove_dead(graph: &Graph) -> Graph {
    let mut live: HashSet<Value> = graph.outputs.iter().map(|output| output.value).collect();
    let body = sweep(&graph.body, &mut live);
    let mut rewriter = Rewriter::new(graph);
    rewriter.nodes(&body, &mut |_: &mut Rewriter, _: &Node| None);
    rewriter.finish()
}

/// The nodes that give live values; everything that they read becomes live.
fn sweep(nodes: &[Node], live: &mut HashSet<Value>) -> Vec<Node> {
    let mut kept = vec![];
    for node in nodes.iter().rev() {
        if !node.results.iter().any(|result| live.contains(result)) {
            continue;
        }
        let node = match &node.op {
            Op::Loop(inner) => {
                let inner = sweep_loop(inner, live);
                Node { results: inner.results(), op: Op::Loop(Box::new(inner)), args: vec![] }
            }
            _ => node.clone(),
        };
        live.extend(node.operands());
        kept.push(node);
    }
    kept.reverse();
    kept
}

fn sweep_loop(inner: &Loop, live: &HashSet<Value>) -> Loop {
    let stacked: Vec<_> = inner.stacked.iter().filter(|s| live.contains(&s.result)).copied().collect();
    let definers = over_time::definers(&inner.body);
    let nexts: HashMap<Value, Value> = inner.carried.iter().map(|c| (c.param, c.next)).collect();
    let lasts = inner.carried.iter().filter(|c| live.contains(&c.last)).map(|c| c.next);
    let mut waiting: Vec<Value> = stacked.iter().map(|s| s.value).chain(lasts).collect();
    let mut needed = HashSet::new();
    while let Some(value) = waiting.pop() {
        if !needed.insert(value) {
            continue;
        }
        if let Some(&index) = definers.get(&value) {
            waiting.extend(&inner.body[index].args);
        }
        // A carried value that the body reads on the way to something needed is needed in the next round as well.
        waiting.extend(nexts.get(&value));
    }
    let is_needed = |node: &&Node| node.results.iter().any(|result| needed.contains(result));
    Loop {
        carried: inner
            .carried
            .iter()
            .filter(|c| live.contains(&c.last) || needed.contains(&c.param))
            .copied()
            .collect(),
        sliced: inner.sliced.iter().filter(|s| needed.contains(&s.param)).copied().collect(),
        body: inner.body.iter().filter(is_needed).cloned().collect(),
        stacked,
        ..*inner
    }
}
