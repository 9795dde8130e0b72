//! Expressions to values: names are looked up, numbers folded, and what is left becomes equations of the scope.

use super::ExprOp;
use super::functions::Function;
use super::init::{self, InitSpec};
use super::operators::Operand;
use super::scope::{Checked, Reported, Rules, Scope, Value};
use super::unknown::{unknown_function, unknown_name};
use crate::diag::{Diagnostic, Span, count};
use crate::scalar::Scalar;
use crate::syntax::ast::{Arg, Binary, Expr, ExprKind, Name};

impl Scope {
    /// The value of an expression; its equations are added to the scope. Among constants it is no equation, for it is used in
    /// other scopes.
    pub fn eval(&mut self, expr: &Expr) -> Checked<Value> {
        let value = self.value(expr)?;
        let is_equation = matches!(value, Value::Expr(_) | Value::Token(_));
        debug_assert!(
            self.rules != Rules::Constants || !is_equation,
            "internal error: `{expr}` is a constant"
        );
        Ok(value)
    }

    fn value(&mut self, expr: &Expr) -> Checked<Value> {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Number(value) => Ok(Value::Number(*value)),
            ExprKind::Text(text) => {
                let error = Diagnostic::error("E0405", span, "a text in quotes has no place here");
                Err(self.error(error.help(format!("names and numbers stand without quotes: `{text}`"))))
            }
            ExprKind::Name(name) => self.name(name, span),
            ExprKind::Next(name) => match self.next.get(&name.text) {
                Some(Value::Unknown) | None if self.names.contains_key(&name.text) => Err(Reported),
                Some(value) => Ok(*value),
                None => {
                    let message = format!("`next {}` has no meaning here", name.text);
                    Err(self.error(Diagnostic::error("E0201", span, message)))
                }
            },
            ExprKind::Neg(x) => self.scalar(Scalar::Neg, &[x], expr),
            ExprKind::Binary(op, a, b) => match scalar_of(*op) {
                Some(op) => self.scalar(op, &[a, b], expr),
                None => self.matrix_product(a, b, expr),
            },
            ExprKind::Call(name, args) => self.named_call(name, args, expr),
            ExprKind::Index(table, token) => self.table_row(table, token, expr),
            ExprKind::Slice(x, start, end) => self.vector_slice(x, start, end, expr),
            ExprKind::If(condition, yes, no) => self.scalar(Scalar::Select, &[condition, yes, no], expr),
        }
    }

    /// A number known while compiling.
    pub fn number(&mut self, expr: &Expr) -> Checked<f64> {
        match self.eval(expr)? {
            Value::Number(value) => Ok(value),
            other => {
                let reported = self.wrong_kind(expr, &other, "a number known while compiling");
                self.silence(expr);
                Err(reported)
            }
        }
    }

    fn evaluated<'e>(&mut self, expr: &'e Expr) -> Checked<Operand<'e>> {
        self.eval(expr).map(|value| Operand { value, expr })
    }

    /// All operands are evaluated before the first failure is passed on, so that each reports its errors.
    fn operands<'e>(&mut self, exprs: &[&'e Expr]) -> Checked<Vec<Operand<'e>>> {
        let operands: Vec<Checked<Operand>> = exprs.iter().map(|expr| self.evaluated(expr)).collect();
        operands.into_iter().collect()
    }

    fn scalar(&mut self, op: Scalar, operands: &[&Expr], whole: &Expr) -> Checked<Value> {
        let operands = self.operands(operands)?;
        self.map(op, &operands, whole)
    }

    /// `x @ W`, or `x @ transpose(W)`.
    fn matrix_product(&mut self, x: &Expr, w: &Expr, whole: &Expr) -> Checked<Value> {
        self.needs_layer("`@`", whole)?;
        let (w, transposed) = match &w.kind {
            ExprKind::Call(name, args) if name.text == "transpose" && args.len() == 1 => {
                (&args[0].value, true)
            }
            _ => (w, false),
        };
        let (x, w) = (self.evaluated(x), self.evaluated(w));
        self.product(x?, w?, transposed, whole)
    }

    /// `table[token]`
    fn table_row(&mut self, table: &Expr, token: &Expr, whole: &Expr) -> Checked<Value> {
        self.needs_layer("a row of a table", whole)?;
        let (table, token) = (self.evaluated(table), self.evaluated(token));
        self.row(table?, token?, whole)
    }

    /// `x[start:end]`
    fn vector_slice(&mut self, x: &Expr, start: &Expr, end: &Expr, whole: &Expr) -> Checked<Value> {
        self.needs_layer("a slice", whole)?;
        let value = self.eval(x)?;
        let x = self.vector(value, x)?;
        let (start, end) = (self.number(start)?, self.number(end)?);
        self.slice(x, start, end, whole)
    }

    fn name(&mut self, name: &str, span: Span) -> Checked<Value> {
        match self.names.get(name) {
            Some((Value::Unknown, _)) => return Err(Reported),
            Some((value, _)) => return Ok(*value),
            None => {}
        }
        match (name, self.rules) {
            ("training", Rules::Layer) => return Ok(Value::Expr(self.push(ExprOp::Training, vec![], span))),
            ("step", Rules::Optimizer) => return Ok(Value::Expr(self.push(ExprOp::Step, vec![], span))),
            _ => {}
        }
        if let Some(function) = Function::named(name) {
            return Ok(Value::Function(function));
        }
        if let Some(spec) = InitSpec::named(name) {
            return Ok(Value::Init(spec));
        }
        if init::NAMES.contains(&name) {
            let error = Diagnostic::error("E0210", span, format!("`{name}` needs its argument"));
            return Err(self.error(error.help(InitSpec::usage(name))));
        }
        let error = Diagnostic::error("E0201", span, format!("there is no `{name}` here"));
        let known = self.names.keys().map(String::as_str);
        let error = unknown_name(error, self.wanted, name, known);
        Err(self.error(error))
    }

    fn named_call(&mut self, name: &Name, args: &[Arg], whole: &Expr) -> Checked<Value> {
        let bound = self.names.get(&name.text).copied();
        let function = match bound {
            Some((Value::Unknown, _)) => return Err(Reported),
            Some((Value::Function(function), _)) => Some(function),
            _ => Function::named(&name.text),
        };
        if let Some(function) = function {
            return self.function_call(function, args, whole);
        }
        if let Some((value, declared)) = bound {
            let message = format!("`{}` is called here, and it is {}", name.text, self.describe(&value));
            let error = Diagnostic::error("E0405", name.span, message).at("a function is needed");
            return Err(self.error(error.label(declared, format!("`{}` comes from here", name.text))));
        }
        if init::NAMES.contains(&name.text.as_str()) {
            return self.initializer_call(name, args, whole);
        }
        Err(self.error(unknown_function(name, self.wanted)))
    }

    /// A call of a builtin function.
    fn function_call(&mut self, function: Function, args: &[Arg], whole: &Expr) -> Checked<Value> {
        self.check_call(function, args, whole)?;
        if function != Function::Concat {
            let exprs: Vec<&Expr> = args.iter().map(|arg| &arg.value).collect();
            let operands = self.operands(&exprs)?;
            return self.call(function, &operands, whole);
        }
        let mut parts = Vec::new();
        for arg in args {
            let value = self.eval(&arg.value)?;
            parts.push(self.vector(value, &arg.value)?);
        }
        Ok(self.concat(parts, whole))
    }

    fn initializer_call(&mut self, name: &Name, args: &[Arg], whole: &Expr) -> Checked<Value> {
        let mut numbers = Vec::new();
        for arg in args {
            self.no_name(arg, &name.text)?;
            numbers.push(self.number(&arg.value)?);
        }
        let Some(spec) = InitSpec::call(&name.text, &numbers) else {
            let message = format!("`{}` does not take {}", name.text, count(args.len(), "argument"));
            let error = Diagnostic::error("E0210", whole.span, message);
            return Err(self.error(error.help(InitSpec::usage(&name.text))));
        };
        if spec.is_sound() {
            return Ok(Value::Init(spec));
        }
        let error = Diagnostic::error("E0406", whole.span, format!("`{whole}` cannot be drawn from"));
        Err(self.error(error.help(format!("{}; none is below 0", InitSpec::usage(&name.text)))))
    }
}

/// The scalar operation that an operator applies element by element; `@` has none.
fn scalar_of(op: Binary) -> Option<Scalar> {
    Some(match op {
        Binary::Add => Scalar::Add,
        Binary::Sub => Scalar::Sub,
        Binary::Mul => Scalar::Mul,
        Binary::Div => Scalar::Div,
        Binary::Pow => Scalar::Pow,
        Binary::Lt => Scalar::Lt,
        Binary::Le => Scalar::Le,
        Binary::Gt => Scalar::Gt,
        Binary::Ge => Scalar::Ge,
        Binary::Eq => Scalar::Eq,
        Binary::Ne => Scalar::Ne,
        Binary::MatMul => return None,
    })
}
