//! Checks one kernel: scopes, addresses, vector strides and the independence of parallel iterations.

use std::collections::HashMap;

use super::alias::{Unknown, can_reach};
use super::{buffer, inside, unknown, writable};
use crate::kernel::{
    Address, Axis, BufferId, BufferKind, Elem, Expr, For, Index, Kernel, Module, Stmt, Time, Var, stride_of,
};

#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Real,
    Id,
}

/// A loop that is open; `number` tells loops over one axis apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Open {
    number: usize,
    axis: Axis,
    independent: bool,
    vector: bool,
}

/// A load or store, with the loops around it.
struct Access {
    at: Address,
    write: bool,
    loops: Vec<Open>,
}

pub(super) struct Nest<'a> {
    module: &'a Module,
    kernel: &'a Kernel,
    times: &'a [(Time, usize)],
    written: &'a mut [bool],
    loops: Vec<Open>,
    /// How many loops were opened so far.
    count: usize,
    /// Variables that may be read here, in order of definition.
    scope: Vec<Var>,
    /// All variables defined so far, and the number of loops around each definition.
    defined: HashMap<Var, (Sort, Vec<Open>)>,
    accesses: Vec<Access>,
}

impl<'a> Nest<'a> {
    /// Checks the kernel inside these time loops, and marks the buffers that it writes.
    pub fn check(
        module: &'a Module,
        kernel: &'a Kernel,
        times: &'a [(Time, usize)],
        written: &'a mut [bool],
    ) -> Result<(), String> {
        let mut nest = Self {
            module,
            kernel,
            times,
            written,
            loops: Vec::new(),
            count: 0,
            scope: Vec::new(),
            defined: HashMap::new(),
            accesses: Vec::new(),
        };
        nest.block(&kernel.body)?;
        nest.independence()
    }

    fn block(&mut self, stmts: &[Stmt]) -> Result<(), String> {
        for stmt in stmts {
            match stmt {
                Stmt::Let { var, expr } => {
                    let sort = self.expr(expr)?;
                    self.define(*var, sort)?;
                }
                Stmt::Store { to, value } => {
                    self.real(*value)?;
                    self.access(to, Elem::Real, true)?;
                }
                Stmt::For(inner) => self.for_loop(inner)?,
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, inner: &For) -> Result<(), String> {
        let axis = inner.axis;
        if axis.0 as usize >= self.kernel.axes.len() {
            return Err(format!("there is no axis {axis}"));
        }
        if self.loops.iter().any(|open| open.axis == axis) {
            return Err(format!("a loop over {axis} inside another one"));
        }
        if inner.vector && self.loops.iter().any(|open| open.vector) {
            return Err(format!("a vector loop over {axis} inside another one"));
        }
        let independent = inner.parallel || inner.vector;
        self.loops.push(Open { number: self.count, axis, independent, vector: inner.vector });
        self.count += 1;
        let outside = self.scope.len();
        self.block(&inner.body)?;
        for fold in &inner.folds {
            self.real(fold.value)?;
        }
        self.scope.truncate(outside);
        self.loops.pop();
        inner.folds.iter().try_for_each(|fold| self.define(fold.var, Sort::Real))
    }

    fn define(&mut self, var: Var, sort: Sort) -> Result<(), String> {
        if self.defined.insert(var, (sort, self.loops.clone())).is_some() {
            return Err(format!("{var} is defined twice"));
        }
        self.scope.push(var);
        Ok(())
    }

    fn sort(&self, var: Var) -> Result<Sort, String> {
        if !self.scope.contains(&var) {
            return Err(format!("{var} is used outside its scope"));
        }
        Ok(self.defined[&var].0)
    }

    fn real(&self, var: Var) -> Result<(), String> {
        match self.sort(var)? {
            Sort::Real => Ok(()),
            Sort::Id => Err(format!("{var} is an id, not a real")),
        }
    }

    fn id(&self, var: Var) -> Result<(), String> {
        match self.sort(var)? {
            Sort::Id => Ok(()),
            Sort::Real => Err(format!("{var} is a real, not an id")),
        }
    }

    fn expr(&mut self, expr: &Expr) -> Result<Sort, String> {
        match expr {
            Expr::Const(_) => {}
            Expr::Load(from) => self.access(from, Elem::Real, false)?,
            Expr::LoadId(from) => {
                self.access(from, Elem::Id, false)?;
                return Ok(Sort::Id);
            }
            Expr::Map(op, args) => {
                if args.len() != op.arity() {
                    return Err(format!("{op} of {} operands", args.len()));
                }
                args.iter().try_for_each(|&arg| self.real(arg))?;
            }
            Expr::Position(axis) => {
                self.extent(Index::Axis(*axis))?;
            }
            Expr::Number(var) => self.id(*var)?,
            Expr::Random { terms, .. } => {
                for &(index, _) in terms {
                    self.extent(index)?;
                }
            }
        }
        Ok(Sort::Real)
    }

    /// How many values an index takes here; `None` for an id.
    fn extent(&self, index: Index) -> Result<Option<usize>, String> {
        match index {
            Index::Axis(axis) if self.loops.iter().any(|open| open.axis == axis) => {
                Ok(Some(self.kernel.axes[axis.0 as usize]))
            }
            Index::Time(time) => match self.times.iter().find(|(open, _)| *open == time) {
                Some(&(_, rounds)) => Ok(Some(rounds)),
                None => Err(format!("{time} has no meaning here")),
            },
            Index::Axis(axis) => Err(format!("{axis} is used outside its loop")),
            Index::Id(var) => self.id(var).map(|()| None),
        }
    }

    fn access(&mut self, at: &Address, elem: Elem, write: bool) -> Result<(), String> {
        let buffer = buffer(self.module, at.buffer)?;
        if buffer.elem != elem {
            return Err(format!("{:?} has other elements", buffer.name));
        }
        let mut last = at.offset;
        for &(index, stride) in &at.terms {
            let most = self.extent(index)?.unwrap_or(1).saturating_sub(1);
            last = last.saturating_add(most.saturating_mul(stride));
        }
        inside(buffer, last)?;
        if at.terms.iter().filter(|(index, _)| matches!(index, Index::Id(_))).count() > 1 {
            return Err(format!("{at} has two ids"));
        }
        self.vector_stride(at, write)?;
        if write {
            writable(buffer)?;
            self.written[at.buffer.0 as usize] = true;
        } else if buffer.kind == BufferKind::Packed {
            return Err(format!("{:?} is packed", buffer.name));
        } else if !self.written[at.buffer.0 as usize] {
            return Err(format!("{:?} is read before it is written", buffer.name));
        }
        self.accesses.push(Access { at: at.clone(), write, loops: self.loops.clone() });
        Ok(())
    }

    fn vector_stride(&self, at: &Address, write: bool) -> Result<(), String> {
        let Some(open) = self.loops.iter().find(|open| open.vector) else { return Ok(()) };
        let stride = stride_of(&at.terms, Index::Axis(open.axis));
        let one = self.kernel.axes[open.axis.0 as usize] <= 1;
        match stride {
            0 if write && !one => {
                Err(format!("all iterations of the vector loop over {} store to {at}", open.axis))
            }
            0 | 1 => Ok(()),
            _ => Err(format!("stride {stride} in the vector loop over {}", open.axis)),
        }
    }

    /// No iteration of a parallel or vector loop touches what another one writes.
    fn independence(&self) -> Result<(), String> {
        let mut by_buffer: HashMap<BufferId, Vec<&Access>> = HashMap::new();
        for access in &self.accesses {
            by_buffer.entry(access.at.buffer).or_default().push(access);
        }
        for write in self.accesses.iter().filter(|access| access.write) {
            for other in &by_buffer[&write.at.buffer] {
                let common = write.loops.iter().zip(&other.loops).take_while(|(a, b)| a == b).count();
                for depth in (0..common).filter(|&depth| write.loops[depth].independent) {
                    if self.collide(write, other, depth) {
                        let axis = write.loops[depth].axis;
                        return Err(format!(
                            "iterations over {axis} are not independent: one stores to {}, others touch {}",
                            write.at, other.at
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether two different iterations of the loop at `depth`, in the same iteration of all loops around it, can
    /// meet. Addresses with token ids are taken not to, unless the ids are the same in all iterations.
    fn collide(&self, write: &Access, other: &Access, depth: usize) -> bool {
        let mut unknowns = Vec::new();
        for index in outer_indices(write, other, depth) {
            let difference = stride(write, index) - stride(other, index);
            match index {
                Index::Id(var) => {
                    let fixed = self.defined.get(&var).is_some_and(|(_, loops)| loops.len() <= depth);
                    if !fixed || difference != 0 {
                        return false;
                    }
                }
                Index::Time(time) => {
                    let known = self.times.iter().find(|(open, _)| *open == time);
                    unknowns.push(unknown(difference, known.map_or(1, |&(_, rounds)| rounds)));
                }
                Index::Axis(axis) => unknowns.push(unknown(difference, self.size(axis))),
            }
        }
        for (sign, access) in [(1, write), (-1, other)] {
            for open in &access.loops[depth + 1..] {
                unknowns.push(unknown(sign * stride(access, Index::Axis(open.axis)), self.size(open.axis)));
            }
        }
        // The other iteration is this one plus a distance that is not 0.
        let axis = write.loops[depth].axis;
        let own = stride(write, Index::Axis(axis));
        let others = stride(other, Index::Axis(axis));
        let far = self.size(axis) as i64 - 1;
        let target = other.at.offset as i64 - write.at.offset as i64;
        let meets = |last: Unknown, target: i64| can_reach(&[&unknowns[..], &[last]].concat(), target);
        if own == others {
            let distances = [(1, far), (-far, -1)];
            return distances
                .iter()
                .any(|&(low, high)| meets(Unknown { coefficient: -others, low, high }, target));
        }
        // Which iteration this one is matters as well: distance by distance, it is one from which the other is reached.
        let of_distance = |distance: i64| [(distance, 0, far - distance), (-distance, distance, far)];
        (1..=far).flat_map(of_distance).any(|(distance, low, high)| {
            meets(Unknown { coefficient: own - others, low, high }, target + others * distance)
        })
    }

    fn size(&self, axis: Axis) -> usize {
        self.kernel.axes[axis.0 as usize]
    }
}

/// The indices of two addresses that do not change inside the loop at `depth`, or are ids.
fn outer_indices(write: &Access, other: &Access, depth: usize) -> Vec<Index> {
    let mut found = Vec::new();
    for &(index, _) in write.at.terms.iter().chain(&other.at.terms) {
        let inner = match index {
            Index::Axis(axis) => !write.loops[..depth].iter().any(|open| open.axis == axis),
            Index::Time(_) | Index::Id(_) => false,
        };
        if !inner && !found.contains(&index) {
            found.push(index);
        }
    }
    found
}

fn stride(access: &Access, index: Index) -> i64 {
    stride_of(&access.at.terms, index) as i64
}
