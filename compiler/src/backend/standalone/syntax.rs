//! The constructs of C in which the parts of a model that are no equations are written: for back ends that make no C.
//!
//! ```text
//! file      = function*
//! function  = "static"? type name "(" ("void" | type name ("," type name)*) ")" block
//! type      = "const"? ("void" | "char" | "unsigned" "char" | "int" | "uint32_t" | "uint64_t" | "size_t" | "float" | "double" |
//!             "model") "*"*
//! block     = "{" statement* "}"
//! statement = block | "if" "(" expr ")" block ("else" block)? | "while" "(" expr ")" block | "break" ";" | "continue" ";"
//!           | "return" expr? ";" | type name "=" expr ";" | expr (("=" | "+=" | "-=" | "*=" | "/=") expr)? ";"
//! expr      = unary, and the binary operators of C with their precedence but for "?:" and ","
//! unary     = ("!" | "-" | "~") unary | "(" type ")" unary | primary ("[" expr "]")*
//! primary   = number | name | name "(" (expr ("," expr)*)? ")" | "(" expr ")"
//! ```
//!
//! The texts are part of the compiler: what is wrong in them is an internal error.

/// A type of C as it is on the machines of today: `int` has 32 bits, and a pointer is as long as `size_t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Void,
    /// `char` and `unsigned char`: of both only bits and comparisons with zero are used.
    Byte,
    Int,
    Word,
    Long,
    Float,
    Double,
    /// The model's block, of which there are only pointers.
    Model,
    Pointer(Box<Type>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Or,
    And,
    BitOr,
    BitXor,
    BitAnd,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    ShiftLeft,
    ShiftRight,
    Add,
    Sub,
    Mul,
    Div,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Not,
    Minus,
    Complement,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A whole number and whether `u` says that it has no sign.
    Whole(u64, bool),
    /// A number with a fraction, and whether `f` says that it is a `float`.
    Real(f64, bool),
    Name(String),
    Call(String, Vec<Expr>),
    Element(Box<Expr>, Box<Expr>),
    Cast(Type, Box<Expr>),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    Declare(Type, String, Expr),
    /// With the operator of `+=` and the like.
    Assign(Expr, Option<Binary>, Expr),
    Call(Expr),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    While(Expr, Vec<Stmt>),
    Break,
    Continue,
    Return(Option<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Whether it is seen outside.
    pub public: bool,
    pub result: Type,
    pub name: String,
    pub params: Vec<(Type, String)>,
    pub body: Vec<Stmt>,
}

/// The functions of a text.
///
/// # Panics
/// If it is not written as above.
pub fn parse(text: &str) -> Vec<Function> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut functions = vec![];
    while parser.at < parser.tokens.len() {
        functions.push(parser.function());
    }
    functions
}

const SIGNS: [&str; 13] = ["<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "->"];

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").unwrap_or_else(|| panic!("internal error: a comment without end"));
            rest = comment[end + 2..].trim_start();
            continue;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let number = rest.starts_with(|c: char| c.is_ascii_digit());
        let word = rest.find(|c: char| !(is_word(c) || number && c == '.')).unwrap_or(rest.len());
        let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).map_or(1, |sign| sign.len());
        let (token, after) = rest.split_at(if word > 0 { word } else { sign });
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

struct Parser<'t> {
    tokens: Vec<&'t str>,
    at: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> &'t str {
        self.tokens.get(self.at).copied().unwrap_or("")
    }

    fn next(&mut self) -> &'t str {
        self.at += 1;
        self.tokens.get(self.at - 1).copied().unwrap_or("")
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.peek() == token;
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, token: &str) {
        let found = self.next();
        let around = &self.tokens[self.at.saturating_sub(8)..self.at.min(self.tokens.len())];
        assert!(found == token, "internal error: {found:?} in place of {token:?} after {around:?}");
    }

    /// A type, if one is here.
    fn ty(&mut self) -> Option<Type> {
        let start = self.at;
        self.take("const");
        let mut ty = match self.next() {
            "void" => Type::Void,
            "char" => Type::Byte,
            "unsigned" => {
                self.expect("char");
                Type::Byte
            }
            "int" => Type::Int,
            "uint32_t" => Type::Word,
            "uint64_t" | "size_t" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "model" => Type::Model,
            _ => {
                self.at = start;
                return None;
            }
        };
        while self.take("*") {
            ty = Type::Pointer(Box::new(ty));
        }
        Some(ty)
    }

    fn name(&mut self) -> String {
        self.next().to_owned()
    }

    fn function(&mut self) -> Function {
        let public = !self.take("static");
        let result =
            self.ty().unwrap_or_else(|| panic!("internal error: {:?} in place of a function", self.peek()));
        let name = self.name();
        self.expect("(");
        let mut params = vec![];
        while !self.take(")") {
            let ty = self.ty().unwrap_or(Type::Void);
            if ty != Type::Void {
                params.push((ty, self.name()));
            }
            self.take(",");
        }
        Function { public, result, name, params, body: self.block() }
    }

    fn block(&mut self) -> Vec<Stmt> {
        self.expect("{");
        let mut body = vec![];
        while !self.take("}") {
            body.push(self.statement());
        }
        body
    }

    fn statement(&mut self) -> Stmt {
        match self.peek() {
            "if" => {
                let condition = self.condition();
                let yes = self.block();
                let no = if self.take("else") { self.block() } else { vec![] };
                return Stmt::If(condition, yes, no);
            }
            "while" => {
                let condition = self.condition();
                return Stmt::While(condition, self.block());
            }
            _ => {}
        }
        let stmt = if self.take("break") {
            Stmt::Break
        } else if self.take("continue") {
            Stmt::Continue
        } else if self.take("return") {
            Stmt::Return((self.peek() != ";").then(|| self.expr(0)))
        } else if let Some(ty) = self.ty() {
            let name = self.name();
            self.expect("=");
            Stmt::Declare(ty, name, self.expr(0))
        } else {
            let to = self.expr(0);
            match self.peek() {
                ";" => Stmt::Call(to),
                sign => {
                    let op = match sign {
                        "+=" => Some(Binary::Add),
                        "-=" => Some(Binary::Sub),
                        "*=" => Some(Binary::Mul),
                        "/=" => Some(Binary::Div),
                        _ => None,
                    };
                    self.expect(if op.is_some() { sign } else { "=" });
                    Stmt::Assign(to, op, self.expr(0))
                }
            }
        };
        self.expect(";");
        stmt
    }

    fn condition(&mut self) -> Expr {
        self.next();
        self.expect("(");
        let condition = self.expr(0);
        self.expect(")");
        condition
    }

    /// An expression of operators that bind at least so strongly.
    fn expr(&mut self, least: u8) -> Expr {
        let mut left = self.unary();
        while let Some((op, strength)) = binary(self.peek()).filter(|(_, strength)| *strength >= least) {
            self.next();
            let right = self.expr(strength + 1);
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
        left
    }

    fn unary(&mut self) -> Expr {
        for (sign, op) in [("!", Unary::Not), ("-", Unary::Minus), ("~", Unary::Complement)] {
            if self.take(sign) {
                return Expr::Unary(op, Box::new(self.unary()));
            }
        }
        let start = self.at;
        if self.take("(")
            && let Some(ty) = self.ty()
        {
            self.expect(")");
            return Expr::Cast(ty, Box::new(self.unary()));
        }
        self.at = start;
        let mut value = self.primary();
        while self.take("[") {
            let index = self.expr(0);
            self.expect("]");
            value = Expr::Element(Box::new(value), Box::new(index));
        }
        value
    }

    fn primary(&mut self) -> Expr {
        if self.take("(") {
            let inner = self.expr(0);
            self.expect(")");
            return inner;
        }
        let token = self.next();
        if token.starts_with(|c: char| c.is_ascii_digit()) {
            return number(token);
        }
        if !self.take("(") {
            return Expr::Name(token.to_owned());
        }
        let mut args = vec![];
        while !self.take(")") {
            args.push(self.expr(0));
            self.take(",");
        }
        Expr::Call(token.to_owned(), args)
    }
}

fn number(token: &str) -> Expr {
    let parsed = if let Some(hex) = token.strip_prefix("0x") {
        u64::from_str_radix(hex.trim_end_matches('u'), 16)
            .ok()
            .map(|value| Expr::Whole(value, hex.ends_with('u')))
    } else if token.contains('.') {
        token.trim_end_matches('f').parse().ok().map(|value| Expr::Real(value, token.ends_with('f')))
    } else {
        token.trim_end_matches('u').parse().ok().map(|value| Expr::Whole(value, token.ends_with('u')))
    };
    parsed.unwrap_or_else(|| panic!("internal error: {token:?} is no number"))
}

/// A binary operator and how strongly it binds.
fn binary(sign: &str) -> Option<(Binary, u8)> {
    Some(match sign {
        "||" => (Binary::Or, 1),
        "&&" => (Binary::And, 2),
        "|" => (Binary::BitOr, 3),
        "^" => (Binary::BitXor, 4),
        "&" => (Binary::BitAnd, 5),
        "==" => (Binary::Equal, 6),
        "!=" => (Binary::NotEqual, 6),
        "<" => (Binary::Less, 7),
        "<=" => (Binary::LessOrEqual, 7),
        ">" => (Binary::Greater, 7),
        ">=" => (Binary::GreaterOrEqual, 7),
        "<<" => (Binary::ShiftLeft, 8),
        ">>" => (Binary::ShiftRight, 8),
        "+" => (Binary::Add, 9),
        "-" => (Binary::Sub, 9),
        "*" => (Binary::Mul, 10),
        "/" => (Binary::Div, 10),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_bind_as_in_c() {
        let body = |text: &str| parse(&format!("int f(int a) {{ return {text}; }}")).remove(0).body;
        assert_eq!(body("a + 2 * a << 1 < 3 && a || !a"), body("((((a + (2 * a)) << 1) < 3) && a) || (!a)"));
        assert_eq!(body("a - 1 - 2"), body("(a - 1) - 2"));
        assert_ne!(body("a - 1 - 2"), body("a - (1 - 2)"));
        assert_eq!(body("(unsigned char)a[1] & 3 == 2"), body("((unsigned char)(a[1])) & (3 == 2)"));
    }

    #[test]
    fn the_parts_are_read() {
        let functions: Vec<Function> = [
            include_str!("step.c"),
            include_str!("choose.c"),
            include_str!("encode.c"),
            include_str!("new.c"),
        ]
        .into_iter()
        .flat_map(parse)
        .collect();
        let public: Vec<&str> = functions.iter().filter(|f| f.public).map(|f| f.name.as_str()).collect();
        let expected = [
            "model_reset",
            "model_init",
            "model_step",
            "model_sample",
            "model_word",
            "model_token",
            "model_encode",
            "model_new",
            "model_free",
        ];
        assert_eq!(public, expected);
    }
}
