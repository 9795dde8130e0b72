//! Dead code: what no output depends on goes, loops' carried, sliced and stacked values included.

use std::collections::HashSet;

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
    let mut carried: Vec<_> = inner.carried.iter().filter(|c| live.contains(&c.last)).copied().collect();
    // A carried value is also needed if the body reads it on the way to something needed: repeat until stable.
    loop {
        let mut needed: HashSet<Value> = stacked.iter().map(|s| s.value).collect();
        needed.extend(carried.iter().map(|c| c.next));
        let body = sweep(&inner.body, &mut needed);
        let before = carried.len();
        carried = inner
            .carried
            .iter()
            .filter(|c| live.contains(&c.last) || needed.contains(&c.param))
            .copied()
            .collect();
        if carried.len() == before {
            let sliced = inner.sliced.iter().filter(|s| needed.contains(&s.param)).copied().collect();
            return Loop { carried, sliced, body, stacked, ..*inner };
        }
    }
}
