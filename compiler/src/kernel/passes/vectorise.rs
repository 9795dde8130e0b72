//! Which loops may run in vector lanes: innermost ones, and those around a reduction down columns, whose addresses allow it.

use super::each_kernel;
use crate::kernel::{Address, Axis, Expr, Index, Module, Stmt, Var};
use crate::target::Target;

/// The module with these loops marked, if the target has vectors.
pub fn vectorise(mut module: Module, target: &Target) -> Module {
    if target.lanes == 1 {
        return module;
    }
    each_kernel(&mut module, &mut |kernel| mark_vectors(&mut kernel.body));
    module
}

/// Marks innermost loops, and parallel loops around one reduction, whose addresses allow lanes.
fn mark_vectors(stmts: &mut [Stmt]) {
    for stmt in stmts {
        let Stmt::For(inner) = stmt else { continue };
        let nested = inner.body.iter().any(|stmt| matches!(stmt, Stmt::For(_)));
        let lanes = fits_lanes(&inner.body, inner.axis, &mut vec![]);
        if lanes && (!nested || (inner.parallel && walks_columns(&inner.body, inner.axis))) {
            inner.vector = true;
        } else {
            mark_vectors(&mut inner.body);
        }
    }
}

/// Whether everything inside can run for several positions of `axis` at once: strides of 0 or 1, and no lookup by an
/// id that differs from lane to lane.
fn fits_lanes(stmts: &[Stmt], axis: Axis, ids: &mut Vec<Var>) -> bool {
    let along = |at: &Address| {
        at.terms.iter().find(|(index, _)| *index == Index::Axis(axis)).map_or(0, |(_, stride)| *stride)
    };
    let fits = |at: &Address, ids: &[Var]| {
        along(at) <= 1
            && !at.terms.iter().any(|(index, _)| matches!(index, Index::Id(id) if ids.contains(id)))
    };
    stmts.iter().all(|stmt| match stmt {
        Stmt::Let { var, expr: Expr::LoadId(at) } => {
            let uniform = along(at) == 0;
            if !uniform {
                ids.push(*var);
            }
            fits(at, ids) && uniform
        }
        Stmt::Let { expr: Expr::Load(at), .. } => fits(at, ids),
        Stmt::Let { expr: Expr::Random { terms, .. }, .. } => {
            terms.iter().all(|(index, stride)| *index != Index::Axis(axis) || *stride == 1)
        }
        Stmt::Let { .. } => true,
        Stmt::Store { to, .. } => along(to) == 1 && fits(to, ids),
        Stmt::For(inner) => fits_lanes(&inner.body, axis, ids),
    })
}

/// Whether some load in a loop inside moves along `axis`: a reduction down the columns, better run several columns at a
/// time.
fn walks_columns(stmts: &[Stmt], axis: Axis) -> bool {
    fn moves(stmts: &[Stmt], axis: Axis) -> bool {
        stmts.iter().any(|stmt| match stmt {
            Stmt::Let { expr: Expr::Load(at), .. } => at.terms.contains(&(Index::Axis(axis), 1)),
            Stmt::For(inner) => moves(&inner.body, axis),
            _ => false,
        })
    }
    stmts.iter().any(|stmt| matches!(stmt, Stmt::For(inner) if moves(&inner.body, axis)))
}
