//! The model as text: sizes, parameters and equations, the same for the same model.

use super::{
    BatchKind, Batches, Body, Course, Expr, ExprId, ExprOp, Init, Layer, Length, Loss, Model, Optimizer,
    Schedule, Selection, Source, Start, State, Targets, TokenKind, Tokens, Train,
};
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
    line(&mut out, &format!("tokens: {}", tokens(&model.data.tokens)));
    selection(&mut out, &model.data.selection);
    line(&mut out, &format!("batches: {}", batches(&model.data.batches)));
    print_train(&mut out, &model.train);
    out
}

fn tokens(tokens: &Tokens) -> String {
    let kind = tokens.kind.name();
    match &tokens.kind {
        TokenKind::Bpe(size) => return format!("{kind}({size})"),
        TokenKind::File(file) => return format!("{kind}(\"{file}\")"),
        TokenKind::Words | TokenKind::WordsAndPunctuation | TokenKind::Characters => {}
    }
    let newline = tokens.newline.iter().map(|newline| format!("newline: \"{newline}\", "));
    format!("{kind}({}reserve: {})", newline.collect::<String>(), tokens.reserve)
}

fn selection(out: &mut String, selection: &Selection) {
    if let Some(unknown) = &selection.unknown {
        line(out, &format!("unknown: \"{unknown}\""));
    }
    for (key, value) in [("min_count", selection.min_count), ("vocabulary", selection.most)] {
        if let Some(value) = value {
            line(out, &format!("{key}: {value}"));
        }
    }
}

fn batches(batches: &Batches) -> String {
    let (rows, steps) = (batches.rows, batches.steps);
    match &batches.kind {
        BatchKind::Stream => format!("stream(rows: {rows}, steps: {steps})"),
        BatchKind::Windows { stride, targets, start, shuffle } => {
            let targets = if *targets == Targets::Each { "each" } else { "last" };
            let start = if *start == Start::First { "first" } else { "random" };
            format!(
                "windows(length: {steps}, stride: {stride}, rows: {rows}, targets: {targets}, start: {start}, \
                 shuffle: {shuffle})"
            )
        }
    }
}

fn print_train(out: &mut String, train: &Train) {
    let steps = if train.loss == Loss::SumOverSteps { "sum" } else { "mean" };
    line(out, &format!("loss: cross_entropy(steps: {steps})"));
    if let Some(limit) = train.clip {
        line(out, &format!("clip: norm({})", number(limit)));
    }
    let parts = schedule(train.schedule);
    if !parts.is_empty() {
        line(out, &format!("schedule: {}", parts.join(", ")));
    }
    if train.accumulate > 1 {
        line(out, &format!("accumulate: {}", train.accumulate));
    }
    if train.shards > 1 {
        line(out, &format!("shards: {}", train.shards));
    }
    if let Some(after) = train.average {
        line(out, &format!("weights: average(after: {after})"));
    }
    if let Some(precision) = train.precision {
        line(out, &format!("precision: {}", precision.name()));
    }
    match train.length {
        Length::Epochs(count) => line(out, &format!("epochs: {count}")),
        Length::Iterations { count, report_every } => {
            line(out, &format!("iterations: {count}"));
            line(out, &format!("report_every: {report_every}"));
        }
    }
    if train.keep_best {
        line(out, "checkpoint: best");
    }
    for (key, number) in [("keep", train.keep), ("patience", train.patience)] {
        if let Some(number) = number {
            line(out, &format!("{key}: {number}"));
        }
    }
    line(
        out,
        &format!(
            "report: {}",
            train.report.iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", ")
        ),
    );
}

fn schedule(schedule: Schedule) -> Vec<String> {
    let warmup = (schedule.warmup > 0).then(|| format!("warmup(steps: {})", schedule.warmup));
    let course = match schedule.course {
        Course::Constant => None,
        Course::Decay { factor, after } => Some(format!("decay({}, after: {after})", number(factor))),
        Course::Stairs { factor, every } => Some(format!("decay({}, every: {every})", number(factor))),
        Course::Cosine { to } => Some(format!("cosine(to: {})", number(to))),
        Course::Plateau { factor, patience } => {
            Some(format!("plateau({}, patience: {patience})", number(factor)))
        }
    };
    warmup.into_iter().chain(course).collect()
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

/// A body as equations: what has a name or is read more than once gets a line, the rest is written inside
/// the expression that reads it.
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
            line(out, &format!("  {}{shape} = {}", self.reference(id), self.right_side(id).0));
        }
        for (state, next) in states.iter().zip(&self.body.next) {
            let (name, value) = (format!("next {}", state.name), self.reference(*next));
            if name != value {
                line(out, &format!("  {name} = {value}"));
            }
        }
        line(out, &format!("  return {}", self.operand(self.body.result, 0)));
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

    /// The expression inside one that binds its operands at `least` or tighter.
    fn operand(&self, id: ExprId, least: u8) -> String {
        if !self.is_inline(id) {
            return self.reference(id);
        }
        let (text, level) = self.right_side(id);
        if level < least { format!("({text})") } else { text }
    }

    /// The expression's text, and how tightly its outermost operator binds (0 to 6).
    fn right_side(&self, id: ExprId) -> (String, u8) {
        let of = |id: &ExprId| self.operand(*id, 0);
        let text = match &self.expr(id).op {
            ExprOp::Map(op, args) => return self.map(*op, args),
            ExprOp::MatMul { x, w, transposed } => {
                let w = if *transposed { format!("transpose({})", of(w)) } else { of(w) };
                return (format!("{} @ {w}", self.operand(*x, 4)), 4);
            }
            ExprOp::Const(value) => number(*value),
            ExprOp::Input(index) => format!("input {index}"),
            ExprOp::Param(index) => format!("param {index}"),
            ExprOp::State(index) => format!("state {index}"),
            ExprOp::Sum(x) => format!("sum({})", of(x)),
            ExprOp::Max(x) => format!("max({})", of(x)),
            ExprOp::Row { table, token } => format!("{}[{}]", of(table), of(token)),
            ExprOp::Number(x) => format!("number({})", of(x)),
            ExprOp::Concat(parts) => {
                format!("concat({})", parts.iter().map(of).collect::<Vec<_>>().join(", "))
            }
            ExprOp::Slice { x, start, len } => format!("{}[{start}:{}]", self.operand(*x, 6), start + len),
            ExprOp::Random => "random()".to_owned(),
            ExprOp::Training => "training".to_owned(),
            ExprOp::Stop(x) => format!("stop({})", of(x)),
            ExprOp::FinalStep(x) => format!("final_step({})", of(x)),
            ExprOp::Rate => "rate".to_owned(),
            ExprOp::Step => "step".to_owned(),
        };
        (text, 6)
    }

    fn map(&self, op: Scalar, args: &[ExprId]) -> (String, u8) {
        let (symbol, level) = match op {
            Scalar::Lt => ("<", 1),
            Scalar::Le => ("<=", 1),
            Scalar::Gt => (">", 1),
            Scalar::Ge => (">=", 1),
            Scalar::Eq => ("==", 1),
            Scalar::Ne => ("!=", 1),
            Scalar::Add => ("+", 2),
            Scalar::Sub => ("-", 2),
            Scalar::Mul => ("*", 3),
            Scalar::Div => ("/", 3),
            Scalar::Pow => ("^", 5),
            _ => ("", 6),
        };
        let of = |id: &ExprId| self.operand(*id, 0);
        match (op, args) {
            (Scalar::Select, [c, a, b]) => (format!("if {} then {} else {}", of(c), of(a), of(b)), 0),
            (Scalar::Neg, [x]) => (format!("-{}", self.operand(*x, 4)), 4),
            (_, [a, b]) if !symbol.is_empty() => {
                // Sums and products group to the left; a comparison or a power has plain operands.
                let left = if matches!(level, 2 | 3) { level } else { level + 1 };
                (format!("{} {symbol} {}", self.operand(*a, left), self.operand(*b, level + 1)), level)
            }
            (_, args) => (format!("{op}({})", args.iter().map(of).collect::<Vec<_>>().join(", ")), 6),
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
