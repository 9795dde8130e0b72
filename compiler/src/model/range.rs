//! The ranges of options: `where 0 <= rate < 1` after the head of a layer or an optimizer.

use super::scope::{Checked, Reported, Rules, Scope, Value};
use crate::diag::Diagnostic;
use crate::syntax::ast::{Bound, Definition, Expr, ExprKind, Formal, FormalKind, Range};

/// Where an option's value was written.
#[derive(Clone, Copy)]
pub(super) enum Written<'a> {
    /// In the use of the layer or optimizer.
    Argument(&'a Expr),
    /// In its definition.
    Default(&'a Expr),
}

/// The option's value if it is in the ranges that `definition` gives it. `scope` has the names that bounds may use: sizes
/// and the options before this one.
pub(super) fn check(
    scope: &mut Scope,
    definition: &Definition,
    formal: &Formal,
    value: Value,
    written: Written,
) -> Checked<Value> {
    for range in ranges(definition, formal) {
        if let Some(error) = fault(scope, definition, range, value, written)? {
            return Err(match written {
                // The error is in the use already.
                Written::Argument(_) => {
                    scope.errors.push(error);
                    Reported
                }
                Written::Default(_) => scope.error(error),
            });
        }
    }
    Ok(value)
}

/// Reports a default that is out of its range in every use.
pub(super) fn check_default(definition: &Definition, formal: &Formal, errors: &mut Vec<Diagnostic>) {
    let FormalKind::Option(Some(default)) = &formal.kind else { return };
    // A default that needs sizes or other options has no value here; it is checked at each use.
    let mut scope = Scope::new(Rules::Constants, None);
    let Ok(value) = scope.eval(default) else { return };
    for range in ranges(definition, formal) {
        if let Ok(Some(error)) = fault(&mut scope, definition, range, value, Written::Default(default)) {
            return errors.push(error);
        }
    }
}

fn ranges<'a>(definition: &'a Definition, formal: &Formal) -> impl Iterator<Item = &'a Range> {
    let name = formal.name.text.clone();
    definition.ranges.iter().filter(move |range| range.name.text == name)
}

fn fault(
    scope: &mut Scope,
    definition: &Definition,
    range: &Range,
    value: Value,
    written: Written,
) -> Checked<Option<Diagnostic>> {
    let (Written::Argument(expr) | Written::Default(expr)) = written;
    let (layer, option) = (&definition.name.text, &range.name.text);
    let number = match value {
        Value::Number(number) => number,
        Value::Unknown => return Err(Reported),
        other => {
            let message = format!("`{option}` is a number, and `{expr}` is {}", scope.describe(&other));
            let error = Diagnostic::error("E0405", expr.span, message);
            return Ok(Some(error.label(range.span, "its range is given here")));
        }
    };
    let mut bound = |bound: &Option<Bound>| match bound {
        Some(bound) => scope.number(&bound.value).map(Some),
        None => Ok(None),
    };
    let least = bound(&range.least)?;
    let most = bound(&range.most)?;
    let includes = |bound: &Option<Bound>| bound.as_ref().is_some_and(|bound| bound.included);
    let above = least.is_none_or(|least| number > least || (includes(&range.least) && number == least));
    let below = most.is_none_or(|most| number < most || (includes(&range.most) && number == most));
    if above && below {
        return Ok(None);
    }
    let shown = crate::syntax::number(number);
    let message = format!("`{layer}` needs `{range}`, and `{option}` is {shown}");
    let error = Diagnostic::error("E0406", expr.span, message).at("out of range");
    let in_numbers = Range {
        least: in_numbers(&range.least, least),
        most: in_numbers(&range.most, most),
        ..range.clone()
    };
    let here = in_numbers.to_string();
    let label = if here == range.to_string() { "the range".to_owned() } else { format!("here `{here}`") };
    Ok(Some(error.label(range.span, label)))
}

/// The bound with its value as a number.
fn in_numbers(bound: &Option<Bound>, limit: Option<f64>) -> Option<Bound> {
    let (bound, limit) = (bound.as_ref()?, limit?);
    Some(Bound { value: Expr { kind: ExprKind::Number(limit), ..bound.value.clone() }, ..bound.clone() })
}
