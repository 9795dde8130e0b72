//! Products that share their left side become one wide product.
//!
//! `x @ W_i`, `x @ W_f`, .. of one region are `x @ [W_i | W_f | ..]`, cut into columns. The parameters are laid out side
//! by side from the start: the graph's inputs change, so joining them costs nothing at run time. Run before `grad`, so
//! that the backward products (`dz @ W^T`, one deep product, and `x^T @ dz`) and the optimizer's sweep come out merged.

use std::collections::{HashMap, HashSet};

use crate::graph::rewrite::Rewriter;
use crate::graph::{Form, Graph, Input, InputRole, Node, Op, Part, Type, Value};

/// Products to be merged: the left side, and the parameters on the right.
struct Group {
    left: Value,
    params: Vec<Value>,
}

pub fn merge_products(graph: &Graph) -> Graph {
    let groups = find(graph);
    let mut rewriter = Rewriter::without_inputs(graph);
    let mut merged: HashMap<Value, (usize, usize)> = HashMap::new();
    for (index, group) in groups.iter().enumerate() {
        merged.extend(group.params.iter().enumerate().map(|(place, &param)| (param, (index, place))));
    }
    let inputs: HashMap<Value, &Input> = graph.inputs.iter().map(|input| (input.value, input)).collect();
    let mut wide: Vec<Option<Value>> = vec![None; groups.len()];
    for input in &graph.inputs {
        let value = match merged.get(&input.value) {
            None => rewriter.new.input(&input.name, graph.ty(input.value).clone(), input.role.clone()),
            Some(&(index, _)) => {
                *wide[index].get_or_insert_with(|| wide_input(&mut rewriter, graph, &inputs, &groups[index]))
            }
        };
        rewriter.set(input.value, value);
    }
    let mut pieces: Vec<Option<Vec<Value>>> = vec![None; groups.len()];
    rewriter.nodes(&graph.body, &mut |rewriter: &mut Rewriter, node: &Node| {
        if node.op != Op::MatMul(Form::NN) {
            return None;
        }
        let &(index, place) = merged.get(&node.args[1])?;
        let group = &groups[index];
        let pieces = pieces[index].get_or_insert_with(|| {
            let (left, right) = (rewriter.get(group.left), rewriter.get(group.params[0]));
            let product = rewriter.new.matmul(Form::NN, left, right);
            let axis = rewriter.new.ty(product).rank() - 1;
            let sizes = group.params.iter().map(|&param| graph.shape(param)[1]).collect();
            rewriter.new.emit(Op::Split { axis, sizes }, &[product])
        });
        Some(vec![pieces[place]])
    });
    rewriter.finish()
}

fn wide_input(
    rewriter: &mut Rewriter,
    graph: &Graph,
    inputs: &HashMap<Value, &Input>,
    group: &Group,
) -> Value {
    let members: Vec<&Input> = group.params.iter().filter_map(|param| inputs.get(param).copied()).collect();
    let mut parts = vec![];
    let mut columns = 0;
    for member in &members {
        if let InputRole::Param { parts: inner } = &member.role {
            parts.extend(inner.iter().map(|part| Part { start: part.start + columns, ..part.clone() }));
        }
        columns += graph.shape(member.value)[1];
    }
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let rows = graph.shape(group.params[0])[0];
    rewriter.new.input(names.join("|"), Type::real([rows, columns]), InputRole::Param { parts })
}

/// Groups of at least two products. A parameter joins one only if that product is all that reads it.
fn find(graph: &Graph) -> Vec<Group> {
    let mut reads: HashMap<Value, usize> = HashMap::new();
    count_reads(&graph.body, &mut reads);
    for output in &graph.outputs {
        *reads.entry(output.value).or_default() += 1;
    }
    let params: HashSet<Value> = graph
        .inputs
        .iter()
        .filter(|input| matches!(input.role, InputRole::Param { .. }))
        .map(|input| input.value)
        .filter(|param| reads.get(param) == Some(&1) && graph.ty(*param).rank() == 2)
        .collect();
    let mut groups = vec![];
    find_in(&graph.body, &params, &mut groups);
    groups.retain(|group| group.params.len() > 1);
    groups
}

fn count_reads(nodes: &[Node], reads: &mut HashMap<Value, usize>) {
    for node in nodes {
        match &node.op {
            Op::Loop(inner) => {
                count_reads(&inner.body, reads);
                let handed = inner.carried.iter().flat_map(|c| [c.init, c.next]);
                let handed = handed.chain(inner.sliced.iter().map(|s| s.source));
                for value in handed.chain(inner.stacked.iter().map(|s| s.value)) {
                    *reads.entry(value).or_default() += 1;
                }
            }
            _ => {
                for &arg in &node.args {
                    *reads.entry(arg).or_default() += 1;
                }
            }
        }
    }
}

/// Adds the groups of each region apart: a product inside a loop stays inside.
fn find_in(nodes: &[Node], params: &HashSet<Value>, groups: &mut Vec<Group>) {
    let mut own: Vec<Group> = vec![];
    let mut by_left: HashMap<Value, usize> = HashMap::new();
    for node in nodes {
        match &node.op {
            Op::Loop(inner) => find_in(&inner.body, params, groups),
            Op::MatMul(Form::NN) if params.contains(&node.args[1]) => {
                let (left, param) = (node.args[0], node.args[1]);
                match by_left.get(&left) {
                    Some(&index) => own[index].params.push(param),
                    None => {
                        by_left.insert(left, own.len());
                        own.push(Group { left, params: vec![param] });
                    }
                }
            }
            _ => {}
        }
    }
    groups.extend(own);
}
