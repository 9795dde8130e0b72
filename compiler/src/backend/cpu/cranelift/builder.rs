//! What the parts of a kernel's function share while it is generated: its variables, the loops around, and how folds are
//! joined.

use std::collections::{HashMap, HashSet};

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use cranelift_module::Module;

use super::assembly::WideLoop;
use super::homes::Homes;
use super::math::{Functions, Math};
use crate::backend::cpu::x86::Width;
use crate::kernel::{Axis, BufferId, Fold, Kernel, Reduce, Time, Var};

/// Values of a vector of `f32` or `u32`.
pub(super) const LANES: usize = 4;

/// What a variable is: one value, or, where it varies along the vector axis, one for each copy.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub values: Vec<Value>,
    pub varying: bool,
}

impl Values {
    pub fn uniform(value: Value) -> Self {
        Self { values: vec![value], varying: false }
    }

    /// The value in one copy.
    pub fn at(&self, copy: usize) -> Value {
        self.values[if self.varying { copy } else { 0 }]
    }
}

#[derive(Clone, Debug)]
pub(super) enum Variable {
    /// `f32x4`
    Real(Values),
    /// `i32x4` where it varies, else one `i64`.
    Id(Values),
}

/// The section of a vector loop that is being emitted.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    pub axis: Axis,
    pub copies: usize,
}

/// A kernel's function while it is generated.
pub(super) struct KernelBuilder<'e, 'f> {
    pub b: FunctionBuilder<'f>,
    pub kernel: &'e Kernel,
    pub arena: Value,
    /// Where the constants lie that are not in the arena.
    pub constants_at: Option<Value>,
    pub homes: &'e Homes,
    pub times: Vec<(Time, Value)>,
    /// Enclosing loops, outermost first.
    pub axes: Vec<(Axis, Value)>,
    pub vars: HashMap<Var, Variable>,
    pub vectors: Option<Vectors>,
    /// By stream.
    pub keys: HashMap<u32, Value>,
    /// The number of the run's shard, where the kernel draws numbers of shards.
    pub shard: Option<Value>,
    /// Buffers that nothing in this kernel changes.
    pub readonly: HashSet<BufferId>,
    /// The kernel's constants.
    pub constants: HashMap<Var, f32>,
    /// Vectors that are wider than those here, if the machine has such.
    pub width: Option<Width>,
    /// Functions that this one calls and that are still to be defined.
    pub loops: Vec<WideLoop>,
    pub module: &'e mut dyn Module,
    pub fma: bool,
    pub functions: Functions,
    /// Where the kernel is cut along an axis: the axis, and where this worker's range begins and ends.
    pub own_range: Option<(Axis, Value, Value)>,
}

/// A loop's range.
#[derive(Clone, Copy)]
pub(super) enum Bounds {
    Fixed(i64, i64),
    /// A worker's range: its length is a multiple of [`crate::target::COLUMN_GRAIN`] but for the end of the axis.
    Own(Value, Value),
}

impl<'f> KernelBuilder<'_, 'f> {
    pub fn math(&mut self) -> Math<'_, 'f> {
        Math { b: &mut self.b, fma: self.fma, functions: self.functions }
    }

    /// Values of a variable that varies along the vector axis.
    pub fn copies(&self) -> usize {
        self.vectors.map_or(1, |vectors| vectors.copies)
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

    pub fn real(&self, var: Var) -> &Values {
        match self.vars.get(&var) {
            Some(Variable::Real(values)) => values,
            _ => panic!("internal error: kernel {:?}: {var:?} is not a real", self.kernel.name),
        }
    }

    pub fn id(&self, var: Var) -> &Values {
        match self.vars.get(&var) {
            Some(Variable::Id(values)) => values,
            _ => panic!("internal error: kernel {:?}: {var:?} is not an id", self.kernel.name),
        }
    }
}
