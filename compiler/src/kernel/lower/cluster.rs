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

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use super::reads::{Reads, Sources};
use super::{Lowering, Use, is_row_reduction};
use crate::graph::{Form, Graph, Node, Op, Value};
use crate::scalar::Scalar;
use crate::target::Fusion;

/// One region's schedule.
pub(super) struct Clusters {
    pub slots: Vec<Slot>,
    /// The slot that computes each value.
    pub slot_of: HashMap<Value, usize>,
    /// The values that nests, products, scatters and column reductions compute, in order.
    pub produced: Vec<Value>,
    /// The same as a set.
    made: HashSet<Value>,
    /// The region's concatenations.
    joined: HashSet<Value>,
    /// Who reads what may be written over.
    reads: Reads,
    /// The nests, by what they run over.
    nests: Nests,
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
    /// The same as a set.
    inside: HashSet<Value>,
}

impl Nest {
    fn of(rows: Vec<usize>, columns: Option<usize>) -> Self {
        Self { rows, columns, members: vec![], inside: HashSet::new() }
    }

    pub fn contains(&self, value: Value) -> bool {
        self.inside.contains(&value)
    }

    fn push(&mut self, value: Value) {
        self.members.push(value);
        self.inside.insert(value);
    }
}

/// The nests of a region by what they run over, so that one need not look at all of them to find those that fit.
#[derive(Default)]
struct Nests {
    by_rows: HashMap<Vec<usize>, BTreeSet<usize>>,
    by_domain: HashMap<(Vec<usize>, Option<usize>), BTreeSet<usize>>,
}

impl Nests {
    fn insert(&mut self, slot: usize, nest: &Nest) {
        self.by_rows.entry(nest.rows.clone()).or_default().insert(slot);
        self.by_domain.entry((nest.rows.clone(), nest.columns)).or_default().insert(slot);
    }

    fn remove(&mut self, slot: usize, nest: &Nest) {
        self.by_rows.entry(nest.rows.clone()).or_default().remove(&slot);
        self.by_domain.entry((nest.rows.clone(), nest.columns)).or_default().remove(&slot);
    }

    /// The first nest from slot `first` on that runs over these rows, whatever its columns.
    fn on_rows(&self, rows: &[usize], first: usize) -> Option<usize> {
        self.by_rows.get(rows).and_then(|slots| slots.range(first..).next().copied())
    }

    /// The first nest from slot `first` on that runs over these rows, and over these columns or any where it has none yet.
    fn on_domain(&self, rows: &[usize], columns: usize, first: usize) -> Option<usize> {
        let found = [Some(columns), None].into_iter().filter_map(|columns| {
            let slots = self.by_domain.get(&(rows.to_vec(), columns))?;
            slots.range(first..).next().copied()
        });
        found.min()
    }
}

impl Clusters {
    /// Whether `value` is computed by a slot that can write it anywhere.
    pub fn produces(&self, value: Value) -> bool {
        self.made.contains(&value)
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
    pub fn may_replace(&self, old: Value, new: Value, nodes: &[Node]) -> bool {
        if !self.produces(new) || self.reads.is_read_late(old) {
            return false;
        }
        let slot = self.slot_of[&new];
        let is_nest = matches!(self.slots[slot], Slot::Nest(_));
        self.reads.of(old).iter().all(|read| {
            read.slot < slot
                || (read.slot == slot && ((read.own_position && is_nest) || grows(&nodes[read.node], old)))
        })
    }

    /// Of what a copy of `value` at the region's end would read of what may be written over, each with whether it reads it
    /// at its own position only.
    pub fn read_by_copy(&self, value: Value) -> Vec<(Value, bool)> {
        self.reads.sources(&self.slot_of, value).over.to_vec()
    }

    fn computed(&mut self, value: Value, slot: usize) {
        self.slot_of.insert(value, slot);
        self.produced.push(value);
        self.made.insert(value);
    }
}

/// The nodes of a region with each product as early as its operands allow, otherwise in order: what several products
/// go into is then one nest after all of them.
fn products_first(nodes: &[Node]) -> Vec<usize> {
    let own: HashSet<Value> = nodes.iter().flat_map(|node| node.results.iter().copied()).collect();
    // The products that wait for each value, how many values each waits for, and those that wait for none.
    let mut waiting: HashMap<Value, Vec<usize>> = HashMap::new();
    let mut missing = vec![0; nodes.len()];
    let mut ready: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    for (index, node) in nodes.iter().enumerate().filter(|(_, node)| is_product(node)) {
        for arg in node.args.iter().filter(|arg| own.contains(arg)) {
            waiting.entry(*arg).or_default().push(index);
            missing[index] += 1;
        }
        if missing[index] == 0 {
            ready.push(Reverse(index));
        }
    }
    let mut order = vec![];
    let mut known = |index: usize, ready: &mut BinaryHeap<Reverse<usize>>| {
        order.push(index);
        for product in nodes[index].results.iter().filter_map(|result| waiting.get(result)).flatten() {
            missing[*product] -= 1;
            if missing[*product] == 0 {
                ready.push(Reverse(*product));
            }
        }
    };
    for index in 0..=nodes.len() {
        while let Some(Reverse(product)) = ready.pop() {
            known(product, &mut ready);
        }
        if nodes.get(index).is_some_and(|node| !is_product(node)) {
            known(index, &mut ready);
        }
    }
    order
}

fn is_product(node: &Node) -> bool {
    matches!(node.op, Op::MatMul(_) | Op::MatMulPrefix(_))
}

/// Whether a node is a product with a contraction of at most [`Fusion::few_outer`], which may be computed where it is read.
pub(super) fn sums_few_outer(graph: &Graph, node: &Node, fusion: &Fusion) -> bool {
    let lead = || graph.shape(node.args[0]).split_last().map_or(0, |(_, lead)| lead.iter().product());
    node.op == Op::MatMul(Form::TN) && (1..=fusion.few_outer).contains(&lead())
}

/// Whether a node adds rows to `value` itself: what else it reads lies in memory by then.
fn grows(node: &Node, value: Value) -> bool {
    node.op == Op::AddRows && node.args[0] == value && !node.args[1..].contains(&value)
}

impl<'a> Lowering<'a> {
    /// `handed` is what the region hands out: outputs, or what its loop carries on and stacks. Those that no slot computes
    /// are copied after all slots. `over` is what may be written over while the region runs.
    pub(super) fn cluster(&self, nodes: &'a [Node], handed: &[Value], over: HashSet<Value>) -> Clusters {
        let mut clusters = Clusters {
            slots: vec![],
            slot_of: HashMap::new(),
            produced: vec![],
            made: HashSet::new(),
            joined: HashSet::new(),
            reads: Reads::new(over),
            nests: Nests::default(),
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
                let slot = self.join_nest(&mut clusters, node);
                clusters.reads.place(&clusters.slot_of, index, node, slot);
                clusters.computed(node.result(), slot);
            } else if alone {
                let slot = clusters.slots.len();
                clusters.slots.push(Slot::Single(index));
                clusters.reads.place(&clusters.slot_of, index, node, slot);
                match node.op {
                    Op::Loop(_) | Op::Concat { .. } => {
                        clusters.slot_of.extend(node.results.iter().map(|&result| (result, slot)));
                    }
                    _ => node.results.iter().for_each(|&result| clusters.computed(result, slot)),
                }
            } else {
                clusters.reads.pass_on(&clusters.slot_of, node);
            }
        }
        clusters.reads.copy_late(&clusters.slot_of, handed);
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

    /// Whether a node is a product with a contraction of at most [`Fusion::few_outer`], whose result is only read element by
    /// element.
    fn is_short_sum(&self, node: &Node) -> bool {
        if !sums_few_outer(self.graph, node, &self.target.fusion) {
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

    /// The nest that a member joins, or a new one at the end.
    fn join_nest(&self, clusters: &mut Clusters, node: &Node) -> usize {
        let mut first = 0;
        let mut sources = Sources::default();
        for (place, &arg) in node.args.iter().enumerate() {
            let row_of = matches!(node.op, Op::Take | Op::Put { .. }) || (node.op == Op::Pick && place == 0);
            let of_arg = clusters.reads.sources(&clusters.slot_of, arg);
            first = first.max(match node.op {
                // `g` lies on the rows of the result.
                Op::Spread { .. } => of_arg.last_slot.unwrap_or(0),
                _ => of_arg.first_slot(!row_of),
            });
            sources.extend(&of_arg, true);
        }
        first = first.max(self.after_readers(clusters, node.result()));
        let reduces = usize::from(matches!(node.op, Op::Reduce { .. }));
        if reduces + sources.levels > self.target.fusion.max_levels {
            first = first.max(sources.last_slot.map_or(0, |slot| slot + 1));
        }
        let (rows, columns) = self.domain(node);
        let fits = match columns {
            Some(columns) => clusters.nests.on_domain(&rows, columns, first),
            None => clusters.nests.on_rows(&rows, first),
        };
        // A value of the nest's rows fits as well, unless it needs columns of its own.
        let on_rows = match node.op {
            Op::Reduce { .. } => None,
            _ => clusters.nests.on_rows(self.graph.shape(node.result()), first),
        };
        let slot = fits.into_iter().chain(on_rows).min().unwrap_or(clusters.slots.len());
        if slot == clusters.slots.len() {
            clusters.slots.push(Slot::Nest(Nest::of(rows, columns)));
        }
        if let Slot::Nest(nest) = &mut clusters.slots[slot] {
            clusters.nests.remove(slot, nest);
            if fits == Some(slot) {
                nest.columns = nest.columns.or(columns);
            }
            nest.push(node.result());
            clusters.nests.insert(slot, nest);
        }
        let before = if sources.last_slot == Some(slot) { sources.levels } else { 0 };
        clusters.reads.computed_after(node.result(), before + reduces);
        slot
    }

    /// The first slot at which an updated input may be overwritten, so that it can be in place.
    fn after_readers(&self, clusters: &Clusters, value: Value) -> usize {
        let inputs = self.replaced.get(&value).map_or(&[][..], |inputs| inputs);
        let reads = inputs.iter().flat_map(|&input| clusters.reads.of(input));
        reads.map(|read| read.slot + usize::from(!read.own_position)).max().unwrap_or(0)
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
