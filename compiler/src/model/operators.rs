//! Operators and builtin functions on values: which shapes they take, and the equations that they add.

use super::functions::Function;
use super::scope::{Checked, Reported, Rules, Scope, Value};
use super::sizes::as_size;
use super::{ExprId, ExprOp};
use crate::diag::{Diagnostic, count};
use crate::scalar::{self, Scalar};
use crate::syntax::ast::{Arg, Expr};

/// A value with the expression that it came from, which messages show.
#[derive(Clone, Copy)]
pub(super) struct Operand<'e> {
    pub value: Value,
    pub expr: &'e Expr,
}

impl Scope {
    /// `op` element by element: the operands have equal shapes, or are numbers, which are broadcast.
    pub fn map(&mut self, op: Scalar, operands: &[Operand], whole: &Expr) -> Checked<Value> {
        if let Some(numbers) = numbers(operands) {
            return self.fold(op, &numbers, whole);
        }
        if let (Scalar::Div, Some(Operand { value: Value::Number(0.0), expr })) = (op, operands.get(1)) {
            let error =
                Diagnostic::error("E0407", expr.span, format!("`{expr}` is 0, and `{whole}` divides by it"));
            return Err(self.error(error));
        }
        let ids: Vec<ExprId> =
            operands.iter().map(|x| self.operand(x.value, x.expr)).collect::<Checked<_>>()?;
        let shape = self.common_shape(&ids, operands, whole)?;
        if let (Scalar::Select, [condition, yes, no]) = (op, operands)
            && let Value::Number(condition) = condition.value
        {
            return Ok(if condition != 0.0 { yes.value } else { no.value });
        }
        Ok(Value::Expr(self.push(ExprOp::Map(op, ids), shape, whole.span)))
    }

    fn fold(&mut self, op: Scalar, numbers: &[f64], whole: &Expr) -> Checked<Value> {
        let value = scalar::eval(op, numbers);
        if value.is_finite() {
            return Ok(Value::Number(value));
        }
        let error = Diagnostic::error("E0407", whole.span, format!("`{whole}` is not a finite number"));
        Err(self.error(error))
    }

    fn common_shape(&mut self, ids: &[ExprId], operands: &[Operand], whole: &Expr) -> Checked<Vec<usize>> {
        let mut vectors = ids.iter().zip(operands).filter(|(id, _)| !self.shape(**id).is_empty());
        let Some((first, first_operand)) = vectors.next() else {
            return Ok(vec![]);
        };
        let shape = self.shape(*first).to_vec();
        let Some((other, other_operand)) = vectors.find(|(id, _)| self.shape(**id) != shape) else {
            return Ok(shape);
        };
        let other = self.shape(*other).to_vec();
        let message = format!("`{whole}` combines {shape:?} with {other:?}");
        let error = Diagnostic::error("E0302", whole.span, message)
            .at("element by element, so both need one width")
            .label(first_operand.expr.span, format!("{shape:?}"))
            .label(other_operand.expr.span, format!("{other:?}"));
        Err(self.error(error))
    }

    /// `x @ W`, or `x @ transpose(W)`.
    pub fn product(&mut self, x: Operand, w: Operand, transposed: bool, whole: &Expr) -> Checked<Value> {
        let left = self.left_side(x, w, transposed)?;
        let right = self.matrix(w, "on the right of `@`")?;
        let (&[k], &[rows, columns]) = (self.shape(left), self.shape(right)) else {
            return Err(Reported);
        };
        let (inner, outer) = if transposed { (columns, rows) } else { (rows, columns) };
        if k == inner {
            let op = ExprOp::MatMul { x: left, w: right, transposed };
            return Ok(Value::Expr(self.push(op, vec![outer], whole.span)));
        }
        let (x, w) = (x.expr, w.expr);
        let side = if transposed { "column" } else { "row" };
        let declared = self.body.exprs[right.0 as usize].span;
        let message = format!("`{whole}` multiplies [{k}] by [{inner}, {outer}]");
        let error = Diagnostic::error("E0301", whole.span, message)
            .at(format!("`{x}` is [{k}]"))
            .label(declared, format!("`{w}` was declared here with {}", count(inner, side)));
        let help = match (k == outer, transposed) {
            // The other way round it fits, but the result has another width than what was written.
            (true, false) => format!(
                "`{x} @ transpose({w})` multiplies [{k}] by [{columns}, {rows}] and is [{rows}]; \
                 or declare `{w}` with {}",
                count(k, "row")
            ),
            (true, true) => format!(
                "`{x} @ {w}` multiplies [{k}] by [{rows}, {columns}] and is [{columns}]; \
                 or declare `{w}` with {}",
                count(k, "column")
            ),
            _ => format!("`{w}` needs as many {side}s as `{x}` has elements: {k}"),
        };
        Err(self.error(error.help(help)))
    }

    /// The vector on the left of a product by `w`.
    fn left_side(&mut self, x: Operand, w: Operand, transposed: bool) -> Checked<ExprId> {
        match x.value {
            Value::Expr(id) if self.shape(id).len() == 1 => Ok(id),
            Value::Expr(id) if self.shape(id).len() == 2 => {
                let (x, w) = (x.expr, w.expr);
                let w = if transposed { format!("transpose({w})") } else { w.to_string() };
                let message = format!("`{x}` is a matrix {:?} on the left of `@`", self.shape(id));
                let error = Diagnostic::error("E0304", x.span, message).at("a vector is needed");
                Err(self.error(error.help(format!("vectors are rows: write `{w} @ transpose({x})`"))))
            }
            other => Err(self.wrong_kind(x.expr, &other, "a vector")),
        }
    }

    /// A parameter matrix.
    fn matrix(&mut self, operand: Operand, place: &str) -> Checked<ExprId> {
        match operand.value {
            Value::Expr(id) if self.shape(id).len() == 2 => Ok(id),
            Value::Unknown => Err(Reported),
            other => {
                let expr = operand.expr;
                let message = format!("`{expr}` is {}; {place} stands a matrix", self.describe(&other));
                let error = Diagnostic::error("E0304", expr.span, message);
                Err(self.error(error.help("matrices are parameters: `param W: [in, units]`")))
            }
        }
    }

    /// `table[token]`
    pub fn row(&mut self, table: Operand, token: Operand, whole: &Expr) -> Checked<Value> {
        let Value::Token(id) = token.value else {
            let index = token.expr;
            let message = format!("`{index}` is {}; only a token picks a row", self.describe(&token.value));
            let error = Diagnostic::error("E0303", index.span, message);
            return Err(self.error(error.help("elements of a vector are cut out with `x[2:5]`")));
        };
        let matrix = self.matrix(table, "before `[token]`")?;
        let (rows, width) = (self.shape(matrix)[0], self.shape(matrix)[1]);
        if let Some((Value::Number(vocab), _)) = self.names.get("vocab")
            && (rows as f64) < *vocab
        {
            let declared = self.body.exprs[matrix.0 as usize].span;
            let (has, tokens) = (count(rows, "row"), count(*vocab as usize, "token"));
            let message = format!("`{}` has {has} for {tokens}", table.expr);
            let error = Diagnostic::error("E0308", whole.span, message).label(declared, "declared here");
            return Err(self.error(error.help("a table that tokens index has `vocab` rows")));
        }
        Ok(Value::Expr(self.push(ExprOp::Row { table: matrix, token: id }, vec![width], whole.span)))
    }

    /// `x[from:to]`
    pub fn slice(&mut self, x: ExprId, from: f64, to: f64, whole: &Expr) -> Checked<Value> {
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

    /// Vectors end to end.
    pub fn concat(&mut self, parts: Vec<ExprId>, whole: &Expr) -> Value {
        let width = parts.iter().map(|part| self.shape(*part)[0]).sum();
        Value::Expr(self.push(ExprOp::Concat(parts), vec![width], whole.span))
    }

    /// Checks what can be checked of a call before its arguments are evaluated.
    pub fn check_call(&mut self, function: Function, args: &[Arg], whole: &Expr) -> Checked<()> {
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
        match function.is_elementwise(args.len()) {
            true => Ok(()),
            false => self.needs_layer(&format!("`{name}`"), whole),
        }
    }

    /// A builtin function other than `concat` of these operands, after [`Self::check_call`].
    pub fn call(&mut self, function: Function, operands: &[Operand], whole: &Expr) -> Checked<Value> {
        match (function, operands) {
            (Function::Map(op), _) => self.map(op, operands, whole),
            (Function::Max, [_, _]) => self.map(Scalar::Max, operands, whole),
            (Function::Min, [_, _]) => self.map(Scalar::Min, operands, whole),
            (_, [x]) => self.call_on_one(function, *x, whole),
            _ => Err(Reported),
        }
    }

    fn call_on_one(&mut self, function: Function, arg: Operand, whole: &Expr) -> Checked<Value> {
        let span = whole.span;
        let Operand { value, expr } = arg;
        match function {
            Function::Relu => match value {
                Value::Number(value) => self.fold(Scalar::Max, &[value, 0.0], whole),
                value => {
                    let x = self.operand(value, expr)?;
                    let shape = self.shape(x).to_vec();
                    let zero = self.push(ExprOp::Const(0.0), vec![], span);
                    Ok(Value::Expr(self.push(ExprOp::Map(Scalar::Max, vec![x, zero]), shape, span)))
                }
            },
            Function::Linear | Function::Stop if matches!(value, Value::Number(_)) => Ok(value),
            Function::Linear => self.operand(value, expr).map(Value::Expr),
            Function::Stop => {
                let x = self.operand(value, expr)?;
                let shape = self.shape(x).to_vec();
                Ok(Value::Expr(self.push(ExprOp::Stop(x), shape, span)))
            }
            Function::Number => match value {
                Value::Token(token) => Ok(Value::Expr(self.push(ExprOp::Number(token), vec![1], span))),
                other => Err(self.wrong_kind(expr, &other, "a token")),
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
            _ => self.call_on_vector(function, arg, whole),
        }
    }

    fn call_on_vector(&mut self, function: Function, arg: Operand, whole: &Expr) -> Checked<Value> {
        let span = whole.span;
        let x = self.vector(arg.value, arg.expr)?;
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

    /// Refuses `what`, which does not work element by element, outside a layer's body.
    pub fn needs_layer(&mut self, what: &str, whole: &Expr) -> Checked<()> {
        let error = match self.rules {
            Rules::Layer => return Ok(()),
            Rules::Optimizer => {
                Diagnostic::error("E0310", whole.span, format!("{what} does not work element by element"))
                    .help("an optimizer sees one element of a parameter and of its gradient at a time")
            }
            Rules::Constants => {
                Diagnostic::error("E0405", whole.span, format!("{what} has its place in a layer's body"))
                    .help("a number, a function's name or an initializer is needed here")
            }
        };
        Err(self.error(error))
    }
}

/// The operands as numbers, if all are known while compiling.
fn numbers(operands: &[Operand]) -> Option<Vec<f64>> {
    let number = |x: &Operand| if let Value::Number(number) = x.value { Some(number) } else { None };
    operands.iter().map(number).collect()
}
