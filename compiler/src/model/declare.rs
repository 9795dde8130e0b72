//! Declarations of parameters and states: shapes, initializers, start values.

use super::Param;
use super::context::Context;
use super::init::InitSpec;
use super::scope::{Checked, Scope};
use super::sizes::{LIMIT, as_size};
use crate::diag::{Diagnostic, Place, Span};
use crate::syntax::ast::{Declaration, Expr, ExprKind};

/// A declared shape: one or two sizes.
pub(super) fn shape(scope: &mut Scope, declaration: &Declaration) -> Checked<Vec<usize>> {
    let Some(sizes) = &declaration.shape else {
        let error = Diagnostic::error("E0306", declaration.span, "this parameter has no shape");
        return Err(scope.error(error.help("such as `param W: [in, units]`")));
    };
    let mut shape = Vec::new();
    for size in sizes {
        shape.push(dimension(scope, size)?);
    }
    if !(1..=2).contains(&shape.len()) {
        let message = format!("{shape:?} is neither a vector nor a matrix");
        let error = Diagnostic::error("E0306", declaration.span, message);
        return Err(scope.error(error.help("`[n]` is a vector, `[rows, columns]` a matrix")));
    }
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    if elements.is_none_or(|elements| elements >= LIMIT) {
        let error = Diagnostic::error("E0311", declaration.span, format!("a tensor {shape:?} is too large"));
        return Err(scope.error(error.help("one tensor has fewer than 2^31 elements")));
    }
    Ok(shape)
}

fn dimension(scope: &mut Scope, expr: &Expr) -> Checked<usize> {
    let value = scope.number(expr)?;
    if let Some(size) = as_size(value).filter(|size| *size > 0) {
        return Ok(size);
    }
    let shown = crate::syntax::number(value);
    let message = if shown == expr.to_string() {
        format!("{shown} is not a size")
    } else {
        format!("`{expr}` is {shown}: no size")
    };
    let mut error = Diagnostic::error("E0311", expr.span, message);
    if let ExprKind::Name(name) = &expr.kind
        && let Some((_, given)) = scope.names.get(name)
    {
        error = error.label(*given, format!("`{name}` comes from here"));
    }
    let reported = scope.error(error.help("a size is a whole number from 1 to 2147483647"));
    scope.silence(expr);
    Err(reported)
}

/// A declared initializer, before the shape is known.
pub(super) fn init(scope: &mut Scope, declaration: &Declaration) -> Checked<(InitSpec, Span)> {
    match &declaration.init {
        None => Ok((InitSpec::Default, declaration.span)),
        Some(expr) => {
            let before = std::mem::replace(&mut scope.wanted, Place::Initializer);
            let value = scope.eval(expr);
            scope.wanted = before;
            let value = value?;
            Ok((scope.initializer(value, expr.span)?, expr.span))
        }
    }
}

/// Adds a parameter to the model; its index.
pub(super) fn declare_param(
    cx: &mut Context,
    scope: &mut Scope,
    name: &str,
    shape: &[usize],
    (init, init_span): (InitSpec, Span),
    span: Span,
) -> Option<usize> {
    match init.resolve(shape, cx.default_init, init_span) {
        Ok(init) => {
            cx.params.push(Param { name: name.to_owned(), shape: shape.to_vec(), init, span });
            Some(cx.params.len() - 1)
        }
        Err(error) => {
            scope.error(error);
            None
        }
    }
}

/// A state's value at the start of a sequence: zero unless it says otherwise.
pub(super) fn start_value(scope: &mut Scope, declaration: &Declaration) -> Checked<f64> {
    let Some(expr) = &declaration.init else {
        return Ok(0.0);
    };
    let value = scope.eval(expr)?;
    match scope.initializer(value, expr.span)? {
        InitSpec::Constant(value) => Ok(value),
        _ => {
            let error = Diagnostic::error("E0412", expr.span, format!("a state cannot start as `{expr}`"));
            Err(scope.error(error.help("a state starts as `zeros`, `ones` or a number")))
        }
    }
}
