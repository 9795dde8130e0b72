//! Loop nests: who computes which iteration.
//!
//! The iterations of the outer parallel loops are shared out over the grid. What each of them does inside is done
//!
//! - by one thread, where nothing is folded along a row, or where neighbouring threads then read neighbouring elements;
//! - by a warp or a CTA, whose threads take the columns of a row in turns and fold in a fixed order;
//! - by the first CTA alone, where there is nothing to share out.
//!
//! The order of every sum depends on extents only, so that results are the same bits whatever the grid.

use std::collections::HashMap;

use super::group::Group;
use super::lanes;
use super::scope::{Scope, THREADS};
use super::text::{Operand, Reg};
use super::units::Units;
use crate::backend::elementary;
use crate::kernel::{Address, Axis, Expr, Fold, For, Index, Kernel, Module, Reduce, Stmt, Var, each_stmt};
use crate::plan::{SharedLoops, shared_loops};

/// Rows longer than this are worth a whole CTA.
const LONG_ROW: usize = 512;

/// Writes a kernel, and says how many CTAs have something to do. With `units` a CTA does the iterations that have its units on
/// this axis, else all CTAs share all iterations.
pub(super) fn kernel(
    scope: &mut Scope,
    kernel: &Kernel,
    units: Option<(Axis, Units)>,
    module: &Module,
) -> usize {
    let loops = shared_loops(kernel, &|a, b| scope.overlap(module, a, b));
    let group = match loops.axes.last() {
        Some(&last) => group_of(loops.body, last, kernel, module, scope),
        None => Group::Block,
    };
    let mut nest = Nest {
        scope,
        extents: &kernel.axes,
        axes: HashMap::new(),
        vars: HashMap::new(),
        group,
        pending: Pending::default(),
    };
    match units {
        Some((axis, units)) => nest.by_unit(&loops, axis, units),
        None => nest.by_grid(&loops),
    }
}

/// Who does one iteration, the last of whose axes is `last`.
fn group_of(body: &[Stmt], last: Axis, kernel: &Kernel, module: &Module, scope: &Scope) -> Group {
    let mut loops = body.iter().filter_map(|stmt| match stmt {
        Stmt::For(inner) => Some(inner),
        _ => None,
    });
    let longest = loops.clone().map(|inner| kernel.axes[inner.axis.0 as usize]).max();
    let Some(longest) = longest else { return Group::Thread };
    let by_columns =
        moves_along(body, last) && !loops.clone().any(|inner| moves_along(&inner.body, inner.axis));
    if by_columns || !loops.all(|inner| independent(inner, module, scope)) {
        return Group::Thread;
    }
    if longest > LONG_ROW { Group::Block } else { Group::Warp }
}

/// Whether some load has stride 1 along the axis.
fn moves_along(stmts: &[Stmt], axis: Axis) -> bool {
    let mut found = false;
    each_stmt(stmts, &mut |stmt| {
        if let Stmt::Let { expr: Expr::Load(at), .. } = stmt {
            found |= at.terms.contains(&(Index::Axis(axis), 1));
        }
    });
    found
}

/// Whether the iterations of a loop, but for what it folds, may run at once: each writes elements of its own, and reads
/// of what the loop writes only those.
fn independent(inner: &For, module: &Module, scope: &Scope) -> bool {
    let (mut stores, mut loads): (Vec<&Address>, Vec<&Address>) = (vec![], vec![]);
    each_stmt(&inner.body, &mut |stmt| match stmt {
        Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } => loads.push(at),
        Stmt::Store { to, .. } => stores.push(to),
        _ => {}
    });
    let apart = |a: &Address, b: &Address| {
        let same_place = a.offset == b.offset && a.terms == b.terms;
        same_place || !scope.overlap(module, a.buffer, b.buffer)
    };
    let own = |at: &Address| {
        at.terms.iter().any(|(index, stride)| *index == Index::Axis(inner.axis) && *stride > 0)
    };
    stores.iter().all(|store| own(store) && loads.iter().chain(&stores).all(|other| apart(store, other)))
}

/// What a group has done since its threads last waited for each other.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    loads: bool,
    stores: bool,
}

/// A kernel while it is written.
struct Nest<'s, 'a> {
    scope: &'s mut Scope<'a>,
    extents: &'s [usize],
    axes: HashMap<Axis, Reg>,
    vars: HashMap<Var, Reg>,
    group: Group,
    pending: Pending,
}

impl Nest<'_, '_> {
    fn extent(&self, axis: Axis) -> usize {
        self.extents[axis.0 as usize]
    }

    /// All iterations, shared out over the grid.
    fn by_grid(&mut self, loops: &SharedLoops) -> usize {
        if loops.axes.is_empty() {
            let cta = self.scope.cta;
            let first = self.scope.w.compare("setp.eq.u32", cta, 0);
            let rest = self.scope.w.label();
            self.scope.w.go_unless(first, rest);
            self.together(loops.body);
            self.scope.w.place(rest);
            return 1;
        }
        let extents: Vec<usize> = loops.axes.iter().map(|&axis| self.extent(axis)).collect();
        let count: usize = extents.iter().product();
        let (first, step) = self.group.of_all(self.scope);
        self.alone(loops.before[0]);
        self.iterations(loops, first.into(), step.into(), &extents, None);
        count.div_ceil(THREADS / self.group.threads())
    }

    /// The iterations of this CTA's units.
    fn by_unit(&mut self, loops: &SharedLoops, axis: Axis, units: Units) -> usize {
        let own = |&other: &Axis| if other == axis { units.own } else { self.extent(other) };
        let extents: Vec<usize> = loops.axes.iter().map(own).collect();
        let (first, step) = self.group.of_cta(self.scope);
        self.alone(loops.before[0]);
        self.iterations(loops, first, step.into(), &extents, Some((axis, units)));
        units.ctas()
    }

    /// Iterations number `first`, `first + step`, .. of loops of these extents.
    fn iterations(
        &mut self,
        loops: &SharedLoops,
        first: Operand,
        step: Operand,
        extents: &[usize],
        units: Option<(Axis, Units)>,
    ) {
        let count: usize = extents.iter().product();
        let at = self.scope.w.op("mov.b32", [first]);
        let all = self.scope.w.begin();
        let next = self.scope.w.label();
        let over = self.scope.w.compare("setp.ge.u32", at, count as u32);
        self.scope.w.go_if(over, all.done);
        self.positions(&loops.axes, extents, at);
        if let Some((axis, units)) = units {
            let unit = self.scope.w.add(self.axes[&axis], units.first);
            self.axes.insert(axis, unit);
            let beyond = self.scope.w.compare("setp.ge.u32", unit, units.count as u32);
            self.scope.w.go_if(beyond, next);
        }
        loops.before[1..].iter().for_each(|lets| self.alone(lets));
        match self.group {
            Group::Thread => self.alone(loops.body),
            Group::Warp | Group::Block => {
                self.pending.loads = true;
                self.together(loops.body);
            }
        }
        self.scope.w.place(next);
        self.scope.w.assign(at, "add.u32", [at.into(), step]);
        self.scope.w.end(all);
    }

    /// The position in each of these axes, of an iteration of loops of these extents.
    fn positions(&mut self, axes: &[Axis], extents: &[usize], at: Reg) {
        let mut left = at;
        for (&axis, &extent) in axes[1..].iter().zip(&extents[1..]).rev() {
            let extent = extent as u32;
            let position = self.scope.w.op("rem.u32", [left.into(), extent.into()]);
            self.axes.insert(axis, position);
            left = self.scope.w.op("div.u32", [left.into(), extent.into()]);
        }
        self.axes.insert(axes[0], left);
    }

    /// Statements that each thread does for itself.
    fn alone(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::Let { var, expr } => self.define(*var, expr),
                Stmt::Store { to, value } => self.store(to, *value),
                Stmt::For(inner) => {
                    let folded = self.looped(inner, 0.into(), 1.into());
                    self.vars.extend(inner.folds.iter().map(|fold| fold.var).zip(folded));
                }
            }
        }
    }

    /// Statements that the threads of a group do together: all of them compute what a row has once, one stores it, and the
    /// iterations of loops are dealt out to them.
    fn together(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::Let { var, expr } => {
                    self.wait_before(matches!(expr, Expr::Load(_) | Expr::LoadId(_)), false);
                    self.define(*var, expr);
                }
                Stmt::Store { to, value } => {
                    self.wait_before(false, true);
                    let lane = self.group.lane(self.scope);
                    let (rest, first) = (self.scope.w.label(), self.scope.w.compare("setp.eq.u32", lane, 0));
                    self.scope.w.go_unless(first, rest);
                    self.store(to, *value);
                    self.scope.w.place(rest);
                }
                Stmt::For(inner) => {
                    let (mut loads, mut stores) = (false, false);
                    each_stmt(&inner.body, &mut |stmt| match stmt {
                        Stmt::Let { expr: Expr::Load(_) | Expr::LoadId(_), .. } => loads = true,
                        Stmt::Store { .. } => stores = true,
                        _ => {}
                    });
                    self.wait_before(loads, stores);
                    let lane = self.group.lane(self.scope);
                    let parts = self.looped(inner, lane.into(), (self.group.threads() as u32).into());
                    let kinds: Vec<Reduce> = inner.folds.iter().map(|fold| fold.kind).collect();
                    let folded = self.group.fold(self.scope, &kinds, &parts);
                    self.vars.extend(inner.folds.iter().map(|fold| fold.var).zip(folded));
                }
            }
        }
    }

    /// What comes next reads what was written, or writes over what was read, by other threads of the group.
    fn wait_before(&mut self, loads: bool, stores: bool) {
        if (loads && self.pending.stores) || (stores && (self.pending.loads || self.pending.stores)) {
            self.group.wait(self.scope);
            self.pending = Pending::default();
        }
        self.pending.loads |= loads;
        self.pending.stores |= stores;
    }

    /// A loop from `start` on by steps, and what it has folded.
    fn looped(&mut self, inner: &For, start: Operand, step: Operand) -> Vec<Reg> {
        let neutral = |fold: &Fold| match fold.kind {
            Reduce::Sum => 0.0,
            Reduce::Max => f32::NEG_INFINITY,
        };
        let folded: Vec<Reg> = inner.folds.iter().map(|fold| self.scope.w.real(neutral(fold))).collect();
        let extent = self.extent(inner.axis) as u32;
        let at = self.scope.w.op("mov.b32", [start]);
        let all = self.scope.w.begin();
        let over = self.scope.w.compare("setp.ge.u32", at, extent);
        self.scope.w.go_if(over, all.done);
        self.axes.insert(inner.axis, at);
        self.alone(&inner.body);
        for (fold, &so_far) in inner.folds.iter().zip(&folded) {
            let sum = lanes::fold_in(&mut self.scope.w, fold.kind, so_far, self.vars[&fold.value]);
            self.scope.w.assign(so_far, "mov.b32", [sum.into()]);
        }
        self.scope.w.assign(at, "add.u32", [at.into(), step]);
        self.scope.w.end(all);
        folded
    }

    fn define(&mut self, var: Var, expr: &Expr) {
        let value = match expr {
            Expr::Const(value) => self.scope.w.real(*value as f32),
            Expr::Load(at) | Expr::LoadId(at) => {
                let place = self.place(at);
                let to = self.scope.w.reg();
                self.scope.w.line(format_args!("ld.global.b32 {to}, {place}"));
                to
            }
            Expr::Map(op, args) => {
                let args: Vec<Reg> = args.iter().map(|arg| self.vars[arg]).collect();
                lanes::map(&mut self.scope.w, *op, &args)
            }
            Expr::Position(axis) => self.scope.w.op("cvt.rn.f32.u32", [self.axes[axis].into()]),
            Expr::Number(id) => self.scope.w.op("cvt.rn.f32.u32", [self.vars[id].into()]),
            Expr::Random { stream, offset, terms, shard: _ } => {
                // A GPU runs the first of several shards: the host keeps others from it.
                let key = self.scope.random_key(*stream);
                let (axes, vars) = (&self.axes, &self.vars);
                let flat = self.scope.flat(*offset as u32, terms, &|index| find(axes, vars, index));
                let index = self.scope.w.op("mov.b32", [flat]);
                elementary::random(&mut self.scope.w, key, index)
            }
        };
        self.vars.insert(var, value);
    }

    fn place(&mut self, at: &Address) -> String {
        let (axes, vars) = (&self.axes, &self.vars);
        self.scope.element(at, &|index| find(axes, vars, index))
    }

    fn store(&mut self, to: &Address, value: Var) {
        let place = self.place(to);
        let value = self.vars[&value];
        self.scope.w.line(format_args!("st.global.b32 {place}, {value}"));
    }
}

fn find(axes: &HashMap<Axis, Reg>, vars: &HashMap<Var, Reg>, index: Index) -> Option<Reg> {
    match index {
        Index::Axis(axis) => axes.get(&axis).copied(),
        Index::Id(var) => vars.get(&var).copied(),
        Index::Time(_) => None,
    }
}
