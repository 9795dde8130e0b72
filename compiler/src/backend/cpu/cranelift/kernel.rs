//! One kernel's function: its loops.
//!
//! Reals are vectors of four lanes everywhere. Inside a vector loop the lanes are four neighbouring iterations, and
//! several such vectors (copies) are computed side by side; elsewhere all four lanes hold the same number. A vector
//! loop has up to three sections: copies of four iterations, four iterations, one iteration. All three emit the same
//! operations, so an element's value does not depend on the section that computes it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use cranelift_codegen::Context;
use cranelift_codegen::ir::{InstBuilder, Signature, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::Module;

use super::assemble::Assembly;
use super::counted::Counted;
use super::math::{Calls, Math};
use super::parts::KernelCall;
use super::wide::WideLoop;
use crate::backend::cpu::x86::Width;
use crate::kernel::{Axis, BufferId, Expr, Fold, For, Kernel, Reduce, Stmt, Time, Var, each_stmt};
use crate::plan::{COLUMN_GRAIN, Program, Split};
use crate::scalar::Scalar;

/// Lanes of a vector of `f32` or `u32`.
pub(super) const LANES: usize = 4;

/// A variable: one value, or, where it varies along the vector axis, one for each copy.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    pub values: Vec<Value>,
    pub varying: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// `f32x4`
    Real(Lanes),
    /// `i32x4` where it varies, else one `i64`.
    Id(Lanes),
}

/// The section of a vector loop that is being emitted.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    pub axis: Axis,
    pub copies: usize,
}

pub(super) struct Emitter<'e, 'f> {
    pub b: FunctionBuilder<'f>,
    pub program: &'e Program,
    pub kernel: &'e Kernel,
    pub arena: Value,
    pub times: Vec<(Time, Value)>,
    /// Enclosing loops, outermost first.
    pub axes: Vec<(Axis, Value)>,
    pub vars: HashMap<Var, Slot>,
    pub vectors: Option<Vectors>,
    /// By stream.
    pub keys: HashMap<u32, Value>,
    /// Buffers that nothing in this kernel changes.
    pub readonly: HashSet<BufferId>,
    /// The kernel's constants.
    pub constants: HashMap<Var, f32>,
    /// Vectors that are wider than those here, if the machine has such.
    pub width: Option<Width>,
    /// Functions that this one calls and that are still to be defined.
    pub loops: Vec<WideLoop>,
    pub module: &'e mut dyn Module,
    /// Whether the text of functions is wanted.
    pub text: bool,
    fma: bool,
    calls: Calls,
    pub cut: Option<(Axis, Value, Value)>,
}

/// A loop's range.
#[derive(Clone, Copy)]
pub(super) enum Bounds {
    Fixed(i64, i64),
    /// A worker's share: its length is a multiple of [`COLUMN_GRAIN`] but for the end of the axis.
    Share(Value, Value),
}

/// `(run, arena, low, high, times..)`
pub(super) fn signature<M: Module>(assembly: &Assembly<'_, M>, times: usize) -> Signature {
    assembly.signature(&vec![types::I64; 4 + times], None)
}

pub(super) fn build<M: Module>(
    assembly: &mut Assembly<'_, M>,
    program: &Program,
    call: &KernelCall<'_>,
    context: &mut Context,
    builder: &mut FunctionBuilderContext,
) -> Vec<WideLoop> {
    let imports = assembly.imports;
    let log = assembly.module.declare_func_in_func(imports.log, &mut context.func);
    let pow = assembly.module.declare_func_in_func(imports.pow, &mut context.func);
    let random_key = assembly.module.declare_func_in_func(imports.random_key, &mut context.func);
    let mut b = FunctionBuilder::new(&mut context.func, builder);
    let start = b.create_block();
    b.append_block_params_for_function_params(start);
    b.switch_to_block(start);
    let params = b.block_params(start).to_vec();
    let mut keys = HashMap::new();
    for stream in streams(&call.kernel.body) {
        let number = b.ins().iconst(types::I32, i64::from(stream));
        let inst = b.ins().call(random_key, &[params[0], number]);
        keys.insert(stream, b.inst_results(inst)[0]);
    }
    let cut = match call.split {
        Split::Axis(axis) => Some((axis, params[2], params[3])),
        _ => None,
    };
    let text = assembly.wants_text();
    let mut emitter = Emitter {
        b,
        program,
        kernel: call.kernel,
        arena: params[1],
        times: call.times.iter().copied().zip(params[4..].iter().copied()).collect(),
        axes: Vec::new(),
        vars: HashMap::new(),
        vectors: None,
        keys,
        readonly: readonly(program, call.kernel),
        constants: constants(&call.kernel.body),
        width: assembly.width,
        loops: Vec::new(),
        module: &mut *assembly.module,
        text,
        fma: assembly.fma,
        calls: Calls { log, pow },
        cut,
    };
    call.kernel.body.iter().for_each(|stmt| emitter.statement(stmt));
    emitter.b.ins().return_(&[]);
    emitter.b.seal_all_blocks();
    emitter.b.finalize(emitter.module.target_config());
    emitter.loops
}

impl<'f> Emitter<'_, 'f> {
    pub fn math(&mut self) -> Math<'_, 'f> {
        Math { b: &mut self.b, fma: self.fma, calls: self.calls }
    }

    /// Values of a variable that varies along the vector axis.
    pub fn copies(&self) -> usize {
        self.vectors.map_or(1, |vectors| vectors.copies)
    }

    pub fn statement(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let { var, expr } => {
                let slot = self.expr(expr);
                self.vars.insert(*var, slot);
            }
            Stmt::Store { to, value } => self.store(to, *value),
            Stmt::For(inner) => self.for_loop(inner),
        }
    }

    fn for_loop(&mut self, inner: &For) {
        let bounds = match self.cut {
            Some((axis, low, high)) if axis == inner.axis && inner.parallel => Bounds::Share(low, high),
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
            let lanes = Lanes { values: values.to_vec(), varying: inside_vector };
            self.vars.insert(fold.var, Slot::Real(lanes));
        }
    }

    /// The sections of a vector loop. Folds keep four sums for each copy, joined in a fixed order.
    fn vector_loop(&mut self, inner: &For, bounds: Bounds, start: &[Value]) -> Vec<Value> {
        let extent = self.extent(inner.axis);
        let copies = copies(inner);
        let step = (copies * LANES) as i64;
        let quad = LANES as i64;
        let mut folds: Vec<Value> = start.to_vec();
        let (mut low, mut whole) = self.divide(bounds, step);
        if extent >= step {
            let accumulators = start.iter().flat_map(|&value| vec![value; copies]).collect();
            self.vectors = Some(Vectors { axis: inner.axis, copies });
            let sums = self.section(inner, whole, step, accumulators);
            self.vectors = None;
            let joined = inner.folds.iter().zip(sums.chunks(copies));
            folds = joined.map(|(fold, sums)| self.join(fold, sums)).collect();
        }
        if extent % step >= quad {
            (low, whole) = self.divide(low, quad);
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

    /// What is left of a range after whole steps, and the whole steps.
    fn divide(&mut self, bounds: Bounds, step: i64) -> (Bounds, Bounds) {
        match bounds {
            Bounds::Fixed(low, high) => {
                let middle = low + (high - low) / step * step;
                (Bounds::Fixed(middle, high), Bounds::Fixed(low, middle))
            }
            Bounds::Share(low, high) => {
                let length = self.b.ins().isub(high, low);
                let mask = self.b.ins().iconst(types::I64, -step);
                let whole = self.b.ins().band(length, mask);
                let middle = self.b.ins().iadd(low, whole);
                (Bounds::Share(middle, high), Bounds::Share(low, middle))
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
            Bounds::Share(from, to) => (from, to, true),
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

    /// Joins the copies' accumulators in pairs.
    pub fn join(&mut self, fold: &Fold, sums: &[Value]) -> Value {
        let mut sums = sums.to_vec();
        while sums.len() > 1 {
            sums = sums.chunks(2).map(|pair| self.math().fold(fold.kind, pair[0], pair[1])).collect();
        }
        sums[0]
    }

    pub fn neutral(&mut self, kind: Reduce) -> Value {
        self.math().splat(match kind {
            Reduce::Sum => 0.0,
            Reduce::Max => f32::NEG_INFINITY,
        })
    }

    pub fn extent(&self, axis: Axis) -> i64 {
        self.kernel.axes[axis.0 as usize] as i64
    }

    pub fn real(&self, var: Var) -> &Lanes {
        match self.vars.get(&var) {
            Some(Slot::Real(lanes)) => lanes,
            _ => panic!("internal error: kernel {:?}: {var:?} is not a real", self.kernel.name),
        }
    }

    pub fn id(&self, var: Var) -> &Lanes {
        match self.vars.get(&var) {
            Some(Slot::Id(lanes)) => lanes,
            _ => panic!("internal error: kernel {:?}: {var:?} is not an id", self.kernel.name),
        }
    }
}

impl Lanes {
    pub fn uniform(value: Value) -> Self {
        Self { values: vec![value], varying: false }
    }

    /// The value in one copy.
    pub fn at(&self, copy: usize) -> Value {
        self.values[if self.varying { copy } else { 0 }]
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

/// Roughly the instructions of a statement.
pub(super) fn cost(stmt: &Stmt) -> usize {
    match stmt {
        Stmt::Let { expr: Expr::Map(op, _), .. } => match op {
            Scalar::Exp | Scalar::Tanh | Scalar::Sigmoid => 10,
            Scalar::Log | Scalar::Pow => 30,
            _ => 1,
        },
        Stmt::Let { expr: Expr::Random { .. }, .. } => 10,
        Stmt::Let { .. } | Stmt::Store { .. } => 1,
        Stmt::For(inner) => inner.body.iter().map(cost).sum(),
    }
}

/// The streams of random numbers that a body draws from, each once, in order.
fn streams(stmts: &[Stmt]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    each_stmt(stmts, &mut |stmt| {
        if let Stmt::Let { expr: Expr::Random { stream, .. }, .. } = stmt {
            found.insert(*stream);
        }
    });
    found
}

/// The constants that a body defines, those in its loops included.
fn constants(stmts: &[Stmt]) -> HashMap<Var, f32> {
    let mut found = HashMap::new();
    each_stmt(stmts, &mut |stmt| {
        if let Stmt::Let { var, expr: Expr::Const(value) } = stmt {
            found.insert(*var, *value as f32);
        }
    });
    found
}

/// The buffers among those that this kernel reads whose bytes no store of it reaches, under any name.
fn readonly(program: &Program, kernel: &Kernel) -> HashSet<BufferId> {
    let range = |id: BufferId| {
        let start = program.offsets[id.0 as usize];
        start..start + program.module.buffer(id).len() * 4
    };
    let mut written: Vec<Range<usize>> = vec![];
    let mut stored: Vec<Range<usize>> = kernel.stored().into_iter().map(range).collect();
    stored.sort_unstable_by_key(|range| range.start);
    for range in stored {
        match written.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => written.push(range),
        }
    }
    let mut found = kernel.loaded();
    found.retain(|&id| {
        let own = range(id);
        let after = written.partition_point(|other| other.end <= own.start);
        written.get(after).is_none_or(|other| own.end <= other.start)
    });
    found
}
