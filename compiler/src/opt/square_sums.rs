//! Sums of the squares of a product's result, such as clipping wants of a weight's gradient: the sums down the columns come
//! first, which the product can make while its result is in a cache. Sums over both axes otherwise run along the rows first.
//! In which order they are added up decides the result's bits.
//!
//! Assumes any verified graph. Leaves, where the target's products make sums, each such sum over both axes as two, one along
//! the rows of the other's result: of products outside loops that are large enough, and whose squares nothing else reads.

use std::collections::{HashMap, HashSet};

use crate::graph::rewrite::{Rewriter, rewrite};
use crate::graph::{Graph, Node, Op, Reduce, Value};
use crate::scalar::Scalar;
use crate::target::{FusedSums, Target};

pub fn square_sums(graph: &Graph, target: &Target) -> Graph {
    let Some(worth) = &target.fused_sums else { return graph.clone() };
    let found = sums_of_squares(graph, worth, target.fusion.few_outer);
    rewrite(graph, &mut |rewriter: &mut Rewriter, node: &Node| {
        if !node.results.first().is_some_and(|result| found.contains(result)) {
            return None;
        }
        let squares = rewriter.get(node.args[0]);
        let columns = rewriter.new.reduce(Reduce::Sum, squares, vec![0]);
        Some(vec![rewriter.new.reduce(Reduce::Sum, columns, vec![0])])
    })
}

fn sums_of_squares(graph: &Graph, worth: &FusedSums, few_outer: usize) -> HashSet<Value> {
    let nodes: HashMap<Value, &Node> =
        graph.body.iter().flat_map(|node| node.results.iter().map(move |&result| (result, node))).collect();
    let mut uses: HashMap<Value, usize> = HashMap::new();
    let outputs = graph.outputs.iter().map(|output| output.value);
    for value in graph.body.iter().flat_map(Node::operands).chain(outputs) {
        *uses.entry(value).or_default() += 1;
    }
    let is_of_product = |node: &&Node| {
        node.op == Op::Reduce { kind: Reduce::Sum, axes: vec![0, 1] }
            && uses[&node.args[0]] == 1
            && nodes.get(&node.args[0]).is_some_and(|&squares| {
                let product = square_of(squares).and_then(|x| nodes.get(&x));
                product.is_some_and(|product| can_square(graph, product, worth, few_outer))
            })
    };
    graph.body.iter().filter(is_of_product).map(|node| node.result()).collect()
}

/// What an element-wise operation squares.
fn square_of(node: &Node) -> Option<Value> {
    match node.args[..] {
        [x, y] if x == y && node.op == Op::Map(Scalar::Mul) => Some(x),
        _ => None,
    }
}

/// Whether a product of a matrix lies in memory, is cut by columns, and is too large to be read again for nothing.
fn can_square(graph: &Graph, product: &Node, worth: &FusedSums, few_outer: usize) -> bool {
    let Op::MatMul(_) = product.op else { return false };
    let [m, n] = graph.shape(product.result()) else { return false };
    let inlined = graph.outer_products(product).is_some_and(|count| (1..=few_outer).contains(&count));
    !inlined && n >= m && *m >= worth.min_rows && m * n >= worth.min_elements
}
