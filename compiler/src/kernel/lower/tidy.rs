//! Loop nests as plain as they can be: loops of one iteration go, parallel loops that walk memory evenly are collapsed
//! into one, and innermost loops that can run in vector lanes are marked.

use std::collections::HashSet;

use crate::kernel::{Address, Axis, Expr, For, Index, Item, Kernel, Module, Stmt, Var};

pub(super) fn tidy(module: &mut Module) {
    each_kernel(&mut module.items, &mut |kernel| {
        drop_single_iterations(&mut kernel.body, &kernel.axes);
        collapse(kernel);
        mark_vectors(&mut kernel.body);
    });
    let mut taken = HashSet::new();
    each_kernel(&mut module.items, &mut |kernel| make_unique(&mut kernel.name, &mut taken));
}

/// Numbers a name that has been taken: a carried value is copied before its loop and at the end of each round.
pub(super) fn make_unique(name: &mut String, taken: &mut HashSet<String>) {
    let mut numbered = name.clone();
    let mut number = 2;
    while !taken.insert(numbered.clone()) {
        numbered = format!("{name}_{number}");
        number += 1;
    }
    *name = numbered;
}

fn each_kernel(items: &mut [Item], act: &mut impl FnMut(&mut Kernel)) {
    for item in items {
        match item {
            Item::Kernel(kernel) => act(kernel),
            Item::Loop(inner) => each_kernel(&mut inner.items, act),
            _ => {}
        }
    }
}

/// Calls `act` on the terms of every address, and random's flat index, of a statement list.
fn each_terms(stmts: &mut [Stmt], act: &mut impl FnMut(&mut Vec<(Index, usize)>)) {
    for stmt in stmts {
        match stmt {
            Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } => act(&mut at.terms),
            Stmt::Let { expr: Expr::Random { terms, .. }, .. } => act(terms),
            Stmt::Let { .. } => {}
            Stmt::Store { to, .. } => act(&mut to.terms),
            Stmt::For(inner) => each_terms(&mut inner.body, act),
        }
    }
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
fn collapse(kernel: &mut Kernel) {
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
