//! What each operator and builtin function does to shapes.

use super::eval::{Checked, Reported, Rules, Scope, Value};
use super::functions::Function;
use super::settings::{as_size, count};
use super::{ExprId, ExprOp};
use crate::diag::Diagnostic;
use crate::scalar::{self, Scalar};
use crate::syntax::ast::{Arg, Expr, ExprKind};

impl Scope {
    /// `op` element by element: equal shapes, or numbers, which spread.
    pub fn map(&mut self, op: Scalar, args: &[&Expr], whole: &Expr) -> Checked<Value> {
        // All are evaluated before the first failure is passed on, so that each of them reports its errors.
        let values: Vec<Checked<Value>> = args.iter().map(|arg| self.eval(arg)).collect();
        let values: Vec<Value> = values.into_iter().collect::<Checked<_>>()?;
        if let Some(numbers) = numbers(&values) {
            return self.fold(op, &numbers, whole);
        }
        if let (Scalar::Div, Some(Value::Number(divisor)), Some(arg)) = (op, values.get(1), args.get(1))
            && *divisor == 0.0
        {
            let error =
                Diagnostic::error("E0407", arg.span, format!("`{arg}` is 0, and `{whole}` divides by it"));
            return Err(self.error(error));
        }
        let mut operands = Vec::new();
        for (value, arg) in values.iter().zip(args) {
            operands.push(self.operand(*value, arg)?);
        }
        let shape = self.common_shape(&operands, args, whole)?;
        if let (Scalar::Select, Some(Value::Number(condition))) = (op, values.first()) {
            return Ok(values[if *condition != 0.0 { 1 } else { 2 }]);
        }
        Ok(Value::Expr(self.push(ExprOp::Map(op, operands), shape, whole.span)))
    }

    fn fold(&mut self, op: Scalar, numbers: &[f64], whole: &Expr) -> Checked<Value> {
        let value = scalar::eval(op, numbers);
        if value.is_finite() {
            return Ok(Value::Number(value));
        }
        let error = Diagnostic::error("E0407", whole.span, format!("`{whole}` is not a finite number"));
        Err(self.error(error))
    }

    fn common_shape(&mut self, operands: &[ExprId], args: &[&Expr], whole: &Expr) -> Checked<Vec<usize>> {
        let mut wide = operands.iter().zip(args).filter(|(id, _)| !self.shape(**id).is_empty());
        let Some((first, first_arg)) = wide.next() else {
            return Ok(vec![]);
        };
        let shape = self.shape(*first).to_vec();
        let Some((other, other_arg)) = wide.find(|(id, _)| self.shape(**id) != shape) else {
            return Ok(shape);
        };
        let other = self.shape(*other).to_vec();
        let message = format!("`{whole}` combines {shape:?} with {other:?}");
        let error = Diagnostic::error("E0302", whole.span, message)
            .at("element by element, so both need one width")
            .label(first_arg.span, format!("{shape:?}"))
            .label(other_arg.span, format!("{other:?}"));
        Err(self.error(error))
    }

    /// `x @ W` or `x @ transpose(W)`.
    pub fn product(&mut self, x: &Expr, w: &Expr, whole: &Expr) -> Checked<Value> {
        if self.rules != Rules::Layer {
            return Err(self.not_elementwise("`@`", whole));
        }
        let (matrix, transposed) = match &w.kind {
            ExprKind::Call(name, args) if name.text == "transpose" && args.len() == 1 => {
                (&args[0].value, true)
            }
            _ => (w, false),
        };
        let left = self.eval(x);
        let right = self.eval(matrix)?;
        let left = left?;
        let left = self.left_side(left, x, w)?;
        let right = self.matrix(right, matrix, "on the right of `@`")?;
        let (&[k], &[rows, columns]) = (self.shape(left), self.shape(right)) else {
            return Err(Reported);
        };
        let (inner, outer) = if transposed { (columns, rows) } else { (rows, columns) };
        if k == inner {
            let op = ExprOp::MatMul { x: left, w: right, transposed };
            return Ok(Value::Expr(self.push(op, vec![outer], whole.span)));
        }
        let side = if transposed { "column" } else { "row" };
        let declared = self.body.exprs[right.0 as usize].span;
        let message = format!("`{whole}` multiplies [{k}] by [{inner}, {outer}]");
        let error = Diagnostic::error("E0301", whole.span, message)
            .at(format!("`{x}` is [{k}]"))
            .label(declared, format!("`{matrix}` was declared here with {}", count(inner, side)));
        let help = match (k == outer, transposed) {
            // The other way round it fits, but the result has another width than what was written.
            (true, false) => format!(
                "`{x} @ transpose({matrix})` multiplies [{k}] by [{columns}, {rows}] and is [{rows}]; \
                 or declare `{matrix}` with {}",
                count(k, "row")
            ),
            (true, true) => format!(
                "`{x} @ {matrix}` multiplies [{k}] by [{rows}, {columns}] and is [{columns}]; \
                 or declare `{matrix}` with {}",
                count(k, "column")
            ),
            _ => format!("`{matrix}` needs as many {side}s as `{x}` has elements: {k}"),
        };
        Err(self.error(error.help(help)))
    }

    fn left_side(&mut self, value: Value, x: &Expr, w: &Expr) -> Checked<ExprId> {
        match value {
            Value::Expr(id) if self.shape(id).len() == 1 => Ok(id),
            Value::Expr(id) if self.shape(id).len() == 2 => {
                let message = format!("`{x}` is a matrix {:?} on the left of `@`", self.shape(id));
                let error = Diagnostic::error("E0304", x.span, message).at("a vector is needed");
                Err(self.error(error.help(format!("vectors are rows: write `{w} @ transpose({x})`"))))
            }
            other => Err(self.wrong_kind(x, &other, "a vector")),
        }
    }

    /// A parameter matrix.
    fn matrix(&mut self, value: Value, expr: &Expr, place: &str) -> Checked<ExprId> {
        match value {
            Value::Expr(id) if self.shape(id).len() == 2 => Ok(id),
            Value::Unknown => Err(Reported),
            other => {
                let message = format!("`{expr}` is {}; {place} stands a matrix", self.describe(&other));
                let error = Diagnostic::error("E0304", expr.span, message);
                Err(self.error(error.help("matrices are parameters: `param W: [in, units]`")))
            }
        }
    }

    /// `table[token]`
    pub fn index(&mut self, base: &Expr, index: &Expr, whole: &Expr) -> Checked<Value> {
        if self.rules != Rules::Layer {
            return Err(self.not_elementwise("a row of a table", whole));
        }
        let table = self.eval(base);
        let token = self.eval(index)?;
        let table = table?;
        let Value::Token(token) = token else {
            let message = format!("`{index}` is {}; only a token picks a row", self.describe(&token));
            let error = Diagnostic::error("E0303", index.span, message);
            return Err(self.error(error.help("elements of a vector are cut out with `x[2:5]`")));
        };
        let table = self.matrix(table, base, "before `[token]`")?;
        let (rows, width) = (self.shape(table)[0], self.shape(table)[1]);
        if let Some((Value::Number(vocab), _)) = self.names.get("vocab")
            && (rows as f64) < *vocab
        {
            let declared = self.body.exprs[table.0 as usize].span;
            let message =
                format!("`{base}` has {} for {}", count(rows, "row"), count(*vocab as usize, "token"));
            let error = Diagnostic::error("E0308", whole.span, message).label(declared, "declared here");
            return Err(self.error(error.help("a table that tokens index has `vocab` rows")));
        }
        Ok(Value::Expr(self.push(ExprOp::Row { table, token }, vec![width], whole.span)))
    }

    /// `x[start:end]`
    pub fn slice(&mut self, base: &Expr, start: &Expr, end: &Expr, whole: &Expr) -> Checked<Value> {
        if self.rules != Rules::Layer {
            return Err(self.not_elementwise("a slice", whole));
        }
        let x = self.eval(base)?;
        let x = self.vector(x, base)?;
        let (from, to) = (self.number(start)?, self.number(end)?);
        let width = self.shape(x)[0];
        match (as_size(from), as_size(to)) {
            (Some(start), Some(end)) if start < end && end <= width => {
                let len = end - start;
                Ok(Value::Expr(self.push(ExprOp::Slice { x, start, len }, vec![len], whole.span)))
            }
            _ => {
                let bounds = format!("[{}:{}]", crate::syntax::number(from), crate::syntax::number(to));
                let message = format!("`{whole}` cuts {bounds} out of [{width}]");
                let error = Diagnostic::error("E0308", whole.span, message);
                Err(self.error(error.help("`x[a:b]` has the elements from a up to, not including, b")))
            }
        }
    }

    /// A builtin function of these arguments.
    pub fn apply(&mut self, function: Function, args: &[Arg], whole: &Expr) -> Checked<Value> {
        let name = function.name();
        for arg in args {
            self.no_name(arg, name)?;
        }
        let (least, most) = function.arity();
        if args.len() < least || args.len() > most {
            let takes =
                if least == most { count(least, "argument") } else { format!("{least} or {most} arguments") };
            let message = format!("`{name}` takes {takes}, not {}", args.len());
            return Err(self.error(Diagnostic::error("E0210", whole.span, message)));
        }
        if self.rules != Rules::Layer && !function.is_elementwise(args.len()) {
            return Err(self.not_elementwise(&format!("`{name}`"), whole));
        }
        let exprs: Vec<&Expr> = args.iter().map(|arg| &arg.value).collect();
        match (function, exprs.as_slice()) {
            (Function::Map(op), _) => self.map(op, &exprs, whole),
            (Function::Max, [_, _]) => self.map(Scalar::Max, &exprs, whole),
            (Function::Min, [_, _]) => self.map(Scalar::Min, &exprs, whole),
            (Function::Concat, _) => self.concat(&exprs, whole),
            (_, [x]) => self.apply_one(function, x, whole),
            _ => Err(Reported),
        }
    }

    fn apply_one(&mut self, function: Function, arg: &Expr, whole: &Expr) -> Checked<Value> {
        let span = whole.span;
        let value = self.eval(arg)?;
        match function {
            Function::Relu => match value {
                Value::Number(value) => self.fold(Scalar::Max, &[value, 0.0], whole),
                value => {
                    let x = self.operand(value, arg)?;
                    let shape = self.shape(x).to_vec();
                    let zero = self.push(ExprOp::Const(0.0), vec![], span);
                    Ok(Value::Expr(self.push(ExprOp::Map(Scalar::Max, vec![x, zero]), shape, span)))
                }
            },
            Function::Linear if matches!(value, Value::Number(_)) => Ok(value),
            Function::Linear => self.operand(value, arg).map(Value::Expr),
            Function::Stop => {
                let x = self.operand(value, arg)?;
                let shape = self.shape(x).to_vec();
                Ok(Value::Expr(self.push(ExprOp::Stop(x), shape, span)))
            }
            Function::Number => match value {
                Value::Token(token) => Ok(Value::Expr(self.push(ExprOp::Number(token), vec![1], span))),
                other => Err(self.wrong_kind(arg, &other, "a token")),
            },
            Function::FinalStep => {
                let error =
                    Diagnostic::error("E0309", span, "`final_step` stands only in `return final_step(...)`");
                Err(self.error(error.help("do the rest in a layer after it")))
            }
            Function::Transpose => {
                let error = Diagnostic::error("E0304", span, "`transpose` stands only on the right of `@`");
                Err(self.error(error.help("vectors are rows: `x @ transpose(W)`")))
            }
            _ => self.over_vector(function, value, arg, whole),
        }
    }

    fn over_vector(&mut self, function: Function, value: Value, arg: &Expr, whole: &Expr) -> Checked<Value> {
        let span = whole.span;
        let x = self.vector(value, arg)?;
        let width = self.shape(x)[0];
        let id = match function {
            Function::Random => self.push(ExprOp::Random, vec![width], span),
            Function::Max => self.push(ExprOp::Max(x), vec![], span),
            Function::Min => {
                let negative = self.push(ExprOp::Map(Scalar::Neg, vec![x]), vec![width], span);
                let largest = self.push(ExprOp::Max(negative), vec![], span);
                self.push(ExprOp::Map(Scalar::Neg, vec![largest]), vec![], span)
            }
            _ => {
                let sum = self.push(ExprOp::Sum(x), vec![], span);
                if function != Function::Mean {
                    return Ok(Value::Expr(sum));
                }
                let width = self.push(ExprOp::Const(width as f64), vec![], span);
                self.push(ExprOp::Map(Scalar::Div, vec![sum, width]), vec![], span)
            }
        };
        Ok(Value::Expr(id))
    }

    fn concat(&mut self, args: &[&Expr], whole: &Expr) -> Checked<Value> {
        let mut parts = Vec::new();
        let mut width = 0usize;
        for arg in args {
            let value = self.eval(arg)?;
            let part = self.vector(value, arg)?;
            width += self.shape(part)[0];
            parts.push(part);
        }
        Ok(Value::Expr(self.push(ExprOp::Concat(parts), vec![width], whole.span)))
    }

    /// A vector of the body.
    pub fn vector(&mut self, value: Value, expr: &Expr) -> Checked<ExprId> {
        if let Value::Expr(id) = value {
            let id = self.operand(Value::Expr(id), expr)?;
            if !self.shape(id).is_empty() {
                return Ok(id);
            }
        }
        Err(self.wrong_kind(expr, &value, "a vector"))
    }

    fn not_elementwise(&mut self, what: &str, whole: &Expr) -> Reported {
        let error = match self.rules {
            Rules::Optimizer => {
                Diagnostic::error("E0310", whole.span, format!("{what} does not work element by element"))
                    .help("an optimizer sees one element of a parameter and of its gradient at a time")
            }
            _ => Diagnostic::error("E0405", whole.span, format!("{what} has its place in a layer's body"))
                .help("a number, a function's name or an initializer is needed here"),
        };
        self.error(error)
    }
}

fn numbers(values: &[Value]) -> Option<Vec<f64>> {
    let number = |value: &Value| if let Value::Number(number) = value { Some(*number) } else { None };
    values.iter().map(number).collect()
}
