//! A scope: the names that an expression can use, what they stand for, and the equations that it becomes.

use std::collections::BTreeMap;

use super::functions::Function;
use super::init::InitSpec;
use super::{Body, Expr, ExprId, ExprOp};
use crate::diag::{Diagnostic, Place, Span};
use crate::syntax::ast::{self, Arg, ExprKind};

/// The error has been reported: values computed from this one report nothing more.
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

/// What the expressions of a scope may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Numbers, functions and initializers: arguments and settings.
    Constants,
    /// Also equations over vectors and matrices.
    Layer,
    /// Also equations over one element of a parameter.
    Optimizer,
}

/// The names in scope and the equations so far.
pub(super) struct Scope {
    pub rules: Rules,
    /// What each name stands for, and where it got its value.
    pub names: BTreeMap<String, (Value, Span)>,
    /// `next s`, for the states whose equation has been read.
    pub next: BTreeMap<String, Value>,
    pub body: Body,
    pub errors: Vec<Diagnostic>,
    /// The use of the layer or optimizer, and its name: a label of every error in its body.
    pub user: Option<(Span, String)>,
    /// What kind of name is expected, for the help about an unknown one.
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

    /// Records an error.
    pub fn error(&mut self, error: Diagnostic) -> Reported {
        let error = match &self.user {
            Some((span, name)) => error.label(*span, format!("in this use of `{name}`")),
            None => error,
        };
        self.errors.push(error);
        Reported
    }

    /// Adds an equation.
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

    /// Refuses `name: value` as an argument of a builtin function.
    pub fn no_name(&mut self, arg: &Arg, function: &str) -> Checked<()> {
        let Some(name) = &arg.name else {
            return Ok(());
        };
        let error = Diagnostic::error("E0210", name.span, format!("`{function}` has no named arguments"));
        Err(self.error(error.help(format!("leave out `{}:`", name.text))))
    }

    /// After an error about an option, so that its other uses do not report the same cause again.
    pub fn silence(&mut self, expr: &ast::Expr) {
        if let ExprKind::Name(name) = &expr.kind
            && let Some((value @ (Value::Number(_) | Value::Function(_) | Value::Init(_)), _)) =
                self.names.get_mut(name)
        {
            *value = Value::Unknown;
        }
    }

    /// The value as an initializer; a number is a constant one.
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

    /// The value as a number or a vector of the body.
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

    /// The value as a vector of the body.
    pub fn vector(&mut self, value: Value, expr: &ast::Expr) -> Checked<ExprId> {
        if let Value::Expr(id) = value {
            let id = self.operand(Value::Expr(id), expr)?;
            if !self.shape(id).is_empty() {
                return Ok(id);
            }
        }
        Err(self.wrong_kind(expr, &value, "a vector"))
    }

    /// Reports that the expression is not the kind of value that is needed.
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
