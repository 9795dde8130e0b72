//! Expressions as a user would write them, for messages.

use std::fmt;

use super::ast::{Arg, Expr, ExprKind, Range};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(value) => write!(f, "{}", number(*value)),
            ExprKind::Text(text) => write!(f, "\"{text}\""),
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::Next(name) => write!(f, "next {}", name.text),
            ExprKind::Neg(x) => {
                f.write_str("-")?;
                operand(f, x, 4)
            }
            ExprKind::Binary(op, a, b) => {
                operand(f, a, op.level())?;
                write!(f, " {} ", op.symbol())?;
                operand(f, b, op.level() + 1)
            }
            ExprKind::Call(name, args) => {
                write!(f, "{}(", name.text)?;
                arguments(f, args)?;
                f.write_str(")")
            }
            ExprKind::Index(x, at) => {
                operand(f, x, 6)?;
                write!(f, "[{at}]")
            }
            ExprKind::Slice(x, start, end) => {
                operand(f, x, 6)?;
                write!(f, "[{start}:{end}]")
            }
            ExprKind::If(c, a, b) => write!(f, "if {c} then {a} else {b}"),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name.text;
        let mut rest = String::new();
        if let Some(most) = &self.most {
            let sign = if most.included { "<=" } else { "<" };
            rest = format!(" {sign} {}", most.value);
        }
        match &self.least {
            Some(least) if self.most.is_some() => {
                let sign = if least.included { "<=" } else { "<" };
                write!(f, "{} {sign} {name}{rest}", least.value)
            }
            Some(least) => {
                let sign = if least.included { ">=" } else { ">" };
                write!(f, "{name} {sign} {}", least.value)
            }
            None => write!(f, "{name}{rest}"),
        }
    }
}

fn arguments(f: &mut fmt::Formatter<'_>, args: &[Arg]) -> fmt::Result {
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        if let Some(name) = &arg.name {
            write!(f, "{}: ", name.text)?;
        }
        write!(f, "{}", arg.value)?;
    }
    Ok(())
}

fn operand(f: &mut fmt::Formatter<'_>, x: &Expr, least: u8) -> fmt::Result {
    let level = match &x.kind {
        ExprKind::If(..) => 0,
        ExprKind::Binary(op, ..) => op.level(),
        ExprKind::Neg(_) => 4,
        _ => 6,
    };
    if level < least { write!(f, "({x})") } else { write!(f, "{x}") }
}

/// A number in its shortest form that reads back the same: `5`, `0.5`, `1e-7`.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:?}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}
