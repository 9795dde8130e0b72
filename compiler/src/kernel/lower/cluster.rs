//! Grouping a region's operations into loop nests.
//!
//! A nest runs over `rows` (parallel) and, within a row, over `columns`. Its members are element-wise operations on
//! `[rows.., columns]`, reductions along the columns, and operations on the `[rows..]` that those give: softmax with
//! its loss and gradient is one nest. An operation joins the earliest nest of its shape at which all its operands are
//! ready; within a nest it reads its neighbours' values at its own position only.
//!
//! What comes out is every region's schedule, the bodies of loops included. It is a function of the graph's facts and of
//! the limits of fusion alone.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use super::facts::{Facts, Use, is_product, is_row_reduction};
use super::inline::inlined;
use super::reads::{Reads, Sources};
use crate::graph::{Loop, Node, Op, Value};
use crate::target::Fusion;

/// One region's schedule.
pub(super) struct Clusters<'g> {
    pub nodes: &'g [Node],
    pub groups: Vec<Group<'g>>,
    /// The group that computes each value.
    pub group_of: HashMap<Value, usize>,
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

/// What runs as one.
pub(super) enum Group<'g> {
    Nest(Nest),
    /// A node that stands alone: a product, a scatter, a column reduction, a concatenation of values that are not
    /// written in place.
    Single(&'g Node),
    Loop(&'g Loop, Box<Clusters<'g>>),
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
    fn insert(&mut self, group: usize, nest: &Nest) {
        self.by_rows.entry(nest.rows.clone()).or_default().insert(group);
        self.by_domain.entry((nest.rows.clone(), nest.columns)).or_default().insert(group);
    }

    fn remove(&mut self, group: usize, nest: &Nest) {
        self.by_rows.entry(nest.rows.clone()).or_default().remove(&group);
        self.by_domain.entry((nest.rows.clone(), nest.columns)).or_default().remove(&group);
    }

    /// The first nest from group `first` on that runs over these rows, whatever its columns.
    fn on_rows(&self, rows: &[usize], first: usize) -> Option<usize> {
        self.by_rows.get(rows).and_then(|groups| groups.range(first..).next().copied())
    }

    /// The first nest from group `first` on that runs over these rows, and over these columns or any where it has none yet.
    fn on_domain(&self, rows: &[usize], columns: usize, first: usize) -> Option<usize> {
        let found = [Some(columns), None].into_iter().filter_map(|columns| {
            let groups = self.by_domain.get(&(rows.to_vec(), columns))?;
            groups.range(first..).next().copied()
        });
        found.min()
    }
}

/// The schedule of a graph.
pub(super) fn cluster<'g>(facts: &Facts<'g>, fusion: &Fusion) -> Clusters<'g> {
    let handed: Vec<Value> = facts.graph.outputs.iter().map(|output| output.value).collect();
    region(facts, fusion, &facts.graph.body, &handed, facts.all_replaced().collect())
}

/// `handed` is what the region hands out: outputs, or what its loop carries on and stacks. What of it no group computes
/// is copied after all groups. `over` is what may be written over while the region runs.
fn region<'g>(
    facts: &Facts<'g>,
    fusion: &Fusion,
    nodes: &'g [Node],
    handed: &[Value],
    over: HashSet<Value>,
) -> Clusters<'g> {
    let mut clusters = Clusters {
        nodes,
        groups: vec![],
        group_of: HashMap::new(),
        produced: vec![],
        made: HashSet::new(),
        joined: HashSet::new(),
        reads: Reads::new(over),
        nests: Nests::default(),
    };
    let inlined = inlined(facts, fusion, nodes);
    for index in products_first(nodes) {
        let node = &nodes[index];
        if let Op::Concat { .. } = node.op {
            clusters.joined.insert(node.result());
        }
        let inline = node.results.first().is_some_and(|result| inlined.contains(result));
        if !inline && is_member(facts, node) {
            let group = clusters.join_nest(facts, fusion, node);
            clusters.reads.place(&clusters.group_of, index, node, group);
            clusters.computed(node.result(), group);
        } else if !inline && clusters.stands_alone(facts, node) {
            clusters.alone(facts, fusion, index);
        } else {
            clusters.reads.inline(&clusters.group_of, node);
        }
    }
    clusters.reads.copy_late(&clusters.group_of, handed);
    clusters
}

/// The schedule of a loop's body.
fn body<'g>(facts: &Facts<'g>, fusion: &Fusion, inner: &'g Loop) -> Clusters<'g> {
    let nexts = inner.carried.iter().map(|carried| carried.next);
    let handed: Vec<Value> = nexts.chain(inner.stacked.iter().map(|stacked| stacked.value)).collect();
    let over = inner.carried.iter().map(|carried| carried.param).collect();
    region(facts, fusion, &inner.body, &handed, over)
}

/// Whether a node is computed in a nest, if it is not computed where it is read.
fn is_member(facts: &Facts, node: &Node) -> bool {
    match node.op {
        Op::Map(_) | Op::Pick | Op::Spread { .. } | Op::Take | Op::Put { .. } => true,
        Op::Positions { .. } => is_sliced(facts, node.result()),
        Op::Reduce { .. } => is_row_reduction(facts.graph, node),
        Op::Const(_) | Op::Broadcast { .. } | Op::Number | Op::Random { .. } | Op::Stop => false,
        Op::Split { .. } | Op::Concat { .. } | Op::At { .. } | Op::Unsqueeze | Op::Squeeze => false,
        Op::MatMul(_) | Op::MatMulPrefix(_) | Op::Distinct { .. } | Op::Loop(_) => false,
        Op::Scatter { .. } | Op::Combine { .. } | Op::AddRows | Op::SumShards => false,
    }
}

/// Whether a loop slices a value, as it is or repeated or cut: a round's place is not known where it is read.
fn is_sliced(facts: &Facts, value: Value) -> bool {
    facts.uses(value).iter().any(|how| match how {
        Use::Sliced(_) => true,
        Use::Read | Use::Placed => false,
        Use::Node(user) => facts.definer(*user).is_some_and(|node| {
            let moves = matches!(
                node.op,
                Op::Broadcast { .. }
                    | Op::Split { .. }
                    | Op::At { .. }
                    | Op::Unsqueeze
                    | Op::Squeeze
                    | Op::Stop
            );
            moves && node.results.iter().any(|&result| is_sliced(facts, result))
        }),
    })
}

/// The rows and columns that a member runs over.
fn domain(facts: &Facts, node: &Node) -> (Vec<usize>, Option<usize>) {
    let shape = match node.op {
        Op::Reduce { .. } => facts.shape(node.args[0]),
        _ => facts.shape(node.result()),
    };
    match shape.split_last() {
        Some((&columns, rows)) => (rows.to_vec(), Some(columns)),
        None => (vec![], None),
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

/// Whether a node adds rows to `value` itself: what else it reads lies in memory by then.
fn grows(node: &Node, value: Value) -> bool {
    node.op == Op::AddRows && node.args[0] == value && !node.args[1..].contains(&value)
}

impl<'g> Clusters<'g> {
    /// Whether `value` is computed by a group that can write it anywhere.
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
    pub fn may_replace(&self, old: Value, new: Value) -> bool {
        if !self.produces(new) || self.reads.is_read_late(old) {
            return false;
        }
        let group = self.group_of[&new];
        let is_nest = matches!(self.groups[group], Group::Nest(_));
        self.reads.of(old).iter().all(|read| {
            read.group < group
                || (read.group == group
                    && ((read.own_position && is_nest) || grows(&self.nodes[read.node], old)))
        })
    }

    /// Of what a copy of `value` at the region's end would read of what may be written over, each with whether it reads it
    /// at its own position only.
    pub fn read_by_copy(&self, value: Value) -> Vec<(Value, bool)> {
        self.reads.sources(&self.group_of, value).over.to_vec()
    }

    fn computed(&mut self, value: Value, group: usize) {
        self.group_of.insert(value, group);
        self.produced.push(value);
        self.made.insert(value);
    }

    /// Whether a node is a group of its own, if it is neither computed where it is read nor in a nest.
    fn stands_alone(&self, facts: &Facts, node: &Node) -> bool {
        match node.op {
            Op::MatMul(_)
            | Op::Loop(_)
            | Op::MatMulPrefix(_)
            | Op::Distinct { .. }
            | Op::Scatter { .. }
            | Op::Combine { .. }
            | Op::SumShards
            | Op::AddRows => true,
            Op::Reduce { .. } => !is_row_reduction(facts.graph, node),
            Op::Concat { .. } => (0..node.args.len()).any(|place| !self.writes_piece(node, place)),
            Op::Const(_) | Op::Positions { .. } | Op::Random { .. } | Op::Number | Op::Map(_) => false,
            Op::Broadcast { .. } | Op::Split { .. } | Op::At { .. } | Op::Unsqueeze | Op::Squeeze => false,
            Op::Take | Op::Pick | Op::Spread { .. } | Op::Put { .. } | Op::Stop => false,
        }
    }

    /// Adds a node, by its place in the region, as a group of its own.
    fn alone(&mut self, facts: &Facts<'g>, fusion: &Fusion, index: usize) {
        let node = &self.nodes[index];
        let group = self.groups.len();
        self.reads.place(&self.group_of, index, node, group);
        match &node.op {
            Op::Loop(_) | Op::Concat { .. } => {
                self.group_of.extend(node.results.iter().map(|&result| (result, group)));
            }
            _ => node.results.iter().for_each(|&result| self.computed(result, group)),
        }
        self.groups.push(match &node.op {
            Op::Loop(inner) => Group::Loop(inner, Box::new(body(facts, fusion, inner))),
            _ => Group::Single(node),
        });
    }

    /// The nest that a member joins, or a new one at the end.
    fn join_nest(&mut self, facts: &Facts, fusion: &Fusion, node: &Node) -> usize {
        let mut first = 0;
        let mut sources = Sources::default();
        for (place, &arg) in node.args.iter().enumerate() {
            let row_of = matches!(node.op, Op::Take | Op::Put { .. }) || (node.op == Op::Pick && place == 0);
            let of_arg = self.reads.sources(&self.group_of, arg);
            first = first.max(match node.op {
                // `g` lies on the rows of the result.
                Op::Spread { .. } => of_arg.last_group.unwrap_or(0),
                _ => of_arg.first_group(!row_of),
            });
            sources.extend(&of_arg, true);
        }
        first = first.max(self.after_readers(facts, node.result()));
        let reduces = usize::from(matches!(node.op, Op::Reduce { .. }));
        if reduces + sources.levels > fusion.max_levels {
            first = first.max(sources.last_group.map_or(0, |group| group + 1));
        }
        let (rows, columns) = domain(facts, node);
        let fits = match columns {
            Some(columns) => self.nests.on_domain(&rows, columns, first),
            None => self.nests.on_rows(&rows, first),
        };
        // A value of the nest's rows fits as well, unless it needs columns of its own.
        let on_rows = match node.op {
            Op::Reduce { .. } => None,
            _ => self.nests.on_rows(facts.shape(node.result()), first),
        };
        let group = fits.into_iter().chain(on_rows).min().unwrap_or(self.groups.len());
        if group == self.groups.len() {
            self.groups.push(Group::Nest(Nest::of(rows, columns)));
        }
        if let Group::Nest(nest) = &mut self.groups[group] {
            self.nests.remove(group, nest);
            if fits == Some(group) {
                nest.columns = nest.columns.or(columns);
            }
            nest.push(node.result());
            self.nests.insert(group, nest);
        }
        let before = if sources.last_group == Some(group) { sources.levels } else { 0 };
        self.reads.computed_after(node.result(), before + reduces);
        group
    }

    /// The first group at which an updated input may be overwritten, so that it can be in place.
    fn after_readers(&self, facts: &Facts, value: Value) -> usize {
        let reads = facts.replaced_by(value).iter().flat_map(|&input| self.reads.of(input));
        reads.map(|read| read.group + usize::from(!read.own_position)).max().unwrap_or(0)
    }
}
