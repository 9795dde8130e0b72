//! Facts about a kernel that are collected before its code is generated.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use crate::kernel::{BufferId, Expr, Kernel, Stmt, Var, each_stmt};
use crate::plan::Program;
use crate::scalar::Scalar;

/// Roughly the instructions of a statement.
pub(super) fn cost(stmt: &Stmt) -> usize {
    match stmt {
        Stmt::Let { expr: Expr::Map(op, _), .. } => match op {
            Scalar::Exp | Scalar::Tanh | Scalar::Sigmoid => 10,
            Scalar::Log | Scalar::Pow => 30,
            Scalar::Neg | Scalar::Abs | Scalar::Sqrt | Scalar::Max | Scalar::Min | Scalar::Select => 1,
            Scalar::Add | Scalar::Sub | Scalar::Mul | Scalar::Div => 1,
            Scalar::Lt | Scalar::Le | Scalar::Gt | Scalar::Ge | Scalar::Eq | Scalar::Ne => 1,
        },
        Stmt::Let { expr: Expr::Random { .. }, .. } => 10,
        Stmt::Let { expr: Expr::Const(_) | Expr::Load(_) | Expr::LoadId(_), .. }
        | Stmt::Let { expr: Expr::Position(_) | Expr::Number(_), .. }
        | Stmt::Store { .. } => 1,
        Stmt::For(inner) => inner.body.iter().map(cost).sum(),
    }
}

/// The streams of random numbers that a body draws from, each once, in order.
pub(super) fn streams(stmts: &[Stmt]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    each_stmt(stmts, &mut |stmt| {
        if let Stmt::Let { expr: Expr::Random { stream, .. }, .. } = stmt {
            found.insert(*stream);
        }
    });
    found
}

/// Whether a body has this operation.
pub(super) fn computes(stmts: &[Stmt], op: Scalar) -> bool {
    let mut found = false;
    each_stmt(stmts, &mut |stmt| {
        found |= matches!(stmt, Stmt::Let { expr: Expr::Map(own, _), .. } if *own == op);
    });
    found
}

/// The constants that a body defines, those in its loops included.
pub(super) fn constants(stmts: &[Stmt]) -> HashMap<Var, f32> {
    let mut found = HashMap::new();
    each_stmt(stmts, &mut |stmt| {
        if let Stmt::Let { var, expr: Expr::Const(value) } = stmt {
            found.insert(*var, *value as f32);
        }
    });
    found
}

/// The buffers that this kernel reads and whose bytes it does not write, through this buffer or another in the same place.
pub(super) fn readonly(program: &Program, kernel: &Kernel) -> HashSet<BufferId> {
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
