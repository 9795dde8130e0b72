//! Scalar operations in C: expressions where C has them, and functions for the others.

use std::fmt::Write;

use super::Helper;
use crate::backend::elementary::{self, Binary, Condition, Emit, Unary};
use crate::scalar::Scalar;

/// The function of one variable that is an operation, and what it is called.
pub(super) fn function(prefix: &str, op: Scalar, name: &str) -> String {
    let (mut body, x) = Body::new(prefix);
    let result = elementary::map(&mut body, op, &[x]).map(|value| body.real_of(value)).unwrap_or_default();
    let text = body.text;
    format!("static float {prefix}_{name}(float x)\n{{\n{text}    return {result};\n}}\n\n")
}

/// An `f32` as its bits, and the other way.
pub(super) fn bits(prefix: &str) -> String {
    format!(
        "union {prefix}_number {{\n    float real;\n    uint32_t bits;\n}};\n\n\
         static uint32_t {prefix}_bits(float x)\n{{\n    union {prefix}_number word;\n    word.real = x;\n    \
         return word.bits;\n}}\n\n\
         static float {prefix}_real(uint32_t bits)\n{{\n    union {prefix}_number word;\n    word.bits = bits;\n    \
         return word.real;\n}}\n\n"
    )
}

/// An operation on these variables, and what it calls.
pub(super) fn expression(prefix: &str, op: Scalar, args: &[String]) -> (String, Option<Helper>) {
    let call = |helper, name: &str| (format!("{prefix}_{name}({})", args[0]), Some(helper));
    let infix = |sign: &str| (format!("{} {sign} {}", args[0], args[1]), None);
    let truth = |sign: &str| (format!("{} {sign} {} ? 1.0f : 0.0f", args[0], args[1]), None);
    match op {
        Scalar::Neg => (format!("-{}", args[0]), None),
        Scalar::Abs => (format!("{0} < 0.0f ? -{0} : {0} + 0.0f", args[0]), None),
        Scalar::Exp => call(Helper::Exp, "exp"),
        Scalar::Tanh => call(Helper::Tanh, "tanh"),
        Scalar::Sigmoid => call(Helper::Sigmoid, "sigmoid"),
        Scalar::Sqrt => (format!("sqrtf({})", args[0]), Some(Helper::Sqrt)),
        Scalar::Log => (format!("logf({})", args[0]), Some(Helper::Log)),
        Scalar::Pow => (format!("powf({}, {})", args[0], args[1]), Some(Helper::Pow)),
        Scalar::Add => infix("+"),
        Scalar::Sub => infix("-"),
        Scalar::Mul => infix("*"),
        Scalar::Div => infix("/"),
        Scalar::Max => (format!("{0} > {1} ? {0} : {1}", args[0], args[1]), None),
        Scalar::Min => (format!("{0} < {1} ? {0} : {1}", args[0], args[1]), None),
        Scalar::Lt => truth("<"),
        Scalar::Le => truth("<="),
        Scalar::Gt => truth(">"),
        Scalar::Ge => truth(">="),
        Scalar::Eq => truth("=="),
        Scalar::Ne => truth("!="),
        Scalar::Select => (format!("{} != 0.0f ? {} : {}", args[0], args[1], args[2]), None),
    }
}

/// A number as C reads it again to the bit; `None` of one that is not finite.
pub(super) fn literal(value: f32) -> Option<String> {
    value.is_finite().then(|| format!("{value:?}f"))
}

/// A local variable, by its number: of real numbers or of whole ones.
#[derive(Clone, Copy)]
struct Value(usize);

/// A function's body while it is written.
struct Body<'a> {
    prefix: &'a str,
    text: String,
    /// What each value is in C, and whether it is whole.
    values: Vec<(String, bool)>,
}

impl<'a> Body<'a> {
    /// Of a function of `x`, which is its first value.
    fn new(prefix: &'a str) -> (Self, Value) {
        (Self { prefix, text: String::new(), values: vec![("x".into(), false)] }, Value(0))
    }

    fn named(&mut self, text: String, whole: bool) -> Value {
        self.values.push((text, whole));
        Value(self.values.len() - 1)
    }

    fn push(&mut self, whole: bool, expression: String) -> Value {
        let name = format!("t{}", self.values.len());
        let ty = if whole { "uint32_t" } else { "float" };
        let _ = writeln!(self.text, "    const {ty} {name} = {expression};");
        self.named(name, whole)
    }

    fn real_of(&self, value: Value) -> String {
        match &self.values[value.0] {
            (text, false) => text.clone(),
            (text, true) => format!("{}_real({text})", self.prefix),
        }
    }

    fn whole_of(&self, value: Value) -> String {
        match &self.values[value.0] {
            (text, true) => text.clone(),
            (text, false) => format!("{}_bits({text})", self.prefix),
        }
    }
}

impl Emit for Body<'_> {
    type Value = Value;

    fn whole(&mut self, bits: u32) -> Value {
        self.named(format!("{bits}u"), true)
    }

    fn real(&mut self, value: f32) -> Value {
        match literal(value) {
            Some(text) => self.named(text, false),
            None => self.whole(value.to_bits()),
        }
    }

    fn unary(&mut self, op: Unary, a: Value) -> Value {
        match op {
            Unary::Sqrt => {
                let a = self.real_of(a);
                self.push(false, format!("sqrtf({a})"))
            }
            Unary::ToReal => {
                let a = self.whole_of(a);
                self.push(false, format!("(float){a}"))
            }
            Unary::ShiftLeft(places) => {
                let a = self.whole_of(a);
                self.push(true, format!("{a} << {places}"))
            }
            Unary::ShiftRight(places) => {
                let a = self.whole_of(a);
                self.push(true, format!("{a} >> {places}"))
            }
        }
    }

    fn binary(&mut self, op: Binary, a: Value, b: Value) -> Value {
        let real = |sign: &str| (false, format!("{} {sign} {}", self.real_of(a), self.real_of(b)));
        let whole = |sign: &str| (true, format!("{} {sign} {}", self.whole_of(a), self.whole_of(b)));
        let chosen = |sign: &str| {
            let (a, b) = (self.real_of(a), self.real_of(b));
            (false, format!("{a} {sign} {b} ? {a} : {b}"))
        };
        let (is_whole, text) = match op {
            Binary::Add => real("+"),
            Binary::Sub => real("-"),
            Binary::Mul => real("*"),
            Binary::Div => real("/"),
            Binary::Max => chosen(">"),
            Binary::Min => chosen("<"),
            Binary::WholeAdd => whole("+"),
            Binary::WholeSub => whole("-"),
            Binary::WholeMul => whole("*"),
            Binary::Xor => whole("^"),
            Binary::And => whole("&"),
        };
        self.push(is_whole, text)
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        let text = format!("{} * {} + {}", self.real_of(a), self.real_of(b), self.real_of(c));
        self.push(false, text)
    }

    fn choose(&mut self, condition: Condition, [left, right]: [Value; 2], [yes, no]: [Value; 2]) -> Value {
        let sign = match condition {
            Condition::Equal => "==",
            Condition::NotEqual => "!=",
            Condition::Less => "<",
            Condition::LessOrEqual => "<=",
        };
        let [left, right, yes, no] = [left, right, yes, no].map(|value| self.real_of(value));
        self.push(false, format!("{left} {sign} {right} ? {yes} : {no}"))
    }
}
