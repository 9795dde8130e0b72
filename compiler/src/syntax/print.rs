//! Tokens and trees as text: the same for the same source, without spans, so that two can be compared.

use super::ast::{
    Arg, Chain, Declaration, Definition, Dim, Expr, ExprKind, File, FormalKind, Item, ModelStatement,
    Settings, Statement,
};
use super::display::number;
use super::lexer::lex;
use crate::diag::{SourceId, SourceMap};

/// One token a line, an empty line where the source begins a new one.
pub fn print_tokens(sources: &SourceMap, id: SourceId) -> String {
    let text = sources.text(id);
    let mut out = String::new();
    for token in lex(id, text).0 {
        if token.starts_line && !out.is_empty() {
            out.push('\n');
        }
        let kind = format!("{:?}", token.kind);
        let line = format!("{kind:<12} {}", text.get(token.span.range()).unwrap_or_default());
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The tree, a node a line, children indented by two.
pub fn print(file: &File) -> String {
    let mut tree = Tree::default();
    for item in &file.items {
        match item {
            Item::Data(settings) => tree.settings("data", settings),
            Item::Train(settings) => tree.settings("train", settings),
            Item::Layer(definition) => tree.definition("layer", definition),
            Item::Optimizer(definition) => tree.definition("optimizer", definition),
            Item::Model(block) => tree.node("model", |tree| {
                block.statements.iter().for_each(|statement| tree.model_statement(statement));
            }),
        }
    }
    tree.out
}

#[derive(Default)]
struct Tree {
    out: String,
    depth: usize,
}

impl Tree {
    fn line(&mut self, text: &str) {
        self.out.push_str(&"  ".repeat(self.depth));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn node(&mut self, text: &str, children: impl FnOnce(&mut Self)) {
        self.line(text);
        self.depth += 1;
        children(self);
        self.depth -= 1;
    }

    fn settings(&mut self, head: &str, settings: &Settings) {
        self.node(head, |tree| {
            for entry in &settings.entries {
                tree.node(&format!("entry {}", entry.key.text), |tree| {
                    entry.values.iter().for_each(|value| tree.expr(value));
                });
            }
        });
    }

    fn model_statement(&mut self, statement: &ModelStatement) {
        match statement {
            ModelStatement::Param(declaration) => self.declaration("param", declaration),
            ModelStatement::Let(name, chain) => self.chain(&format!("let {}", name.text), chain),
            ModelStatement::Output(chain) => self.chain("output", chain),
        }
    }

    fn chain(&mut self, head: &str, chain: &Chain) {
        self.node(head, |tree| {
            tree.line(&format!("from {}", chain.start.text));
            for stage in &chain.stages {
                tree.node(&format!("stage {}", stage.name.text), |tree| tree.args(&stage.args));
            }
        });
    }

    fn definition(&mut self, head: &str, definition: &Definition) {
        self.node(&format!("{head} {}", definition.name.text), |tree| {
            for formal in &definition.formals {
                let name = &formal.name.text;
                match &formal.kind {
                    FormalKind::Token => tree.line(&format!("formal {name}: token")),
                    FormalKind::Tensor(dims) => {
                        let dims: Vec<String> = dims.iter().map(dim).collect();
                        tree.line(&format!("formal {name}: [{}]", dims.join(", ")));
                    }
                    FormalKind::Option(default) => {
                        tree.node(&format!("formal {name}"), |tree| {
                            default.iter().for_each(|value| tree.expr(value));
                        });
                    }
                }
            }
            definition.ranges.iter().for_each(|range| tree.line(&format!("range {range}")));
            definition.body.iter().for_each(|statement| tree.statement(statement));
        });
    }

    fn declaration(&mut self, head: &str, declaration: &Declaration) {
        let names: Vec<&str> = declaration.names.iter().map(|name| name.text.as_str()).collect();
        self.node(&format!("{head} {}", names.join(", ")), |tree| {
            if let Some(shape) = &declaration.shape {
                tree.node("shape", |tree| shape.iter().for_each(|size| tree.expr(size)));
            }
            if let Some(init) = &declaration.init {
                tree.node("init", |tree| tree.expr(init));
            }
        });
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Param(declaration) => self.declaration("param", declaration),
            Statement::State(declaration) => self.declaration("state", declaration),
            Statement::Assign(name, value) => {
                self.node(&format!("assign {}", name.text), |tree| tree.expr(value));
            }
            Statement::Next(name, value) => {
                self.node(&format!("next {}", name.text), |tree| tree.expr(value));
            }
            Statement::Return(value, _) => self.node("return", |tree| tree.expr(value)),
        }
    }

    fn args(&mut self, args: &[Arg]) {
        for arg in args {
            match &arg.name {
                Some(name) => self.node(&format!("{}:", name.text), |tree| tree.expr(&arg.value)),
                None => self.expr(&arg.value),
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Number(value) => self.line(&number(*value)),
            ExprKind::Text(text) => self.line(&format!("\"{text}\"")),
            ExprKind::Name(name) => self.line(name),
            ExprKind::Next(name) => self.line(&format!("next {}", name.text)),
            ExprKind::Neg(x) => self.node("negate", |tree| tree.expr(x)),
            ExprKind::Binary(op, a, b) => self.node(op.symbol(), |tree| {
                tree.expr(a);
                tree.expr(b);
            }),
            ExprKind::Call(name, args) => self.node(&format!("call {}", name.text), |tree| tree.args(args)),
            ExprKind::Index(x, at) => self.node("index", |tree| {
                tree.expr(x);
                tree.expr(at);
            }),
            ExprKind::Slice(x, start, end) => self.node("slice", |tree| {
                tree.expr(x);
                tree.expr(start);
                tree.expr(end);
            }),
            ExprKind::If(c, a, b) => self.node("if", |tree| {
                tree.expr(c);
                tree.expr(a);
                tree.expr(b);
            }),
        }
    }
}

fn dim(dim: &Dim) -> String {
    match dim {
        Dim::Name(name) => name.text.clone(),
        Dim::Number(value, _) => number(*value),
    }
}
