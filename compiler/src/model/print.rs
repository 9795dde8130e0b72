//! The model as text: sizes, parameters and equations, the same for the same model.

use std::fmt::Write;

use super::{Body, Expr, ExprId, ExprOp, Init, Layer, Model, Optimizer, Source, State};
use crate::scalar::Scalar;
use crate::syntax::number;

/// Layers with their shapes and equations, parameters with their initializers, the optimizer, and the two settings blocks.
pub fn print(model: &Model) -> String {
    let mut out = String::new();
    let total: usize = model.params.iter().map(|param| elements(&param.shape)).sum();
    line(&mut out, &format!("vocabulary {}", model.vocab));
    line(&mut out, &format!("parameters {total}"));
    line(&mut out, "");
    for param in &model.params {
        line(&mut out, &format!("param {}: {:?} = {}", param.name, param.shape, init(&param.init)));
    }
    for (index, layer) in model.layers.iter().enumerate() {
        line(&mut out, "");
        print_layer(&mut out, model, layer, index == model.output);
    }
    line(&mut out, "");
    print_optimizer(&mut out, &model.optimizer);
    line(&mut out, "");
    line(&mut out, &format!("tokens {:?}", model.data.tokens));
    let batches = &model.data.batches;
    line(&mut out, &format!("batches {:?} rows {} steps {}", batches.kind, batches.rows, batches.steps));
    let train = &model.train;
    line(&mut out, &format!("loss {:?}", train.loss));
    line(&mut out, &format!("clip {}", train.clip.map_or("none".to_owned(), number)));
    line(&mut out, &format!("schedule {:?}", train.schedule));
    line(&mut out, &format!("length {:?}", train.length));
    line(&mut out, &format!("report {:?}", train.report));
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn init(init: &Init) -> String {
    match init {
        Init::Constant(value) => number(*value),
        Init::Uniform(a) => format!("uniform({})", number(*a)),
        Init::Normal(s) => format!("normal({})", number(*s)),
        Init::Glorot { fan_in, fan_out } => format!("glorot({}, {})", number(*fan_in), number(*fan_out)),
        Init::Orthogonal { gain } => format!("orthogonal({})", number(*gain)),
    }
}

fn print_layer(out: &mut String, model: &Model, layer: &Layer, output: bool) {
    let inputs: Vec<String> = layer
        .inputs
        .iter()
        .map(|source| match source {
            Source::Tokens => "tokens".to_owned(),
            Source::Layer(index) => model.layers[*index].name.clone(),
        })
        .collect();
    let steps = if layer.every_step { "every step" } else { "last step" };
    let output = if output { ", output" } else { "" };
    let head = format!("layer {}({}) -> [{}] {steps}{output}", layer.name, inputs.join(", "), layer.width);
    line(out, &head);
    for state in &layer.states {
        line(out, &format!("  state {}: [{}] = {}", state.name, state.width, number(state.start)));
    }
    Equations::of(&layer.body).print(out, &layer.states);
}

fn print_optimizer(out: &mut String, optimizer: &Optimizer) {
    line(out, &format!("optimizer {}, rate {}", optimizer.name, number(optimizer.rate)));
    for state in &optimizer.states {
        line(out, &format!("  state {} = {}", state.name, number(state.start)));
    }
    Equations::of(&optimizer.body).print(out, &optimizer.states);
}

/// A body as equations: what has a name or is read more than once gets a line, the rest stands inside its reader.
struct Equations<'a> {
    body: &'a Body,
    uses: Vec<usize>,
}

impl<'a> Equations<'a> {
    fn of(body: &'a Body) -> Self {
        let mut uses = vec![0; body.exprs.len()];
        let ends = body.next.iter().copied().chain([body.result]);
        for id in body.exprs.iter().flat_map(operands).chain(ends) {
            uses[id.0 as usize] += 1;
        }
        Self { body, uses }
    }

    fn print(&self, out: &mut String, states: &[State]) {
        for (index, expr) in self.body.exprs.iter().enumerate() {
            let id = ExprId(index as u32);
            if is_leaf(expr) || self.is_inline(id) || self.uses[index] == 0 {
                continue;
            }
            let shape = if expr.shape.is_empty() { String::new() } else { format!(": {:?}", expr.shape) };
            line(out, &format!("  {}{shape} = {}", self.reference(id), self.right_side(id)));
        }
        for (state, next) in states.iter().zip(&self.body.next) {
            let (name, value) = (format!("next {}", state.name), self.reference(*next));
            if name != value {
                line(out, &format!("  {name} = {value}"));
            }
        }
        line(out, &format!("  return {}", self.operand(self.body.result)));
    }

    fn expr(&self, id: ExprId) -> &'a Expr {
        &self.body.exprs[id.0 as usize]
    }

    fn is_inline(&self, id: ExprId) -> bool {
        let expr = self.expr(id);
        let end = self.body.next.contains(&id);
        expr.name.is_none() && !end && (self.uses[id.0 as usize] <= 1 || is_leaf(expr))
    }

    fn reference(&self, id: ExprId) -> String {
        self.expr(id).name.clone().unwrap_or_else(|| format!("%{}", id.0))
    }

    fn operand(&self, id: ExprId) -> String {
        if self.is_inline(id) { self.right_side(id) } else { self.reference(id) }
    }

    fn right_side(&self, id: ExprId) -> String {
        let of = |id: &ExprId| self.operand(*id);
        match &self.expr(id).op {
            ExprOp::Const(value) => number(*value),
            ExprOp::Input(index) => format!("input {index}"),
            ExprOp::Param(index) => format!("param {index}"),
            ExprOp::State(index) => format!("state {index}"),
            ExprOp::Map(op, args) => self.map(*op, args),
            ExprOp::MatMul { x, w, transposed: false } => format!("({} @ {})", of(x), of(w)),
            ExprOp::MatMul { x, w, transposed: true } => format!("({} @ transpose({}))", of(x), of(w)),
            ExprOp::Sum(x) => format!("sum({})", of(x)),
            ExprOp::Max(x) => format!("max({})", of(x)),
            ExprOp::Row { table, token } => format!("{}[{}]", of(table), of(token)),
            ExprOp::Number(x) => format!("number({})", of(x)),
            ExprOp::Concat(parts) => {
                format!("concat({})", parts.iter().map(of).collect::<Vec<_>>().join(", "))
            }
            ExprOp::Slice { x, start, len } => format!("{}[{start}:{}]", of(x), start + len),
            ExprOp::Random => "random()".to_owned(),
            ExprOp::Training => "training".to_owned(),
            ExprOp::Stop(x) => format!("stop({})", of(x)),
            ExprOp::FinalStep(x) => format!("final_step({})", of(x)),
            ExprOp::Rate => "rate".to_owned(),
            ExprOp::Step => "step".to_owned(),
        }
    }

    fn map(&self, op: Scalar, args: &[ExprId]) -> String {
        let args: Vec<String> = args.iter().map(|id| self.operand(*id)).collect();
        let symbol = match op {
            Scalar::Add => "+",
            Scalar::Sub => "-",
            Scalar::Mul => "*",
            Scalar::Div => "/",
            Scalar::Pow => "^",
            Scalar::Lt => "<",
            Scalar::Le => "<=",
            Scalar::Gt => ">",
            Scalar::Ge => ">=",
            Scalar::Eq => "==",
            Scalar::Ne => "!=",
            _ => "",
        };
        match (symbol, args.as_slice()) {
            ("", [c, a, b]) => format!("(if {c} then {a} else {b})"),
            ("", args) => {
                let mut text = String::new();
                // Writing into a string does not fail.
                let _ = write!(text, "{op}({})", args.join(", "));
                text
            }
            (symbol, args) => format!("({})", args.join(&format!(" {symbol} "))),
        }
    }
}

fn is_leaf(expr: &Expr) -> bool {
    matches!(
        expr.op,
        ExprOp::Const(_)
            | ExprOp::Input(_)
            | ExprOp::Param(_)
            | ExprOp::State(_)
            | ExprOp::Training
            | ExprOp::Rate
            | ExprOp::Step
    )
}

fn operands(expr: &Expr) -> Vec<ExprId> {
    match &expr.op {
        ExprOp::Map(_, args) | ExprOp::Concat(args) => args.clone(),
        ExprOp::MatMul { x, w, .. } => vec![*x, *w],
        ExprOp::Row { table, token } => vec![*table, *token],
        ExprOp::Sum(x)
        | ExprOp::Max(x)
        | ExprOp::Number(x)
        | ExprOp::Slice { x, .. }
        | ExprOp::Stop(x)
        | ExprOp::FinalStep(x) => vec![*x],
        ExprOp::Const(_)
        | ExprOp::Input(_)
        | ExprOp::Param(_)
        | ExprOp::State(_)
        | ExprOp::Random
        | ExprOp::Training
        | ExprOp::Rate
        | ExprOp::Step => vec![],
    }
}
