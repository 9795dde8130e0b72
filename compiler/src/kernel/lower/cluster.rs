//! Grouping a region's operations into loop nests.
//!
//! A nest runs over `rows` (parallel) and, within a row, over `columns`. Its members are element-wise operations on
//! `[rows.., columns]`, reductions along the columns, and operations on the `[rows..]` that those give: softmax with
//! its loss and gradient is one nest. An operation joins the earliest nest of its shape at which all its operands are
//! ready; within a nest it reads its neighbours' values at its own position only.
//!
//! A sum of few outer products that is only read element by element, as a weight's gradient is by the update when a batch
//! is one short row, is computed where it is read and never lies in memory. So is a product with a contraction of one, as
//! that of a word's number and a weight.

use std::collections::{HashMap, HashSet};

use super::{Lowering, Use, is_row_reduction};
use crate::graph::{Form, Graph, Node, Op, Value};
use crate::scalar::Scalar;

/// A sum of up to so many outer products costs less where it is read than to write it to memory and to read it there.
const FEW_OUTER: usize = 8;

/// One region's schedule.
pub(super) struct Clusters {
    pub slots: Vec<Slot>,
    /// The slot that computes each value.
    pub slot_of: HashMap<Value, usize>,
    /// The values that nests, products, scatters and column reductions compute, in order.
    pub produced: Vec<Value>,
    /// The region's concatenations.
    joined: HashSet<Value>,
    /// What the region hands out: outputs, or what its loop carries on and stacks. Those that no slot computes are
    /// copied after all slots.
    handed: Vec<Value>,
    /// For each placed node: its slot.
    placed: Vec<(usize, usize)>,
}

pub(super) enum Slot {
    Nest(Nest),
    /// A node (by index) that stands alone: a loop, a product, a scatter, a column reduction, a concatenation of
    /// values that nobody writes in place.
    Single(usize),
}

/// A loop nest under construction.
pub(super) struct Nest {
    pub rows: Vec<usize>,
    /// `None` as long as every member is on `[rows..]`.
    pub columns: Option<usize>,
    pub members: Vec<Value>,
}

/// What one node needs of another: the slot that must have run, and whether it reads at its own position only.
#[derive(Clone, Copy)]
struct Need {
    slot: usize,
    own_position: bool,
}

impl Clusters {
    /// Whether `value` is computed by a slot that can write it anywhere.
    pub fn produces(&self, value: Value) -> bool {
        self.slot_of.contains_key(&value) && self.produced.contains(&value)
    }

    /// Whether `value` can be given a home before the region is lowered, and is then written there: it is computed
    /// here, or joined here of pieces.
    pub fn writes(&self, value: Value) -> bool {
        self.produces(value) || self.joined.contains(&value)
    }

    /// Whether operand `place` of a concatenation is written to its piece by what computes it.
    pub fn writes_piece(&self, node: &Node, place: usize) -> bool {
        let arg = node.args[place];
        self.produces(arg) && node.args.iter().position(|&other| other == arg) == Some(place)
    }

    /// Whether `new` may be written over `old` in place: it is computed here, and all that reads `old` has run, or is
    /// the same nest and reads it at the position that it writes.
    pub fn may_replace(&self, lowering: &Lowering, old: Value, new: Value, nodes: &[Node]) -> bool {
        if !self.produces(new) {
            return false;
        }
        let slot = self.slot_of[&new];
        let is_nest = matches!(self.slots[slot], Slot::Nest(_));
        let read_late = |&value: &Value| self.reads_late(lowering, value, old).is_some();
        !self.handed.iter().any(read_late)
            && self.placed.iter().all(|&(index, at)| match reads(lowering, self, &nodes[index], old) {
                None => true,
                Some(own_position) => {
                    at < slot || (at == slot && ((own_position && is_nest) || grows(&nodes[index], old)))
                }
            })
    }

    /// Whether a copy of `value` at the region's end reads `old`: `Some(true)` if at its own position only.
    pub fn reads_late(&self, lowering: &Lowering, value: Value, old: Value) -> Option<bool> {
        reach(lowering, self, value, old, true)
    }

    /// [`Clusters::may_replace`] for an input of the graph.
    pub fn may_overwrite(&self, lowering: &Lowering, name: &str, new: Value) -> bool {
        let input = lowering.graph.input(name);
        input.is_some_and(|input| self.may_replace(lowering, input.value, new, &lowering.graph.body))
    }
}

/// The nodes of a region with each product as early as its operands allow, otherwise in order: what several products
/// go into is then one nest after all of them.
fn products_first(nodes: &[Node]) -> Vec<usize> {
    let own: HashSet<Value> = nodes.iter().flat_map(|node| node.results.iter().copied()).collect();
    let mut known: HashSet<Value> = HashSet::new();
    let mut order = vec![];
    let mut products: Vec<usize> = (0..nodes.len()).filter(|&index| is_product(&nodes[index])).collect();
    for index in 0..=nodes.len() {
        products.retain(|&product| {
            let ready = nodes[product].args.iter().all(|arg| known.contains(arg) || !own.contains(arg));
            if ready {
                order.push(product);
                known.extend(&nodes[product].results);
            }
            !ready
        });
        if let Some(node) = nodes.get(index).filter(|node| !is_product(node)) {
            order.push(index);
            known.extend(&node.results);
        }
    }
    order
}

fn is_product(node: &Node) -> bool {
    matches!(node.op, Op::MatMul(_) | Op::MatMulPrefix(_))
}

/// Whether a node is a product with a contraction of at most [`FEW_OUTER`], which may be computed where it is read.
pub(super) fn sums_few_outer(graph: &Graph, node: &Node) -> bool {
    let lead = || graph.shape(node.args[0]).split_last().map_or(0, |(_, lead)| lead.iter().product());
    node.op == Op::MatMul(Form::TN) && (1..=FEW_OUTER).contains(&lead())
}

/// Whether a node adds rows to `value` itself: what else it reads lies in memory by then.
fn grows(node: &Node, value: Value) -> bool {
    node.op == Op::AddRows && node.args[0] == value && !node.args[1..].contains(&value)
}

/// Whether and how a node reads `value`, directly or through operations that have no slot: `Some(true)` if at its own
/// position only.
fn reads(lowering: &Lowering, clusters: &Clusters, node: &Node, value: Value) -> Option<bool> {
    let mut found = None;
    for operand in node.operands() {
        let elementwise = matches!(node.op, Op::Map(_) | Op::Spread { .. } | Op::Reduce { .. });
        if let Some(own) = reach(lowering, clusters, operand, value, elementwise) {
            found = Some(found.unwrap_or(true) && own);
        }
    }
    found
}

fn reach(lowering: &Lowering, clusters: &Clusters, from: Value, value: Value, own: bool) -> Option<bool> {
    if from == value {
        return Some(own);
    }
    if clusters.slot_of.contains_key(&from) {
        return None;
    }
    let node = lowering.definers.get(&from)?;
    let own = own && keeps_position(node);
    let reached = node.args.iter().filter_map(|&arg| reach(lowering, clusters, arg, value, own));
    reached.reduce(|a, b| a && b)
}

/// Whether an operation without a slot reads its operand at its own position: `[rows..]` spread along columns, or
/// nothing moved at all.
fn keeps_position(node: &Node) -> bool {
    match &node.op {
        Op::Stop | Op::Map(_) => true,
        Op::Broadcast { axes, shape } => {
            axes.iter().copied().eq(0..axes.len()) && axes.len() + 1 >= shape.len()
        }
        _ => false,
    }
}

impl<'a> Lowering<'a> {
    pub(super) fn cluster(&self, nodes: &'a [Node], handed: Vec<Value>) -> Clusters {
        let mut clusters = Clusters {
            slots: vec![],
            slot_of: HashMap::new(),
            produced: vec![],
            joined: HashSet::new(),
            handed,
            placed: vec![],
        };
        let floating = self.floating(nodes);
        for index in products_first(nodes) {
            let node = &nodes[index];
            if let Op::Concat { .. } = node.op {
                clusters.joined.insert(node.result());
            }
            let member = match node.op {
                Op::Map(_) | Op::Pick | Op::Spread { .. } | Op::Take | Op::Put { .. } => {
                    !floating.contains(&node.result())
                }
                Op::Positions { .. } => self.is_sliced(node.result()),
                Op::Reduce { .. } => is_row_reduction(self.graph, node),
                _ => false,
            };
            let alone = match node.op {
                Op::MatMul(_) => !floating.contains(&node.result()),
                Op::Loop(_)
                | Op::MatMulPrefix(_)
                | Op::Distinct { .. }
                | Op::Scatter { .. }
                | Op::Combine { .. }
                | Op::AddRows => true,
                Op::Reduce { .. } => !member,
                Op::Concat { .. } => (0..node.args.len()).any(|place| !clusters.writes_piece(node, place)),
                _ => false,
            };
            if member {
                let slot = self.join_nest(&mut clusters, nodes, node);
                clusters.placed.push((index, slot));
                clusters.slot_of.insert(node.result(), slot);
                clusters.produced.push(node.result());
            } else if alone {
                let slot = clusters.slots.len();
                clusters.slots.push(Slot::Single(index));
                clusters.placed.push((index, slot));
                clusters.slot_of.extend(node.results.iter().map(|&result| (result, slot)));
                if !matches!(node.op, Op::Loop(_) | Op::Concat { .. }) {
                    clusters.produced.extend(&node.results);
                }
            }
        }
        clusters
    }

    /// Values that are computed where they are read: sums of few outer products, rows of which loops read each element,
    /// rows of some and zeros of others, and element-wise values that only one column reduction reads.
    fn floating(&self, nodes: &'a [Node]) -> HashSet<Value> {
        let mut floating = HashSet::new();
        for node in nodes.iter().rev() {
            if self.is_short_sum(node)
                || self.is_outer_product(node)
                || self.is_lookup_in_loops(node)
                || self.is_row_if_present(node)
            {
                floating.insert(node.result());
                continue;
            }
            if !matches!(node.op, Op::Map(_) | Op::Spread { .. } | Op::Take) {
                continue;
            }
            let uses = self.uses_of(node.result());
            let inside = |how: &Use| match how {
                Use::Node(user) => {
                    let reader = self.definers[user];
                    let column =
                        matches!(reader.op, Op::Reduce { .. }) && !is_row_reduction(self.graph, reader);
                    column || floating.contains(user)
                }
                _ => false,
            };
            if uses.len() == 1 && inside(&uses[0]) {
                floating.insert(node.result());
            }
        }
        floating
    }

    /// Whether a node is a product with a contraction of at most [`FEW_OUTER`], whose result is only read element by
    /// element.
    fn is_short_sum(&self, node: &Node) -> bool {
        if !sums_few_outer(self.graph, node) {
            return false;
        }
        let by_element = |how: &Use| match how {
            Use::Node(user) => matches!(self.definers[user].op, Op::Map(_) | Op::Reduce { .. }),
            Use::Read | Use::Sliced(_) | Use::Placed => false,
        };
        let uses = self.uses_of(node.result());
        uses.iter().all(by_element)
    }

    /// Whether a node is a product with a contraction of one, which is only read element by element, be it in loops.
    fn is_outer_product(&self, node: &Node) -> bool {
        let by_element = |how: &Use| match how {
            Use::Sliced(param) => self.is_read_by_element(*param),
            how => self.reads_by_element(how),
        };
        node.op == Op::MatMul(Form::NN)
            && self.graph.shape(node.args[1])[0] == 1
            && self.uses_of(node.result()).iter().all(by_element)
    }

    /// Whether a loop slices a value, as it is or repeated or cut: a round's place is not known where it is read.
    fn is_sliced(&self, value: Value) -> bool {
        self.uses_of(value).iter().any(|how| match how {
            Use::Sliced(_) => true,
            Use::Read | Use::Placed => false,
            Use::Node(user) => {
                let node = self.definers[user];
                let moves = matches!(
                    node.op,
                    Op::Broadcast { .. }
                        | Op::Split { .. }
                        | Op::At { .. }
                        | Op::Column
                        | Op::Uncolumn
                        | Op::Stop
                );
                moves && node.results.iter().any(|&result| self.is_sliced(result))
            }
        })
    }

    fn uses_of(&self, value: Value) -> &[Use] {
        self.uses.get(&value).map_or(&[], |uses| uses)
    }

    /// Whether a node looks up rows of a table in memory, for loops that read them element by element: they find the rows
    /// as well themselves.
    fn is_lookup_in_loops(&self, node: &Node) -> bool {
        let uses = self.uses_of(node.result());
        let sliced = |how: &Use| matches!(how, Use::Sliced(param) if self.is_read_by_element(*param));
        self.is_lookup_in_memory(node) && !uses.is_empty() && uses.iter().all(sliced)
    }

    fn is_lookup_in_memory(&self, node: &Node) -> bool {
        let lies = || match self.definers.get(&node.args[0]) {
            None => true,
            Some(node) => is_product(node) || matches!(node.op, Op::Scatter { .. } | Op::AddRows),
        };
        node.op == Op::Take && lies()
    }

    /// Whether a node chooses rows that it looks up in memory, or a constant, for operations that read it element by
    /// element: such a table of few rows is cheaper to read than to write.
    fn is_row_if_present(&self, node: &Node) -> bool {
        let [present, row, otherwise] = node.args[..] else { return false };
        let is_broadcast = |value: Value| {
            self.definers.get(&value).is_some_and(|node| matches!(node.op, Op::Broadcast { .. }))
        };
        let is_lookup = self.definers.get(&row).is_some_and(|node| self.is_lookup_in_memory(node));
        node.op == Op::Map(Scalar::Select)
            && is_lookup
            && is_broadcast(present)
            && is_broadcast(otherwise)
            && self.is_read_by_element(node.result())
    }

    /// Whether all that reads a value, or pieces of it, reads one element for each of its own.
    fn is_read_by_element(&self, value: Value) -> bool {
        self.uses_of(value).iter().all(|how| self.reads_by_element(how))
    }

    fn reads_by_element(&self, how: &Use) -> bool {
        match how {
            Use::Node(user) => match &self.definers[user].op {
                Op::Map(_) => true,
                Op::Split { .. } => {
                    self.definers[user].results.iter().all(|&piece| self.is_read_by_element(piece))
                }
                _ => false,
            },
            Use::Read | Use::Sliced(_) | Use::Placed => false,
        }
    }

    /// What must have run before `value` can be read.
    fn needs(&self, clusters: &Clusters, value: Value, own_position: bool, needs: &mut Vec<Need>) {
        if let Some(&slot) = clusters.slot_of.get(&value) {
            needs.push(Need { slot, own_position });
            return;
        }
        let Some(node) = self.definers.get(&value) else { return };
        let own_position = own_position && keeps_position(node);
        for &arg in &node.args {
            self.needs(clusters, arg, own_position, needs);
        }
    }

    /// The nest that a member joins, or a new one at the end.
    fn join_nest(&self, clusters: &mut Clusters, nodes: &[Node], node: &Node) -> usize {
        let mut needs = vec![];
        for (place, &arg) in node.args.iter().enumerate() {
            let row_of = matches!(node.op, Op::Take | Op::Put { .. }) || (node.op == Op::Pick && place == 0);
            self.needs(clusters, arg, !row_of, &mut needs);
        }
        if let Op::Spread { .. } = node.op {
            // `g` lies on the rows of the result.
            needs.iter_mut().for_each(|need| need.own_position = true);
        }
        let mut first =
            needs.iter().map(|need| need.slot + usize::from(!need.own_position)).max().unwrap_or(0);
        first = first.max(self.after_readers(clusters, nodes, node.result()));
        let (rows, columns) = self.domain(node);
        for slot in first..clusters.slots.len() {
            let Slot::Nest(nest) = &mut clusters.slots[slot] else { continue };
            let fits = match columns {
                Some(columns) => nest.rows == rows && nest.columns.is_none_or(|own| own == columns),
                None => nest.rows == rows,
            };
            // A value of the nest's rows fits as well, unless it needs columns of its own.
            let shape = self.graph.shape(node.result());
            let on_rows = !matches!(node.op, Op::Reduce { .. }) && nest.rows == shape;
            if fits {
                nest.columns = nest.columns.or(columns);
            }
            if fits || on_rows {
                nest.members.push(node.result());
                return slot;
            }
        }
        clusters.slots.push(Slot::Nest(Nest { rows, columns, members: vec![node.result()] }));
        clusters.slots.len() - 1
    }

    /// The first slot at which an updated input may be overwritten, so that it can be in place.
    fn after_readers(&self, clusters: &Clusters, nodes: &[Node], value: Value) -> usize {
        let mut first = 0;
        for output in self.graph.outputs.iter().filter(|output| output.value == value) {
            let crate::graph::OutputRole::Update(name) = &output.role else { continue };
            let Some(input) = self.graph.input(name) else { continue };
            for &(index, slot) in &clusters.placed {
                if let Some(own) = reads(self, clusters, &nodes[index], input.value) {
                    first = first.max(slot + usize::from(!own));
                }
            }
        }
        first
    }

    /// The rows and columns that a member runs over.
    fn domain(&self, node: &Node) -> (Vec<usize>, Option<usize>) {
        let shape = match node.op {
            Op::Reduce { .. } => self.graph.shape(node.args[0]),
            _ => self.graph.shape(node.result()),
        };
        match shape.split_last() {
            Some((&columns, rows)) => (rows.to_vec(), Some(columns)),
            None => (vec![], None),
        }
    }
}
