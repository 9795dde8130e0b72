//! Parsing of the statements in a layer's or optimizer's body.

use super::ast::{Declaration, Statement};
use super::parser::{Parsed, Parser};
use super::token::Kind;

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
                self.expect(Kind::Assign)?;
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
                self.expect(Kind::Assign)?;
                Statement::Assign(name, self.whole_expr()?)
            }
            _ => return self.expected("`param`, `state`, `next`, `return` or an equation"),
        };
        self.end_of_statement("an operator or the end of the line")?;
        Ok(statement)
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
        if self.eat_on_line(Kind::Colon) {
            self.expect(Kind::OpenBracket)?;
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

    /// A statement ends with its line, at `;` or `}`, or before a word that can only begin another one.
    pub fn end_of_statement(&mut self, expected: &str) -> Parsed<()> {
        let begins = matches!(self.kind(), Kind::Param | Kind::State | Kind::Next | Kind::Return | Kind::Let);
        if begins || self.at_statement_end() { Ok(()) } else { self.expected(expected) }
    }
}
