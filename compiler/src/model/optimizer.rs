//! The train block's optimizer: its arguments are bound, its body becomes element-wise equations.

use super::context::Context;
use super::declare::start_value;
use super::keyed::Keyed;
use super::range::{self, Written};
use super::scope::{Checked, Reported, Rules, Scope, Value};
use super::settings::{head, number};
use super::{ExprOp, Optimizer, State};
use crate::diag::{Diagnostic, Place, Span, suggest};
use crate::syntax::ast::{Declaration, Definition, Expr, ExprKind, Formal, FormalKind, Statement};

/// The argument whose reads are the scheduled learning rate.
const RATE: &str = "rate";

/// The optimizer that `expr` chooses, `name` or `name(arguments)`; `None` with the errors in `cx`.
pub(super) fn check(cx: &mut Context, expr: &Expr, schedule: Option<Span>) -> Option<Optimizer> {
    let definitions = cx.definitions;
    let Some((name, span, args)) = head(expr) else {
        let error = Diagnostic::error("E0405", expr.span, format!("`{expr}` is not an optimizer"));
        cx.errors.push(match &expr.kind {
            ExprKind::Text(name) => error.help(format!("names stand without quotes: `optimizer: {name}`")),
            _ => error.help("such as `sgd(rate: 1.0)`"),
        });
        return None;
    };
    let Some(entry) = definitions.optimizers.get(name) else {
        let error = Diagnostic::error("E0203", span, format!("there is no optimizer `{name}`"));
        let known = definitions.optimizers.keys().copied();
        cx.errors.push(suggest(error, Place::Optimizer, name, known, "the optimizers are"));
        return None;
    };
    if !entry.sound {
        return None;
    }
    let definition = entry.definition;
    let [p, g, options @ ..] = definition.formals.as_slice() else {
        return None;
    };
    let keys: Vec<&str> = options.iter().map(|formal| formal.name.text.as_str()).collect();
    let keyed = Keyed::call(name, span, args, &keys, &mut cx.errors);
    if let (Some(schedule), false) = (schedule, keys.contains(&RATE)) {
        let error =
            Diagnostic::error("E0411", schedule, format!("`{name}` has no argument `{RATE}` to schedule"));
        cx.errors.push(error.label(definition.name.span, "its arguments are declared here"));
    }
    let mut scope = Scope::new(Rules::Optimizer, Some((expr.span, name.to_owned())));
    // If the optimizer has no argument `rate`, nothing reads this.
    let mut rate = 1.0;
    for formal in options {
        let given = keyed.list(&formal.name.text).first().copied();
        let value = option(cx, &mut scope, definition, formal, given, expr.span);
        if let (RATE, Value::Number(value)) = (formal.name.text.as_str(), value) {
            rate = value;
        }
        scope.bind(&formal.name.text, value, formal.name.span);
    }
    for (index, formal) in [p, g].into_iter().enumerate() {
        bind(&mut scope, ExprOp::Input(index), &formal.name.text, formal.name.span);
    }
    if let Some(formal) = options.iter().find(|formal| formal.name.text == RATE) {
        bind(&mut scope, ExprOp::Rate, RATE, formal.name.span);
    }
    let built = body(&mut scope, definition);
    cx.errors.append(&mut scope.errors);
    let states = built?;
    Some(Optimizer { name: name.to_owned(), states, body: scope.body, rate })
}

fn bind(scope: &mut Scope, op: ExprOp, name: &str, span: Span) {
    let id = scope.push(op, vec![], span);
    scope.label(id, name);
    scope.bind(name, Value::Expr(id), span);
}

/// An argument's value or its default: a number.
fn option(
    cx: &mut Context,
    scope: &mut Scope,
    definition: &Definition,
    formal: &Formal,
    given: Option<&Expr>,
    span: Span,
) -> Value {
    let name = &formal.name;
    let in_range = |scope: &mut Scope, value: f64, written: Written| {
        range::check(scope, definition, formal, Value::Number(value), written).unwrap_or(Value::Unknown)
    };
    match (given, &formal.kind) {
        (Some(expr), _) => match number(&name.text, expr, &mut cx.errors) {
            Some(value) => in_range(scope, value, Written::Argument(expr)),
            None => Value::Unknown,
        },
        (None, FormalKind::Option(Some(default))) => match scope.number(default) {
            Ok(value) => in_range(scope, value, Written::Default(default)),
            Err(Reported) => Value::Unknown,
        },
        (None, _) => {
            let error = Diagnostic::error("E0211", span, format!("the argument `{}` is missing", name.text));
            cx.errors.push(error.label(name.span, "declared here without a default"));
            Value::Unknown
        }
    }
}

/// Adds the statements' equations to the scope; the states, or `None` if something is wrong.
fn body(scope: &mut Scope, definition: &Definition) -> Option<Vec<State>> {
    let mut states = Vec::new();
    let mut result = None;
    for statement in &definition.body {
        match statement {
            Statement::State(declaration) => declare(scope, declaration, &mut states),
            Statement::Assign(name, expr) => {
                let value = scope.eval(expr).unwrap_or(Value::Unknown);
                if let Value::Expr(id) = value {
                    scope.label(id, &name.text);
                }
                scope.bind(&name.text, value, name.span);
            }
            Statement::Next(name, expr) => {
                let value = element(scope, expr).unwrap_or(Value::Unknown);
                if let Value::Expr(id) = value {
                    scope.label(id, &format!("next {}", name.text));
                }
                scope.next.insert(name.text.clone(), value);
            }
            Statement::Return(expr, _) => result = element(scope, expr).ok(),
            // Refused where the definition's names are checked.
            Statement::Param(_) => {}
        }
    }
    for state in &states {
        match scope.next.get(&state.name) {
            Some(Value::Expr(id)) => scope.body.next.push(*id),
            _ => return None,
        }
    }
    match result {
        Some(Value::Expr(id)) if scope.errors.is_empty() => {
            scope.body.result = id;
            Some(states)
        }
        _ => None,
    }
}

fn declare(scope: &mut Scope, declaration: &Declaration, states: &mut Vec<State>) {
    let start = start_value(scope, declaration);
    for name in &declaration.names {
        match start {
            Ok(start) => {
                bind(scope, ExprOp::State(states.len()), &name.text, name.span);
                states.push(State { name: name.text.clone(), width: 1, start, span: name.span });
            }
            Err(Reported) => scope.bind(&name.text, Value::Unknown, name.span),
        }
    }
}

fn element(scope: &mut Scope, expr: &Expr) -> Checked<Value> {
    let value = scope.eval(expr)?;
    scope.operand(value, expr).map(Value::Expr)
}
