//! What the model's result is: a distribution by construction, or logits, to which softmax is then added.
//!
//! Decided from equations alone, by two questions. Can an element be negative, as far as intervals tell? Do the elements
//! add up to 1, as far as algebra tells (see [`super::total`])? What is never negative and adds up to 1 is a distribution,
//! what may be negative and need not add up to 1 is logits, and anything else is neither.

use super::context::Context;
use super::facts::Facts;
use super::total;
use super::{Body, Expr, ExprId, ExprOp, Layer, Source};
use crate::diag::{Diagnostic, Span};
use crate::scalar::Scalar;

/// The layer whose result is the distribution, given the one that ends the chain: that one or a softmax after it. `span` is
/// the chain's last stage. `None` with an error in `cx` if the result is neither a distribution nor logits.
pub(super) fn distribution(cx: &mut Context, last: usize, span: Span) -> Option<usize> {
    let facts = Facts::of(&cx.layers[..=last]);
    let result = facts.result(last);
    let adds_up = total::is_one(&facts, last);
    match (facts.interval(result).least >= 0.0, adds_up) {
        (true, true) => return Some(last),
        (false, false) => {
            let layer = normalised(&cx.layers[last], last);
            cx.layers.push(layer);
            return Some(cx.layers.len() - 1);
        }
        _ => {}
    }
    let computed = cx.layers[last].body.exprs[cx.layers[last].body.result.0 as usize].span;
    let (message, help) = if adds_up {
        let message = "the model's result adds up to 1, but its elements may be negative";
        (message, "a distribution is what cannot be negative, divided by its sum: `e = exp(x)`, `e / sum(e)`")
    } else {
        let message = "the model's result cannot be negative, and need not add up to 1";
        (
            message,
            "leave out what keeps it from being negative: then the result is logits, which `cross_entropy` takes; \
             or end the chain with `-> softmax`",
        )
    };
    let error = Diagnostic::error("E0312", span, message).at("neither logits nor a distribution");
    cx.errors.push(error.label(computed, "it is computed here").help(help));
    None
}

/// `e / sum(e)` with `e = exp(x - stop(max(x)))` of the result `x` of layer `index`.
fn normalised(logits: &Layer, index: usize) -> Layer {
    let (width, span) = (logits.width, logits.span);
    let mut exprs = vec![];
    let mut push = |op: ExprOp, shape: &[usize], name: Option<&str>| {
        exprs.push(Expr { op, shape: shape.to_vec(), name: name.map(str::to_owned), span });
        ExprId((exprs.len() - 1) as u32)
    };
    let x = push(ExprOp::Input(0), &[width], Some("x"));
    let largest = push(ExprOp::Max(x), &[], None);
    let largest = push(ExprOp::Stop(largest), &[], None);
    let below = push(ExprOp::Map(Scalar::Sub, vec![x, largest]), &[width], None);
    let e = push(ExprOp::Map(Scalar::Exp, vec![below]), &[width], Some("e"));
    let sum = push(ExprOp::Sum(e), &[], None);
    let result = push(ExprOp::Map(Scalar::Div, vec![e, sum]), &[width], None);
    Layer {
        name: "softmax (from logits)".to_owned(),
        span,
        inputs: vec![Source::Layer(index)],
        states: vec![],
        body: Body { exprs, next: vec![], result },
        width,
        every_step: logits.every_step,
    }
}

#[cfg(test)]
mod tests;
