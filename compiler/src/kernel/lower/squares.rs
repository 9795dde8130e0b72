//! Sums of the squares of a product's result, such as clipping wants of a weight's gradient. The sums down the columns come
//! first: the product can make them while its result is in a cache (see [`crate::kernel::passes::fused_sums`]). In which order
//! they are added up decides the result's bits.

use std::collections::{HashMap, HashSet};

use super::cluster::sums_few_outer;
use crate::graph::{Graph, Node, Op, Reduce, Value};
use crate::scalar::Scalar;
use crate::target::Target;

/// The sums over both axes of squares that a product can make: it stands outside loops as they do, and only they read its
/// squares. None, if the target's products make no sums.
pub(super) fn sums_of_squares(graph: &Graph, target: &Target) -> HashSet<Value> {
    let nodes: HashMap<Value, &Node> =
        graph.body.iter().flat_map(|node| node.results.iter().map(move |&result| (result, node))).collect();
    let mut uses: HashMap<Value, usize> = HashMap::new();
    let outputs = graph.outputs.iter().map(|output| output.value);
    for value in graph.body.iter().flat_map(Node::operands).chain(outputs) {
        *uses.entry(value).or_default() += 1;
    }
    let rides = |node: &&Node| {
        node.op == Op::Reduce { kind: Reduce::Sum, axes: vec![0, 1] }
            && uses[&node.args[0]] == 1
            && nodes.get(&node.args[0]).is_some_and(|&squares| {
                let product = square_of(squares).and_then(|x| nodes.get(&x));
                product.is_some_and(|product| can_square(graph, product, target))
            })
    };
    graph.body.iter().filter(rides).map(|node| node.result()).collect()
}

/// What an element-wise operation squares.
fn square_of(node: &Node) -> Option<Value> {
    match node.args[..] {
        [x, y] if x == y && node.op == Op::Map(Scalar::Mul) => Some(x),
        _ => None,
    }
}

/// Whether a product of a matrix is cut by columns, and too large to be read again for nothing.
fn can_square(graph: &Graph, product: &Node, target: &Target) -> bool {
    let Some(worth) = &target.fused_sums else { return false };
    let Op::MatMul(_) = product.op else { return false };
    let [m, n] = graph.shape(product.result()) else { return false };
    !sums_few_outer(graph, product, &target.fusion)
        && n >= m
        && *m >= worth.min_rows
        && m * n >= worth.min_elements
}
