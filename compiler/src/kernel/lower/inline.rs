//! Which values are computed where they are read, and never lie in memory.
//!
//! - A sum of few outer products that is only read element by element, as a weight's gradient is by the update when a batch
//!   is one short row; and a product with a contraction of one, as that of a word's number and a weight.
//! - Rows of a table in memory that loops read element by element: they find the rows as well themselves.
//! - A choice between such a row and a constant, where it is read element by element.
//! - Element-wise values that only one column reduction reads.
//! - Element-wise values of one tensor in memory that one element-wise operation reads, as the decayed state of an optimizer, or
//!   several if they are as cheap as a mean of gradients: who reads them reads one tensor either way, and nothing is written.

use std::collections::HashSet;

use super::facts::{Facts, Use, is_product, is_row_reduction};
use crate::graph::{Form, Node, Op, Value};
use crate::scalar::Scalar;
use crate::target::Fusion;

/// Those of a region.
pub(super) fn inlined(facts: &Facts, fusion: &Fusion, nodes: &[Node]) -> HashSet<Value> {
    let mut found = HashSet::new();
    for node in nodes.iter().rev() {
        if is_short_sum(facts, fusion, node)
            || is_outer_product(facts, node)
            || is_lookup_in_loops(facts, node)
            || is_row_if_present(facts, node)
            || is_of_memory(facts, node)
        {
            found.insert(node.result());
            continue;
        }
        if !matches!(node.op, Op::Map(_) | Op::Spread { .. } | Op::Take) {
            continue;
        }
        let by_column_reduction = |user: Value| {
            let reader = facts.definer(user);
            reader.is_some_and(|reader| {
                matches!(reader.op, Op::Reduce { .. }) && !is_row_reduction(facts.graph, reader)
            })
        };
        if let [Use::Node(user)] = facts.uses(node.result())
            && (by_column_reduction(*user) || found.contains(user))
        {
            found.insert(node.result());
        }
    }
    found
}

/// Whether a node adds up at most [`Fusion::few_outer`] outer products, and is only read element by element.
fn is_short_sum(facts: &Facts, fusion: &Fusion, node: &Node) -> bool {
    let by_element = |how: &Use| match how {
        Use::Node(user) => {
            facts.definer(*user).is_some_and(|node| matches!(node.op, Op::Map(_) | Op::Reduce { .. }))
        }
        Use::Read | Use::Sliced(_) | Use::Placed => false,
    };
    let products = facts.graph.outer_products(node);
    products.is_some_and(|products| (1..=fusion.few_outer).contains(&products))
        && facts.uses(node.result()).iter().all(by_element)
}

/// Whether a node is a product with a contraction of one, which is only read element by element, in loops too.
fn is_outer_product(facts: &Facts, node: &Node) -> bool {
    let by_element = |how: &Use| match how {
        Use::Sliced(param) => is_read_by_element(facts, *param),
        how => reads_by_element(facts, how),
    };
    node.op == Op::MatMul(Form::NN)
        && facts.shape(node.args[1])[0] == 1
        && facts.uses(node.result()).iter().all(by_element)
}

/// Whether a node looks up rows of a table in memory for loops that read them element by element.
fn is_lookup_in_loops(facts: &Facts, node: &Node) -> bool {
    let uses = facts.uses(node.result());
    let sliced = |how: &Use| matches!(how, Use::Sliced(param) if is_read_by_element(facts, *param));
    is_lookup_in_memory(facts, node) && !uses.is_empty() && uses.iter().all(sliced)
}

fn is_lookup_in_memory(facts: &Facts, node: &Node) -> bool {
    node.op == Op::Take && lies_in_memory(facts, node.args[0])
}

/// Whether a value lies in memory, however it is read.
fn lies_in_memory(facts: &Facts, value: Value) -> bool {
    facts.definer(value).is_none_or(|node| {
        is_product(node) || matches!(node.op, Op::Scatter { .. } | Op::AddRows | Op::SumShards)
    })
}

/// Whether a node is an element-wise value of one tensor in memory and of single numbers, and element-wise operations read it: one, or
/// any number where to compute it costs little and what it is computed from is not written over until they have.
fn is_of_memory(facts: &Facts, node: &Node) -> bool {
    let Op::Map(op) = node.op else { return false };
    let mut tensors = node.args.iter().copied().filter(|&arg| !is_one_number(facts, arg));
    let Some(tensor) = tensors.next() else { return false };
    let by_element = |how: &Use| match how {
        Use::Node(user) => facts.definer(*user).is_some_and(|user| matches!(user.op, Op::Map(_))),
        Use::Read | Use::Sliced(_) | Use::Placed => false,
    };
    let uses = facts.uses(node.result());
    let stays = || facts.definer(tensor).is_some();
    lies_in_memory(facts, tensor)
        && tensors.all(|other| other == tensor)
        && uses.iter().all(by_element)
        && (uses.len() == 1 || (op.is_cheap() && stays()))
}

/// Whether a value is the same number for all elements.
fn is_one_number(facts: &Facts, value: Value) -> bool {
    facts.definer(value).is_some_and(|node| match node.op {
        Op::Const(_) => true,
        Op::Broadcast { .. } => facts.shape(node.args[0]).is_empty(),
        _ => false,
    })
}

/// Whether a node chooses rows that it looks up in memory, or a constant, for operations that read it element by
/// element: such a table of few rows is cheaper to read than to write.
fn is_row_if_present(facts: &Facts, node: &Node) -> bool {
    let [present, row, otherwise] = node.args[..] else { return false };
    let is_broadcast =
        |value: Value| facts.definer(value).is_some_and(|node| matches!(node.op, Op::Broadcast { .. }));
    let is_lookup = facts.definer(row).is_some_and(|node| is_lookup_in_memory(facts, node));
    node.op == Op::Map(Scalar::Select)
        && is_lookup
        && is_broadcast(present)
        && is_broadcast(otherwise)
        && is_read_by_element(facts, node.result())
}

/// Whether all that reads a value, or pieces of it, reads one element for each of its own.
fn is_read_by_element(facts: &Facts, value: Value) -> bool {
    facts.uses(value).iter().all(|how| reads_by_element(facts, how))
}

fn reads_by_element(facts: &Facts, how: &Use) -> bool {
    match how {
        Use::Node(user) => facts.definer(*user).is_some_and(|reader| match &reader.op {
            Op::Map(_) => true,
            Op::Split { .. } => reader.results.iter().all(|&piece| is_read_by_element(facts, piece)),
            _ => false,
        }),
        Use::Read | Use::Sliced(_) | Use::Placed => false,
    }
}
