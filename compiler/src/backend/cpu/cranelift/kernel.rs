//! One kernel's function: its loops.
//!
//! Reals are vectors of four lanes everywhere. Inside a vector loop the lanes are four neighbouring iterations, and
//! several such vectors (copies) are computed side by side; elsewhere all four lanes hold the same number. A vector
//! loop has up to three sections: copies of four iterations, four iterations, one iteration. All three emit the same
//! operations, so an element's value does not depend on the section that computes it.

use std::collections::HashMap;

use cranelift_codegen::Context;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::Module;

use super::assembly::{Assembly, Import, WideLoop};
use super::builder::{Bounds, KernelBuilder, LANES, Values, Variable, Vectors};
use super::calls::{self, KernelCall};
use super::counted::Counted;
use super::facts::{computes, constants, cost, readonly, streams};
use super::homes::Homes;
use super::math::Functions;
use super::target::Error;
use crate::kernel::{For, Stmt};
use crate::plan::{Program, Split};
use crate::scalar::Scalar;
use crate::target::COLUMN_GRAIN;

/// Defines a kernel's function, and those of its wide loops.
pub(super) fn define<M: Module>(
    assembly: &mut Assembly<'_, M>,
    program: &Program,
    homes: &Homes,
    call: &KernelCall<'_>,
) -> Result<(), Error> {
    let signature = calls::kernel_signature(assembly, call.times.len());
    let loops = assembly.define(&call.kernel.name, call.id, signature, |assembly, context, builder| {
        build(assembly, program, homes, call, context, builder)
    })?;
    loops.iter().try_for_each(|wide| assembly.define_loop(wide))
}

/// Generates a kernel's function; returns the loops that it calls.
fn build<M: Module>(
    assembly: &mut Assembly<'_, M>,
    program: &Program,
    homes: &Homes,
    call: &KernelCall<'_>,
    context: &mut Context,
    builder: &mut FunctionBuilderContext,
) -> Vec<WideLoop> {
    let body = &call.kernel.body;
    let mut import = |import, used: bool| {
        used.then(|| {
            let id = assembly.import(import);
            assembly.module.declare_func_in_func(id, &mut context.func)
        })
    };
    let functions = Functions {
        log: import(Import::Log, computes(body, Scalar::Log)),
        pow: import(Import::Pow, computes(body, Scalar::Pow)),
    };
    let random_key = import(Import::RandomKey, call.kernel.is_random());
    let shard_number = import(Import::Shard, call.kernel.has_shards());
    let constants_at =
        assembly.constants.map(|data| assembly.module.declare_data_in_func(data, &mut context.func));
    let mut b = FunctionBuilder::new(&mut context.func, builder);
    let start = b.create_block();
    b.append_block_params_for_function_params(start);
    b.switch_to_block(start);
    let params = b.block_params(start).to_vec();
    let mut keys = HashMap::new();
    for (stream, random_key) in streams(body).into_iter().zip(std::iter::repeat(random_key)) {
        let number = b.ins().iconst(types::I32, i64::from(stream));
        let random_key =
            random_key.unwrap_or_else(|| unreachable!("internal error: a stream of no random number"));
        let inst = b.ins().call(random_key, &[params[0], number]);
        keys.insert(stream, b.inst_results(inst)[0]);
    }
    let shard = shard_number.map(|function| {
        let inst = b.ins().call(function, &[params[0]]);
        let number = b.inst_results(inst)[0];
        b.ins().uextend(types::I64, number)
    });
    let constants_at = constants_at.map(|data| b.ins().symbol_value(types::I64, data));
    let own_range = match call.split {
        Split::Axis(axis) => Some((axis, params[2], params[3])),
        _ => None,
    };
    let mut builder = KernelBuilder {
        b,
        kernel: call.kernel,
        arena: params[1],
        constants_at,
        homes,
        times: call.times.iter().copied().zip(params[4..].iter().copied()).collect(),
        axes: Vec::new(),
        vars: HashMap::new(),
        vectors: None,
        keys,
        shard,
        readonly: readonly(program, call.kernel),
        constants: constants(&call.kernel.body),
        width: assembly.width,
        loops: Vec::new(),
        module: &mut *assembly.module,
        fma: assembly.fma,
        functions,
        own_range,
    };
    call.kernel.body.iter().for_each(|stmt| builder.statement(stmt));
    builder.b.ins().return_(&[]);
    builder.b.seal_all_blocks();
    builder.b.finalize(builder.module.target_config());
    builder.loops
}

impl KernelBuilder<'_, '_> {
    fn statement(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let { var, expr } => self.define(*var, expr),
            Stmt::Store { to, value } => self.store(to, *value),
            Stmt::For(inner) => self.for_loop(inner),
        }
    }

    fn for_loop(&mut self, inner: &For) {
        let bounds = match self.own_range {
            Some((axis, low, high)) if axis == inner.axis && inner.parallel => Bounds::Own(low, high),
            _ => Bounds::Fixed(0, self.extent(inner.axis)),
        };
        let outer = self.copies();
        let start: Vec<Value> = inner.folds.iter().map(|fold| self.neutral(fold.kind)).collect();
        let inside_vector = self.vectors.is_some();
        let results = if inner.vector && !inside_vector {
            match self.wide_loop(inner, bounds) {
                Some(results) => results,
                None => self.vector_loop(inner, bounds, &start),
            }
        } else {
            let accumulators = start.iter().flat_map(|&value| vec![value; outer]).collect();
            self.section(inner, bounds, 1, accumulators)
        };
        for (fold, values) in inner.folds.iter().zip(results.chunks(outer)) {
            let values = Values { values: values.to_vec(), varying: inside_vector };
            self.vars.insert(fold.var, Variable::Real(values));
        }
    }

    /// The sections of a vector loop. Folds keep four sums for each copy, joined in a fixed order.
    fn vector_loop(&mut self, inner: &For, bounds: Bounds, start: &[Value]) -> Vec<Value> {
        let extent = self.extent(inner.axis);
        let copies = copies(inner);
        let step = (copies * LANES) as i64;
        let quad = LANES as i64;
        let mut folds: Vec<Value> = start.to_vec();
        let (mut low, mut whole) = self.whole_rounds(bounds, step);
        if extent >= step {
            let accumulators = start.iter().flat_map(|&value| vec![value; copies]).collect();
            self.vectors = Some(Vectors { axis: inner.axis, copies });
            let sums = self.section(inner, whole, step, accumulators);
            self.vectors = None;
            let joined = inner.folds.iter().zip(sums.chunks(copies));
            folds = joined.map(|(fold, sums)| self.join(fold, sums)).collect();
        }
        if extent % step >= quad {
            (low, whole) = self.whole_rounds(low, quad);
            self.vectors = Some(Vectors { axis: inner.axis, copies: 1 });
            folds = self.section(inner, whole, quad, folds);
            self.vectors = None;
        }
        if extent >= quad {
            let lanes = inner.folds.iter().zip(&folds);
            folds = lanes.map(|(fold, &value)| self.math().fold_lanes(fold.kind, value)).collect();
        }
        if extent % quad != 0 {
            folds = self.section(inner, low, 1, folds);
        }
        folds
    }

    /// What is left of a range after whole rounds, and the whole rounds.
    fn whole_rounds(&mut self, bounds: Bounds, step: i64) -> (Bounds, Bounds) {
        match bounds {
            Bounds::Fixed(low, high) => {
                let middle = low + (high - low) / step * step;
                (Bounds::Fixed(middle, high), Bounds::Fixed(low, middle))
            }
            Bounds::Own(low, high) => {
                let length = self.b.ins().isub(high, low);
                let mask = self.b.ins().iconst(types::I64, -step);
                let whole = self.b.ins().band(length, mask);
                let middle = self.b.ins().iadd(low, whole);
                (Bounds::Own(middle, high), Bounds::Own(low, middle))
            }
        }
    }

    /// One loop over a range with a step. `folds` holds each fold's accumulators, one for each copy.
    fn section(&mut self, inner: &For, bounds: Bounds, step: i64, folds: Vec<Value>) -> Vec<Value> {
        let (from, to, guarded) = match bounds {
            Bounds::Fixed(from, to) if from >= to => return folds,
            Bounds::Fixed(from, to) if from + step >= to => {
                let index = self.b.ins().iconst(types::I64, from);
                return self.iteration(inner, index, &folds);
            }
            Bounds::Fixed(from, to) => {
                (self.b.ins().iconst(types::I64, from), self.b.ins().iconst(types::I64, to), false)
            }
            Bounds::Own(from, to) => (from, to, true),
        };
        let rounds = Counted::begin(&mut self.b, from, to, guarded, &folds);
        let next = self.iteration(inner, rounds.index, &rounds.carried);
        rounds.end(&mut self.b, step, to, &next)
    }

    /// The loop's body at one index; returns the folds' next values.
    fn iteration(&mut self, inner: &For, index: Value, folds: &[Value]) -> Vec<Value> {
        self.axes.push((inner.axis, index));
        inner.body.iter().for_each(|stmt| self.statement(stmt));
        self.axes.pop();
        let copies = self.copies();
        let mut next = Vec::with_capacity(folds.len());
        for (fold, so_far) in inner.folds.iter().zip(folds.chunks(copies)) {
            let values = self.real(fold.value).clone();
            for (copy, &so_far) in so_far.iter().enumerate() {
                let value = values.at(copy);
                next.push(self.math().fold(fold.kind, so_far, value));
            }
        }
        next
    }
}

/// How many vectors a loop computes side by side: as many as hide the latency of its folds and pay for the loop's own
/// instructions, without running out of registers. A divisor of [`COLUMN_GRAIN`] / [`LANES`].
fn copies(inner: &For) -> usize {
    const { assert!(COLUMN_GRAIN.is_multiple_of(4 * LANES)) }
    match inner.body.iter().map(cost).sum::<usize>() {
        0..=8 => 4,
        9..=64 => 2,
        _ => 1,
    }
}
