//! Vector loops that become functions of their own, with vectors wider than Cranelift's (see [`crate::backend::cpu::x86`]).
//! What is the same for all iterations is computed here and passed in the frame; the rest is the function's body.

use std::collections::{HashMap, HashSet};

use cranelift_codegen::ir::{
    AbiParam, FuncRef, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_module::Linkage;

use super::assembly::{WideLoop, declare};
use super::builder::{Bounds, KernelBuilder, LANES};
use super::facts::cost;
use super::homes::{Homes, Origin};
use crate::backend::cpu::x86::{self, Body, Frame, Operation, Place};
use crate::backend::elementary::{self, Binary, Emit as _, Unary};
use crate::kernel::{Address, Axis, BufferId, Expr, For, Index, Stmt, Var, stride_of};

/// Operations times iterations from which on a call costs less than it gains.
const WORTH_A_CALL: usize = 400;

/// Offsets in instructions stay below this.
const NEAR: usize = 1 << 30;

/// What a loop's body may take for granted.
struct Surroundings<'e> {
    homes: &'e Homes,
    /// Buffers that nothing in the kernel changes.
    readonly: &'e HashSet<BufferId>,
    /// The kernel's constants.
    constants: &'e HashMap<Var, f32>,
}

/// A loop as a body, and what its function is called with.
struct Wide<'k> {
    body: Body,
    /// Variables that are the same in every iteration.
    uniform: Vec<(Var, &'k Expr)>,
    bases: Vec<Base>,
    parameters: Vec<Parameter<'k>>,
}

/// A pointer to where buffers lie.
#[derive(PartialEq)]
struct Base {
    origin: Origin,
    /// Bytes from the origin.
    offset: usize,
    /// The terms of addresses that do not vary along the axis, sorted.
    terms: Vec<(Index, usize)>,
}

/// A number that is the same for all iterations.
#[derive(Clone, Copy, PartialEq)]
enum Parameter<'k> {
    Real(Var),
    /// The key of a stream of random numbers.
    Key(u32),
    /// The part of a flat index that does not vary along the axis.
    FlatIndex(usize, &'k [(Index, usize)], usize),
}

/// The loop has something that a [`Body`] has no operation for: Cranelift compiles it.
struct Unsupported;

impl<'k> Wide<'k> {
    /// The loop as a body, if all that varies in it has instructions and it has enough to do.
    fn of(inner: &'k For, extent: usize, around: &Surroundings<'_>) -> Option<Self> {
        let work: usize = inner.body.iter().map(cost).sum();
        if work.saturating_mul(extent) < WORTH_A_CALL {
            return None;
        }
        let wide =
            Wide { body: Body::default(), uniform: Vec::new(), bases: Vec::new(), parameters: Vec::new() };
        let mut builder =
            Builder { wide, axis: inner.axis, around, values: HashMap::new(), ids: HashMap::new() };
        for stmt in &inner.body {
            builder.statement(stmt).ok()?;
        }
        for fold in &inner.folds {
            let value = builder.real(fold.value).ok()?;
            builder.wide.body.folds.push((fold.kind, value));
        }
        builder.wide.body.bases = builder.wide.bases.len();
        builder.wide.body.parameters = builder.wide.parameters.len();
        Some(builder.wide)
    }
}

struct Builder<'k, 'e> {
    wide: Wide<'k>,
    axis: Axis,
    around: &'e Surroundings<'e>,
    /// The reals that have a value in the body.
    values: HashMap<Var, x86::Value>,
    /// The ids that vary along the axis.
    ids: HashMap<Var, x86::Value>,
}

impl<'k> Builder<'k, '_> {
    fn statement(&mut self, stmt: &'k Stmt) -> Result<(), Unsupported> {
        match stmt {
            Stmt::For(_) => Err(Unsupported),
            Stmt::Store { to, value } => {
                let value = self.real(*value)?;
                let place = self.place(to)?;
                self.wide.body.push(Operation::Store(place, value));
                Ok(())
            }
            Stmt::Let { var, expr } if self.varies(expr) => self.varying(*var, expr),
            // What a store of the loop may change keeps its place among the iterations.
            Stmt::Let { expr: Expr::Load(from) | Expr::LoadId(from), .. }
                if !self.around.readonly.contains(&from.buffer) =>
            {
                Err(Unsupported)
            }
            Stmt::Let { var, expr } => {
                self.wide.uniform.push((*var, expr));
                Ok(())
            }
        }
    }

    /// Whether an expression's value differs from iteration to iteration.
    fn varies(&self, expr: &Expr) -> bool {
        let along = |terms: &[(Index, usize)]| {
            terms.iter().any(|&(index, _)| match index {
                Index::Axis(axis) => axis == self.axis,
                Index::Id(id) => self.ids.contains_key(&id),
                Index::Time(_) => false,
            })
        };
        match expr {
            Expr::Load(at) | Expr::LoadId(at) => along(&at.terms),
            Expr::Random { terms, .. } => along(terms),
            Expr::Position(axis) => *axis == self.axis,
            // Only what is computed in the body has a value that is computed.
            Expr::Map(_, args) => {
                args.iter().any(|var| matches!(self.values.get(var), Some(x86::Value::Computed(_))))
            }
            Expr::Number(id) => self.ids.contains_key(id),
            Expr::Const(_) => false,
        }
    }

    fn varying(&mut self, var: Var, expr: &'k Expr) -> Result<(), Unsupported> {
        let value = match expr {
            Expr::Load(from) => {
                let place = self.place(from)?;
                self.wide.body.push(Operation::Load(place))
            }
            Expr::LoadId(from) => {
                let place = self.place(from)?;
                let id = self.wide.body.push(Operation::Load(place));
                self.ids.insert(var, id);
                return Ok(());
            }
            Expr::Number(id) => {
                let id = self.ids.get(id).copied().ok_or(Unsupported)?;
                self.wide.body.unary(Unary::ToReal, id)
            }
            Expr::Position(_) => {
                let iteration = self.wide.body.push(Operation::Iteration);
                self.wide.body.unary(Unary::ToReal, iteration)
            }
            Expr::Random { stream, offset, terms, shard } => self.random(*stream, *offset, terms, *shard)?,
            Expr::Map(op, args) => {
                let args = args.iter().map(|&arg| self.real(arg)).collect::<Result<Vec<_>, _>>()?;
                elementary::map(&mut self.wide.body, *op, &args).ok_or(Unsupported)?
            }
            Expr::Const(_) => return Err(Unsupported),
        };
        self.values.insert(var, value);
        Ok(())
    }

    /// The value of a real: computed in the body, a constant or a parameter.
    fn real(&mut self, var: Var) -> Result<x86::Value, Unsupported> {
        if let Some(&value) = self.values.get(&var) {
            return Ok(value);
        }
        if self.ids.contains_key(&var) {
            return Err(Unsupported);
        }
        let value = match self.around.constants.get(&var) {
            Some(&constant) => self.wide.body.real(constant),
            None => self.parameter(Parameter::Real(var)),
        };
        self.values.insert(var, value);
        Ok(value)
    }

    fn parameter(&mut self, parameter: Parameter<'k>) -> x86::Value {
        let parameters = &mut self.wide.parameters;
        let index = parameters.iter().position(|known| *known == parameter).unwrap_or_else(|| {
            parameters.push(parameter);
            parameters.len() - 1
        });
        x86::Value::Parameter(index as u32)
    }

    /// An element that lies beside those of the neighbouring iterations.
    fn place(&mut self, at: &Address) -> Result<Place, Unsupported> {
        if self.along(&at.terms)? != 1 {
            return Err(Unsupported);
        }
        let mut terms = at.terms.clone();
        terms.retain(|&(index, _)| index != Index::Axis(self.axis));
        terms.sort_unstable();
        let (origin, start) = self.around.homes.get(at.buffer);
        let bytes = start + at.offset * 4;
        let base = Base { origin, offset: bytes / NEAR * NEAR, terms };
        let bases = &mut self.wide.bases;
        let index = bases.iter().position(|known| *known == base).unwrap_or_else(|| {
            bases.push(base);
            bases.len() - 1
        });
        Ok(Place { base: index, offset: (bytes % NEAR) as i32 })
    }

    /// The stride along the axis of an address that nothing else makes vary.
    fn along(&self, terms: &[(Index, usize)]) -> Result<usize, Unsupported> {
        if terms.iter().any(|&(index, _)| matches!(index, Index::Id(id) if self.ids.contains_key(&id))) {
            return Err(Unsupported);
        }
        Ok(stride_of(terms, Index::Axis(self.axis)))
    }

    fn random(
        &mut self,
        stream: u32,
        offset: usize,
        terms: &'k [(Index, usize)],
        shard: usize,
    ) -> Result<x86::Value, Unsupported> {
        let stride = self.along(terms)?;
        let key = self.parameter(Parameter::Key(stream));
        let start = self.parameter(Parameter::FlatIndex(offset, terms, shard));
        let body = &mut self.wide.body;
        let iteration = body.push(Operation::Iteration);
        let stride = body.whole(stride as u32);
        let distance = body.binary(Binary::WholeMul, iteration, stride);
        let index = body.binary(Binary::WholeAdd, distance, start);
        Ok(elementary::random(body, key, index))
    }
}

impl KernelBuilder<'_, '_> {
    /// A vector loop as a call of a function with wider vectors, where there are such and the loop suits them; returns
    /// its folds.
    pub fn wide_loop(&mut self, inner: &For, bounds: Bounds) -> Option<Vec<Value>> {
        let width = self.width?;
        let around = Surroundings { homes: self.homes, readonly: &self.readonly, constants: &self.constants };
        let wide = Wide::of(inner, self.extent(inner.axis) as usize, &around)?;
        let compiled = x86::compile(&wide.body, width)?;
        wide.uniform.iter().for_each(|&(var, expr)| self.define(var, expr));
        let frame = Frame::of(&wide.body, width);
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, frame.size() as u32, 6);
        let slot = self.b.create_sized_stack_slot(slot);
        let at = self.b.ins().stack_addr(types::I64, slot, 0);
        let flags = MemFlagsData::new().with_notrap();
        for (index, base) in wide.bases.iter().enumerate() {
            let pointer = self.pointer(base.origin, &base.terms);
            let pointer = self.b.ins().iadd_imm_s(pointer, base.offset as i64);
            self.b.ins().store(flags, pointer, at, frame.base(index) as i32);
        }
        for (index, parameter) in wide.parameters.iter().enumerate() {
            let number = self.number_of(*parameter, inner.axis);
            self.b.ins().store(flags, number, at, frame.parameter(index) as i32);
        }
        let (from, to) = match bounds {
            Bounds::Fixed(from, to) => {
                (self.b.ins().iconst(types::I64, from), self.b.ins().iconst(types::I64, to))
            }
            Bounds::Own(from, to) => (from, to),
        };
        let stored = self.stored(inner, bounds).unwrap_or(to);
        self.b.ins().store(flags, stored, at, frame.stored() as i32);
        let function = self.function_of(compiled, inner.axis);
        self.b.ins().call(function, &[at, from, to]);
        let mut results = Vec::with_capacity(inner.folds.len());
        for (index, fold) in inner.folds.iter().enumerate() {
            let quads = (0..width.lanes()).step_by(LANES).map(|lane| {
                let offset = (frame.fold(index) + lane * 4) as i32;
                self.b.ins().load(types::F32X4, flags, at, offset)
            });
            let quads: Vec<Value> = quads.collect();
            let joined = self.join(fold, &quads);
            results.push(self.math().fold_lanes(fold.kind, joined));
        }
        Some(results)
    }

    /// The iteration of a loop before which this worker's stores end, if the loop around it stores whole rows, one right
    /// after the other.
    fn stored(&mut self, inner: &For, bounds: Bounds) -> Option<Value> {
        let extent = self.extent(inner.axis);
        let &(around, row) = self.axes.last()?;
        let goes_on = |stmt: &Stmt| match stmt {
            Stmt::Store { to, .. } => stride_of(&to.terms, Index::Axis(around)) == extent as usize,
            _ => true,
        };
        if !matches!(bounds, Bounds::Fixed(..)) || !inner.body.iter().all(goes_on) {
            return None;
        }
        let end = match self.own_range {
            Some((axis, _, high)) if axis == around => high,
            _ => {
                let end = self.extent(around);
                self.b.ins().iconst(types::I64, end)
            }
        };
        let rows = self.b.ins().isub(end, row);
        Some(self.b.ins().imul_imm_s(rows, extent))
    }

    /// A parameter's number, of 32 bits.
    fn number_of(&mut self, parameter: Parameter<'_>, axis: Axis) -> Value {
        match parameter {
            Parameter::Real(var) => {
                let value = self.real(var).at(0);
                self.b.ins().extractlane(value, 0u8)
            }
            Parameter::Key(stream) => self.keys[&stream],
            Parameter::FlatIndex(offset, terms, shard) => {
                let rest: Vec<_> =
                    terms.iter().copied().filter(|&(index, _)| index != Index::Axis(axis)).collect();
                let mut index = self.flat_index(offset, &rest);
                if let Some(start) = self.shard_start(shard) {
                    index = self.b.ins().iadd(index, start);
                }
                self.b.ins().ireduce(types::I32, index)
            }
        }
    }

    /// The function of a loop over this axis, to be defined when this one is.
    fn function_of(&mut self, compiled: x86::Loop, axis: Axis) -> FuncRef {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend([AbiParam::new(types::I64); 3]);
        let name = format!("{}.a{}.{}", self.kernel.name, axis.0, self.loops.len());
        let id = declare(&mut self.module, &name, Linkage::Local, &signature);
        self.loops.push(WideLoop { id, name, compiled });
        self.module.declare_func_in_func(id, self.b.func)
    }
}
