//! From an optimised graph to kernels: fusion, and a buffer for what goes through memory. What a target makes of the result is
//! the affair of [`super::passes`].
//!
//! 1. `cluster`: each region's element-wise operations and row reductions are grouped into loop nests; products,
//!    scatters, column reductions and time loops stand alone.
//! 2. `storage`: values that a later item reads get a home in a buffer. Pieces of a concatenation are written in place;
//!    what a loop stacks is written to its slot of the stack; a carried value that is also stacked lives in one buffer
//!    of `steps + 1` slots, so that carrying costs no copy. `rounds` tells which products have nothing to do in a round of a
//!    loop.
//! 3. `emit`: each group becomes a [`super::Kernel`]; what has no home is computed where it is read, but for what a nest
//!    keeps in its own output (`reuse`).

mod cluster;
mod emit;
mod library;
mod nest;
mod reads;
mod regions;
mod reuse;
mod rounds;
mod squares;
mod storage;
mod sums;

use std::collections::{HashMap, HashSet};

use super::{BufferId, BufferKind, Elem, Item, Module, Numbers, Rounds, Time};
use crate::graph::{Graph, Node, Op, OutputRole, Value};
use crate::target::Target;
use cluster::{Clusters, Slot};
use storage::View;

/// Lowers a verified graph.
pub fn lower(graph: &Graph, numbers: Numbers, target: &Target) -> Module {
    let graph = &regions::one_axis_reductions(graph, target);
    let mut lowering = Lowering {
        graph,
        target,
        numbers,
        definers: HashMap::new(),
        uses: HashMap::new(),
        replaced: graph.replaced_inputs(),
        homes: HashMap::new(),
        slices: HashMap::new(),
        ones: HashMap::new(),
        rounds: HashMap::new(),
        module: Module { name: graph.name.clone(), buffers: vec![], prologue: vec![], items: vec![] },
        names: HashSet::new(),
        times: 0,
    };
    regions::index(&mut lowering, &graph.body);
    lowering.run();
    name_apart(&mut lowering.module.items, &mut HashSet::new());
    lowering.module
}

/// Gives each kernel a name of its own.
fn name_apart(items: &mut [Item], taken: &mut HashSet<String>) {
    for item in items {
        match item {
            Item::Kernel(kernel) => make_unique(&mut kernel.name, taken),
            Item::Loop(inner) => name_apart(&mut inner.items, taken),
            _ => {}
        }
    }
}

/// Numbers a name that has been taken: a carried value is copied before its loop and at the end of each round.
fn make_unique(name: &mut String, taken: &mut HashSet<String>) {
    let mut numbered = name.clone();
    let mut number = 2;
    while !taken.insert(numbered.clone()) {
        numbered = format!("{name}_{number}");
        number += 1;
    }
    *name = numbered;
}

struct Lowering<'a> {
    graph: &'a Graph,
    target: &'a Target,
    numbers: Numbers,
    /// The node that defines each value; absent for inputs and loop parameters.
    definers: HashMap<Value, &'a Node>,
    /// How each value is used, in all regions.
    uses: HashMap<Value, Vec<Use>>,
    /// The inputs that each value is the new value of.
    replaced: HashMap<Value, Vec<Value>>,
    /// Where values lie that go through memory. The first view is the one that is read; all are written.
    homes: HashMap<Value, Vec<View>>,
    /// The source of each sliced loop parameter, and the loop's variable.
    slices: HashMap<Value, (Value, Time)>,
    /// Rows of ones that have been filled, by length.
    ones: HashMap<usize, View>,
    /// The products in loops that have nothing to multiply in a round.
    rounds: HashMap<Value, Rounds>,
    module: Module,
    /// Those of the module's buffers.
    names: HashSet<String>,
    times: u32,
}

/// A copy at the end of the step, into an output or over an input.
struct LastCopy {
    value: Value,
    view: View,
    /// The input that is overwritten.
    replaced: Option<Value>,
}

/// How a value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// By the node that defines this value, in the same region as the value.
    Node(Value),
    /// By something that reads it from memory: a product's operand, a scatter's, a loop's.
    Read,
    /// By a loop, each round of which sees one index of it as this parameter.
    Sliced(Value),
    /// By something that needs it at a certain place: an output, a loop's stack or `next`, a concatenation.
    Placed,
}

impl<'a> Lowering<'a> {
    fn run(&mut self) {
        for input in &self.graph.inputs {
            let ty = self.graph.ty(input.value);
            let kind = BufferKind::Input(input.role.clone());
            let buffer = self.buffer(&input.name, ty.elem, ty.shape.clone(), kind);
            self.homes.insert(input.value, vec![View::whole(buffer, &ty.shape)]);
        }
        let handed: Vec<Value> = self.graph.outputs.iter().map(|output| output.value).collect();
        let over = self.replaced.values().flatten().copied().collect();
        let clusters = self.cluster(&self.graph.body, &handed, over);
        let inputs: HashMap<&str, Value> =
            self.graph.inputs.iter().map(|input| (input.name.as_str(), input.value)).collect();
        let mut copies = vec![];
        for (index, output) in self.graph.outputs.iter().enumerate() {
            let (value, view, replaced) = match &output.role {
                OutputRole::Update(name) => match inputs.get(name.as_str()) {
                    Some(&input) => (output.value, self.homes[&input][0].clone(), Some(input)),
                    None => continue,
                },
                role => {
                    let ty = self.graph.ty(output.value);
                    let kind = BufferKind::Output(role.clone());
                    let name = format!("out_{index}");
                    let buffer = self.buffer(&name, ty.elem, ty.shape.clone(), kind);
                    let (value, view) = self.without_ones(output.value, View::whole(buffer, &ty.shape));
                    (value, view, None)
                }
            };
            let in_place = match replaced {
                Some(input) => clusters.may_replace(input, value, &self.graph.body),
                None => clusters.writes(value),
            };
            if in_place {
                self.homes.entry(value).or_default().push(view);
            } else {
                copies.push(LastCopy { value, view, replaced });
            }
        }
        let early = self.read_after_overwritten(&clusters, &copies);
        let mut items = self.items(&self.graph.body, clusters);
        for value in early {
            let shape = self.graph.shape(value).to_vec();
            let buffer = self.temp("before", value, shape.clone());
            let view = View::whole(buffer, &shape);
            items.push(self.copy(value, view.clone()));
            self.homes.insert(value, vec![view]);
        }
        copies.sort_by_key(|copy| copy.replaced.is_some());
        for LastCopy { value, view, .. } in copies {
            items.push(self.copy(value, view));
        }
        self.module.items = items;
    }

    /// The values that copies at the step's end would read from an input after another copy, or another place of the
    /// same one, has overwritten it: `a` and `b` that are each other's update.
    fn read_after_overwritten(&self, clusters: &Clusters, copies: &[LastCopy]) -> Vec<Value> {
        let overwritten: HashSet<Value> = copies.iter().filter_map(|copy| copy.replaced).collect();
        let mut found = vec![];
        let mut seen = HashSet::new();
        for copy in copies.iter().filter(|copy| copy.replaced.is_some()) {
            let mut reads = clusters.read_by_copy(copy.value).into_iter();
            let is_read_late = reads.any(|(input, own_position)| {
                overwritten.contains(&input) && (copy.replaced != Some(input) || !own_position)
            });
            if is_read_late && seen.insert(copy.value) {
                found.push(copy.value);
            }
        }
        found
    }

    fn buffer(&mut self, name: &str, elem: Elem, shape: Vec<usize>, kind: BufferKind) -> BufferId {
        let id = BufferId(self.module.buffers.len() as u32);
        self.names.insert(name.to_string());
        self.module.buffers.push(super::Buffer { name: name.to_string(), elem, shape, kind });
        id
    }

    /// A temporary; its name says which graph value it holds, with a number behind it where there are several.
    fn temp(&mut self, stem: &str, value: Value, shape: Vec<usize>) -> BufferId {
        let mut name = format!("{stem}_{}", value.0);
        make_unique(&mut name, &mut self.names);
        let elem = self.graph.ty(value).elem;
        self.buffer(&name, elem, shape, BufferKind::Temp)
    }

    /// The items of one region, in order.
    fn items(&mut self, nodes: &'a [Node], clusters: Clusters) -> Vec<Item> {
        self.assign_homes(nodes, &clusters);
        let mut items = vec![];
        for slot in &clusters.slots {
            match slot {
                Slot::Nest(nest) => items.push(self.nest(nest)),
                Slot::Single(index) => {
                    let node = &nodes[*index];
                    match &node.op {
                        Op::Loop(inner) => self.time_loop(inner, &mut items),
                        Op::Concat { .. } => self.join(node, &clusters, &mut items),
                        Op::Reduce { kind, axes } => match self.sum_as_product(node, *kind, axes) {
                            Some(product) => items.extend(product),
                            None => items.push(self.column_reduce(node, *kind, axes)),
                        },
                        Op::Distinct { rows } => self.distinct(node, *rows, &mut items),
                        _ => self.library_call(node, &mut items),
                    }
                }
            }
        }
        items
    }
}

/// Whether a reduction runs along the last axis, and so is a fold within a row.
fn is_row_reduction(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Reduce { axes, .. } => axes[..] == [graph.ty(node.args[0]).rank() - 1],
        _ => false,
    }
}
