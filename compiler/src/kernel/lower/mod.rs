//! From an optimised graph to kernels: fusion, and a buffer for what goes through memory.
//!
//! 1. `cluster`: each region's element-wise operations and row reductions are grouped into loop nests; products,
//!    scatters, column reductions and time loops stand alone.
//! 2. `storage`: values that a later item reads get a home in a buffer. Pieces of a concatenation are written in place;
//!    what a loop stacks is written to its slot of the stack; a carried value that is also stacked lives in one buffer
//!    of `steps + 1` slots, so that carrying costs no copy.
//!    Long products of few rows lie in `parts`, and `rounds` tells which products have nothing to do in a round of a loop.
//! 3. `emit`: each group becomes a [`Kernel`]; what has no home is computed where it is read.
//! 4. `ride`: sums of what a product reads go to that product.
//! 5. `prologue` and `pack`: what is the same at every step of a run is done once before, and weights are laid out for the
//!    product's inner loop where that pays.
//! 6. `turn`: products of few rows read what is left as it lies in turns from its beginning and from its end.

mod cluster;
mod emit;
mod keep;
mod library;
mod nest;
mod pack;
mod parts;
mod prologue;
mod reads;
mod regions;
mod ride;
mod rounds;
mod storage;
mod sums;
mod tidy;
mod turn;

use std::collections::{HashMap, HashSet};

use super::{BufferId, BufferKind, Elem, Item, Module, Numbers, Rounds, Time};
use crate::graph::{Graph, Input, InputRole, Node, Op, OutputRole, Value};
use cluster::{Clusters, Slot};
use storage::View;

/// Lowers a verified graph.
pub fn lower(graph: &Graph, numbers: Numbers) -> Module {
    let graph = &regions::one_axis_reductions(graph);
    let mut lowering = Lowering {
        graph,
        numbers,
        definers: HashMap::new(),
        uses: HashMap::new(),
        replaced: graph.replaced_inputs(),
        trained: HashSet::new(),
        homes: HashMap::new(),
        slices: HashMap::new(),
        ones: HashMap::new(),
        rounds: HashMap::new(),
        parts: HashMap::new(),
        around: None,
        module: Module { name: graph.name.clone(), buffers: vec![], prologue: vec![], items: vec![] },
        names: HashSet::new(),
        times: 0,
    };
    let updated: HashSet<Value> = lowering.replaced.values().flatten().copied().collect();
    let is_param = |input: &&Input| matches!(input.role, InputRole::Param { .. });
    lowering.trained = graph
        .inputs
        .iter()
        .filter(is_param)
        .map(|input| input.value)
        .filter(|param| updated.contains(param))
        .collect();
    regions::index(&mut lowering, &graph.body);
    lowering.run();
    tidy::tidy(&mut lowering.module);
    let ones = lowering.ones.values().map(|view| view.buffer).collect();
    ride::column_sums(&mut lowering.module, &ones);
    prologue::hoist(&mut lowering.module);
    pack::pack_weights(&mut lowering.module, numbers.weights);
    turn::turn_products(&mut lowering.module.items);
    lowering.module
}

struct Lowering<'a> {
    graph: &'a Graph,
    numbers: Numbers,
    /// The node that defines each value; absent for inputs and loop parameters.
    definers: HashMap<Value, &'a Node>,
    /// How each value is used, in all regions.
    uses: HashMap<Value, Vec<Use>>,
    /// The inputs that each value is the new value of.
    replaced: HashMap<Value, Vec<Value>>,
    /// The parameters that the step changes.
    trained: HashSet<Value>,
    /// Where values lie that go through memory. The first view is the one that is read; all are written.
    homes: HashMap<Value, Vec<View>>,
    /// The source of each sliced loop parameter, and the loop's variable.
    slices: HashMap<Value, (Value, Time)>,
    /// Rows of ones that have been filled, by length.
    ones: HashMap<usize, View>,
    /// The products in loops that have nothing to multiply in a round.
    rounds: HashMap<Value, Rounds>,
    /// Where the parts lie of products that are cut into parts, `[parts, ..]`.
    parts: HashMap<Value, View>,
    /// The time loop whose body is being lowered, and its rounds.
    around: Option<(Time, usize)>,
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
        tidy::make_unique(&mut name, &mut self.names);
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
                        Op::Reduce { .. } if self.squares_of_product(node, &mut items) => {}
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
