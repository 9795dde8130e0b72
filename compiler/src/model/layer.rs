//! One use of a layer: formals are bound to what flows in and to the arguments, sizes become concrete, and the body
//! becomes equations.

use super::context::{Binding, Context, Flow};
use super::declare::{declare_param, init, shape, start_value};
use super::functions::Function;
use super::keyed::Keyed;
use super::range::{self, Written};
use super::scope::{Checked, Reported, Rules, Scope, Value};
use super::{ExprId, ExprOp, Layer, Param, Source, State};
use crate::diag::{Diagnostic, Place, Span};
use crate::syntax::ast::{
    Declaration, Definition, Dim, Expr, ExprKind, Formal, FormalKind, Stage, Statement,
};

/// Adds the layer to `cx.layers`; what flows out of it.
pub(super) fn instantiate(cx: &mut Context, definition: &Definition, stage: &Stage, flow: Flow) -> Flow {
    let Some((first, rest)) = definition.formals.split_first() else {
        return Flow::Unknown;
    };
    let layer = &definition.name.text;
    let uses = cx.uses.entry(layer.clone()).or_insert(0);
    *uses += 1;
    let name = format!("{layer}_{uses}");
    let mut scope = Scope::new(Rules::Layer, Some((stage.span, layer.clone())));
    scope.bind("vocab", Value::Number(cx.vocab as f64), stage.name.span);
    let mut instance = Instance {
        cx,
        scope,
        name,
        stage,
        inputs: Vec::new(),
        states: Vec::new(),
        result: None,
        final_step: false,
    };

    instance.tensor(first, Binding::Flow(flow), stage.name.span);
    let keys: Vec<&str> = rest.iter().map(|formal| formal.name.text.as_str()).collect();
    let keyed = Keyed::call(layer, stage.name.span, &stage.args, &keys, &mut instance.cx.errors);
    // Tensors first: the defaults of options may use their sizes.
    for formal in rest.iter().filter(|formal| !matches!(formal.kind, FormalKind::Option(_))) {
        instance.tensor_argument(formal, keyed.list(&formal.name.text).first().copied());
    }
    for formal in rest {
        if let FormalKind::Option(default) = &formal.kind {
            let given = keyed.list(&formal.name.text).first().copied();
            instance.option(definition, formal, default.as_ref(), given);
        }
    }
    definition.body.iter().for_each(|statement| instance.statement(statement));
    instance.finish()
}

struct Instance<'c, 'a, 'm> {
    cx: &'c mut Context<'a>,
    scope: Scope,
    name: String,
    stage: &'m Stage,
    inputs: Vec<Source>,
    states: Vec<State>,
    result: Option<ExprId>,
    /// Whether the result is that of the last step only.
    final_step: bool,
}

impl Instance<'_, '_, '_> {
    /// Binds an input or a shared parameter, and the sizes in its shape.
    fn tensor(&mut self, formal: &Formal, given: Binding, span: Span) {
        let name = &formal.name;
        let value = match (given, &formal.kind) {
            (Binding::Flow(Flow::From(Source::Tokens)), FormalKind::Token) => Some(self.token(name.span)),
            (Binding::Flow(Flow::From(Source::Layer(layer))), FormalKind::Tensor(dims)) => {
                let shape = vec![self.cx.layers[layer].width];
                self.fit(formal, dims, &shape, span)
                    .then(|| self.input(Source::Layer(layer), shape, name.span))
            }
            (Binding::Param(param), FormalKind::Tensor(dims)) => {
                let Param { shape, span: declared, .. } = self.cx.params[param].clone();
                self.fit(formal, dims, &shape, span)
                    .then(|| Value::Expr(self.scope.push(ExprOp::Param(param), shape, declared)))
            }
            (Binding::Flow(Flow::Unknown), _) => None,
            (given, _) => {
                self.wrong_flow(formal, given, span);
                None
            }
        };
        if let Some(Value::Expr(id) | Value::Token(id)) = value {
            self.scope.label(id, &name.text);
        }
        if let FormalKind::Tensor(dims) = &formal.kind {
            for dim in dims {
                // Sizes of what is unknown are unknown too.
                if let Dim::Name(dim) = dim
                    && !self.scope.names.contains_key(&dim.text)
                {
                    self.scope.bind(&dim.text, Value::Unknown, dim.span);
                }
            }
        }
        self.scope.bind(&name.text, value.unwrap_or(Value::Unknown), span);
    }

    fn token(&mut self, span: Span) -> Value {
        let index = self.inputs.len();
        self.inputs.push(Source::Tokens);
        Value::Token(self.scope.push(ExprOp::Input(index), vec![], span))
    }

    fn input(&mut self, source: Source, shape: Vec<usize>, span: Span) -> Value {
        let index = self.inputs.len();
        self.inputs.push(source);
        Value::Expr(self.scope.push(ExprOp::Input(index), shape, span))
    }

    fn wrong_flow(&mut self, formal: &Formal, given: Binding, span: Span) {
        let layer = &self.stage.name.text;
        let tokens = matches!(given, Binding::Flow(Flow::From(Source::Tokens)));
        let message = if tokens {
            format!("`{layer}` takes a vector, and tokens flow into it")
        } else {
            format!("`{layer}` takes tokens, and a vector flows into it")
        };
        let error =
            Diagnostic::error("E0303", span, message).label(formal.name.span, "the input is declared here");
        self.cx.errors.push(error.help(if tokens {
            "`embedding(n)` makes vectors of tokens, `scalar` numbers"
        } else {
            "layers that take tokens stand right after `tokens`"
        }));
    }

    /// Matches a formal's shape with an actual one, binding its sizes; reports a mismatch.
    fn fit(&mut self, formal: &Formal, dims: &[Dim], shape: &[usize], span: Span) -> bool {
        let size = |dim: &Dim| match dim {
            Dim::Number(value, _) => Some(*value),
            Dim::Name(name) => match self.scope.names.get(&name.text) {
                Some((Value::Number(value), _)) => Some(*value),
                _ => None,
            },
        };
        let agrees = |(dim, actual): (&Dim, &usize)| size(dim).is_none_or(|size| size == *actual as f64);
        if dims.len() == shape.len() && dims.iter().zip(shape).all(agrees) {
            for (dim, actual) in dims.iter().zip(shape) {
                if let Dim::Name(name) = dim {
                    self.scope.bind(&name.text, Value::Number(*actual as f64), span);
                }
            }
            return true;
        }
        let written = |dim: &Dim| match (dim, size(dim)) {
            (_, Some(size)) => crate::syntax::number(size),
            (Dim::Name(name), None) => name.text.clone(),
            (Dim::Number(value, _), None) => crate::syntax::number(*value),
        };
        let wanted: Vec<String> = dims.iter().map(written).collect();
        let layer = &self.stage.name.text;
        let wanted = wanted.join(", ");
        let message =
            format!("`{layer}` takes `{}` of shape [{wanted}], and gets {shape:?}", formal.name.text);
        let error = Diagnostic::error("E0305", span, message).label(formal.name.span, "declared here");
        self.cx.errors.push(if dims.len() > shape.len() {
            error.help("batch and time are not written: a layer's input is one token's vector, `x: [in]`")
        } else {
            error
        });
        false
    }

    fn tensor_argument(&mut self, formal: &Formal, given: Option<&Expr>) {
        let Some(expr) = given else {
            self.missing(formal);
            return self.tensor(formal, Binding::Flow(Flow::Unknown), self.stage.span);
        };
        let binding = match &expr.kind {
            ExprKind::Name(name) if name == "tokens" => Some(Binding::Flow(Flow::From(Source::Tokens))),
            ExprKind::Name(name) => self.cx.names.get(name).map(|(binding, _)| *binding),
            _ => None,
        };
        self.cx.mark_read(expr);
        if binding.is_none() {
            let layer = &self.stage.name.text;
            let message =
                format!("`{layer}` takes a parameter or another chain's result as `{}`", formal.name.text);
            let error = Diagnostic::error("E0405", expr.span, message).at(format!("`{expr}` is neither"));
            let error = error.label(formal.name.span, "declared here");
            self.cx.errors.push(error.help("name one in the model block: `param E: [...]` or `let a = ...`"));
        }
        self.tensor(formal, binding.unwrap_or(Binding::Flow(Flow::Unknown)), expr.span);
    }

    fn missing(&mut self, formal: &Formal) {
        let (layer, name) = (&self.stage.name.text, &formal.name.text);
        let error =
            Diagnostic::error("E0211", self.stage.span, format!("`{layer}` needs its argument `{name}`"));
        self.cx.errors.push(error.label(formal.name.span, "declared here without a default"));
    }

    fn option(
        &mut self,
        definition: &Definition,
        formal: &Formal,
        default: Option<&Expr>,
        given: Option<&Expr>,
    ) {
        let default_value = default.map(|expr| self.scope.eval(expr));
        let value = match (given, default_value) {
            (Some(expr), default) => self.given_option(formal, expr, default.and_then(Result::ok)),
            (None, Some(default)) => default,
            (None, None) => {
                self.missing(formal);
                Err(Reported)
            }
        };
        let written = given.map(Written::Argument).or(default.map(Written::Default));
        let value = match (value, written) {
            (Ok(value), Some(written)) => range::check(&mut self.scope, definition, formal, value, written),
            (value, _) => value,
        };
        let span = given.map_or(formal.name.span, |expr| expr.span);
        self.scope.bind(&formal.name.text, value.unwrap_or(Value::Unknown), span);
    }

    /// The value of an option's argument, which must be a function exactly if the default is one.
    fn given_option(&mut self, formal: &Formal, expr: &Expr, default: Option<Value>) -> Checked<Value> {
        let is_function = |value: &Value| matches!(value, Value::Function(_));
        let wanted = match default {
            Some(Value::Function(_)) => Place::Activation,
            Some(Value::Init(_)) => Place::Initializer,
            _ => Place::Name,
        };
        let value = self.argument(expr, wanted)?;
        let positional = self.stage.args.iter().any(|arg| arg.name.is_none() && arg.value.span == expr.span);
        if let (Value::Number(_), Some(Value::Init(_)), true) = (&value, &default, positional) {
            self.number_for_initializer(formal, expr);
        }
        let Some(default) = default.filter(|default| is_function(default) != is_function(&value)) else {
            return Ok(value);
        };
        let takes = if is_function(&default) { "a function" } else { "a number or an initializer" };
        let (name, found) = (&formal.name.text, self.scope.describe(&value));
        let message = format!("`{name}` is {takes}, and `{expr}` is {found}");
        let error = Diagnostic::error("E0405", expr.span, message);
        self.cx.errors.push(error.label(formal.name.span, "declared here"));
        Err(Reported)
    }

    /// Reports a number as the second argument of a layer whose second option is an initializer: in other libraries a
    /// layer is given the widths of its input and of its result.
    fn number_for_initializer(&mut self, formal: &Formal, expr: &Expr) {
        let name = &formal.name.text;
        let message = format!("the argument at this place is `{name}`, which says how parameters start");
        let error = Diagnostic::error("E0405", expr.span, message).label(formal.name.span, "declared here");
        self.cx.errors.push(error.help(format!(
            "the width of what flows in is known, so only that of the result is given; a constant start is given by \
             name, `{name}: {expr}`"
        )));
    }

    /// An argument in the model block: a number, a function or an initializer.
    fn argument(&mut self, expr: &Expr, wanted: Place) -> Checked<Value> {
        let mut scope = Scope::constants();
        scope.wanted = wanted;
        scope.bind("vocab", Value::Number(self.cx.vocab as f64), expr.span);
        if let ExprKind::Name(name) = &expr.kind
            && (self.cx.names.contains_key(name) || name == "tokens")
        {
            self.cx.mark_read(expr);
            let message = format!("`{name}` is a tensor; a number, a function or an initializer is needed");
            self.cx.errors.push(Diagnostic::error("E0405", expr.span, message));
            return Err(Reported);
        }
        if let ExprKind::Name(name) = &expr.kind
            && Function::named(name).is_none()
            && self.cx.definitions.layers.contains_key(name.as_str())
        {
            let error = Diagnostic::error("E0405", expr.span, format!("`{name}` is a layer and no argument"));
            self.cx.errors.push(error.help(format!("put it into the chain: `... -> {name}`")));
            return Err(Reported);
        }
        let value = scope.eval(expr);
        self.cx.errors.append(&mut scope.errors);
        value
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Param(declaration) => self.param(declaration),
            Statement::State(declaration) => self.state(declaration),
            Statement::Assign(name, expr) => {
                let value = self.scope.eval(expr).unwrap_or(Value::Unknown);
                if let Value::Expr(id) = value {
                    self.scope.label(id, &name.text);
                }
                self.scope.bind(&name.text, value, name.span);
            }
            Statement::Next(name, expr) => {
                let value = self.next(&name.text, expr).unwrap_or(Value::Unknown);
                if let Value::Expr(id) = value {
                    self.scope.label(id, &format!("next {}", name.text));
                }
                self.scope.next.insert(name.text.clone(), value);
            }
            Statement::Return(expr, _) => self.result = self.returned(expr).ok(),
        }
    }

    fn param(&mut self, declaration: &Declaration) {
        let shape = shape(&mut self.scope, declaration);
        let init = init(&mut self.scope, declaration);
        for name in &declaration.names {
            let mut value = Value::Unknown;
            if let (Ok(shape), Ok(init)) = (&shape, &init) {
                let full = format!("{}.{}", self.name, name.text);
                let param = declare_param(self.cx, &mut self.scope, &full, shape, *init, name.span);
                if let Some(param) = param {
                    let id = self.scope.push(ExprOp::Param(param), shape.clone(), name.span);
                    self.scope.label(id, &name.text);
                    value = Value::Expr(id);
                }
            }
            self.scope.bind(&name.text, value, name.span);
        }
    }

    fn state(&mut self, declaration: &Declaration) {
        let width = self.state_width(declaration);
        let start = start_value(&mut self.scope, declaration);
        for name in &declaration.names {
            let mut value = Value::Unknown;
            if let (Ok(width), Ok(start)) = (&width, &start) {
                let id = self.scope.push(ExprOp::State(self.states.len()), vec![*width], name.span);
                self.scope.label(id, &name.text);
                value = Value::Expr(id);
                let state = State { name: name.text.clone(), width: *width, start: *start, span: name.span };
                self.states.push(state);
            }
            self.scope.bind(&name.text, value, name.span);
        }
    }

    fn state_width(&mut self, declaration: &Declaration) -> Checked<usize> {
        match shape(&mut self.scope, declaration)?.as_slice() {
            [width] => Ok(*width),
            shape => {
                let error = Diagnostic::error(
                    "E0306",
                    declaration.span,
                    format!("a state is a vector, not {shape:?}"),
                );
                Err(self.scope.error(error.help("such as `state h: [units]`")))
            }
        }
    }

    fn next(&mut self, name: &str, expr: &Expr) -> Checked<Value> {
        let value = self.scope.eval(expr)?;
        let id = self.scope.operand(value, expr)?;
        let Some((Value::Expr(state), declared)) = self.scope.names.get(name).copied() else {
            return Err(Reported);
        };
        let (wanted, found) = (self.scope.shape(state).to_vec(), self.scope.shape(id).to_vec());
        if wanted == found {
            return Ok(Value::Expr(id));
        }
        let found = if found.is_empty() { "a number".to_owned() } else { format!("{found:?}") };
        let error = Diagnostic::error(
            "E0302",
            expr.span,
            format!("`next {name}` gets {found}, and `{name}` is {wanted:?}"),
        );
        Err(self.scope.error(error.label(declared, format!("`{name}` was declared here"))))
    }

    fn returned(&mut self, expr: &Expr) -> Checked<ExprId> {
        let last = match &expr.kind {
            ExprKind::Call(name, args) if Function::named(&name.text) == Some(Function::FinalStep) => {
                args.first().filter(|arg| args.len() == 1 && arg.name.is_none()).map(|arg| &arg.value)
            }
            _ => None,
        };
        let inner = last.unwrap_or(expr);
        let value = self.scope.eval(inner)?;
        let id = match value {
            Value::Number(_) => None,
            value => Some(self.scope.operand(value, inner)?).filter(|id| !self.scope.shape(*id).is_empty()),
        };
        let Some(id) = id else {
            let message = format!(
                "`{}` returns {}; a layer's result is a vector",
                self.stage.name.text,
                self.scope.describe(&value)
            );
            return Err(self.scope.error(Diagnostic::error("E0306", inner.span, message)));
        };
        if last.is_none() {
            return Ok(id);
        }
        self.final_step = true;
        let shape = self.scope.shape(id).to_vec();
        Ok(self.scope.push(ExprOp::FinalStep(id), shape, expr.span))
    }

    /// Whether the layer works on every step: all its inputs do, or none does.
    fn works_on_every_step(&mut self) -> bool {
        let every = |source: &Source| match source {
            Source::Tokens => true,
            Source::Layer(layer) => self.cx.layers[*layer].every_step,
        };
        let all = self.inputs.iter().all(every);
        let layer = &self.stage.name.text;
        let problem = if all {
            None
        } else if self.inputs.iter().any(every) {
            Some(format!(
                "`{layer}` reads one input that has a value for every step and one for the last step only"
            ))
        } else if !self.states.is_empty() {
            Some(format!(
                "`{layer}` carries state from step to step, and only the last step's value flows in"
            ))
        } else if self.final_step {
            Some(format!("`{layer}` takes the last step, and only the last step's value flows in"))
        } else {
            None
        };
        if let Some(message) = problem {
            self.cx.errors.push(Diagnostic::error("E0309", self.stage.span, message));
        }
        all
    }

    fn finish(mut self) -> Flow {
        let works_on_every_step = self.works_on_every_step();
        let mut body = std::mem::take(&mut self.scope.body);
        for state in &self.states {
            if let Some(Value::Expr(id)) = self.scope.next.get(&state.name) {
                body.next.push(*id);
            }
        }
        self.cx.errors.append(&mut self.scope.errors);
        let Some(result) = self.result else {
            return Flow::Unknown;
        };
        body.result = result;
        let width = body.exprs[result.0 as usize].shape.first().copied().unwrap_or(1);
        self.cx.layers.push(Layer {
            name: self.name,
            span: self.stage.span,
            inputs: self.inputs,
            states: self.states,
            body,
            width,
            every_step: works_on_every_step && !self.final_step,
        });
        Flow::From(Source::Layer(self.cx.layers.len() - 1))
    }
}
