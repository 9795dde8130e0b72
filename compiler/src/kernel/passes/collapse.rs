//! Loop nests as plain as they can be: loops of one iteration go, and parallel loops that walk memory evenly are collapsed
//! into one.

use super::{each_kernel, each_terms};
use crate::kernel::{Axis, Expr, For, Index, Kernel, Module, Stmt};

/// The module with plainer nests.
pub fn collapse(mut module: Module) -> Module {
    each_kernel(&mut module, &mut |kernel| {
        drop_single_iterations(&mut kernel.body, &kernel.axes);
        collapse_rows(kernel);
    });
    module
}

fn any_position(stmts: &[Stmt], axis: Axis) -> bool {
    stmts.iter().any(|stmt| match stmt {
        Stmt::Let { expr: Expr::Position(at), .. } => *at == axis,
        Stmt::For(inner) => any_position(&inner.body, axis),
        _ => false,
    })
}

/// A loop of one iteration that folds nothing is its body.
fn drop_single_iterations(stmts: &mut Vec<Stmt>, axes: &[usize]) {
    let mut kept = vec![];
    for mut stmt in std::mem::take(stmts) {
        let Stmt::For(inner) = &mut stmt else {
            kept.push(stmt);
            continue;
        };
        drop_single_iterations(&mut inner.body, axes);
        if axes[inner.axis.0 as usize] != 1 || !inner.folds.is_empty() {
            kept.push(stmt);
            continue;
        }
        let axis = inner.axis;
        each_terms(&mut inner.body, &mut |terms| terms.retain(|(index, _)| *index != Index::Axis(axis)));
        zero_position(&mut inner.body, axis);
        kept.append(&mut inner.body);
    }
    *stmts = kept;
}

fn zero_position(stmts: &mut [Stmt], axis: Axis) {
    for stmt in stmts {
        match stmt {
            Stmt::Let { expr, .. } if *expr == Expr::Position(axis) => *expr = Expr::Const(0.0),
            Stmt::For(inner) => zero_position(&mut inner.body, axis),
            _ => {}
        }
    }
}

/// Turns `for a { for b { .. } }` into one loop over both where that leaves every address as it was: the rows of
/// `[T, B, n]` are `T * B` rows. Innermost loops, which run in lanes, are left.
fn collapse_rows(kernel: &mut Kernel) {
    let Kernel { axes, body, .. } = kernel;
    for stmt in body {
        if let Stmt::For(outer) = stmt {
            while collapse_once(outer, axes) {}
        }
    }
}

fn collapse_once(outer: &mut For, axes: &mut [usize]) -> bool {
    let a = outer.axis;
    let [Stmt::For(inner)] = &mut outer.body[..] else { return false };
    let b = inner.axis;
    let extent = axes[b.0 as usize];
    let innermost = !inner.body.iter().any(|stmt| matches!(stmt, Stmt::For(_)));
    let plain = outer.parallel && inner.parallel && outer.folds.is_empty() && inner.folds.is_empty();
    if !plain || innermost || any_position(&inner.body, a) || any_position(&inner.body, b) {
        return false;
    }
    let stride = |terms: &[(Index, usize)], axis: Axis| {
        terms.iter().find(|(index, _)| *index == Index::Axis(axis)).map_or(0, |(_, stride)| *stride)
    };
    let mut even = true;
    each_terms(&mut inner.body, &mut |terms| even &= stride(terms, a) == extent * stride(terms, b));
    if !even {
        return false;
    }
    each_terms(&mut inner.body, &mut |terms| terms.retain(|(index, _)| *index != Index::Axis(a)));
    axes[b.0 as usize] = extent * axes[a.0 as usize];
    axes[a.0 as usize] = 1;
    *outer = inner.clone();
    true
}
