//! Parsing of expressions, one function for each level of precedence, loosest first.

use super::ast::{Arg, Binary, Expr, ExprKind, Name};
use super::parser::{Parsed, Parser};
use super::token::Kind;
use crate::diag::{Diagnostic, Span};

/// Most operations in one expression. It bounds the tree's depth, and so the recursion of everything that walks it.
const MAX_OPERATIONS: usize = 256;

impl Parser<'_> {
    /// An expression that is not part of another one.
    pub fn whole_expr(&mut self) -> Parsed<Expr> {
        self.operations = 0;
        self.expr()
    }

    /// ```text
    /// expr = "if" expr "then" expr "else" expr | comparison
    /// ```
    fn expr(&mut self) -> Parsed<Expr> {
        if self.kind() == Kind::If { self.nested(Self::condition) } else { self.comparison() }
    }

    fn condition(&mut self) -> Parsed<Expr> {
        let word = self.advance().span;
        let condition = self.expr()?;
        self.expect(Kind::Then)?;
        let yes = self.expr()?;
        self.expect(Kind::Else)?;
        let no = self.expr()?;
        let span = word.to(no.span);
        self.node(ExprKind::If(Box::new(condition), Box::new(yes), Box::new(no)), span)
    }

    /// ```text
    /// comparison = sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)?
    /// ```
    fn comparison(&mut self) -> Parsed<Expr> {
        let left = self.sum()?;
        let Some(op) = self.operator(1) else {
            return Ok(left);
        };
        let right = self.sum()?;
        if self.operator(1).is_some() {
            let error = Diagnostic::error("E0107", self.previous(), "comparisons do not chain");
            return self.fail(error.help("a comparison is 1 or 0: multiply two of them for `and`"));
        }
        self.binary(op, left, right)
    }

    /// `sum = term (("+" | "-") term)*`
    pub fn sum(&mut self) -> Parsed<Expr> {
        let mut left = self.term()?;
        while let Some(op) = self.operator(2) {
            let right = self.term()?;
            left = self.binary(op, left, right)?;
        }
        Ok(left)
    }

    /// `term = product (("*" | "/") product)*`
    fn term(&mut self) -> Parsed<Expr> {
        let mut left = self.product()?;
        while let Some(op) = self.operator(3) {
            let right = self.product()?;
            left = self.binary(op, left, right)?;
        }
        Ok(left)
    }

    /// `product = unary ("@" unary)*`
    fn product(&mut self) -> Parsed<Expr> {
        let mut left = self.unary()?;
        while let Some(op) = self.operator(4) {
            let right = self.unary()?;
            left = self.binary(op, left, right)?;
        }
        Ok(left)
    }

    /// `unary = "-" unary | power`
    fn unary(&mut self) -> Parsed<Expr> {
        if self.kind() != Kind::Minus {
            return self.power();
        }
        let sign = self.advance().span;
        let operand = self.nested(Self::unary)?;
        let span = sign.to(operand.span);
        self.node(ExprKind::Neg(Box::new(operand)), span)
    }

    /// `power = postfix ("^" unary)?`
    fn power(&mut self) -> Parsed<Expr> {
        let base = self.postfix()?;
        if self.operator(5).is_none() {
            return Ok(base);
        }
        let exponent = self.nested(Self::unary)?;
        self.binary(Binary::Pow, base, exponent)
    }

    /// `postfix = primary ("[" expr (":" expr)? "]")*`
    fn postfix(&mut self) -> Parsed<Expr> {
        let mut base = self.primary()?;
        while self.eat_on_line(Kind::OpenBracket) {
            let index = self.nested(Self::expr)?;
            let end = if self.eat(Kind::Colon) { Some(self.nested(Self::expr)?) } else { None };
            let close = self.expect(Kind::CloseBracket)?.span;
            let span = base.span.to(close);
            let kind = match end {
                None => ExprKind::Index(Box::new(base), Box::new(index)),
                Some(end) => ExprKind::Slice(Box::new(base), Box::new(index), Box::new(end)),
            };
            base = self.node(kind, span)?;
        }
        Ok(base)
    }

    /// ```text
    /// primary = number | text | name | name "(" arguments ")" | "next" name | "(" expr ")"
    /// ```
    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.token();
        let span = token.span;
        match token.kind {
            Kind::Number => {
                let value = self.number()?;
                Ok(Expr { kind: ExprKind::Number(value), span })
            }
            Kind::Text | Kind::OpenText => {
                self.advance();
                Ok(Expr { kind: ExprKind::Text(self.slice(span).trim_matches('"').to_owned()), span })
            }
            Kind::Next => {
                self.advance();
                let name = self.name("a state's name")?;
                Ok(Expr { span: span.to(name.span), kind: ExprKind::Next(name) })
            }
            Kind::OpenParen => {
                self.advance();
                let mut inner = self.nested(Self::expr)?;
                let close = self.expect(Kind::CloseParen)?.span;
                inner.span = span.to(close);
                Ok(inner)
            }
            Kind::Name => {
                let name = self.name("a name")?;
                if !self.eat_on_line(Kind::OpenParen) {
                    return Ok(Expr { kind: ExprKind::Name(name.text), span });
                }
                self.call(name)
            }
            Kind::OpenBracket => {
                let help =
                    "there are no lists: values stand with commas between them where there can be several";
                self.expected_but("a number, a name or `(`", help)
            }
            _ => self.expected("a number, a name or `(`"),
        }
    }

    fn call(&mut self, name: Name) -> Parsed<Expr> {
        let (args, close) = self.nested(Self::arguments)?;
        let span = name.span.to(close);
        self.node(ExprKind::Call(name, args), span)
    }

    /// ```text
    /// arguments = (argument ("," argument)* ","?)?        argument = (name ":")? expr
    /// ```
    /// The `)` is taken too.
    pub fn arguments(&mut self) -> Parsed<(Vec<Arg>, Span)> {
        self.list(Kind::CloseParen, |parser| {
            let mut name = None;
            if parser.kind() == Kind::Name && parser.peek(1).kind == Kind::Colon {
                name = Some(parser.name("a name")?);
                parser.advance();
            }
            Ok(Arg { name, value: parser.expr()? })
        })
    }

    /// A number token's value; a percentage's is a hundredth of what is written.
    pub fn number(&mut self) -> Parsed<f64> {
        let span = self.expect(Kind::Number)?.span;
        let text = self.slice(span);
        let (digits, unit) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits, 100.0));
        match digits.parse::<f64>().map(|value| value / unit) {
            Ok(value) if value.is_finite() => Ok(value),
            _ => self.fail(Diagnostic::error("E0103", span, "this number is too large for a 64-bit float")),
        }
    }

    /// Takes an operator of this level, unless it begins a new line.
    pub fn operator(&mut self, level: u8) -> Option<Binary> {
        let op = match self.kind() {
            Kind::Less => Binary::Lt,
            Kind::LessEqual => Binary::Le,
            Kind::Greater => Binary::Gt,
            Kind::GreaterEqual => Binary::Ge,
            Kind::Equal => Binary::Eq,
            Kind::NotEqual => Binary::Ne,
            Kind::Plus => Binary::Add,
            Kind::Minus => Binary::Sub,
            Kind::Star => Binary::Mul,
            Kind::Slash => Binary::Div,
            Kind::At => Binary::MatMul,
            Kind::Caret => Binary::Pow,
            _ => return None,
        };
        if op.level() != level || self.at_line_start() {
            return None;
        }
        self.advance();
        Some(op)
    }

    fn binary(&mut self, op: Binary, left: Expr, right: Expr) -> Parsed<Expr> {
        let span = left.span.to(right.span);
        self.node(ExprKind::Binary(op, Box::new(left), Box::new(right)), span)
    }

    /// Counts the operation, so that no expression grows without bound.
    fn node(&mut self, kind: ExprKind, span: Span) -> Parsed<Expr> {
        self.operations += 1;
        if self.operations > MAX_OPERATIONS {
            let message = format!("this expression has more than {MAX_OPERATIONS} operations");
            let error = Diagnostic::error("E0106", self.previous(), message);
            return self.fail(error.help("give a part of the expression a name of its own"));
        }
        Ok(Expr { kind, span })
    }
}
