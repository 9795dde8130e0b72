//! Which groups read which values. A value that no group computes is computed where it is read, so that who reads it reads
//! what it is computed from.
//!
//! The index grows with the region's schedule, in its order: a value's sources follow from those of its operands, and
//! nothing is searched for.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::graph::{Node, Op, Value};

/// What a value is read from.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    /// Those that may be written over, each with whether it is read at its own position only.
    pub over: Vec<(Value, bool)>,
    /// The last group that must have run.
    pub last_group: Option<usize>,
    /// How many reductions that group does one after the other to compute the value.
    pub levels: usize,
    /// The first group in which the value can be read at its own position.
    own_position: usize,
}

impl Sources {
    /// The first group in which the value can be read, at its own position only or anywhere.
    pub fn first_group(&self, own_position: bool) -> usize {
        match own_position {
            true => self.own_position,
            false => self.last_group.map_or(0, |group| group + 1),
        }
    }

    /// Notes that the value is also read from what `other` is, through an operation that keeps the position or does not.
    pub fn extend(&mut self, other: &Sources, keeps_position: bool) {
        self.levels = match self.last_group.cmp(&other.last_group) {
            Ordering::Less => other.levels,
            Ordering::Equal => self.levels.max(other.levels),
            Ordering::Greater => self.levels,
        };
        self.last_group = self.last_group.max(other.last_group);
        self.own_position = self.own_position.max(other.first_group(keeps_position));
        for &(value, own) in &other.over {
            let own = own && keeps_position;
            match self.over.iter_mut().find(|(known, _)| *known == value) {
                Some((_, known)) => *known &= own,
                None => self.over.push((value, own)),
            }
        }
    }
}

/// A node that reads what may be written over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// Its place in the region.
    pub node: usize,
    pub group: usize,
    pub own_position: bool,
}

/// The reads of one region.
pub(super) struct Reads {
    /// What may be written over: values that no group of the region computes.
    over: HashSet<Value>,
    /// How many reductions, one after the other, the group does that computes a value, where that is a nest.
    levels: HashMap<Value, usize>,
    /// Of the values that no group computes.
    inlined: HashMap<Value, Sources>,
    readers: HashMap<Value, Vec<Read>>,
    /// What copies after all groups read.
    late: HashSet<Value>,
}

impl Reads {
    pub fn new(over: HashSet<Value>) -> Self {
        Self {
            over,
            levels: HashMap::new(),
            inlined: HashMap::new(),
            readers: HashMap::new(),
            late: HashSet::new(),
        }
    }

    /// What reading `value` reads. Values of other regions are read from nothing.
    pub fn sources(&self, group_of: &HashMap<Value, usize>, value: Value) -> Cow<'_, Sources> {
        if self.over.contains(&value) {
            return Cow::Owned(Sources { over: vec![(value, true)], ..Sources::default() });
        }
        if let Some(&group) = group_of.get(&value) {
            let levels = self.levels.get(&value).copied().unwrap_or(0);
            return Cow::Owned(Sources {
                over: vec![],
                last_group: Some(group),
                levels,
                own_position: group,
            });
        }
        self.inlined.get(&value).map_or(Cow::Owned(Sources::default()), Cow::Borrowed)
    }

    /// Notes a node that no group computes.
    pub fn inline(&mut self, group_of: &HashMap<Value, usize>, node: &Node) {
        let mut all = Sources::default();
        let keeps = keeps_position(node);
        node.args.iter().for_each(|&arg| all.extend(&self.sources(group_of, arg), keeps));
        for &result in &node.results {
            self.inlined.insert(result, all.clone());
        }
    }

    /// Notes a node that `group` computes; `index` is its place in the region.
    pub fn place(&mut self, group_of: &HashMap<Value, usize>, index: usize, node: &Node, group: usize) {
        let mut all = Sources::default();
        let elementwise = matches!(node.op, Op::Map(_) | Op::Spread { .. } | Op::Reduce { .. });
        node.operands().iter().for_each(|&arg| all.extend(&self.sources(group_of, arg), elementwise));
        for (value, own_position) in all.over {
            self.readers.entry(value).or_default().push(Read { node: index, group, own_position });
        }
    }

    /// Notes how many reductions, one after the other, a nest does to compute a value.
    pub fn computed_after(&mut self, value: Value, levels: usize) {
        self.levels.insert(value, levels);
    }

    /// Notes what is copied after all groups, where none computes it.
    pub fn copy_late(&mut self, group_of: &HashMap<Value, usize>, values: &[Value]) {
        for &value in values {
            let sources = self.sources(group_of, value).into_owned();
            self.late.extend(sources.over.iter().map(|(over, _)| over));
        }
    }

    /// The nodes in groups that read `value`, which may be written over.
    pub fn of(&self, value: Value) -> &[Read] {
        self.readers.get(&value).map_or(&[], |readers| readers)
    }

    /// Whether a copy after all groups reads `value`.
    pub fn is_read_late(&self, value: Value) -> bool {
        self.late.contains(&value)
    }
}

/// Whether an operation without a group reads its operand at its own position: `[rows..]` spread along columns, or
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
