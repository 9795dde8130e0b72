//! Parsing of the statements in a layer's or optimizer's body.

use super::ast::{Declaration, Statement};
use super::parser::{Parsed, Parser};
use super::token::Kind;

/// What a body is made of.
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
        match help {
            _ if begins || self.at_statement_end() => Ok(()),
            "" => self.expected(expected),
            help => self.expected_but(expected, help),
        }
    }
}
