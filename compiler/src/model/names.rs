//! Checks of a layer or optimizer that need no sizes: every name is known and has one value, every state a `next`. They
//! run once for each definition, used or not.

use std::collections::{BTreeMap, BTreeSet};

use super::functions::Function;
use super::init;
use super::range;
use super::scope::Rules;
use super::unknown::{unknown_function, unknown_name};
use crate::diag::{Diagnostic, Place, Span, suggest};
use crate::syntax::ast::{Declaration, Definition, Dim, Expr, ExprKind, Formal, FormalKind, Name, Statement};

/// Reports what is wrong with the definition; true if nothing is. `layers` are the known layers, for hints.
pub(super) fn check(
    definition: &Definition,
    rules: Rules,
    layers: &BTreeSet<&str>,
    errors: &mut Vec<Diagnostic>,
) -> bool {
    let before = errors.len();
    let mut names = Names {
        rules,
        layers,
        known: BTreeMap::new(),
        later: BTreeMap::new(),
        states: BTreeMap::new(),
        next: BTreeMap::new(),
        params: Vec::new(),
        read: BTreeSet::new(),
        wanted: Place::Name,
        errors,
    };
    names.formals(definition);
    for statement in &definition.body {
        if let Statement::Assign(name, _) = statement {
            names.later.entry(&name.text).or_insert(name.span);
        }
    }
    names.body(definition);
    errors.len() == before
}

struct Names<'a, 'e> {
    rules: Rules,
    layers: &'e BTreeSet<&'a str>,
    known: BTreeMap<&'a str, Span>,
    /// Names that some equation gives a value.
    later: BTreeMap<&'a str, Span>,
    states: BTreeMap<&'a str, Span>,
    next: BTreeMap<&'a str, Span>,
    params: Vec<&'a Name>,
    read: BTreeSet<&'a str>,
    /// What kind of name is expected, for the help about an unknown one.
    wanted: Place,
    errors: &'e mut Vec<Diagnostic>,
}

impl<'a> Names<'a, '_> {
    fn error(&mut self, error: Diagnostic) {
        self.errors.push(error);
    }

    /// Names that mean something without a declaration.
    fn builtin(&self, name: &str) -> Option<&'static str> {
        match (name, self.rules) {
            ("vocab", Rules::Layer) => Some("the number of tokens"),
            ("training", Rules::Layer) => Some("1 while training"),
            ("step", Rules::Optimizer) => Some("the number of the update"),
            _ => None,
        }
    }

    fn declare(&mut self, name: &'a Name) {
        if let Some(meaning) = self.builtin(&name.text) {
            let message = format!("`{}` is {meaning} and cannot be another thing", name.text);
            self.error(Diagnostic::error("E0204", name.span, message));
        } else if let Some(first) = self.known.insert(&name.text, name.span) {
            let error = Diagnostic::error("E0204", name.span, format!("`{}` has a value already", name.text));
            self.error(
                error.label(first, "it was given here").help("choose another name: a name has one value"),
            );
        }
    }

    /// Checks the name on the left of `name = ...`.
    fn assign(&mut self, name: &'a Name) {
        let text = name.text.as_str();
        let (what, help) = match self.states.get(text) {
            Some(_) => ("state", format!("write `next {text} = ...`: its value from this step on")),
            None if self.params.iter().any(|param| param.text == text) => {
                ("parameter", "training changes it; give the result another name".to_owned())
            }
            None => return self.declare(name),
        };
        let error =
            Diagnostic::error("E0206", name.span, format!("`{text}` is a {what}, which `=` cannot change"));
        let declared = self.known.get(text).copied().unwrap_or(name.span);
        self.error(error.label(declared, "it is declared here").help(help));
        // It was meant as `next`, which is then not missing.
        if what == "state" {
            self.next.entry(text).or_insert(name.span);
        }
    }

    fn formals(&mut self, definition: &'a Definition) {
        let optimizer = self.rules == Rules::Optimizer;
        let plain = |formal: &Formal| matches!(formal.kind, FormalKind::Option(None));
        let inputs = if optimizer { 2 } else { 1 };
        let heads = definition.formals.iter().take(inputs);
        let fits = heads.filter(|formal| plain(formal) == optimizer).count() == inputs;
        let is_input = |formal: &Formal| matches!(formal.kind, FormalKind::Tensor(_) | FormalKind::Token);
        if optimizer && !fits {
            let message = "an optimizer's first two arguments are the parameter and its gradient";
            let error = Diagnostic::error("E0212", definition.span, message);
            self.error(
                error.help(format!("such as `optimizer {}(p, g, rate = 0.01)`", definition.name.text)),
            );
        } else if !optimizer && !definition.formals.first().is_some_and(is_input) {
            let error =
                Diagnostic::error("E0212", definition.span, "a layer's first argument is what flows in");
            self.error(
                error.help(format!("such as `layer {}(x: [in])` or `(t: token)`", definition.name.text)),
            );
        }
        for formal in &definition.formals {
            if optimizer && is_input(formal) {
                let message = "an optimizer works element by element, so its arguments have no shapes";
                self.error(Diagnostic::error("E0310", formal.name.span, message));
            }
            self.declare(&formal.name);
            self.dims(&formal.kind);
        }
        self.ranges(definition);
        // Sizes are known before any default is computed, options from left to right.
        let options: Vec<&Name> =
            definition.formals.iter().filter(|f| !is_input(f)).map(|f| &f.name).collect();
        let spans: Vec<(&'a str, Span)> =
            options.iter().filter_map(|name| self.known.remove_entry(name.text.as_str())).collect();
        for formal in &definition.formals {
            if let FormalKind::Option(default) = &formal.kind {
                default.iter().for_each(|default| self.expr(default));
                let name = &formal.name.text;
                for range in definition.ranges.iter().filter(|range| range.name.text == *name) {
                    range.least.iter().chain(&range.most).for_each(|bound| self.expr(&bound.value));
                }
                range::check_default(definition, formal, self.errors);
                self.known.extend(spans.iter().copied().filter(|(name, _)| *name == formal.name.text));
            }
        }
    }

    /// Reports ranges of names that are not options.
    fn ranges(&mut self, definition: &'a Definition) {
        let inputs = if self.rules == Rules::Optimizer { 2 } else { 1 };
        let is_option = |formal: &&Formal| matches!(formal.kind, FormalKind::Option(_));
        let options = || definition.formals.iter().skip(inputs).filter(is_option);
        for range in &definition.ranges {
            let name = &range.name;
            if !options().any(|formal| formal.name.text == name.text) {
                let message = format!("`{}` has no option `{}`", definition.name.text, name.text);
                let known = options().map(|formal| formal.name.text.as_str());
                let error = Diagnostic::error("E0201", name.span, message);
                self.error(suggest(error, Place::Argument, &name.text, known, "it has"));
            }
        }
    }

    fn dims(&mut self, kind: &'a FormalKind) {
        let FormalKind::Tensor(dims) = kind else {
            return;
        };
        for dim in dims {
            // The same name twice says that two sizes are equal.
            if let Dim::Name(name) = dim
                && self.later.insert(&name.text, name.span).is_none()
            {
                self.declare(name);
            }
        }
    }

    fn body(&mut self, definition: &'a Definition) {
        let mut returned: Option<Span> = None;
        for statement in &definition.body {
            if let Some(span) = returned {
                let error = Diagnostic::error("E0208", statement_span(statement), "nothing follows `return`");
                self.error(error.label(span, "the result is given here"));
                break;
            }
            match statement {
                Statement::Param(declaration) => self.param(declaration),
                Statement::State(declaration) => self.state(declaration),
                Statement::Assign(name, value) => {
                    self.expr(value);
                    self.assign(name);
                }
                Statement::Next(name, value) => {
                    self.expr(value);
                    self.next(name);
                }
                Statement::Return(value, span) => {
                    self.expr(value);
                    returned = Some(*span);
                }
            }
        }
        self.end(definition, returned);
    }

    fn end(&mut self, definition: &'a Definition, returned: Option<Span>) {
        let name = &definition.name;
        if returned.is_none() {
            let error = Diagnostic::error("E0208", name.span, format!("`{}` returns nothing", name.text));
            self.error(error.help("end it with `return` and its result"));
        }
        let states: Vec<(&str, Span)> = self.states.iter().map(|(name, span)| (*name, *span)).collect();
        for (name, span) in states {
            if !self.next.contains_key(name) {
                let error = Diagnostic::error("E0206", span, format!("the state `{name}` has no `next`"));
                self.error(error.help(format!("say how it goes on: `next {name} = ...`")));
            }
        }
        for param in std::mem::take(&mut self.params) {
            if !self.read.contains(param.text.as_str()) {
                let message = format!("the parameter `{}` is never used", param.text);
                self.error(Diagnostic::error("E0209", param.span, message));
            }
        }
    }

    fn param(&mut self, declaration: &'a Declaration) {
        if self.rules == Rules::Optimizer {
            let error =
                Diagnostic::error("E0310", declaration.span, "an optimizer has no parameters of its own");
            return self.error(error.help("what it remembers is a `state`, shaped like the parameter"));
        }
        if declaration.shape.is_none() {
            let error = Diagnostic::error("E0306", declaration.span, "this parameter has no shape");
            self.error(error.help("such as `param W: [in, units]`"));
        }
        self.declaration(declaration);
        self.params.extend(&declaration.names);
    }

    fn state(&mut self, declaration: &'a Declaration) {
        match (&declaration.shape, self.rules) {
            (Some(_), Rules::Optimizer) => {
                let message = "an optimizer's state is shaped like the parameter";
                self.error(Diagnostic::error("E0310", declaration.span, message).help("leave out its shape"));
            }
            (None, Rules::Layer) => {
                let error = Diagnostic::error("E0306", declaration.span, "this state has no shape");
                self.error(error.help("such as `state h: [units]`"));
            }
            _ => {}
        }
        self.declaration(declaration);
        self.states.extend(declaration.names.iter().map(|name| (name.text.as_str(), name.span)));
    }

    fn declaration(&mut self, declaration: &'a Declaration) {
        declaration.shape.iter().flatten().for_each(|expr| self.expr(expr));
        self.wanted = Place::Initializer;
        declaration.init.iter().for_each(|expr| self.expr(expr));
        self.wanted = Place::Name;
        declaration.names.iter().for_each(|name| self.declare(name));
    }

    fn next(&mut self, name: &'a Name) {
        if !self.states.contains_key(name.text.as_str()) {
            self.not_a_state(name);
        } else if let Some(first) = self.next.insert(&name.text, name.span) {
            let error =
                Diagnostic::error("E0207", name.span, format!("`next {}` has a value already", name.text));
            self.error(error.label(first, "it was given here"));
        }
    }

    /// Reports `next` of a name that is not a state.
    fn not_a_state(&mut self, name: &Name) {
        let text = name.text.as_str();
        if let Some(declared) = self.known.get(text) {
            let error =
                Diagnostic::error("E0206", name.span, format!("`{text}` is not a state, and has no `next`"));
            let help = format!("what is carried from step to step is declared: `state {text}: [units]`");
            return self.error(error.label(*declared, "it comes from here").help(help));
        }
        let error = Diagnostic::error("E0206", name.span, format!("there is no state `{text}`"));
        if self.states.is_empty() {
            return self.error(error.help(format!("declare it: `state {text}: [units]`")));
        }
        let states: Vec<&str> = self.states.keys().copied().collect();
        self.error(suggest(error, Place::Name, text, states, "the states are"));
    }

    /// `base[index]`. Reports a step as the index, and a state as the base: time is not written.
    fn indexed(&mut self, base: &'a Expr, index: &'a Expr, span: Span) {
        let steps = ["t", "step", "i", "k", "time"];
        let is_step = |name: &str| steps.contains(&name) && !self.known.contains_key(name);
        let by_step = match &index.kind {
            ExprKind::Name(name) => is_step(name),
            ExprKind::Binary(_, a, _) => matches!(&a.kind, ExprKind::Name(name) if is_step(name)),
            _ => false,
        };
        let ExprKind::Name(name) = &base.kind else {
            return self.both(base, index);
        };
        let is_state = self.states.contains_key(name.as_str());
        if !(by_step || is_state) {
            return self.both(base, index);
        }
        self.read.insert(name);
        let error = Diagnostic::error("E0303", span, "steps have no numbers: time is not written in a layer");
        self.error(error.help(if is_state {
            format!("`{name}` is its value from the step before, `next {name}` the one of this step")
        } else {
            format!("`{name}` is this step's; what is needed from the step before is carried in a `state`")
        }));
    }

    fn both(&mut self, a: &'a Expr, b: &'a Expr) {
        self.expr(a);
        self.expr(b);
    }

    fn expr(&mut self, expr: &'a Expr) {
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::Text(_) => {}
            ExprKind::Name(name) => self.name(name, expr.span),
            ExprKind::Next(name) => self.read_next(name, expr.span),
            ExprKind::Neg(x) => self.expr(x),
            ExprKind::Binary(_, a, b) => self.both(a, b),
            ExprKind::Index(base, index) => self.indexed(base, index, expr.span),
            ExprKind::Slice(a, b, c) | ExprKind::If(a, b, c) => {
                self.expr(a);
                self.expr(b);
                self.expr(c);
            }
            ExprKind::Call(name, args) => {
                self.function(name);
                args.iter().for_each(|arg| self.expr(&arg.value));
            }
        }
    }

    fn name(&mut self, name: &'a str, span: Span) {
        self.read.insert(name);
        let function = Function::named(name).is_some() || init::NAMES.contains(&name);
        if self.known.contains_key(name) || self.builtin(name).is_some() {
            return;
        }
        if let Some(assigned) = self.later.get(name) {
            let message = format!("`{name}` is used before it has a value");
            let error = Diagnostic::error("E0205", span, message).label(*assigned, "it gets its value here");
            return self.error(
                error.help("equations run from top to bottom; only a `state` comes from the step before"),
            );
        }
        if function {
            return;
        }
        let mut error = Diagnostic::error("E0201", span, format!("there is no `{name}` here"));
        if self.rules == Rules::Optimizer && name == "vocab" {
            error = error.at("sizes mean nothing to an optimizer");
        }
        let known: Vec<&str> = self.known.keys().copied().collect();
        self.error(unknown_name(error, self.wanted, name, known));
    }

    fn read_next(&mut self, name: &'a Name, span: Span) {
        let text = name.text.as_str();
        if !self.states.contains_key(text) {
            self.not_a_state(name);
        } else if !self.next.contains_key(text) {
            let error =
                Diagnostic::error("E0205", span, format!("`next {text}` is used before it has a value"));
            self.error(error.help(format!("put `next {text} = ...` above this line")));
        }
    }

    fn function(&mut self, name: &'a Name) {
        let text = name.text.as_str();
        self.read.insert(text);
        let known = self.known.contains_key(text);
        if known || Function::named(text).is_some() || init::NAMES.contains(&text) {
            return;
        }
        self.error(if self.layers.contains(text) {
            let error = Diagnostic::error("E0202", name.span, format!("there is no function `{text}`"));
            error.help(format!("`{text}` is a layer; layers are joined with `->` in the model block"))
        } else {
            unknown_function(name, self.wanted)
        });
    }
}

fn statement_span(statement: &Statement) -> Span {
    match statement {
        Statement::Param(declaration) | Statement::State(declaration) => declaration.span,
        Statement::Assign(name, value) | Statement::Next(name, value) => name.span.to(value.span),
        Statement::Return(_, span) => *span,
    }
}
