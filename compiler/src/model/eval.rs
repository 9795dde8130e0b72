//! Expressions to typed equations: names are looked up, numbers folded, shapes computed and compared.

use std::collections::BTreeMap;

use super::functions::Function;
use super::init::{InitSpec, NAMES};
use super::settings::count;
use super::unknown::{unknown_function, unknown_name};
use super::{Body, Expr, ExprId, ExprOp};
use crate::diag::{Diagnostic, Place, Span};
use crate::scalar::Scalar;
use crate::syntax::ast::{self, Arg, Binary, ExprKind, Name};

/// An error was reported; whatever depends on this value stays silent.
#[derive(Debug)]
pub(super) struct Reported;

pub(super) type Checked<T> = Result<T, Reported>;

/// What an expression or a name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// Known while compiling: sizes and options.
    Number(f64),
    Function(Function),
    Init(InitSpec),
    /// Computed by the body: a number, a vector or a parameter matrix.
    Expr(ExprId),
    /// An `Input` that reads token ids.
    Token(ExprId),
    /// Its error has been reported.
    Unknown,
}

/// What may be said in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Arguments and settings: numbers, functions and initializers.
    Constants,
    Layer,
    /// Element by element.
    Optimizer,
}

/// The names of a body and the equations so far.
pub(super) struct Scope {
    pub rules: Rules,
    pub names: BTreeMap<String, (Value, Span)>,
    /// The new values of states that have one.
    pub next: BTreeMap<String, Value>,
    pub body: Body,
    pub errors: Vec<Diagnostic>,
    /// Where the layer or optimizer is used, and its name: said with every error in its body.
    pub user: Option<(Span, String)>,
    /// What an unknown name is taken for: an initializer, a function, or any name.
    pub wanted: Place,
}

impl Scope {
    pub fn new(rules: Rules, user: Option<(Span, String)>) -> Self {
        let (names, next) = (BTreeMap::new(), BTreeMap::new());
        Self { rules, names, next, body: Body::default(), errors: Vec::new(), user, wanted: Place::Name }
    }

    /// A scope without names or equations.
    pub fn constants() -> Self {
        Self::new(Rules::Constants, None)
    }

    pub fn bind(&mut self, name: &str, value: Value, span: Span) {
        self.names.insert(name.to_owned(), (value, span));
    }

    pub fn error(&mut self, error: Diagnostic) -> Reported {
        let error = match &self.user {
            Some((span, name)) => error.label(*span, format!("in this use of `{name}`")),
            None => error,
        };
        self.errors.push(error);
        Reported
    }

    pub fn push(&mut self, op: ExprOp, shape: Vec<usize>, span: Span) -> ExprId {
        self.body.exprs.push(Expr { op, shape, name: None, span });
        ExprId((self.body.exprs.len() - 1) as u32)
    }

    pub fn shape(&self, id: ExprId) -> &[usize] {
        &self.body.exprs[id.0 as usize].shape
    }

    /// Names an equation that has no name yet.
    pub fn label(&mut self, id: ExprId, name: &str) {
        let expr = &mut self.body.exprs[id.0 as usize];
        expr.name.get_or_insert_with(|| name.to_owned());
    }

    /// A value in the words of a message.
    pub fn describe(&self, value: &Value) -> String {
        match value {
            Value::Number(value) => format!("the number {}", crate::syntax::number(*value)),
            Value::Function(function) => format!("the function `{}`", function.name()),
            Value::Init(_) => "an initializer".to_owned(),
            Value::Token(_) => "a token".to_owned(),
            Value::Unknown => "unknown".to_owned(),
            Value::Expr(id) => match self.shape(*id) {
                [] => "a number computed in each step".to_owned(),
                shape @ [_] => format!("a vector {shape:?}"),
                shape => format!("a matrix {shape:?}"),
            },
        }
    }

    pub fn eval(&mut self, expr: &ast::Expr) -> Checked<Value> {
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
            ExprKind::Neg(x) => self.map(Scalar::Neg, &[x], expr),
            ExprKind::Binary(op, a, b) => match scalar(*op) {
                Some(op) => self.map(op, &[a, b], expr),
                None => self.product(a, b, expr),
            },
            ExprKind::Call(name, args) => self.call(name, args, expr),
            ExprKind::Index(base, index) => self.index(base, index, expr),
            ExprKind::Slice(base, start, end) => self.slice(base, start, end, expr),
            ExprKind::If(c, a, b) => self.map(Scalar::Select, &[c, a, b], expr),
        }
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
        if NAMES.contains(&name) {
            let error = Diagnostic::error("E0210", span, format!("`{name}` needs its argument"));
            return Err(self.error(error.help(InitSpec::usage(name))));
        }
        let error = Diagnostic::error("E0201", span, format!("there is no `{name}` here"));
        let known = self.names.keys().map(String::as_str);
        let error = unknown_name(error, self.wanted, name, known);
        Err(self.error(error))
    }

    fn call(&mut self, name: &Name, args: &[Arg], whole: &ast::Expr) -> Checked<Value> {
        let bound = self.names.get(&name.text).copied();
        let function = match bound {
            Some((Value::Unknown, _)) => return Err(Reported),
            Some((Value::Function(function), _)) => Some(function),
            _ => Function::named(&name.text),
        };
        if let Some(function) = function {
            return self.apply(function, args, whole);
        }
        if let Some((value, declared)) = bound {
            let message = format!("`{}` is called here, and it is {}", name.text, self.describe(&value));
            let error = Diagnostic::error("E0405", name.span, message).at("a function is needed");
            return Err(self.error(error.label(declared, format!("`{}` comes from here", name.text))));
        }
        if NAMES.contains(&name.text.as_str()) {
            return self.initializer_call(name, args, whole);
        }
        Err(self.error(unknown_function(name, self.wanted)))
    }

    fn initializer_call(&mut self, name: &Name, args: &[Arg], whole: &ast::Expr) -> Checked<Value> {
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

    pub fn no_name(&mut self, arg: &Arg, function: &str) -> Checked<()> {
        let Some(name) = &arg.name else {
            return Ok(());
        };
        let error = Diagnostic::error("E0210", name.span, format!("`{function}` has no named arguments"));
        Err(self.error(error.help(format!("leave out `{}:`", name.text))))
    }

    /// A number known while compiling.
    pub fn number(&mut self, expr: &ast::Expr) -> Checked<f64> {
        match self.eval(expr)? {
            Value::Number(value) => Ok(value),
            other => {
                let reported = self.wrong_kind(expr, &other, "a number known while compiling");
                self.silence(expr);
                Err(reported)
            }
        }
    }

    /// After an error about an option: its other uses have the same cause.
    pub fn silence(&mut self, expr: &ast::Expr) {
        if let ExprKind::Name(name) = &expr.kind
            && let Some((value @ (Value::Number(_) | Value::Function(_) | Value::Init(_)), _)) =
                self.names.get_mut(name)
        {
            *value = Value::Unknown;
        }
    }

    /// An initializer: numbers are constants.
    pub fn initializer(&mut self, value: Value, span: Span) -> Checked<InitSpec> {
        match value {
            Value::Number(value) => Ok(InitSpec::Constant(value)),
            Value::Init(spec) => Ok(spec),
            other => {
                let message = format!("this is {}; an initializer is needed", self.describe(&other));
                let error = Diagnostic::error("E0405", span, message);
                Err(self.error(error.help("such as `zeros`, `uniform(0.05)` or `glorot`")))
            }
        }
    }

    /// A number or a vector of the body.
    pub fn operand(&mut self, value: Value, expr: &ast::Expr) -> Checked<ExprId> {
        let id = match value {
            Value::Number(value) => self.push(ExprOp::Const(value), vec![], expr.span),
            Value::Expr(id) => id,
            other => return Err(self.wrong_kind(expr, &other, "a number or a vector")),
        };
        if self.shape(id).len() < 2 {
            return Ok(id);
        }
        let message = format!("`{expr}` is a matrix {:?}; a vector is needed here", self.shape(id));
        let error = Diagnostic::error("E0304", expr.span, message);
        Err(self.error(error.help("a matrix stands on the right of `@`, or is indexed by a token")))
    }

    pub fn wrong_kind(&mut self, expr: &ast::Expr, value: &Value, wanted: &str) -> Reported {
        let message = format!("`{expr}` is {}; {wanted} is needed here", self.describe(value));
        let mut error = Diagnostic::error("E0405", expr.span, message);
        if let ExprKind::Name(name) = &expr.kind
            && let Some((_, declared)) = self.names.get(name)
        {
            error = error.label(*declared, format!("`{name}` comes from here"));
        }
        self.error(error)
    }
}

/// The scalar operation of an operator, if it is one.
fn scalar(op: Binary) -> Option<Scalar> {
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
