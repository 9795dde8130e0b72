//! Parsing of items: the `data`, `model` and `train` blocks, and the heads of layers and optimizers.

use super::ast::{
    Binary, Bound, Chain, Definition, Dim, Entry, Expr, ExprKind, Formal, FormalKind, Item, ModelBlock,
    ModelStatement, Name, Range, Settings, Stage,
};
use super::parser::{Parsed, Parser};
use super::token::Kind;
use crate::diag::{Diagnostic, Place, Span, suggest};

impl Parser<'_> {
    /// ```text
    /// item = "data" settings | "train" settings | "model" model | "layer" definition | "optimizer" definition
    /// ```
    pub fn item(&mut self) -> Parsed<Item> {
        let head = self.token();
        if head.kind != Kind::Name {
            return self.expected("`data`, `model`, `train`, `layer` or `optimizer`");
        }
        match self.slice(head.span) {
            "data" => self.settings().map(Item::Data),
            "train" => self.settings().map(Item::Train),
            "model" => self.model().map(Item::Model),
            "layer" => self.definition().map(Item::Layer),
            "optimizer" => self.definition().map(Item::Optimizer),
            word => {
                let message = format!("`{word}` opens no block");
                let blocks = ["data", "model", "train", "layer", "optimizer"];
                let error = Diagnostic::error("E0104", head.span, message);
                self.fail(suggest(error, Place::Block, word, blocks, "a file has the blocks"))
            }
        }
    }

    /// `settings = "{" entry* "}"`
    fn settings(&mut self) -> Parsed<Settings> {
        let span = self.advance().span;
        Ok(Settings { entries: self.block(Self::entry)?, span })
    }

    /// `entry = name ":" expr ("," expr)*`
    fn entry(&mut self) -> Parsed<Entry> {
        let what = "a key such as `tokens:`";
        if self.kind() == Kind::Text {
            return self.expected_but(what, "a key stands without quotes");
        }
        let key = self.name(what)?;
        if self.kind() != Kind::Colon {
            return self.expected_but("`:`", format!("a setting is written `{}: value`", key.text));
        }
        self.advance();
        let mut values = vec![self.whole_expr()?];
        while self.eat_on_line(Kind::Comma) {
            if self.kind() == Kind::CloseBrace
                || self.kind() == Kind::Name && self.peek(1).kind == Kind::Colon
            {
                let error =
                    Diagnostic::error("E0104", self.previous(), "expected another value after this `,`");
                return self.fail(error.help("no comma stands between two settings"));
            }
            values.push(self.whole_expr()?);
        }
        let span = key.span.to(self.previous());
        let at_key = self.kind() == Kind::Name && self.peek(1).kind == Kind::Colon;
        if !(at_key || self.at_statement_end()) {
            let what = "another `key:`, or the end of the line";
            return match self.missing_operator() {
                Some(help) if self.slice(self.span()).starts_with('_') => self.expected_but(what, help),
                _ => self.expected(what),
            };
        }
        Ok(Entry { key, values, span })
    }

    /// `model = "{" (param | let | chain)* "}"`
    fn model(&mut self) -> Parsed<ModelBlock> {
        let span = self.advance().span;
        Ok(ModelBlock { statements: self.block(Self::model_statement)?, span })
    }

    /// ```text
    /// let = "let" name "=" chain
    /// ```
    fn model_statement(&mut self) -> Parsed<ModelStatement> {
        let statement = match self.kind() {
            Kind::Param => ModelStatement::Param(self.declaration()?),
            Kind::Let => {
                self.advance();
                let name = self.name("a name")?;
                self.expect(Kind::Assign)?;
                ModelStatement::Let(name, self.chain()?)
            }
            Kind::Name => ModelStatement::Output(self.chain()?),
            _ => return self.expected("`param`, `let` or a chain such as `tokens -> embedding(200)`"),
        };
        let help = match (&statement, self.kind()) {
            (ModelStatement::Output(chain), Kind::Assign) => {
                format!("a result gets a name with `let`: `let {} = tokens -> ...`", chain.start.text)
            }
            (ModelStatement::Output(chain), Kind::OpenParen) if chain.stages.is_empty() => {
                format!("a chain begins with what flows: `tokens -> {}(...)`", chain.start.text)
            }
            (ModelStatement::Output(chain) | ModelStatement::Let(_, chain), Kind::Number | Kind::Name) => {
                let last = chain.stages.last().map_or(&chain.start, |stage| &stage.name);
                format!("an argument stands in brackets: `{}({})`", last.text, self.slice(self.span()))
            }
            _ => String::new(),
        };
        self.end_of_statement("`->` or the end of the line", &help)?;
        Ok(statement)
    }

    /// `chain = name ("->" stage)*`
    fn chain(&mut self) -> Parsed<Chain> {
        let start = self.name("a chain such as `tokens -> embedding(200)`")?;
        let mut stages = Vec::new();
        // Nothing else begins with `->`, so a chain may go on in the next line.
        while self.eat(Kind::Arrow) {
            stages.push(self.stage()?);
        }
        let span = start.span.to(self.previous());
        Ok(Chain { start, stages, span })
    }

    /// `stage = name ("(" arguments ")")?`
    fn stage(&mut self) -> Parsed<Stage> {
        let name = self.name("a layer")?;
        let mut args = Vec::new();
        if self.eat_on_line(Kind::OpenParen) {
            self.operations = 0;
            args = self.arguments()?.0;
        }
        let span = name.span.to(self.previous());
        Ok(Stage { name, args, span })
    }

    /// ```text
    /// definition = name "(" (formal ("," formal)*)? ")" ("where" range ("," range)*)? "{" statement* "}"
    /// ```
    fn definition(&mut self) -> Parsed<Definition> {
        let word = self.advance().span;
        let name = self.name("a name")?;
        self.expect(Kind::OpenParen)?;
        let (formals, close) = self.list(Kind::CloseParen, Self::formal)?;
        let span = word.to(close);
        let mut ranges = Vec::new();
        if self.is_word(0, "where") {
            self.advance();
            ranges.push(self.range()?);
            while self.eat(Kind::Comma) {
                ranges.push(self.range()?);
            }
        }
        Ok(Definition { name, formals, ranges, body: self.block(Self::statement)?, span })
    }

    /// ```text
    /// range = name (">" | ">=" | "<" | "<=") sum | sum ("<" | "<=") name (("<" | "<=") sum)?
    /// ```
    fn range(&mut self) -> Parsed<Range> {
        self.operations = 0;
        let first = self.sum()?;
        let Some(sign) = self.operator(1) else {
            return self.expected("a range such as `0 <= rate < 1`");
        };
        let second = self.sum()?;
        let span = |parser: &Self| first.span.to(parser.previous());
        let rises = |sign| matches!(sign, Binary::Lt | Binary::Le);
        let bound = |sign, value| Some(Bound { value, included: matches!(sign, Binary::Le | Binary::Ge) });
        if let Some(next) = self.operator(1) {
            let third = self.sum()?;
            return match name_of(&second) {
                Some(name) if rises(sign) && rises(next) => {
                    let span = span(self);
                    Ok(Range { name, least: bound(sign, first), most: bound(next, third), span })
                }
                _ => self.not_a_range(span(self)),
            };
        }
        let span = span(self);
        match (name_of(&first), name_of(&second), sign) {
            (Some(name), _, Binary::Gt | Binary::Ge) => {
                Ok(Range { name, least: bound(sign, second), most: None, span })
            }
            (Some(name), _, Binary::Lt | Binary::Le) => {
                Ok(Range { name, least: None, most: bound(sign, second), span })
            }
            (None, Some(name), Binary::Lt | Binary::Le) => {
                Ok(Range { name, least: bound(sign, first), most: None, span })
            }
            _ => self.not_a_range(span),
        }
    }

    fn not_a_range(&mut self, span: Span) -> Parsed<Range> {
        let error = Diagnostic::error("E0104", span, "this is not a range of an option");
        self.fail(error.help("such as `rate >= 0`, or `0 <= rate < 1`, with the option's name in the middle"))
    }

    /// ```text
    /// formal = name ":" "token" | name ":" "[" dim ("," dim)* "]" | name ("=" expr)?
    /// ```
    fn formal(&mut self) -> Parsed<Formal> {
        let name = self.name("an argument's name")?;
        let kind = if self.eat(Kind::Colon) {
            if self.is_word(0, "token") {
                self.advance();
                FormalKind::Token
            } else if self.eat(Kind::OpenBracket) {
                FormalKind::Tensor(self.list(Kind::CloseBracket, Self::dim)?.0)
            } else {
                return self.expected("a shape such as `[in]`, or `token`");
            }
        } else if self.eat(Kind::Assign) {
            FormalKind::Option(Some(self.whole_expr()?))
        } else {
            FormalKind::Option(None)
        };
        Ok(Formal { name, kind })
    }

    /// `dim = name | number`
    fn dim(&mut self) -> Parsed<Dim> {
        if self.kind() == Kind::Number {
            let span = self.span();
            return Ok(Dim::Number(self.number()?, span));
        }
        Ok(Dim::Name(self.name("a size: a name or a number")?))
    }
}

/// The expression as a name, if it is a plain one.
fn name_of(expr: &Expr) -> Option<Name> {
    match &expr.kind {
        ExprKind::Name(text) => Some(Name { text: text.clone(), span: expr.span }),
        _ => None,
    }
}
