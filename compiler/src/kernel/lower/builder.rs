//! A kernel's statements: a value at a position is loaded if it lies in memory, and computed if it does not.

use std::collections::{HashMap, HashSet};

use super::homes::Memory;
use super::view::{View, only_adds_ones};
use crate::graph::{Form, Op, Sharded, Value};
use crate::kernel::{Address, Axis, Expr, Fold, For, Index, Stmt, Var};
use crate::scalar::Scalar;

/// A position along one axis of a value: an index, or none for 0, plus an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct At {
    pub index: Option<Index>,
    pub offset: usize,
}

impl At {
    pub fn axis(axis: Axis) -> Self {
        Self { index: Some(Index::Axis(axis)), offset: 0 }
    }

    pub fn fixed(offset: usize) -> Self {
        Self { index: None, offset }
    }
}

/// Statements of one loop level, and what they have computed.
#[derive(Default)]
struct Scope {
    /// The axes whose loops this level is the innermost of.
    axes: Vec<Axis>,
    stmts: Vec<Stmt>,
    known: HashMap<(Value, Vec<At>), Var>,
    positions: HashMap<Axis, Var>,
    numbers: HashMap<u64, Var>,
}

/// A kernel under construction: a stack of loop levels.
pub(super) struct KernelBuilder<'m> {
    pub memory: Memory<'m>,
    /// Values that this kernel computes itself, wherever they lie.
    members: HashSet<Value>,
    pub axes: Vec<usize>,
    scopes: Vec<Scope>,
    /// The level that each variable is defined at.
    levels: Vec<usize>,
    /// Row reductions that have been folded.
    folded: HashMap<Value, Var>,
    /// Where earlier loops over the columns have left values of this kernel.
    left: HashMap<Value, View>,
}

impl<'m> KernelBuilder<'m> {
    pub fn new(memory: Memory<'m>, members: &[Value]) -> Self {
        Self {
            memory,
            members: members.iter().copied().collect(),
            axes: vec![],
            scopes: vec![Scope::default()],
            levels: vec![],
            folded: HashMap::new(),
            left: HashMap::new(),
        }
    }

    /// A new axis.
    pub fn axis(&mut self, extent: usize) -> Axis {
        self.axes.push(extent);
        Axis(self.axes.len() as u32 - 1)
    }

    /// Starts the body of the loops over `axes`.
    pub fn open(&mut self, axes: Vec<Axis>) {
        self.scopes.push(Scope { axes, ..Scope::default() });
    }

    /// Ends the innermost body and appends its loops to the level around. Only the innermost axis may fold.
    pub fn close(&mut self, parallel: bool, folds: Vec<Fold>) {
        let scope = self.scopes.pop().unwrap_or_default();
        let mut body = scope.stmts;
        let mut folds = Some(folds);
        for &axis in scope.axes.iter().rev() {
            let folds = folds.take().unwrap_or_default();
            body = vec![Stmt::For(For { axis, parallel, vector: false, folds, body })];
        }
        self.scopes
            .last_mut()
            .unwrap_or_else(|| unreachable!("the outermost level stays"))
            .stmts
            .extend(body);
    }

    pub fn finish(mut self) -> (Vec<usize>, Vec<Stmt>) {
        (self.axes, self.scopes.pop().unwrap_or_default().stmts)
    }

    /// A variable defined at a level.
    pub fn var(&mut self, level: usize) -> Var {
        self.levels.push(level);
        Var(self.levels.len() as u32 - 1)
    }

    pub fn level(&self) -> usize {
        self.scopes.len() - 1
    }

    /// From now on `value` is the variable that a loop has folded.
    pub fn set_folded(&mut self, value: Value, var: Var) {
        self.folded.insert(value, var);
    }

    /// From the next loop on `value` is read from `view`.
    pub fn read_from(&mut self, value: Value, view: View) {
        self.left.insert(value, view);
    }

    /// What loops have left has been overwritten.
    pub fn forget_left(&mut self) {
        self.left.clear();
    }

    pub fn store(&mut self, var: Var, at: &[At], view: &View) {
        let to = address(view, at);
        if let Some(scope) = self.scopes.last_mut() {
            scope.stmts.push(Stmt::Store { to, value: var });
        }
    }

    /// `value` at a position.
    pub fn value(&mut self, value: Value, at: &[At]) -> Var {
        if let Some(&var) = self.folded.get(&value) {
            return var;
        }
        let key = (value, at.to_vec());
        if let Some(var) = self.scopes.iter().find_map(|scope| scope.known.get(&key)) {
            return *var;
        }
        let var = match (self.left.get(&value), self.memory.view_of(value)) {
            (Some(view), _) => self.define(Expr::Load(address(view, at))),
            (None, Some(view)) if !self.is_of_member(value) => self.define(Expr::Load(address(&view, at))),
            _ => self.compute(value, at),
        };
        let level = self.levels[var.0 as usize];
        self.scopes[level].known.insert(key, var);
        var
    }

    /// Whether `value` is computed in this kernel, or is a view of what is, which may not be in memory yet.
    fn is_of_member(&self, value: Value) -> bool {
        if self.members.contains(&value) || self.memory.homes.has(value) {
            return self.members.contains(&value);
        }
        match self.memory.facts.definer(value) {
            Some(node) => match node.op {
                Op::Stop | Op::Unsqueeze | Op::Squeeze | Op::At { .. } | Op::Split { .. } => {
                    self.is_of_member(node.args[0])
                }
                Op::Broadcast { ref axes, ref shape } if only_adds_ones(axes, shape) => {
                    self.is_of_member(node.args[0])
                }
                _ => false,
            },
            None => false,
        }
    }

    /// `value` at a position, as a variable of the innermost level, for a fold.
    pub fn local(&mut self, value: Value, at: &[At]) -> Var {
        let var = self.value(value, at);
        let level = self.level();
        if self.levels[var.0 as usize] == level {
            return var;
        }
        let copy = self.var(level);
        let expr = Expr::Map(Scalar::Max, vec![var, var]);
        self.scopes[level].stmts.push(Stmt::Let { var: copy, expr });
        copy
    }

    fn compute(&mut self, value: Value, at: &[At]) -> Var {
        if let Some((source, time)) = self.memory.homes.source_of(value) {
            let mut outer = vec![At { index: Some(Index::Time(time)), offset: 0 }];
            outer.extend(at);
            return self.value(source, &outer);
        }
        let Some(node) = self.memory.facts.definer(value) else {
            unreachable!("internal error: {value} is read before it has a home")
        };
        let args = &node.args;
        match &node.op {
            Op::Const(number) => self.number(*number),
            Op::Broadcast { axes, .. } => {
                let at: Vec<At> = axes.iter().map(|&axis| at[axis]).collect();
                self.value(args[0], &at)
            }
            Op::Map(scalar) => {
                let vars = args.iter().map(|&arg| self.value(arg, at)).collect();
                self.define(Expr::Map(*scalar, vars))
            }
            Op::MatMul(Form::TN) => self.outer_products(args[0], args[1], at),
            Op::MatMul(Form::NN) => self.outer_product(args[0], args[1], at),
            Op::Pick => {
                let id = self.id(args[1], at);
                let at = [at, &[At { index: Some(Index::Id(id)), offset: 0 }]].concat();
                self.value(args[0], &at)
            }
            Op::Take => {
                let (&last, lead) = split_last(at);
                let id = self.id(args[1], lead);
                self.value(args[0], &[At { index: Some(Index::Id(id)), offset: 0 }, last])
            }
            Op::Spread { .. } => {
                let (&last, lead) = split_last(at);
                let id = self.id(args[1], lead);
                let id = self.define(Expr::Number(id));
                let position = self.position(last);
                self.choose(position, id, args[0], lead)
            }
            Op::Put { index, .. } => {
                let position = self.position(at[0]);
                let index = self.number(*index as f64);
                self.choose(position, index, args[0], &at[1..])
            }
            Op::Number => {
                let id = self.id(args[0], at);
                self.define(Expr::Number(id))
            }
            Op::Positions { .. } => self.position(at[0]),
            Op::Random { stream, shape, part } => self.random(*stream, shape, *part, at),
            Op::Stop => self.value(args[0], at),
            Op::Unsqueeze => self.value(args[0], split_last(at).1),
            Op::Squeeze => self.value(args[0], &[at, &[At::fixed(0)]].concat()),
            Op::At { index } => self.value(args[0], &[&[At::fixed(*index)], at].concat()),
            Op::Split { axis, sizes } => {
                let piece = node.results.iter().position(|&result| result == value).unwrap_or(0);
                let mut at = at.to_vec();
                at[*axis].offset += sizes[..piece].iter().sum::<usize>();
                self.value(args[0], &at)
            }
            op => unreachable!("internal error: {} of {value} has no home", op.name()),
        }
    }

    /// Element `[.., j]` of `a @ b` where `a` has one column and `b` one row.
    fn outer_product(&mut self, a: Value, b: Value, at: &[At]) -> Var {
        let (&last, lead) = split_last(at);
        let a = self.value(a, &[lead, &[At::fixed(0)]].concat());
        let b = self.value(b, &[At::fixed(0), last]);
        self.define(Expr::Map(Scalar::Mul, vec![a, b]))
    }

    /// Element `[i, j]` of `a^T @ b` as a sum over the leading axes of both.
    fn outer_products(&mut self, a: Value, b: Value, at: &[At]) -> Var {
        let shape = self.memory.facts.shape(a);
        let mut sum = None;
        for flat in 0..shape[..shape.len() - 1].iter().product() {
            let mut rest = flat;
            let mut lead: Vec<At> = shape[..shape.len() - 1]
                .iter()
                .rev()
                .map(|&extent| {
                    let index = rest % extent;
                    rest /= extent;
                    At::fixed(index)
                })
                .collect();
            lead.reverse();
            let a = self.value(a, &[&lead[..], &at[..1]].concat());
            let b = self.value(b, &[&lead[..], &at[1..]].concat());
            let product = self.define(Expr::Map(Scalar::Mul, vec![a, b]));
            sum = Some(match sum {
                Some(sum) => self.define(Expr::Map(Scalar::Add, vec![sum, product])),
                None => product,
            });
        }
        sum.unwrap_or_else(|| self.number(0.0))
    }

    /// `value` where `a == b`, zero elsewhere.
    fn choose(&mut self, a: Var, b: Var, value: Value, at: &[At]) -> Var {
        let equal = self.define(Expr::Map(Scalar::Eq, vec![a, b]));
        let value = self.value(value, at);
        let zero = self.number(0.0);
        self.define(Expr::Map(Scalar::Select, vec![equal, value, zero]))
    }

    fn random(&mut self, stream: u32, shape: &[usize], part: Option<Sharded>, at: &[At]) -> Var {
        let (whole, shard) = part.map_or_else(|| (shape.to_vec(), 0), |part| part.whole(shape));
        let flat = address(&View::whole(crate::kernel::BufferId(0), &whole), at);
        self.define(Expr::Random { stream, offset: flat.offset, terms: flat.terms, shard })
    }

    /// A constant.
    pub fn number(&mut self, number: f64) -> Var {
        if let Some(&var) = self.scopes[0].numbers.get(&number.to_bits()) {
            return var;
        }
        let var = self.define(Expr::Const(number));
        self.scopes[0].numbers.insert(number.to_bits(), var);
        var
    }

    fn id(&mut self, ids: Value, at: &[At]) -> Var {
        let key = (ids, at.to_vec());
        if let Some(var) = self.scopes.iter().find_map(|scope| scope.known.get(&key)) {
            return *var;
        }
        let Some(view) = self.memory.view_of(ids) else {
            unreachable!("internal error: the ids {ids} are not in memory")
        };
        let var = self.define(Expr::LoadId(address(&view, at)));
        self.scopes[self.levels[var.0 as usize]].known.insert(key, var);
        var
    }

    /// A position as a number.
    fn position(&mut self, at: At) -> Var {
        let base = match at.index {
            None => return self.number(at.offset as f64),
            Some(Index::Axis(axis)) => {
                match self.scopes.iter().find_map(|scope| scope.positions.get(&axis)) {
                    Some(&var) => var,
                    None => {
                        let var = self.define(Expr::Position(axis));
                        self.scopes[self.levels[var.0 as usize]].positions.insert(axis, var);
                        var
                    }
                }
            }
            Some(Index::Id(id)) => self.define(Expr::Number(id)),
            Some(Index::Time(_)) => unreachable!("a loop's slices are not positions"),
        };
        if at.offset == 0 {
            return base;
        }
        let offset = self.number(at.offset as f64);
        self.define(Expr::Map(Scalar::Add, vec![base, offset]))
    }

    /// Appends a definition at the outermost level at which its operands exist.
    fn define(&mut self, expr: Expr) -> Var {
        let level = match &expr {
            Expr::Const(_) => 0,
            Expr::Map(_, vars) => vars.iter().map(|var| self.levels[var.0 as usize]).max().unwrap_or(0),
            Expr::Number(var) => self.levels[var.0 as usize],
            Expr::Position(axis) => self.level_of(Index::Axis(*axis)),
            Expr::Load(from) | Expr::LoadId(from) => self.level_of_terms(&from.terms),
            Expr::Random { terms, .. } => self.level_of_terms(terms),
        };
        let var = self.var(level);
        self.scopes[level].stmts.push(Stmt::Let { var, expr });
        var
    }

    fn level_of_terms(&self, terms: &[(Index, usize)]) -> usize {
        terms.iter().map(|&(index, _)| self.level_of(index)).max().unwrap_or(0)
    }

    fn level_of(&self, index: Index) -> usize {
        match index {
            Index::Axis(axis) => self.scopes.iter().position(|scope| scope.axes.contains(&axis)).unwrap_or(0),
            Index::Id(var) => self.levels[var.0 as usize],
            Index::Time(_) => 0,
        }
    }
}

fn split_last(at: &[At]) -> (&At, &[At]) {
    at.split_last().unwrap_or_else(|| unreachable!("internal error: a value without axes has no last one"))
}

/// The address of a view's element.
pub(super) fn address(view: &View, at: &[At]) -> Address {
    let mut address = view.start();
    for (at, &stride) in at.iter().zip(&view.strides) {
        address.offset += at.offset * stride;
        if let Some(index) = at.index
            && stride > 0
        {
            match address.terms.iter_mut().find(|(known, _)| *known == index) {
                Some((_, known)) => *known += stride,
                None => address.terms.push((index, stride)),
            }
        }
    }
    address
}
