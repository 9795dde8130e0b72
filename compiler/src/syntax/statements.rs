//! Parsing of the statements in a layer's or optimizer's body.

use super::ast::{Declaration, Statement};
use super::parser::{Parsed, Parser};
use super::token::Kind;

/// The statements of a body, for messages.
const STATEMENT: &str = "`param`, `state`, `next`, `return` or an equation";

impl Parser<'_> {
    /// ```text
    /// statement = param | state | name "=" expr | "next" name "=" expr | "return" expr
    /// ```
    pub fn statement(&mut self) -> Parsed<Statement> {
        let statement = match self.kind() {
            Kind::Param => Statement::Param(self.declaration()?),
            Kind::State => Statement::State(self.declaration()?),
            Kind::Next => {
                self.advance();
                let name = self.name("a state's name")?;
                self.equals(&format!("next {}", name.text))?;
                Statement::Next(name, self.whole_expr()?)
            }
            Kind::Return => {
                let word = self.advance().span;
                let value = self.whole_expr()?;
                let span = word.to(value.span);
                Statement::Return(value, span)
            }
            Kind::Name => {
                let name = self.name("a name")?;
                self.equals(&name.text)?;
                Statement::Assign(name, self.whole_expr()?)
            }
            Kind::Let => return self.expected_but(STATEMENT, "an equation needs no `let`: `y = ...`"),
            Kind::If => {
                return self.expected_but(STATEMENT, "a choice is a value: `y = if c then a else b`");
            }
            _ => return self.expected(STATEMENT),
        };
        self.end_of_statement("an operator or the end of the line", "")?;
        Ok(statement)
    }

    /// The `=` of an equation for `left`.
    fn equals(&mut self, left: &str) -> Parsed<()> {
        let help = match self.kind() {
            Kind::Assign => {
                self.advance();
                return Ok(());
            }
            Kind::OpenBracket => format!(
                "time is not written: `{left} = ...` is this step's, and a state's name is its value from the step before"
            ),
            Kind::Name | Kind::OpenParen if matches!(left, "for" | "while") => {
                "there are no loops: what a layer says is done for every token, and a `state` is carried on"
                    .to_owned()
            }
            Kind::Name => "a declaration begins with `param` or `state`: `param W: [in, units]`".to_owned(),
            _ => format!("an equation is written `{left} = ...`"),
        };
        self.expected_but("`=`", help)
    }

    /// ```text
    /// param = "param" declaration        state = "state" declaration
    /// declaration = name ("," name)* (":" "[" expr ("," expr)* "]")? ("=" expr)?
    /// ```
    pub fn declaration(&mut self) -> Parsed<Declaration> {
        let word = self.advance().span;
        let mut names = vec![self.name("a name")?];
        while self.eat(Kind::Comma) {
            names.push(self.name("a name")?);
        }
        let mut shape = None;
        let shaped = format!("a shape is written `{}: [rows, columns]`, or `[n]`", names[0].text);
        if matches!(self.kind(), Kind::OpenBracket | Kind::OpenParen) && !self.at_line_start() {
            return self.expected_but("`:`", shaped);
        }
        if self.eat_on_line(Kind::Colon) {
            if self.kind() != Kind::OpenBracket {
                return self.expected_but("`[`", shaped);
            }
            self.advance();
            shape = Some(self.list(Kind::CloseBracket, Self::whole_expr)?.0);
        }
        if shape.is_some() && self.kind() == Kind::Comma {
            return self
                .expected_but("`=` or the end of the line", "each shape has a declaration of its own");
        }
        let init = if self.eat_on_line(Kind::Assign) { Some(self.whole_expr()?) } else { None };
        let span = word.to(self.previous());
        Ok(Declaration { names, shape, init, span })
    }

    /// Whether a statement may end here.
    pub fn at_statement_end(&self) -> bool {
        self.at_line_start() || matches!(self.kind(), Kind::Semicolon | Kind::CloseBrace | Kind::End)
    }

    /// A statement ends with its line, at `;` or `}`, or before a word that can only begin another one. `help`, unless
    /// empty, says what to write where it does not.
    pub fn end_of_statement(&mut self, expected: &str, help: &str) -> Parsed<()> {
        let begins = matches!(self.kind(), Kind::Param | Kind::State | Kind::Next | Kind::Return | Kind::Let);
        if begins || self.at_statement_end() {
            return Ok(());
        }
        match (help, self.missing_operator()) {
            ("", None) => self.expected(expected),
            ("", Some(help)) => self.expected_but(expected, help),
            (help, _) => self.expected_but(expected, help),
        }
    }

    /// Help where a value stands right after another one.
    pub fn missing_operator(&self) -> Option<String> {
        let (last, next) = (self.previous(), self.span());
        let (before, after) = (self.slice(last), self.slice(next));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
        match after {
            "and" => {
                return Some("a comparison is 1 or 0: multiply two of them, `(a < b) * (c < d)`".to_owned());
            }
            "or" => {
                return Some(
                    "a comparison is 1 or 0: take the larger of two, `max(a < b, c < d)`".to_owned(),
                );
            }
            _ if before == "not" => return Some("a comparison is 1 or 0: write `1 - c`".to_owned()),
            _ if last.end == next.start && digits(before) && digits(after) => {
                return Some(format!("a number has no `_`: `{before}{}`", after.replace('_', "")));
            }
            _ => {}
        }
        let value = matches!(self.kind(), Kind::Name | Kind::Number | Kind::OpenParen);
        value.then(|| "between two values stands an operator, such as `*` or `@`".to_owned())
    }
}
